/** `torghut ta diff`: two outputs compared by key. */
import type { Command } from 'commander';
import { comparisonObject, renderComparison } from '../daemons/ta/comparison-view.ts';
import { diffOutputs } from '../daemons/ta/diff.ts';
import { parseMarketTime } from '../lib/market/calendar.ts';
import { NS_PER_MS } from '../lib/service/clock.ts';
import { exitCode } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print } from '../lib/ui/output.ts';

interface Options {
  left: string;
  right: string;
  from?: string;
  to?: string;
  valuesOnly: boolean;
  data?: string;
  home?: string;
  output: string;
}

export function configure(command: Command): void {
  command
    .description('Compare the current bars and signals of two outputs, with the input behind the first difference')
    .requiredOption('--left <output>', 'clickhouse, clickhouse:DATABASE, or a file of torghut ta compute (.gz too)')
    .requiredOption('--right <output>', 'the same')
    .option('--from <time>', 'windows that end after this market time (RFC 3339)')
    .option('--to <time>', 'windows that end at or before this')
    .option('--values-only', 'leave revision numbers out: another arrival order gives other ones', false)
    .option('--data <file>', 'messages or envelopes to show the input from (default: the event log of the home)')
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExit codes: 0 equal, 10 different, 11 nothing to compare.\n' +
        '\nExamples:\n  torghut ta diff --left clickhouse --right computed.ndjson --values-only --data trades.ndjson.gz\n' +
        '  torghut ta diff --left clickhouse:torghut --right clickhouse:torghut_copy -o json',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const ms = (text: string | undefined) =>
        text === undefined ? undefined : Number(parseMarketTime(text, undefined) / NS_PER_MS);
      const { comparison, first, inputs, inputsMissing } = await diffOutputs({
        home: resolveRunHome(options.home),
        left: options.left,
        right: options.right,
        fromMs: ms(options.from),
        toMs: ms(options.to),
        valuesOnly: options.valuesOnly,
        data: options.data,
      });
      const isEmpty = comparison.rows === 0;
      const verdict = isEmpty ? 'undetermined' : comparison.isEqual ? 'equal' : 'different';
      const object = comparisonObject(comparison, inputs, inputsMissing);
      print(renderComparison({ verdict }, object, format, first, inputs, ['left', 'right']));
      if (isEmpty) process.exitCode = exitCode.cannotDetermine;
      else process.exitCode = comparison.isEqual ? exitCode.ok : exitCode.problemFound;
    });
}
