/**
 * ta, the sink and an embedded ClickHouse of one run, each a process of its own that is started again whatever ended it, over
 * ingest topics that are already there. Runs of one broker have topics, groups and client ids of their own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { EventLog } from '../../src/lib/log/port.ts';
import { findService, type ServiceName } from '../../src/lib/service/home.ts';
import { cliEntry, freshHome, testEnvironment, torghutRows } from '../support/torghut.ts';

export type DayPart = 'clickhouse' | 'ta' | 'sink';

export interface DayRunOptions {
  name: string;
  bootstrap: string;
  /** Clock file of the market; it stands still. */
  clock: string;
  env?: NodeJS.ProcessEnv;
}

const commands: Record<DayPart, string[]> = {
  clickhouse: ['embedded', 'clickhouse'],
  ta: ['ta', '--only', 'engine'],
  sink: ['ta', '--only', 'sink'],
};

/** What a run has done so far; undefined while nobody can be asked. */
export interface DayProgress {
  /** Input records that ta has committed. */
  read: number;
  /** Rows that the sink has stored, by the offsets it committed. */
  stored: number;
}

export class DayRun {
  readonly home = freshHome();
  readonly topics: { bars: string; signals: string; late: string };
  /** Highest resident bytes of ta seen by `progress`. */
  peakResident = 0;
  /** Ends that nobody asked for, by the test or by the broker's death. */
  readonly ends: { part: DayPart; code: number | null; signal: NodeJS.Signals | null }[] = [];
  readonly #options: DayRunOptions;
  readonly #children = new Map<DayPart, ChildProcess>();
  readonly #words: Record<string, string> = {};
  #isStopping = false;

  constructor(options: DayRunOptions) {
    this.#options = options;
    const { name } = options;
    this.topics = { bars: `${name}.bars`, signals: `${name}.signals`, late: `${name}.late` };
    mkdirSync(this.home, { recursive: true });
  }

  start(parts: readonly DayPart[] = ['clickhouse', 'ta', 'sink']): void {
    for (const part of parts) this.#run(part);
  }

