/**
 * The pipeline on a real broker, as an operator would run it: simulator, ws, ta engine, sink and the embedded engine, each a
 * process of its own, started again whatever ended it, all on one virtual clock that the test owns.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { openEventLog } from '../../src/lib/log/open.ts';
import type { EventLog } from '../../src/lib/log/port.ts';
import { type ClockOwner, ownClockFile } from '../../src/lib/service/clock.ts';
import { findService, type ServiceName } from '../../src/lib/service/home.ts';
import { type KafkaServer, startKafka } from '../support/kafka-server.ts';
import { cliEntry, freshHome, testEnvironment } from '../support/torghut.ts';

export type PartName = 'clickhouse' | 'simulator' | 'ws' | 'ta' | 'sink';

export interface PipelineOptions {
  data: string[];
  symbols: string[];
  startNs: bigint;
}

const commands: Record<PartName, string[]> = {
  clickhouse: ['embedded', 'clickhouse'],
  simulator: ['simulator'],
  ws: ['ws'],
  ta: ['ta', '--only', 'engine'],
  sink: ['ta', '--only', 'sink'],
};

interface Ended {
  name: PartName;
  code: number | null;
  signal: NodeJS.Signals | null;
}

export class KafkaPipeline {
  readonly home = freshHome();
  readonly clock: ClockOwner;
  /** Every end of a process that the test did not ask for by `stop`. */
  readonly ends: Ended[] = [];
  readonly #options: PipelineOptions;
  readonly #children = new Map<PartName, ChildProcess>();
  readonly #words: Record<string, string> = {};
  readonly #renewing: NodeJS.Timeout;
  #kafka: KafkaServer | undefined;
  #isStopping = false;
  #simulatorPort = 0;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.clock = ownClockFile(join(this.home, 'clock'), options.startNs, 0);
    this.#renewing = setInterval(() => this.clock.renew(), 50);
  }

  get kafka(): KafkaServer {
    if (!this.#kafka) throw new Error('the broker is not started');
    return this.#kafka;
  }

  /** Brings everything up with the market standing still. */
  async start(): Promise<void> {
    this.#kafka = await startKafka();
    this.#run('clickhouse', 0);
    this.#run('simulator', 0);
    await this.until('the simulator', async () => findService(this.home, 'simulator') !== undefined);
    // A restart must come back on the port that ws knows.
    this.#simulatorPort = Number(new URL(findService(this.home, 'simulator')?.url ?? '').port);
    for (const name of ['ws', 'ta', 'sink'] as const) this.#run(name, 0);
    await this.until('a subscription of ws', async () => ((await this.status('simulator'))?.connections as number) > 0);
    await this.until('a task for every partition', async () => (await this.tasks()).length === 3);
  }

  #environment(): NodeJS.ProcessEnv {
    const socket = `ws://127.0.0.1:${this.#simulatorPort}`;
    const http = `http://127.0.0.1:${this.#simulatorPort}`;
    return testEnvironment({
      TORGHUT_CLOCK: join(this.home, 'clock'),
      TORGHUT_RUN_HOME: this.home,
      TORGHUT_RUN_ID: 'kafka-test',
      TORGHUT_PARENT: 'stdin',
      KAFKA_BOOTSTRAP: this.kafka.bootstrap,
      KAFKA_TRANSACTION_TIMEOUT_MS: '5000',
      KAFKA_REQUEST_TIMEOUT_MS: '5000',
      APCA_API_KEY_ID: 'SIM-KAFKA',
      APCA_API_SECRET_KEY: 'SIM-KAFKA-SECRET',
      ALPACA_STREAM_URL: socket,
      ALPACA_BASE_URL: http,
      ALPACA_TRADE_STREAM_URL: `${socket}/stream`,
      ALPACA_FEED: 'sip',
      SYMBOLS: this.#options.symbols.join(','),
      INGEST_START_TS: new Date(Number(this.#options.startNs / 1_000_000n)).toISOString(),
      RECONNECT_BASE_MS: '100',
      TA_COMMIT_INTERVAL_MS: '50',
      TA_GROUP_SESSION_MS: '3000',
      TA_CLICKHOUSE_FLUSH_MS: '100',
      UV_THREADPOOL_SIZE: '32',
    });
  }

  #run(name: PartName, afterMs: number): void {
    setTimeout(() => {
      if (this.#isStopping) return;
      const extra =
        name === 'simulator' ? ['-o', 'json', ...this.#options.data.flatMap((path) => ['--data', path])] : [];
      const port = name === 'simulator' ? this.#simulatorPort : 0;
      const args = [...commands[name], '--home', this.home, '--port', String(port), ...extra];
      const child = spawn(process.execPath, [cliEntry, ...args], {
        env: this.#environment(),
        stdio: ['pipe', 'ignore', 'pipe'],
      });
      this.#children.set(name, child);
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        this.#words[name] = `${this.#words[name] ?? ''}${text}`.slice(-20_000);
      });
      child.once('exit', (code, signal) => {
        if (this.#isStopping) return;
        this.ends.push({ name, code, signal });
        this.#run(name, 200);
      });
    }, afterMs);
  }

  async kill(name: PartName): Promise<void> {
    const child = this.#children.get(name);
    if (!child || child.exitCode !== null || child.signalCode !== null) throw new Error(`${name} does not run`);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async status(name: ServiceName): Promise<Record<string, unknown> | undefined> {
    const found = findService(this.home, name);
    if (!found) return undefined;
    try {
      const path = name === 'simulator' ? '/_sim/status' : '/status';
      const response = await fetch(`${found.url}${path}`, { signal: AbortSignal.timeout(2_000) });
      return (await response.json()) as Record<string, unknown>;
    } catch {
      return undefined;
    }
  }

  async tasks(): Promise<{ partition: number; positions: Record<string, string>; watermark: string | null }[]> {
    return ((await this.status('ta'))?.tasks ?? []) as Awaited<ReturnType<KafkaPipeline['tasks']>>;
  }

  async until(what: string, holds: () => Promise<boolean>, limitMs = 90_000): Promise<void> {
    const deadline = performance.now() + limitMs;
    while (!(await holds())) {
      if (performance.now() > deadline) throw new Error(`${what}: not in ${limitMs} ms\n${await this.report()}`);
      await delay(50);
    }
  }

  async untilMarket(ns: bigint): Promise<void> {
    while (this.clock.nowNs() < ns) await delay(20);
  }

  /** Runs a command as an operator would, with the settings of the processes. @returns its JSON */
  async command(args: readonly string[]): Promise<{ code: number | null; value: Record<string, unknown> }> {
    const child = spawn(process.execPath, [cliEntry, ...args, '--home', this.home, '-o', 'json'], {
      env: { ...this.#environment(), TORGHUT_PARENT: '' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    try {
      return { code, value: JSON.parse(stdout) as Record<string, unknown> };
    } catch {
      throw new Error(`${args.join(' ')} ended with ${code}: ${stderr}${stdout}`);
    }
  }

  /** What each process says of itself, for a failed test. */
  async report(): Promise<string> {
    const lines = [`ends ${JSON.stringify(this.ends)}`];
    for (const name of ['simulator', 'ws', 'ta', 'sink'] as const) {
      lines.push(`${name}: ${JSON.stringify(await this.status(name))}`, (this.#words[name] ?? '').slice(-4_000));
    }
    return lines.join('\n');
  }

  /** Offset of the last record of every partition of a topic; empty partitions are left out. */
  async lastOffsets(log: EventLog, topic: string): Promise<Map<number, bigint>> {
    const [described] = await log.describeTopics([topic]);
    const last = new Map<number, bigint>();
    for (const { partition, earliest, latest } of described?.partitions ?? []) {
      const reader = await log.openReader({ partitions: [{ topic, partition, start: earliest }] });
      while ((reader.positions()[0]?.offset ?? latest) < latest) {
        for (const { offset } of await reader.poll({ maxRecords: 10_000, waitMs: 200 })) last.set(partition, offset);
      }
      await reader.close();
    }
    return last;
  }

  openLog(): Promise<EventLog> {
    return openEventLog({
      home: this.home,
      env: { KAFKA_BOOTSTRAP: this.kafka.bootstrap },
      clock: this.clock,
    });
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    for (const child of this.#children.values()) child.kill('SIGKILL');
    clearInterval(this.#renewing);
    this.clock.close();
    await this.#kafka?.stop();
    rmSync(this.home, { recursive: true, force: true });
  }
}
