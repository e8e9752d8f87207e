/**
 * TORGHUT_HOME and the home of one run: where the embedded parts, the clock and the endpoints of running processes live.
 * Layout of a run home: run.json, clock, log/, clickhouse/, postgres/, simulator/, spool/, state/, schemas/, services/*.json,
 * logs/.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';

/** Root of everything torghut keeps on this machine: TORGHUT_HOME, else ~/.torghut. */
export function torghutHome(env: NodeJS.ProcessEnv = process.env): string {
  return resolve(env.TORGHUT_HOME || join(homedir(), '.torghut'));
}

/**
 * The run home that a command works on: the given one, else TORGHUT_RUN_HOME (set by `up` for its children), else the
 * most recently used under TORGHUT_HOME/runs, else TORGHUT_HOME/runs/default.
 */
export function resolveRunHome(given: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  if (given) return resolve(given);
  if (env.TORGHUT_RUN_HOME) return resolve(env.TORGHUT_RUN_HOME);
  const runs = join(torghutHome(env), 'runs');
  let newest: { path: string; at: number } | undefined;
  try {
    for (const name of readdirSync(runs)) {
      const path = join(runs, name);
      const at = statSync(join(path, 'run.json'), { throwIfNoEntry: false })?.mtimeMs;
      if (at !== undefined && (!newest || at > newest.at)) newest = { path, at };
    }
  } catch {
    // No runs yet.
  }
  return newest?.path ?? join(runs, 'default');
}

export const homePaths = {
  run: (home: string) => join(home, 'run.json'),
  clock: (home: string) => join(home, 'clock'),
  log: (home: string) => join(home, 'log'),
  clickhouse: (home: string) => join(home, 'clickhouse'),
  postgres: (home: string) => join(home, 'postgres'),
  simulator: (home: string) => join(home, 'simulator'),
  spool: (home: string) => join(home, 'spool'),
  /** What a schema registry has said (lib/wire). */
  schemas: (home: string) => join(home, 'schemas'),
  services: (home: string) => join(home, 'services'),
  logs: (home: string) => join(home, 'logs'),
};

const serviceSchema = z.object({
  name: z.string(),
  pid: z.number().int(),
  /** Start time of the process in clock ticks since boot (Linux /proc), to tell a reused pid. */
  start_ticks: z.string(),
  /** Base URL of the process's HTTP endpoint (health, status), or of the service itself. */
  url: z.string(),
  user: z.string().optional(),
  password: z.string().optional(),
  /** Anything else a client needs, for example a Postgres DSN. */
  extra: z.record(z.string(), z.string()).optional(),
});

/** Where a running process of this home can be reached. Files are mode 0600: they may hold generated passwords. */
export type ServiceEndpoint = z.infer<typeof serviceSchema>;

/** Names of the endpoint files. */
export type ServiceName =
  | 'simulator'
  | 'clickhouse'
  | 'postgres'
  | 'ws'
  | 'ta'
  | 'sink'
  | 'trade'
  | 'up'
  | 'guard'
  | 'history';

/** Start time of a process in clock ticks since boot; undefined when there is no such process (or no /proc). */
export function processStartTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie holds nothing: count it as gone.
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return fields[19];
  } catch {
    return undefined;
  }
}

/** Is the process that was noted with this pid and start time still the same and alive? */
export function isProcessAlive(pid: number, startTicks: string): boolean {
  const now = processStartTicks(pid);
  if (now !== undefined) return now === startTicks;
  if (process.platform === 'linux') return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Endpoint files that this process has written. */
const announced = new Set<string>();

/** Writes the endpoint file of this process (atomically, mode 0600). */
export function announceService(
  home: string,
  name: ServiceName,
  endpoint: Omit<ServiceEndpoint, 'name' | 'pid' | 'start_ticks'>,
): void {
  mkdirSync(homePaths.services(home), { recursive: true });
  const path = join(homePaths.services(home), `${name}.json`);
  const value: ServiceEndpoint = {
    name,
    pid: process.pid,
    start_ticks: processStartTicks(process.pid) ?? '',
    ...endpoint,
  };
  writeFileSync(`${path}.${process.pid}`, `${JSON.stringify(value)}\n`, { mode: 0o600 });
  renameSync(`${path}.${process.pid}`, path);
  announced.add(path);
}

/** Removes the endpoint file of this process. */
export function withdrawService(home: string, name: ServiceName): void {
  const path = join(homePaths.services(home), `${name}.json`);
  announced.delete(path);
  rmSync(path, { force: true });
}

/**
 * Removes every endpoint file of this process at once. A file that stands for a process that is gone then means that it was
 * killed, and nothing else.
 */
export function withdrawAllServices(): void {
  for (const path of announced) rmSync(path, { force: true });
  announced.clear();
}

/** Endpoint files whose process is gone: those of processes that were killed. */
export function deadServices(home: string): ServiceEndpoint[] {
  let names: string[];
  try {
    names = readdirSync(homePaths.services(home)).filter((name) => name.endsWith('.json'));
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    const endpoint = readEndpoint(join(homePaths.services(home), name));
    return endpoint && !isProcessAlive(endpoint.pid, endpoint.start_ticks) ? [endpoint] : [];
  });
}

function readEndpoint(path: string): ServiceEndpoint | undefined {
  try {
    const parsed = serviceSchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

/** The endpoint of a live process of this home; undefined when it is absent or its process is gone. */
export function findService(home: string, name: ServiceName): ServiceEndpoint | undefined {
  const endpoint = readEndpoint(join(homePaths.services(home), `${name}.json`));
  return endpoint && isProcessAlive(endpoint.pid, endpoint.start_ticks) ? endpoint : undefined;
}
