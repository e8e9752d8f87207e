/** Starts embedded stores as `up` does: the CLI as a child with a pipe on stdin. */
import { type ChildProcess, spawn } from 'node:child_process';
import { type ClickHouseClient, ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { findService, isProcessAlive, type ServiceEndpoint } from '../../src/lib/service/home.ts';
import { cliEntry, testEnvironment } from '../support/torghut.ts';

export interface StoreProcess {
  child: ChildProcess;
  endpoint: ServiceEndpoint;
  stderr(): string;
  /** Ends it with -9 and waits until it is gone. */
  kill(): Promise<void>;
  stop(): Promise<number | null>;
}

export async function until<T>(
  what: string,
  get: () => T | undefined | false | Promise<T | undefined | false>,
  ms = 30_000,
): Promise<T> {
  const deadline = performance.now() + ms;
  for (;;) {
    const value = await get();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`waited ${ms} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export async function startStore(
  name: 'clickhouse' | 'postgres',
  home: string,
  args: readonly string[] = [],
): Promise<StoreProcess> {
  const child = spawn(process.execPath, [cliEntry, 'embedded', name, '--home', home, ...args], {
    stdio: ['pipe', 'ignore', 'pipe'],
    env: testEnvironment({ TORGHUT_PARENT: 'stdin', UV_THREADPOOL_SIZE: '32' }),
  });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const endpoint = await until(`${name} is announced`, () => {
    if (child.exitCode !== null) throw new Error(`${name} ended with ${child.exitCode}: ${stderr}`);
    const live = findService(home, name);
    return live?.pid === child.pid ? live : undefined;
  });
  return {
    child,
    endpoint,
    stderr: () => stderr,
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
    stop: async () => {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

export function clientOf(endpoint: ServiceEndpoint, options: { isCompressed?: boolean } = {}): ClickHouseClient {
  return createClient({
    url: endpoint.url,
    username: endpoint.user ?? '',
    password: endpoint.password ?? '',
    database: 'torghut',
    log: { level: ClickHouseLogLevel.OFF },
    compression: { request: options.isCompressed ?? false, response: options.isCompressed ?? false },
  });
}

export async function rowsOf<T>(
  client: ClickHouseClient,
  query: string,
  options: Omit<Parameters<ClickHouseClient['query']>[0], 'query' | 'format'> = {},
): Promise<T[]> {
  const result = await client.query({ query, format: 'JSONEachRow', ...options });
  return (await result.json()) as T[];
}

/** Waits until a process is gone; the machine ms it took. */
export async function goneWithin(pid: number, startTicks: string, ms: number): Promise<number> {
  const start = performance.now();
  await until(`process ${pid} is gone`, () => !isProcessAlive(pid, startTicks), ms);
  return performance.now() - start;
}
