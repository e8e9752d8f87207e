/** `torghut clickhouse schema`: the live tables and views against the expected ones, on every replica; each difference is named. */
import type { Command } from 'commander';
import { openStoreNodes } from '../embedded/nodes.ts';
import { exitCode } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { storeFailure } from '../lib/signals/errors.ts';
import { reportSchemaOfAll } from '../lib/signals/schema-report.ts';
import { parseOutputFormat, print, renderObject, renderRows } from '../lib/ui/output.ts';

interface Options {
  home?: string;
  output: string;
}

export function configure(command: Command): void {
  command
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExit codes: 0 as expected, 10 something differs, 3 the store cannot be reached.\n' +
        '\nExamples:\n  torghut clickhouse schema\n  torghut clickhouse schema -o json',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const store = await openStoreNodes({ home: resolveRunHome(options.home) });
      try {
        const report = await reportSchemaOfAll(store.nodes, store.database);
        if (report.drift.length > 0) process.exitCode = exitCode.problemFound;
        if (format !== 'table') return print(renderObject({ ...report }, format));
        const { tables, drift, applied, ...head } = report;
        print(renderObject(head, format));
        if (applied.length > 0) print(`\n${renderRows(applied, format)}`);
        print(
          `\n${renderRows(
            tables.map(({ drift: found, ...table }) => ({ ...table, drift: found.length })),
            format,
          )}`,
        );
        print(drift.length === 0 ? '\nno drift' : `\ndrift:\n${drift.map((item) => `  ${item}`).join('\n')}`);
      } catch (error) {
        throw storeFailure(error);
      } finally {
        await store.close();
      }
    });
}
