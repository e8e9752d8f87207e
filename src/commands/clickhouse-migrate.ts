/** `torghut clickhouse migrate`: brings the signal database to this version's schema and TTL; shows the plan first. */
import type { Command } from 'commander';
import { runOfHome } from '../daemons/sink/target.ts';
import { signalStoreSource } from '../embedded/connect.ts';
import { askConsent } from '../lib/runbook/confirm.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { storeFailure } from '../lib/signals/errors.ts';
import { planMigration, runMigration } from '../lib/signals/migration-plan.ts';
import { parseOutputFormat, print, renderObject } from '../lib/ui/output.ts';

interface Options {
  home?: string;
  ttlDays?: string;
  plan: boolean;
  dryRun: boolean;
  yes: boolean;
  confirm?: string;
  output: string;
}

export function configure(command: Command): void {
  command
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--ttl-days <days>', 'days that rows are kept after their event time, or none (default: as recorded)')
    .option('--plan', 'print the plan with its statements only', false)
    .option('--dry-run', 'the same as --plan', false)
    .option('--yes', 'do not ask, where no stored row can be deleted', false)
    .option('--confirm <plan-id>', 'do it only if the plan still has this id')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nA TTL under which stored rows would be deleted needs --confirm with the id of the plan.\n' +
        '\nExamples:\n  torghut clickhouse migrate --plan -o json\n  torghut clickhouse migrate --ttl-days 35 --yes',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const home = resolveRunHome(options.home);
      const store = signalStoreSource({ home });
      try {
        const wish = { database: store.database, ...runOfHome(home, store.isEmbedded, options.ttlDays) };
        const client = await store.client();
        const plan = await planMigration(client, wish);
        const isDestructive = plan.rows_past_ttl > 0;
        const what = `run ${plan.statements.length} statements on ${plan.database}${
          isDestructive ? `, which delete ${plan.rows_past_ttl} stored rows` : ''
        }`;
        if (plan.statements.length > 0) process.stderr.write(`plan ${plan.id}: ${what}\n`);
        const dryRun = options.plan || options.dryRun;
        const consent = { ...options, what, planId: plan.id, isDestructive, dryRun };
        let appliedNow: number[] = [];
        let isDone = plan.statements.length === 0;
        if (!isDone && (await askConsent(consent))) {
          await store.createDatabase();
          appliedNow = (await runMigration(client, plan)).applied;
          isDone = true;
        }
        const { id, ...rest } = plan;
        const shown = format === 'table' ? { ...rest, statements: plan.statements.join(';\n') } : rest;
        print(renderObject({ plan_id: id, done: isDone, applied_now: appliedNow, ...shown }, format));
      } catch (error) {
        throw storeFailure(error);
      } finally {
        await store.close();
      }
    });
}
