/** `torghut log topics`: the topics of the event log with the ends of their partitions. */
import type { Command } from 'commander';
import { openEventLog } from '../lib/log/open.ts';
import { topicRows } from '../lib/log/tail.ts';
import { openClock } from '../lib/service/clock.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';

export function configure(command: Command): void {
  command
    .argument('[topic...]', 'only these topics')
    .option('--home <dir>', 'home of the run (default: the newest); KAFKA_BOOTSTRAP means Kafka instead')
    .option('-o, --output <format>', 'table, json or yaml; offsets are text', 'table')
    .addHelpText('after', '\nExamples:\n  torghut log topics\n  torghut log topics torghut.ta.signals.v1 -o json')
    .action(async (names: string[], options: { home?: string; output: string }) => {
      const format = parseOutputFormat(options.output);
      const home = resolveRunHome(options.home);
      const log = await openEventLog({ home, env: process.env, clock: openClock(undefined) });
      try {
        print(renderRows(await topicRows(log, names.length > 0 ? names : undefined), format));
      } finally {
        await log.close();
      }
    });
}
