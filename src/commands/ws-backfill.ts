/** `torghut ws backfill`: what REST knows of a stretch and the topics do not hold, into the repair topic; shows its plan first. */
import type { Command } from 'commander';
import { backfillChannels } from '../daemons/ws/backfill.ts';
import { backfill } from '../daemons/ws/backfill-command.ts';
import type { HistoryKind } from '../lib/alpaca/market-rest.ts';
import { kind } from '../lib/service/config.ts';
import { usageError } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderObject, renderRows } from '../lib/ui/output.ts';
import { parseInstant } from './instant.ts';

interface Options {
  home?: string;
  from: bigint;
  to: bigint;
  symbols?: string[];
  channels: HistoryKind[];
  dryRun: boolean;
  yes: boolean;
  confirm?: string;
  output: string;
}

/** @throws `channel_unknown` (exit 2) */
function parseChannels(text: string): HistoryKind[] {
  return kind.csv(text).map((name) => {
    const found = backfillChannels.find((channel) => channel === name);
    if (found) return found;
    throw usageError({
      code: 'channel_unknown',
      what: `${JSON.stringify(name)} is no channel that REST can give again`,
      next: `give out of ${backfillChannels.join(',')}`,
    });
  });
}

export function configure(command: Command): void {
  command
    .requiredOption('--from <time>', 'begin, market time (RFC 3339)', parseInstant('--from'))
    .requiredOption('--to <time>', 'end, not included', parseInstant('--to'))
    .option('--symbols <list>', 'these symbols (default: SYMBOLS)', (text) =>
      kind.csv(text).map((symbol) => symbol.toUpperCase()),
    )
    .option('--channels <list>', 'out of trades,quotes,bars', parseChannels, [...backfillChannels])
    .option('--home <dir>', 'home of the run (default: the newest); KAFKA_BOOTSTRAP means Kafka instead')
    .option('--dry-run', 'compare and print the plan only', false)
    .option('--yes', 'do not ask', false)
    .option('--confirm <plan-id>', 'do it only if the plan still has this id')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nLive bars do not change: the repair topic is read by torghut ta replay alone. The same command again takes up where\n' +
        'an interrupted one stopped, because what is there is compared first. On the embedded log ws has to rest meanwhile.\n' +
        '\nExit codes: 0 nothing is missing or all is written, 2 range or settings, 4 refused, 130 interrupted.\n' +
        '\nExamples:\n  torghut ws backfill --from 2013-10-08T13:30:00Z --to 2013-10-08T14:00:00Z --dry-run\n' +
        '  torghut ws backfill --from 2013-10-08T13:30:00Z --to 2013-10-08T14:00:00Z --symbols BAC --channels trades --yes -o json',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const stop = new AbortController();
      process.once('SIGINT', () => stop.abort());
      try {
        const result = await backfill({
          home: resolveRunHome(options.home),
          env: process.env,
          fromNs: options.from,
          toNs: options.to,
          symbols: options.symbols,
          channels: options.channels,
          dryRun: options.dryRun,
          yes: options.yes,
          confirm: options.confirm,
          signal: stop.signal,
          tell: (line) => void process.stderr.write(`${line}\n`),
        });
        const { rows, ...summary } = result;
        print(
          format === 'table'
            ? `${renderRows(rows, 'table')}\n\n${renderObject(summary, 'table')}`
            : renderObject(result, format),
        );
      } catch (error) {
        if (!stop.signal.aborted) throw error;
        process.stderr.write('interrupted; the same command takes up what is missing\n');
        process.exitCode = 130;
      }
    });
}
