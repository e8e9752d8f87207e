/** `torghut strategy list`: the strategies as the loop last took them over. */
import type { Command } from 'commander';
import { withLedger } from '../daemons/trade/ledger-reading.ts';
import { strategyListing } from '../lib/ledger/listing.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';

export function configure(command: Command): void {
  command
    .description('Strategies in force by the ledger; rows are never deleted, only switched off')
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText('after', '\nExamples:\n  torghut strategy list\n  DB_DSN=postgres://… torghut strategy list -o json')
    .action(async (options: { home?: string; output: string }) => {
      const format = parseOutputFormat(options.output);
      const rows = await withLedger(resolveRunHome(options.home), ({ read }) => read.strategies.all());
      print(renderRows(rows.map(strategyListing), format));
    });
}
