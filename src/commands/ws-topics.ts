/** `torghut ws topics`: the ingest topics against what they must be; --ensure creates what is missing. */
import type { Command } from 'commander';
import { clockOfHome, planTopics, refuseLossyChange, wantedTopics } from '../daemons/ws/topic-plan.ts';
import { openEventLog } from '../lib/log/open.ts';
import { askConsent } from '../lib/runbook/confirm.ts';
import { openClock } from '../lib/service/clock.ts';
import { exitCode } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';

interface Options {
  home?: string;
  ensure: boolean;
  dryRun: boolean;
  yes: boolean;
  confirm?: string;
  output: string;
}

export function configure(command: Command): void {
  command
    .option('--home <dir>', 'home of the run (default: the newest); KAFKA_BOOTSTRAP means Kafka instead')
    .option('--ensure', 'create what is missing; what exists is never changed', false)
    .option('--dry-run', 'with --ensure: print the plan only', false)
    .option('--yes', 'do not ask', false)
    .option('--confirm <plan-id>', 'do it only if the plan still has this id')
    .option('-o, --output <format>', 'table, json or yaml; counts of records are text', 'table')
    .addHelpText(
      'after',
      '\nExit codes: 0 all are there, 10 some are missing or differ, 4 refused.\n' +
        '\nExamples:\n  torghut ws topics -o json\n  KAFKA_BOOTSTRAP=broker:9092 torghut ws topics --ensure --yes',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const home = resolveRunHome(options.home);
      const clock = openClock(clockOfHome(home, process.env));
      const specs = wantedTopics(process.env, clock.kind);
      const log = await openEventLog({ home, env: process.env, clock });
      try {
        let plan = await planTopics(log, specs);
        if (options.ensure) {
          refuseLossyChange(plan);
          const what = `create ${plan.missing.map(({ name }) => name).join(', ')}`;
          if (plan.missing.length > 0) {
            process.stderr.write(`plan ${plan.id}: ${what}\n`);
            if (await askConsent({ ...options, what, planId: plan.id, isDestructive: false })) {
              await log.ensureTopics(plan.missing);
              plan = await planTopics(log, specs);
            }
          }
        }
        print(renderRows(plan.rows, format));
        if (plan.rows.some(({ state }) => state !== 'present')) process.exitCode = exitCode.problemFound;
      } finally {
        await log.close();
      }
    });
}
