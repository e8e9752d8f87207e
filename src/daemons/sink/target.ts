/**
 * Which run and which TTL the signal database of a home is meant for, for commands that act without the sink: the environment
 * of the sink where it is set, else the home's own run file. A home with a virtual clock has no TTL: its rows are old at once.
 */
import { existsSync } from 'node:fs';
import { loadConfig } from '../../lib/service/config.ts';
import { refusedError } from '../../lib/service/errors.ts';
import { homePaths } from '../../lib/service/home.ts';
import type { MigrationWish } from '../../lib/signals/migration-plan.ts';
import { parseTtlDays } from '../../lib/signals/tables.ts';
import { readRunFile } from '../up/run-file.ts';
import { sinkVariables } from './variables.ts';

/**
 * @param isEmbedded only an embedded store belongs to the home
 * @param ttlDays as it was given on the command line
 * @throws `ttl_on_virtual_clock` (exit 4), `ttl_invalid`, `config_invalid` (exit 2)
 */
export function runOfHome(
  home: string,
  isEmbedded: boolean,
  ttlDays: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): Pick<MigrationWish, 'runId' | 'ttl' | 'defaults'> {
  const { TORGHUT_RUN_ID, TA_CLICKHOUSE_TTL_DAYS } = sinkVariables;
  const { values } = loadConfig({ TORGHUT_RUN_ID, TA_CLICKHOUSE_TTL_DAYS }, env);
  const clock = env.TORGHUT_CLOCK ?? '';
  const isVirtual = (clock !== '' && clock !== 'system') || (isEmbedded && existsSync(homePaths.clock(home)));
  const ttl = ttlDays === undefined ? undefined : { days: parseTtlDays(ttlDays) };
  if (isVirtual && ttl?.days !== undefined) {
    throw refusedError({
      code: 'ttl_on_virtual_clock',
      what: `a TTL of ${ttl.days} days on the database of a run with a virtual clock`,
      why: 'rows with old event times would be deleted at once, and the sink of that run would refuse the database',
      next: 'use --ttl-days none',
    });
  }
  const ofHome = isEmbedded ? readRunFile(home)?.run_id : undefined;
  return {
    runId: env.TORGHUT_RUN_ID ? values.TORGHUT_RUN_ID : ofHome,
    ttl,
    defaults: {
      runId: values.TORGHUT_RUN_ID,
      ttlDays: isVirtual ? undefined : values.TA_CLICKHOUSE_TTL_DAYS,
    },
  };
}
