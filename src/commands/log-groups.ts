/** `torghut log groups`: consumer groups with members, committed offsets and lag. */
import type { Command } from 'commander';
import { openEventLog } from '../lib/log/open.ts';
import { groupRows } from '../lib/log/tail.ts';
import { openClock } from '../lib/service/clock.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';

export function configure(command: Command): void {
  command
    .option('--home <dir>', 'home of the run (default: the newest); KAFKA_BOOTSTRAP means Kafka instead')
    .option('-o, --output <format>', 'table, json or yaml; offsets are text', 'table')
    .addHelpText(
      'after',
      '\nExamples:\n  torghut log groups\n  KAFKA_BOOTSTRAP=localhost:9092 torghut log groups -o json',
    )
    .action(async (options: { home?: string; output: string }) => {
      const format = parseOutputFormat(options.output);
      const home = resolveRunHome(options.home);
      const log = await openEventLog({ home, env: process.env, clock: openClock(undefined) });
      try {
        print(renderRows(await groupRows(log), format));
      } finally {
        await log.close();
      }
    });
}
