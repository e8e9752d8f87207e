/** `torghut ta verify`: computes everything once more from the event log and compares it with the signal store. */
import type { Command } from 'commander';
import { comparisonObject, instantText, renderComparison } from '../daemons/ta/comparison-view.ts';
import { verifyRun } from '../daemons/ta/verify.ts';
import { parseMarketTime } from '../lib/market/calendar.ts';
import { NS_PER_MS } from '../lib/service/clock.ts';
import { exitCode } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print } from '../lib/ui/output.ts';

const exits = { equal: exitCode.ok, different: exitCode.problemFound, undetermined: exitCode.cannotDetermine };

export function configure(command: Command): void {
  command
    .description('Compute bars and signals once more from the event log and compare them with the signal store')
    .option('--from <time>', 'windows that end after this market time (RFC 3339); without it from the beginning')
    .option('--to <time>', 'windows that end at or before this; without it all that can no longer change')
    .option(
      '--home <dir>',
      'home of the run (default: the newest); KAFKA_BOOTSTRAP, TA_CLICKHOUSE_URL mean clusters instead',
    )
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExit codes: 0 equal, 10 different, 11 cannot tell (rows still open, the sink behind, history cut, log or store away).\n' +
        '\nExamples:\n  torghut ta verify\n' +
        '  torghut ta verify --from 2013-10-08T13:30:00Z --to 2013-10-08T14:30:00Z -o json',
    )
    .action(async (options: { from?: string; to?: string; home?: string; output: string }) => {
      const format = parseOutputFormat(options.output);
      const ms = (text: string | undefined) =>
        text === undefined ? undefined : Number(parseMarketTime(text, undefined) / NS_PER_MS);
      const result = await verifyRun({
        home: resolveRunHome(options.home),
        fromMs: ms(options.from),
        toMs: ms(options.to),
      });
      const { verdict, reason, records, comparedUntilMs, comparison, first, inputs } = result;
      const until = comparedUntilMs === null || comparedUntilMs < 0 ? null : instantText(comparedUntilMs);
      const head = { verdict, reason, records_read: records, compared_until: until };
      const object = comparisonObject(comparison, inputs, null);
      print(renderComparison(head, object, format, first, inputs, ['computed', 'stored']));
      process.exitCode = exits[verdict];
    });
}
