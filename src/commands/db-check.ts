/** `torghut db check`: is the ledger what this program expects? Reads alone. */
import type { Command } from 'commander';
import { openLedger } from '../embedded/connect.ts';
import { readFromStore } from '../embedded/reading.ts';
import { checkJson, checkLedger } from '../lib/ledger/check.ts';
import { exitCode } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderObject } from '../lib/ui/output.ts';

export function configure(command: Command): void {
  command
    .description(
      'Compare the ledger with what this version expects; exit 10 when it differs, 3 when it does not answer',
    )
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText('after', '\nExamples:\n  torghut db check\n  DB_DSN=postgres://… torghut db check -o json')
    .action(async (options: { home?: string; output: string }) => {
      const format = parseOutputFormat(options.output);
      const home = resolveRunHome(options.home);
      const check = await readFromStore(
        () => openLedger({ home }),
        ({ dsn }) => checkLedger(dsn),
        true,
      );
      print(renderObject(checkJson(check), format));
      if (check.ok) return;
      const next = check.newer.length > 0 ? 'use the newer version' : 'read runbooks/failed-migration.md';
      process.stderr.write(`torghut: the ledger is not what this version expects; ${next}\n`);
      process.exitCode = exitCode.problemFound;
    });
}
