/** `torghut db query SQL`: one statement against the ledger, in a read-only transaction unless --write. */
import type { Command } from 'commander';
import { openLedger } from '../embedded/connect.ts';
import { queryLedger } from '../embedded/postgres/query.ts';
import { readFromStore } from '../embedded/reading.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';

interface Options {
  home?: string;
  write: boolean;
  param: string[];
  output: string;
}

export function configure(command: Command): void {
  command
    .argument('<sql>', 'one statement; $1, $2 … stand for parameters')
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option(
      '--param <value>',
      'value of $1, $2 …, repeatable',
      (text: string, before: string[]) => [...before, text],
      [],
    )
    .option('--write', 'allow the statement to change something', false)
    .option('-o, --output <format>', 'table, json or yaml; 64-bit integers and decimals are text', 'table')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        "  torghut db query 'SELECT status, count(*) FROM trade_decisions GROUP BY status'\n" +
        "  torghut db query 'SELECT * FROM executions WHERE symbol = $1' --param MU -o json",
    )
    .action(async (sql: string, options: Options) => {
      const format = parseOutputFormat(options.output);
      const home = resolveRunHome(options.home);
      const rows = await readFromStore(
        () => openLedger({ home }),
        ({ dsn }) => queryLedger(dsn, { sql, parameters: options.param, canWrite: options.write }),
        !options.write,
      );
      print(renderRows(rows, format));
    });
}
