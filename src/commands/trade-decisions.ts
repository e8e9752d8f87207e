/** `torghut trade decisions`: the newest decisions of the ledger. */
import type { Command } from 'commander';
import { withLedger } from '../daemons/trade/ledger-reading.ts';
import { decisionListing, type ListOptions, listFilter } from '../lib/ledger/listing.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';

interface Options extends ListOptions {
  home?: string;
  output: string;
}

export function configure(command: Command): void {
  command
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--symbol <symbol>', 'of this symbol alone')
    .option('--status <status>', 'with this status alone')
    .option('--since <time>', 'decided at or after this market time (RFC 3339)')
    .option('--limit <n>', 'rows at most, 1 to 500', '100')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExamples:\n  torghut trade decisions --status rejected --limit 20\n  torghut trade decisions --symbol IBM --since 2013-10-08T13:30:00Z -o json',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const filter = listFilter(options);
      const rows = await withLedger(resolveRunHome(options.home), ({ read }) => read.decisions.list(filter));
      print(renderRows(rows.map(decisionListing), format));
    });
}
