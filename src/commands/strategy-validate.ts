/** `torghut strategy validate`: every mistake of a strategy catalog with its line and column. */
import type { Command } from 'commander';
import { registryOfEnvironment } from '../daemons/trade/strategies.ts';
import { exitCode } from '../lib/service/errors.ts';
import { checkCatalogFile } from '../lib/trading/catalog-file.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';

export function configure(command: Command): void {
  command
    .description('Check a strategy catalog; exit 10 when it has mistakes')
    .argument('<file>', 'catalog, .yaml, .yml or .json')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nPlug-ins of TRADING_STRATEGY_PLUGIN_PATH may be named, too.\n' +
        '\nExamples:\n  torghut strategy validate config/strategies.example.yaml\n  torghut strategy validate my.yaml -o json',
    )
    .action(async (file: string, options: { output: string }) => {
      const format = parseOutputFormat(options.output);
      const check = await checkCatalogFile(file, await registryOfEnvironment());
      if (!check.ok) {
        print(
          renderRows(
            check.mistakes.map(({ line, column, path, message }) => ({ line, column, path, message })),
            format,
          ),
        );
        process.stderr.write(`torghut: ${file} has ${check.mistakes.length} mistake(s)\n`);
        process.exitCode = exitCode.problemFound;
        return;
      }
      const rows = check.catalog.entries.map((entry) => ({
        name: entry.name,
        type: entry.type,
        enabled: entry.enabled,
        timeframe: entry.timeframe,
        symbols: entry.symbols.length === 0 ? '*' : entry.symbols.join(','),
        max_notional: entry.maxNotionalPerTrade?.toFixed() ?? null,
        max_position_pct: entry.maxPositionPctEquity?.toFixed() ?? null,
      }));
      print(renderRows(rows, format));
      process.stderr.write(`torghut: ${file} is valid, ${rows.length} strategies, sha256 ${check.digest}\n`);
    });
}
