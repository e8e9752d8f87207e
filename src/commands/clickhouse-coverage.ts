/** `torghut clickhouse coverage`: what is stored between two instants, and where the regular session has holes. */
import type { Command } from 'commander';
import { openSignalStore } from '../embedded/connect.ts';
import { newYorkInstant, parseMarketTime } from '../lib/market/calendar.ts';
import { marketNowOfHome } from '../lib/service/clock.ts';
import { exitCode, usageError } from '../lib/service/errors.ts';
import { homePaths, resolveRunHome } from '../lib/service/home.ts';
import { readCoverage } from '../lib/signals/coverage.ts';
import { undetermined } from '../lib/signals/errors.ts';
import { parseOutputFormat, print, renderObject, renderRows } from '../lib/ui/output.ts';

interface Options {
  home?: string;
  from: string;
  to: string;
  gap: string;
  symbols?: string;
  output: string;
}

const gapsShown = 20;

/** A New York date means its begin (`from`) or its end (`to`). @throws `time_invalid` (exit 2) */
function bound(text: string, side: 'from' | 'to'): bigint {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) return parseMarketTime(text, undefined);
  return newYorkInstant(text, side === 'from' ? 0 : 86_400_000);
}

function gapSeconds(text: string): number {
  const seconds = Number(text);
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= 86_400) return seconds;
  throw usageError({ code: 'gap_invalid', what: `--gap ${text} is no limit`, next: 'give seconds from 1 to 86400' });
}

export function configure(command: Command): void {
  command
    .requiredOption('--from <time>', 'begin: a New York date, or an RFC 3339 time')
    .requiredOption('--to <time>', 'end: a New York date (included), or an RFC 3339 time')
    .option('--gap <seconds>', 'stretches of the regular session without a row count from more than this on', '60')
    .option('--symbols <list>', 'only these, comma separated; one without rows counts as a gap')
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExit codes: 0 no gap, 10 a gap was found, 11 cannot tell (no rows, or the store does not answer).\n' +
        '\nExamples:\n  torghut clickhouse coverage --from 2013-10-08 --to 2013-10-08\n' +
        '  torghut clickhouse coverage --from 2013-10-08T13:30:00Z --to 2013-10-08T13:45:00Z --gap 10 --symbols MU,JNPR -o json',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const question = {
        fromNs: bound(options.from, 'from'),
        toNs: bound(options.to, 'to'),
        gapSeconds: gapSeconds(options.gap),
        symbols: options.symbols?.split(',').map((symbol) => symbol.trim().toUpperCase()),
      };
      const home = resolveRunHome(options.home);
      const store = await openSignalStore({ home }).catch((error: unknown) => {
        throw undetermined(error);
      });
      try {
        const nowNs = marketNowOfHome(store.embedded ? homePaths.clock(home) : undefined);
        const report = await readCoverage(store.client, { ...question, database: store.database, nowNs });
        if (report.gaps.length > 0) process.exitCode = exitCode.problemFound;
        else if (report.rows.length === 0) process.exitCode = exitCode.cannotDetermine;
        if (format !== 'table') return print(renderObject({ ...report }, format));
        print(
          renderRows(
            report.rows.map((row) => ({ ...row })),
            format,
          ),
        );
        const sessions = report.sessions.length === 0 ? 'none' : report.sessions.join(', ');
        print(`\nsessions judged: ${sessions}; gaps over ${report.gap_seconds} s: ${report.gaps.length}`);
        if (report.gaps.length > 0)
          print(
            `\n${renderRows(
              report.gaps.slice(0, gapsShown).map((gap) => ({ ...gap })),
              format,
            )}`,
          );
        if (report.gaps.length > gapsShown) print(`… and ${report.gaps.length - gapsShown} more (-o json has all)`);
      } catch (error) {
        throw undetermined(error);
      } finally {
        await store.close();
      }
    });
}
