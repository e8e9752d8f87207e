/** Runs one command of the CLI in this process, as cli.ts does: what it printed, its exit code, and what it threw. */
import { Command } from 'commander';
import { vi } from 'vitest';
import type { ServiceEndpoint } from '../../src/lib/service/home.ts';

export interface Ran {
  code: number;
  stdout: string;
  error: unknown;
}

/** One at a time: it replaces stdout while it runs. */
export async function runCommand(module: { configure(command: Command): void }, args: readonly string[]): Promise<Ran> {
  const command = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  module.configure(command);
  let stdout = '';
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      stdout += String(text);
      return true;
    }),
    vi.spyOn(process.stderr, 'write').mockImplementation(() => true),
  ];
  let error: unknown;
  const before = process.exitCode;
  process.exitCode = undefined;
  try {
    await command.parseAsync([...args], { from: 'user' });
  } catch (thrown) {
    error = thrown;
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  const code = error === undefined ? Number(process.exitCode ?? 0) : Number((error as { exitCode?: number }).exitCode);
  process.exitCode = before;
  return { code, stdout, error };
}

/** Points TA_CLICKHOUSE_* at a database of a running store for the rest of the test. */
export function pointAt(endpoint: ServiceEndpoint, database: string): void {
  vi.stubEnv('TA_CLICKHOUSE_URL', `${endpoint.url}/${database}`);
  vi.stubEnv('TA_CLICKHOUSE_USERNAME', endpoint.user ?? '');
  vi.stubEnv('TA_CLICKHOUSE_PASSWORD', endpoint.password ?? '');
}
