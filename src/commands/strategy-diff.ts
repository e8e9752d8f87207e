/** `torghut strategy diff`: what differs between two catalogs, field by field. */
import type { Command } from 'commander';
import { withLedger } from '../daemons/trade/ledger-reading.ts';
import { catalogSide } from '../daemons/trade/strategies.ts';
import { exitCode } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { catalogDifferences } from '../lib/strategy/compare.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';

export function configure(command: Command): void {
  command
    .description('Compare two catalogs after every default is filled in; exit 10 when they differ')
    .argument('<from>', 'a file, the number of a version, or now (what is in force)')
    .argument('[to]', 'the same; default now')
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExamples:\n  torghut strategy diff now strategies.yaml\n  torghut strategy diff 3 4 -o json',
    )
    .action(async (from: string, to: string | undefined, options: { home?: string; output: string }) => {
      const format = parseOutputFormat(options.output);
      const isLedgerNeeded = [from, to ?? 'now'].some((side) => side === 'now' || /^\d+$/.test(side));
      const compare = async (sideOf: (text: string) => ReturnType<typeof catalogSide>) => {
        const [a, b] = [await sideOf(from), await sideOf(to ?? 'now')];
        return { a, b, rows: catalogDifferences(a.strategies, b.strategies) };
      };
      const { a, b, rows } = isLedgerNeeded
        ? await withLedger(resolveRunHome(options.home), (ledger) =>
            compare((text) => catalogSide(text, () => Promise.resolve(ledger))),
          )
        : await compare((text) => catalogSide(text, () => Promise.reject(new Error('no side is of the ledger'))));
      print(
        renderRows(
          rows.map((row) => ({ ...row })),
          format,
        ),
      );
      process.stderr.write(`torghut: ${rows.length} differences between ${a.name} and ${b.name}\n`);
      if (rows.length > 0) process.exitCode = exitCode.problemFound;
    });
}
