/**
 * One Postgres server on one data directory: initialise, clean up after a violent end, start, stop.
 * Guarantees
 * - Loopback only, scram password, no Unix socket, nothing outside the directory (dynamic shared memory is kept in it too).
 * - A start cleans up what a kill -9 of our process, of the postmaster or of a backend left: processes that still work in
 *   this directory are ended first, then Postgres recovers by itself.
 * - Everything ends when our process dies, whatever killed it: by the kernel's parent-death signal where `setpriv` exists, and
 *   by a watchdog on a pipe. The death signal is SIGQUIT: an immediate stop of the postmaster and of every backend.
 * - fsync stays on: the ledger must know every order also after a power cut. Measured: initdb with and without sync takes
 *   0.8 s either way, so that is synced too.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { TorghutError, usageError } from '../../lib/service/errors.ts';
import { processStartTicks } from '../../lib/service/home.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { endProcess } from '../holder.ts';
import { freePort, isPortFree } from '../ports.ts';
import { baseEnv, type ClusterOptions, commandLine, identity, initialise, postgresUser } from './cluster.ts';
import { chooseRunAs, deathSignalPrefix, giveTree, letPass, type RunAs } from './install.ts';

export const postgresDatabase = 'torghut';

export interface PostgresOptions extends ClusterOptions {
  /** A fixed port, or undefined for the preferred or a free one. */
  port?: number | undefined;
  preferredPort?: number | undefined;
  signal?: AbortSignal;
}

export interface PostgresServer {
  port: number;
  pid: number;
  dsn: string;
  /** Resolves when the postmaster has ended, by whatever cause. */
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** Fast shutdown, immediate after `graceMs` machine ms. */
  stop(graceMs?: number): Promise<void>;
}

/** Settings that differ from Postgres' defaults; a small server for one machine. */
const settings: Record<string, string> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '60',
  shared_buffers: '32MB',
  dynamic_shared_memory_type: 'mmap',
  max_wal_size: '256MB',
  log_min_messages: 'warning',
  log_line_prefix: '%m [%p] ',
  timezone: 'UTC',
  log_timezone: 'UTC',
  password_encryption: 'scram-sha-256',
};

/** @throws `postgres_start_failed` (exit 3), `port_in_use` (exit 2) */
export async function startPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const { directory } = options;
  const data = join(directory, 'data');
  mkdirSync(directory, { recursive: true, mode: 0o711 });
  const runAs = await chooseRunAs();
  // Another user has to pass the folders above the data: ours we open for passing (not for reading).
  if (runAs.uid !== undefined) for (const folder of [dirname(directory), directory]) letPass(folder);
  const deathSignal = await deathSignalPrefix();
  await endLeftovers(data);
  if (!existsSync(join(data, 'PG_VERSION'))) await initialise(options, data, runAs);
  giveTree(data, runAs.owner);
  // The pid file of a dead postmaster: every process of this directory is gone by now, so it says nothing any more.
  rmSync(join(data, 'postmaster.pid'), { force: true });

  for (let attempt = 1; ; attempt++) {
    const port = await choosePort(options);
    const child = launch(options, data, runAs, deathSignal, port);
    const ended = once(child, 'exit').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
    }));
    if (await isReady(child, data, options.signal)) {
      const pid = child.pid as number;
      const watchdog = watchOver(pid);
      void ended.then(() => watchdog.kill('SIGKILL'));
      await createDatabase(port, options.password);
      const server = { port, pid, dsn: dsnOf(port, postgresDatabase, options.password), ended };
      return { ...server, stop: (graceMs = 1_500) => stop(child, ended, graceMs) };
    }
    await stop(child, ended, 0);
    if (options.signal?.aborted || attempt === 3) {
      throw new TorghutError({
        code: 'postgres_start_failed',
        what: 'Postgres did not start',
        why: lastLines(join(directory, 'server.log')),
        next: `read ${join(directory, 'server.log')}; with --fresh the home starts anew`,
        exitCode: 3,
      });
    }
  }
}

function dsnOf(port: number, database: string, password: string): string {
  return `postgresql://${postgresUser}:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`;
}

async function choosePort(options: PostgresOptions): Promise<number> {
  if (options.port) {
    if (await isPortFree(options.port)) return options.port;
    throw usageError({
      code: 'port_in_use',
      what: `Postgres cannot listen on 127.0.0.1:${options.port}`,
      why: 'another process listens there',
      next: 'choose another port, or 0 for a free one',
    });
  }
  if (options.preferredPort && (await isPortFree(options.preferredPort))) return options.preferredPort;
  return freePort();
}

