/** `torghut embedded clickhouse`: the ClickHouse engine of a home (hidden: `up` and the commands start it themselves). */
import type { Command } from 'commander';
import { enginePoolThreads, runEmbeddedClickHouse } from '../embedded/clickhouse/run.ts';
import { parsePort } from '../embedded/ports.ts';
import { resolveRunHome } from '../lib/service/home.ts';

export function configure(command: Command): void {
  command
    .description('Run the ClickHouse engine of a home behind HTTP on a loopback port')
    .option('--home <dir>', 'home of the run')
    .option('--port <n>', 'port, 0 for the last or a free one', parsePort, 0)
    .addHelpText(
      'after',
      '\nExamples:\n  torghut embedded clickhouse --home ./run\n  torghut embedded clickhouse --home ./run --port 8123',
    )
    .action(async (options: { home?: string; port: number }) => {
      // The size of Node's thread pool is read once, at the start of the process.
      if (process.env.UV_THREADPOOL_SIZE === undefined) restartWithThreads(enginePoolThreads);
      process.exitCode = await runEmbeddedClickHouse({ home: resolveRunHome(options.home), port: options.port });
    });
}

/** Replaces this process by itself with more threads; where Node cannot do that it goes on with the four it has. */
function restartWithThreads(threads: number): void {
  if (typeof process.execve !== 'function') return;
  const env: Record<string, string> = { UV_THREADPOOL_SIZE: String(threads) };
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) env[name] = value;
  process.execve(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], env);
}
