/**
 * Children of `up`: each a process of its own, started again with back-off whatever ended it.
 * Guarantees: a child's stdin is a pipe that closes when `up` dies, so the child ends by itself; a mistake that a restart
 * cannot cure (exit 2 or 4) ends the run instead of looping; stop() leaves nothing running.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { cliCommand } from '../../lib/service/cli-entry.ts';
import { exitCode } from '../../lib/service/errors.ts';
import { findService, homePaths, type ServiceName } from '../../lib/service/home.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import type { Restart } from './run-file.ts';

export interface ChildSpec {
  name: ServiceName;
  /** Words after `torghut`; `--home` and `--port` are added. */
  args: string[];
  env: NodeJS.ProcessEnv;
}

interface Child {
  spec: ChildSpec;
  process: ChildProcess | undefined;
  startedAtMs: number;
  attempt: number;
  /** The port of the first start, kept so that addresses in other children's settings stay true. */
  port: number;
}

export interface SupervisorOptions {
  home: string;
  log: Logger;
  onRestart(restart: Omit<Restart, 'at_market'>): void;
  /** A child ended in a way that no restart cures. */
  onFatal(name: ServiceName, code: number, lastLine: string): void;
}

const backoffBaseMs = 100;
const backoffMaxMs = 5_000;
/** A child that lived this long (machine ms) starts with a fresh back-off. */
const steadyMs = 10_000;

export class Supervisor {
  private readonly children = new Map<ServiceName, Child>();
  private readonly options: SupervisorOptions;
  private isStopping = false;

  constructor(options: SupervisorOptions) {
    this.options = options;
  }

  start(spec: ChildSpec, port = 0): void {
    const child: Child = { spec, process: undefined, startedAtMs: 0, attempt: 0, port };
    this.children.set(spec.name, child);
    this.launch(child);
  }

  /** Names and pids of what runs now. */
  running(): { name: ServiceName; pid: number }[] {
    return [...this.children.values()].flatMap(({ spec, process: child }) =>
      child?.pid !== undefined && child.exitCode === null && child.signalCode === null
        ? [{ name: spec.name, pid: child.pid }]
        : [],
    );
  }

  private launch(child: Child): void {
    const { home, log } = this.options;
    const { file, args } = cliCommand();
    const { spec } = child;
    const logFile = openSync(join(homePaths.logs(home), `${spec.name}.log`), 'a');
    const words = [...args, ...spec.args, '--home', home, '--port', String(child.port)];
    const started = spawn(file, words, {
      stdio: ['pipe', 'ignore', logFile],
      env: { ...spec.env, TORGHUT_PARENT: 'stdin', TORGHUT_RUN_HOME: home },
    });
    closeSync(logFile);
    // Writing to a dead child's stdin must not end `up`.
    started.stdin?.on('error', () => undefined);
    child.process = started;
    child.startedAtMs = machineMs();
    log.debug({ child: spec.name, child_pid: started.pid }, 'started');
    started.once('error', (error) => this.options.onFatal(spec.name, exitCode.unexpected, error.message));
    started.once('exit', (code, signal) => void this.ended(child, code, signal));
  }

  private async ended(child: Child, code: number | null, signal: NodeJS.Signals | null): Promise<void> {
    if (this.isStopping) return;
    const { name } = child.spec;
    const lastLine = this.lastLogLine(name);
    if (code === exitCode.usage || code === exitCode.refused) {
      // A fenced child was replaced by a newer one of ours; every other refusal stays refused.
      if (!/"?fenced"?/.test(lastLine)) return this.options.onFatal(name, code, lastLine);
    }
    const cause = signal !== null || code === 137 ? 'killed' : code === exitCode.unreachable ? 'dependency' : 'error';
    const pid = child.process?.pid;
    this.options.onRestart({
      process: name,
      cause,
      ...(pid !== undefined && { pid }),
      ...(cause === 'error' && { detail: `exit ${code}: ${lastLine}` }),
    });
    const endpoint = findService(this.options.home, name);
    if (endpoint) child.port = Number(new URL(endpoint.url).port);
    const livedMs = machineMs() - child.startedAtMs;
    child.attempt = livedMs > steadyMs ? 1 : child.attempt + 1;
    await sleep(Math.min(backoffMaxMs, backoffBaseMs * 2 ** (child.attempt - 1)));
    if (!this.isStopping) this.launch(child);
  }

  /** Remembers the port that a child listens on, for its next start. */
  keepPort(name: ServiceName, url: string): void {
    const child = this.children.get(name);
    if (child) child.port = Number(new URL(url).port);
  }

  /** The last line of a child's log, for messages. */
  lastLogLine(name: ServiceName): string {
    try {
      const text = readFileSync(join(homePaths.logs(this.options.home), `${name}.log`), 'utf8');
      const line = text.trimEnd().split('\n').at(-1) ?? '';
      return line.length > 500 ? `${line.slice(0, 500)}…` : line;
    } catch {
      return '';
    }
  }

  /** Ends all children: daemons first, then the simulator and the stores; by force after 3 machine seconds. */
  async stop(): Promise<void> {
    this.isStopping = true;
    const deadline = machineMs() + 3_000;
    const groups: ServiceName[][] = [
      ['trade', 'sink', 'ta', 'ws'],
      ['simulator', 'clickhouse', 'postgres'],
    ];
    for (const [i, names] of groups.entries()) {
      const alive = names.flatMap((name) => this.aliveProcess(name));
      for (const child of alive) child.kill('SIGTERM');
      const limit = i === 0 ? deadline - 1_200 : deadline;
      while (machineMs() < limit && alive.some(isRunning)) await sleep(20);
    }
    for (const name of groups.flat()) for (const child of this.aliveProcess(name)) child.kill('SIGKILL');
    const killed = groups.flat().flatMap((name) => this.aliveProcess(name));
    while (killed.some(isRunning)) await sleep(10);
  }

  private aliveProcess(name: ServiceName): ChildProcess[] {
    const child = this.children.get(name)?.process;
    return child && isRunning(child) ? [child] : [];
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}