function launch(
  options: PostgresOptions,
  data: string,
  runAs: RunAs,
  deathSignal: string[],
  port: number,
): ChildProcess {
  const args = ['-D', data, '-p', String(port)];
  for (const [name, value] of Object.entries(settings)) args.push('-c', `${name}=${value}`);
  const [file, rest] = commandLine(runAs, deathSignal, options.binaries.postgres, args);
  const log = openSync(join(options.directory, 'server.log'), 'a', 0o600);
  try {
    const child = spawn(file, rest, {
      cwd: '/',
      env: { ...baseEnv(), ...options.binaries.env },
      stdio: ['ignore', log, log],
      // A group of its own: Ctrl-C in the terminal reaches us, and we end it in order.
      detached: true,
      ...identity(runAs),
    });
    child.on('error', () => undefined);
    return child;
  } finally {
    closeSync(log);
  }
}

/** Waits until the postmaster says `ready` in its pid file; false when it ended or was not ready in 30 machine s. */
async function isReady(child: ChildProcess, data: string, signal?: AbortSignal): Promise<boolean> {
  const deadline = machineMs() + 30_000;
  while (child.exitCode === null && child.signalCode === null && !signal?.aborted && machineMs() < deadline) {
    try {
      const lines = readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n');
      if (Number(lines[0]) === child.pid && lines[7]?.trim() === 'ready') return true;
    } catch {
      // Not written yet.
    }
    await sleep(10);
  }
  return false;
}

/** A shell on a pipe of ours: when we die the pipe closes and it stops the postmaster, also where `setpriv` is absent. */
function watchOver(pid: number): ChildProcess {
  const script = `read -r _; kill -QUIT ${pid} 2>/dev/null`;
  const child = spawn('/bin/sh', ['-c', script], { stdio: ['pipe', 'ignore', 'ignore'], detached: true, cwd: '/' });
  child.on('error', () => undefined);
  child.unref();
  (child.stdin as unknown as { unref?: () => void } | null)?.unref?.();
  return child;
}

async function createDatabase(port: number, password: string): Promise<void> {
  const client = new pg.Client({ connectionString: dsnOf(port, 'postgres', password) });
  await client.connect();
  try {
    const found = await client.query('select 1 from pg_database where datname = $1', [postgresDatabase]);
    if (found.rowCount === 0) await client.query(`create database ${postgresDatabase}`);
  } finally {
    await client.end();
  }
}

async function stop(child: ChildProcess, ended: Promise<unknown>, graceMs: number): Promise<void> {
  const isOver = () => child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
  if (!isOver() && graceMs > 0) {
    child.kill('SIGINT');
    await within(ended, graceMs);
  }
  if (!isOver()) {
    child.kill('SIGQUIT');
    await within(ended, 1_000);
  }
  if (!isOver()) {
    child.kill('SIGKILL');
    await within(ended, 1_000);
  }
}

/** Waits for the end at most so many machine ms, and leaves no timer behind. */
async function within(ended: Promise<unknown>, ms: number): Promise<void> {
  const timer = new AbortController();
  await Promise.race([ended, sleep(ms, timer.signal)]);
  timer.abort();
}

/** Ends every process that still works in this data directory (a postmaster and its backends have it as their folder). */
async function endLeftovers(data: string): Promise<void> {
  const pids = new Set<number>();
  let entries: string[] = [];
  try {
    entries = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    // No /proc: the pid file below is all there is.
  }
  for (const entry of entries) {
    try {
      if (readlinkSync(`/proc/${entry}/cwd`) === data) pids.add(Number(entry));
    } catch {
      // Gone, or of another user.
    }
  }
  if (entries.length === 0) {
    try {
      pids.add(Number(readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0]));
    } catch {
      // Never started, or stopped in order.
    }
  }
  for (const pid of pids) {
    if (pid > 1 && pid !== process.pid) await endProcess(pid, processStartTicks(pid) ?? '');
  }
}

function lastLines(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim().split('\n').slice(-4).join(' | ');
  } catch {
    return 'it wrote no log';
  }
}

/** Keeps the log of the server from growing without bound: above the limit it starts anew, the old one is kept once. */
export function rotateServerLog(directory: string, limitBytes = 16 * 1024 * 1024): void {
  const path = join(directory, 'server.log');
  if (!existsSync(path)) writeFileSync(path, '', { mode: 0o600 });
  else if (readFileSync(path).length > limitBytes) renameSync(path, `${path}.1`);
}
