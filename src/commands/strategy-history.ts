/** `torghut strategy history`: versions of the catalog, or the text of one. */
import type { Command } from 'commander';
import { withLedger } from '../daemons/trade/ledger-reading.ts';
import { versionListing } from '../lib/ledger/listing.ts';
import { usageError } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderObject, renderRows } from '../lib/ui/output.ts';
import { parseCount } from './count.ts';

export function configure(command: Command): void {
  command
    .description('Which catalog was in force from when on, by which file, who and why; newest first')
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--limit <n>', 'versions at most', parseCount('--limit', 1, 500), 50)
    .option('--version <n>', 'this version alone, with its strategies', parseCount('--version', 1, 1_000_000_000))
    .option('--text', 'print the file of --version as it was, to put it back elsewhere', false)
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExamples:\n  torghut strategy history\n  torghut strategy history --version 3 --text > strategies.yaml',
    )
    .action(async (options: { home?: string; limit: number; version?: number; text: boolean; output: string }) => {
      const format = parseOutputFormat(options.output);
      const { version } = options;
      await withLedger(resolveRunHome(options.home), async ({ read }) => {
        if (version === undefined) {
          print(renderRows((await read.strategies.versions(options.limit)).map(versionListing), format));
          return;
        }
        const found = await read.strategies.version(version);
        if (!found) {
          throw usageError({
            code: 'strategy_version_unknown',
            what: `the ledger has no version ${version} of the catalog`,
            next: 'see `torghut strategy history`',
          });
        }
        if (options.text) process.stdout.write(found.content);
        else print(renderObject({ ...versionListing(found), strategies: found.strategies }, format));
      });
    });
}
