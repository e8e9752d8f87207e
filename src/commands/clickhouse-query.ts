/** `torghut clickhouse query SQL`: one statement against the signal store, read-only unless --write. */
import type { Command } from 'commander';
import { openSignalStore } from '../embedded/connect.ts';
import { readFromStore } from '../embedded/reading.ts';
import { usageError } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { queryStore } from '../lib/signals/query.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';

interface Options {
  home?: string;
  write: boolean;
  param: Record<string, string>;
  output: string;
}

/** `name=value`, repeatable. @throws `param_invalid` (exit 2) */
function addParameter(text: string, before: Record<string, string>): Record<string, string> {
  const match = /^([A-Za-z_]\w*)=([\s\S]*)$/.exec(text);
  if (!match) {
    throw usageError({
      code: 'param_invalid',
      what: `--param ${text} is not name=value`,
      next: 'write for example --param symbol=MU and use it as {symbol:String}',
    });
  }
  return { ...before, [match[1] as string]: match[2] as string };
}

export function configure(command: Command): void {
  command
    .argument('<sql>', 'one statement; {name:Type} stands for a parameter')
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--param <name=value>', 'value of a parameter, repeatable', addParameter, {})
    .option('--write', 'allow the statement to change something', false)
    .option('-o, --output <format>', 'table, json or yaml; 64-bit integers and decimals are text', 'table')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        "  torghut clickhouse query 'SELECT symbol, count() AS bars FROM ta_microbars FINAL GROUP BY symbol'\n" +
        "  torghut clickhouse query 'SELECT * FROM ta_signals WHERE symbol = {s:String} LIMIT 5' --param s=MU -o json",
    )
    .action(async (sql: string, options: Options) => {
      const format = parseOutputFormat(options.output);
      const home = resolveRunHome(options.home);
      const rows = await readFromStore(
        () => openSignalStore({ home }),
        ({ client }) => queryStore(client, { sql, parameters: options.param, canWrite: options.write }),
        !options.write,
      );
      print(renderRows(rows, format));
    });
}
