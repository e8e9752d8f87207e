/**
 * Starts an embedded store as a child of this process, for a command or daemon that finds none running.
 * Guarantees: one store per home (a lock beside the endpoint files; who loses it waits for the winner's store), and the child
 * ends within 3 s of this process, whatever ends it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, linkSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cliCommand } from '../lib/service/cli-entry.ts';
import { type TorghutError, unreachableError } from '../lib/service/errors.ts';
import {
  findService,
  homePaths,
  isProcessAlive,
  processStartTicks,
  type ServiceEndpoint,
} from '../lib/service/home.ts';
import { machineMs, sleep } from '../lib/service/machine.ts';
import { findClickHouseEngine, findPostgres, type PartResolver } from './parts.ts';

export type StoreName = 'clickhouse' | 'postgres';

/** Machine ms within which a store must be up: initdb, recovery after a crash, a cold 543 MB library. */
const startLimitMs = 60_000;

export interface RunningStore {
  endpoint: ServiceEndpoint;
  /** Ends the store when this process started it. */
  close(): Promise<void>;
}

/**
 * The live store of a home, or a new one.
 * @throws `embedded_part_missing`, `embedded_start_failed` (exit 3)
 */
export async function findOrStart(
  home: string,
  name: StoreName,
  options: { signal?: AbortSignal | undefined; parts?: PartResolver | undefined } = {},
): Promise<RunningStore> {
  const deadline = machineMs() + startLimitMs;
  for (;;) {
    options.signal?.throwIfAborted();
    const live = findService(home, name);
    if (live) return { endpoint: live, close: async () => undefined };
    // Said before a child is started whose error nobody would read.
    if (name === 'clickhouse') findClickHouseEngine(options.parts);
    else findPostgres(options.parts);
    const lock = takeLock(home, name);
    if (lock) {
      try {
        const child = await startChild(home, name, deadline);
        if (child) return child;
      } finally {
        lock.release();
      }
    }
    if (machineMs() > deadline) throw startFailed(home, name, 'it was not ready in time');
    await sleep(50, options.signal);
  }
}

async function startChild(home: string, name: StoreName, deadline: number): Promise<RunningStore | undefined> {
  mkdirSync(homePaths.logs(home), { recursive: true });
  const logPath = join(homePaths.logs(home), `${name}.log`);
  const log = openSync(logPath, 'a', 0o600);
  const cli = cliCommand();
  const child = spawn(cli.file, [...cli.args, 'embedded', name, '--home', home], {
    stdio: ['pipe', 'ignore', log],
    env: { ...process.env, TORGHUT_PARENT: 'stdin', UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? '32' },
    // Ctrl-C in the terminal ends us, and we end it after the last query.
    detached: true,
  });
  closeSync(log);
  let failure: string | undefined;
  child.on('error', (error) => {
    failure = error.message;
  });
  child.stdin?.on('error', () => undefined);
  child.unref();
  (child.stdin as unknown as { unref?: () => void } | null)?.unref?.();
  while (machineMs() < deadline) {
    const live = findService(home, name);
    if (live && live.pid === child.pid) return { endpoint: live, close: () => stopChild(child) };
    if (failure !== undefined || child.exitCode !== null || child.signalCode !== null) {
      // Somebody else's store may have come up meanwhile; then ours had to give way.
      await sleep(200);
      if (findService(home, name)) return undefined;
      throw startFailed(home, name, failure ?? `it ended with exit ${child.exitCode ?? child.signalCode}`);
    }
    await sleep(20);
  }
  await stopChild(child);
  throw startFailed(home, name, 'it was not ready in time');
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = new AbortController();
  await Promise.race([ended, sleep(3_000, timer.signal)]);
  timer.abort();
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await ended;
  }
}

function startFailed(home: string, name: StoreName, why: string): TorghutError {
  return unreachableError({
    code: 'embedded_start_failed',
    what: `the embedded ${name} of this home could not be started`,
    why,
    next: `read ${join(homePaths.logs(home), `${name}.log`)}`,
  });
}

/** A lock file that names its process; a dead owner's is taken away. undefined when somebody alive holds it. */
function takeLock(home: string, name: StoreName): { release(): void } | undefined {
  mkdirSync(homePaths.services(home), { recursive: true });
  const path = join(homePaths.services(home), `${name}.starting`);
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, `${process.pid} ${processStartTicks(process.pid) ?? ''}\n`);
  try {
    linkSync(draft, path);
    return { release: () => rmSync(path, { force: true }) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const [pid, ticks] = readOwner(path);
    // Two waiters may both take it away; then two stores start, and the data directory lets one of them live.
    if (pid !== undefined && !isProcessAlive(pid, ticks)) rmSync(path, { force: true });
    return undefined;
  } finally {
    rmSync(draft, { force: true });
  }
}

function readOwner(path: string): [number | undefined, string] {
  try {
    const [pid, ticks] = readFileSync(path, 'utf8').trim().split(' ');
    return [Number(pid), ticks ?? ''];
  } catch {
    return [undefined, ''];
  }
}