  #environment(): NodeJS.ProcessEnv {
    const { name, bootstrap, clock, env } = this.#options;
    return testEnvironment({
      TORGHUT_CLOCK: clock,
      TORGHUT_RUN_HOME: this.home,
      TORGHUT_RUN_ID: 'day',
      TORGHUT_PARENT: 'stdin',
      KAFKA_BOOTSTRAP: bootstrap,
      KAFKA_TRANSACTION_TIMEOUT_MS: '5000',
      KAFKA_REQUEST_TIMEOUT_MS: '5000',
      TA_MICROBARS_TOPIC: this.topics.bars,
      TA_SIGNALS_TOPIC: this.topics.signals,
      TA_LATE_TOPIC: this.topics.late,
      TA_STATE_TOPIC: `${name}.state`,
      TA_STATUS_TOPIC: `${name}.status`,
      TA_GROUP_ID: `${name}-ta`,
      TA_CLIENT_ID: `${name}-ta`,
      TA_SINK_GROUP_ID: `${name}-sink`,
      TA_GROUP_SESSION_MS: '3000',
      TA_CLICKHOUSE_FLUSH_MS: '200',
      ...env,
    });
  }

  #run(part: DayPart): void {
    if (this.#isStopping) return;
    const child = spawn(process.execPath, [cliEntry, ...commands[part], '--home', this.home, '--port', '0'], {
      env: this.#environment(),
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    this.#children.set(part, child);
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#words[part] = `${this.#words[part] ?? ''}${text}`.slice(-20_000);
    });
    child.once('exit', (code, signal) => {
      if (this.#isStopping) return;
      this.ends.push({ part, code, signal });
      setTimeout(() => this.#run(part), 100);
    });
  }

  async kill(part: DayPart): Promise<void> {
    const child = this.#children.get(part);
    if (!child || child.exitCode !== null || child.signalCode !== null) throw new Error(`${part} does not run`);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async #status(name: ServiceName): Promise<Record<string, unknown> | undefined> {
    const url = findService(this.home, name)?.url;
    if (!url) return undefined;
    try {
      return (await (await fetch(`${url}/status`, { signal: AbortSignal.timeout(2_000) })).json()) as Record<
        string,
        unknown
      >;
    } catch {
      return undefined;
    }
  }

  /** Committed input offsets of ta and committed offsets of the sink; what does not answer is left out. */
  async progress(): Promise<Partial<DayProgress>> {
    const [ta, sink] = await Promise.all([this.#status('ta'), this.#status('sink')]);
    this.#noteMemory();
    const progress: Partial<DayProgress> = {};
    const tasks = (ta?.tasks ?? []) as { positions: Record<string, string> }[];
    if (tasks.length === 3) {
      progress.read = tasks.flatMap((task) => Object.values(task.positions)).reduce((sum, at) => sum + Number(at), 0);
    }
    const positions = Object.values((sink?.positions ?? {}) as Record<string, Record<string, string>>);
    if (positions.length > 0) {
      progress.stored = positions.flatMap((of) => Object.values(of)).reduce((sum, at) => sum + Number(at), 0);
    }
    return progress;
  }

  #noteMemory(): void {
    const pid = this.#children.get('ta')?.pid;
    try {
      const resident =
        Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1_024;
      this.peakResident = Math.max(this.peakResident, resident);
    } catch {
      // It has just ended.
    }
  }

  /** The counters of ta over the life of the run. */
  async counters(): Promise<Record<string, number>> {
    return ((await this.#status('ta')) ?? {}) as Record<string, number>;
  }

  /** CPU seconds of a living process, user and system. */
  cpuSeconds(part: DayPart): number {
    const stat = readFileSync(`/proc/${this.#children.get(part)?.pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** @throws with what every process said */
  async until(what: string, holds: () => Promise<boolean>, limitMs: number): Promise<void> {
    const deadline = performance.now() + limitMs;
    while (!(await holds())) {
      if (performance.now() > deadline) throw new Error(`${what}: not in ${limitMs} ms\n${this.report()}`);
      await delay(100);
    }
  }

  report(): string {
    return [`ends ${JSON.stringify(this.ends)}`, ...Object.entries(this.#words).map((entry) => entry.join(': '))].join(
      '\n',
    );
  }

  /** The rows that count of both tables, by key: a digest of everything but when and where they were written. */
  async currentRows(): Promise<Map<string, string>> {
    const rows = new Map<string, string>();
    for (const table of ['ta_microbars', 'ta_signals']) {
      const found = await torghutRows<{ key: string; digest: string }>([
        'clickhouse',
        'query',
        `SELECT concat(symbol, ' ', window_size, ' ', toString(event_ts)) AS key,
                toString(sipHash64(toString(tuple(* EXCEPT (ingest_ts, stored_at, src_offset))))) AS digest
         FROM ${table} FINAL`,
        '--home',
        this.home,
      ]);
      for (const { key, digest } of found) {
        if (rows.has(`${table} ${key}`)) throw new Error(`${table} ${key} stands twice`);
        rows.set(`${table} ${key}`, digest);
      }
    }
    return rows;
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    const alive = [...this.#children.values()].filter((child) => child.exitCode === null && child.signalCode === null);
    const ended = alive.map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of alive) child.kill('SIGKILL');
    await Promise.all(ended);
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** Offset behind the last record of every partition, summed over topics; markers behind it are not counted. */
export async function endOf(log: EventLog, topics: readonly string[]): Promise<number> {
  let sum = 0;
  for (const { name, partitions } of await log.describeTopics([...topics])) {
    for (const { partition, earliest, latest } of partitions) {
      const tail = latest - 20n;
      const start = tail > earliest ? tail : earliest;
      const reader = await log.openReader({ partitions: [{ topic: name, partition, start }] });
      let end = 0n;
      while ((reader.positions()[0]?.offset ?? latest) < latest) {
        for (const { offset } of await reader.poll({ maxRecords: 1_000, waitMs: 500 })) end = offset + 1n;
      }
      await reader.close();
      sum += Number(end);
    }
  }
  return sum;
}

/** Everything committed in a topic: per key the digests of its records in order, `ingest_ts` left out. */
export async function digestsOf(
  log: EventLog,
  topic: string,
  read: (value: Buffer | null) => Promise<Record<string, unknown>> = async (value) => JSON.parse(String(value)),
): Promise<{ byKey: Map<string, string>; records: number }> {
  const [description] = await log.describeTopics([topic]);
  const hashes = new Map<string, ReturnType<typeof createHash>>();
  let records = 0;
  for (const { partition, latest } of description?.partitions ?? []) {
    const reader = await log.openReader({ partitions: [{ topic, partition, start: 'earliest' }] });
    while ((reader.positions()[0]?.offset ?? latest) < latest) {
      for (const { key, value } of await reader.poll({ maxRecords: 5_000, waitMs: 500 })) {
        const { ingest_ts: _at, ...rest } = await read(value);
        const name = `${key} ${String(rest.window_size ?? rest.reason)} ${String(rest.event_ts)}`;
        let hash = hashes.get(name);
        if (!hash) {
          hash = createHash('sha1');
          hashes.set(name, hash);
        }
        // Avro gives the fields in another order.
        hash.update(`${JSON.stringify(Object.entries(rest).sort())}\n`);
        records += 1;
      }
    }
    await reader.close();
  }
  return { byKey: new Map([...hashes].map(([name, hash]) => [name, hash.digest('base64')])), records };
}
