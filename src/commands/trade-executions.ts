/** `torghut trade executions`: the newest executions of the ledger. */
import type { Command } from 'commander';
import { withLedger } from '../daemons/trade/ledger-reading.ts';
import { executionListing, type ListOptions, listFilter } from '../lib/ledger/listing.ts';
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
    .option('--since <time>', 'submitted at or after this market time (RFC 3339)')
    .option('--limit <n>', 'rows at most, 1 to 500', '100')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExamples:\n  torghut trade executions --status filled\n  torghut trade executions --symbol IBM -o json',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const { status, ...filter } = listFilter(options);
      const wanted = status === undefined ? filter : { ...filter, state: status };
      const rows = await withLedger(resolveRunHome(options.home), ({ read }) => read.orders.executions(wanted));
      print(renderRows(rows.map(executionListing), format));
    });
}
