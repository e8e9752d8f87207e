/** `torghut embedded postgres`: the Postgres server of a home (hidden: `up` and the commands start it themselves). */
import type { Command } from 'commander';
import { parsePort } from '../embedded/ports.ts';
import { runEmbeddedPostgres } from '../embedded/postgres/run.ts';
import { resolveRunHome } from '../lib/service/home.ts';

export function configure(command: Command): void {
  command
    .description('Run the Postgres 18 server of a home on a loopback port')
    .option('--home <dir>', 'home of the run')
    .option('--port <n>', 'port, 0 for the last or a free one', parsePort, 0)
    .addHelpText(
      'after',
      '\nExamples:\n  torghut embedded postgres --home ./run\n  torghut embedded postgres --home ./run --port 5433',
    )
    .action(async (options: { home?: string; port: number }) => {
      process.exitCode = await runEmbeddedPostgres({ home: resolveRunHome(options.home), port: options.port });
    });
}
