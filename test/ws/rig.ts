/**
 * Simulator and ws as real processes on one virtual clock, a kill for each, and the comparison of the topics with the raw file.
 * The raw file is read here with JSON.parse alone: the verdict shares no code with what it judges.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { openEventLog } from '../../src/lib/log/open.ts';
import type { EventLog, LogRecord } from '../../src/lib/log/port.ts';
import { defaultTopics } from '../../src/lib/log/topics.ts';
import { cliCommand } from '../../src/lib/service/cli-entry.ts';
import { type ClockOwner, ownClockFile } from '../../src/lib/service/clock.ts';

export interface RawMessage {
  T: string;
  S: string;
  t: string;
  [field: string]: unknown;
}

export function readRaw(path: string): RawMessage[] {
  const text = gunzipSync(readFileSync(path)).toString('utf8');
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as RawMessage);
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export interface RigOptions {
  data: string[];
  startNs: bigint;
  symbols: string[];
  speed: number;
  env?: Record<string, string>;
  simulatorArgs?: string[];
  /** A broker, and the name that sets this rig's topics and writer apart on it; without it the embedded log. */
  kafka?: { bootstrap: string; name: string };
  /** Home of the run; a fresh one without it. */
  home?: string;
  /** Another rig whose simulator and clock this one shares; it only runs a ws of its own. */
  beside?: Rig;
}

const topicVariables: Record<string, keyof typeof defaultTopics> = {
  TOPIC_TRADES: 'trades',
  TOPIC_QUOTES: 'quotes',
  TOPIC_BARS_1M: 'bars',
  TOPIC_STATUS: 'status',
  TOPIC_TRADE_UPDATES: 'tradeUpdates',
  TOPIC_TRADE_UPDATES_V2: 'tradeUpdatesV2',
  INGEST_REPAIR_TOPIC: 'repair',
  INGEST_DLQ_TOPIC: 'dlq',
};

export interface WsStatus {
  state: string;
  acknowledged: Record<string, number>;
  received: Record<string, number>;
  queued: number;
  spooled: number;
  gaps: { open: number; repaired: number; unrepaired: number };
  reconnects: number;
  spooled_bytes: number;
  lag_ms: number | null;
}

export class Rig {
  readonly home: string;
  readonly clock: ClockOwner;
  readonly #options: RigOptions;
  readonly #renewing: NodeJS.Timeout | undefined;
  #children = new Map<'simulator' | 'ws', ChildProcess>();
  /** Exit codes of ws in this rig's life, signals as null. */
  readonly wsEnds: (number | null)[] = [];
  readonly stderr: Record<'simulator' | 'ws', string> = { simulator: '', ws: '' };
  readonly stdout: Record<'simulator' | 'ws', string> = { simulator: '', ws: '' };
  simulatorPort = 0;

  constructor(options: RigOptions) {
    this.#options = options;
    this.home = options.home ?? mkdtempSync(join(tmpdir(), 'torghut-ws-'));
    mkdirSync(this.home, { recursive: true });
    const { beside } = options;
    this.clock = beside?.clock ?? ownClockFile(join(this.home, 'clock'), options.startNs, 0);
    this.#renewing = beside ? undefined : setInterval(() => this.clock.renew(), 50);
    this.simulatorPort = beside?.simulatorPort ?? 0;
  }

  get url(): string {
    return `http://127.0.0.1:${this.simulatorPort}`;
  }

  #env(): NodeJS.ProcessEnv {
    const socket = `ws://127.0.0.1:${this.simulatorPort}`;
    return {
      ...process.env,
      TORGHUT_CLOCK: join((this.#options.beside ?? this).home, 'clock'),
      TORGHUT_RUN_HOME: this.home,
      TORGHUT_RUN_ID: 'test',
      APCA_API_KEY_ID: 'SIM-TEST',
      APCA_API_SECRET_KEY: 'SIM-TEST-SECRET',
      ALPACA_STREAM_URL: socket,
      ALPACA_BASE_URL: this.url,
      ALPACA_TRADE_STREAM_URL: `${socket}/stream`,
      ALPACA_FEED: 'sip',
      SYMBOLS: this.#options.symbols.join(','),
      INGEST_START_TS: new Date(Number(this.#options.startNs / 1_000_000n)).toISOString(),
      RECONNECT_BASE_MS: '100',
      ...this.#kafkaEnv(),
      ...this.#options.env,
    };
  }

  #kafkaEnv(): Record<string, string> {
    const { kafka } = this.#options;
    if (!kafka) return {};
    const topics = Object.entries(topicVariables).map(([name, role]) => [name, this.topicName(role)]);
    return { KAFKA_BOOTSTRAP: kafka.bootstrap, KAFKA_CLIENT_ID: kafka.name, ...Object.fromEntries(topics) };
  }

  topicName(role: keyof typeof defaultTopics): string {
    const { kafka } = this.#options;
    return kafka ? `${kafka.name}.${defaultTopics[role]}` : defaultTopics[role];
  }

  openLog(): Promise<EventLog> {
    const { kafka } = this.#options;
    const env = kafka ? { KAFKA_BOOTSTRAP: kafka.bootstrap } : {};
    return openEventLog({ home: this.home, env, clock: this.clock });
  }

  #spawn(name: 'simulator' | 'ws', args: string[]): ChildProcess {
    const cli = cliCommand({});
    const child = spawn(cli.file, [...cli.args, name, ...args], {
      env: this.#env(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout?.on('data', (data: Buffer) => {
      this.stdout[name] += data.toString();
    });
    child.stderr?.on('data', (data: Buffer) => {
      this.stderr[name] += data.toString();
    });
    if (name === 'ws') child.once('exit', (code) => this.wsEnds.push(code));
    this.#children.set(name, child);
    return child;
  }

  async startSimulator(): Promise<void> {
    const data = this.#options.data.flatMap((path) => ['--data', path]);
    const args = ['--home', this.home, '--port', String(this.simulatorPort), '-o', 'json', ...data];
    const child = this.#spawn('simulator', [...args, ...(this.#options.simulatorArgs ?? [])]);
    await new Promise<void>((resolve, reject) => {
      let text = '';
      child.stdout?.on('data', (part: Buffer) => {
        text += part.toString();
        const line = text.split('\n')[0] as string;
        if (!text.includes('\n')) return;
        this.simulatorPort = (JSON.parse(line) as { port: number }).port;
        resolve();
      });
      child.on('exit', (code) => reject(new Error(`simulator ended with ${code}: ${this.stderr.simulator}`)));
    });
  }

  startWs(): void {
    this.#spawn('ws', ['--home', this.home, '--port', '0']);
  }

  /** Runs the market from now on. */
  run(): void {
    this.clock.setSpeed(this.#options.speed);
  }

  pid(name: 'simulator' | 'ws'): number {
    return this.#children.get(name)?.pid ?? 0;
  }

  async kill(name: 'simulator' | 'ws', signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
    const child = this.#children.get(name);
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    return new Promise<number | null>((resolve, reject) => {
      const late = setTimeout(() => {
        reject(new Error(`${name} still runs 30 s after ${signal}\n${this.stderr[name].slice(-3_000)}`));
      }, 30_000);
      child.once('exit', (code) => {
        clearTimeout(late);
        resolve(code);
      });
      child.kill(signal);
    });
  }

  async fault(fault: Record<string, unknown>): Promise<void> {
    const answer = await fetch(`${this.url}/_sim/faults`, { method: 'POST', body: JSON.stringify(fault) });
    if (!answer.ok) throw new Error(await answer.text());
  }

  /** Takes back every fault. */
  async endFaults(): Promise<void> {
    await fetch(`${this.url}/_sim/faults`, { method: 'DELETE' });
  }

  /** Waits until no posted fault of a name has strikes left. */
  async untilFault(what: string, name: string, limitMs = 20_000): Promise<void> {
    const end = performance.now() + limitMs;
    for (;;) {
      const { active } = (await (await fetch(`${this.url}/_sim/faults`)).json()) as {
        active: { name: string; left: number | null }[];
      };
      if (active.every((fault) => fault.name !== name || fault.left === 0)) return;
      if (performance.now() > end) throw new Error(`${what}: not in ${limitMs} ms`);
      await wait(20);
    }
  }

  async wsStatus(): Promise<WsStatus | undefined> {
    try {
      const { url } = JSON.parse(readFileSync(join(this.home, 'services', 'ws.json'), 'utf8')) as { url: string };
      return (await (await fetch(`${url}/status`)).json()) as WsStatus;
    } catch {
      return undefined;
    }
  }

  metrics(): Promise<string> {
    return this.page('/metrics');
  }

  /** Text of a page of ws's health endpoint. */
  async page(path: string): Promise<string> {
    const { url } = JSON.parse(readFileSync(join(this.home, 'services', 'ws.json'), 'utf8')) as { url: string };
    return (await fetch(`${url}${path}`)).text();
  }

  /** Waits until a condition on the status of ws holds. */
  async until(what: string, holds: (status: WsStatus) => boolean, limitMs = 60_000): Promise<WsStatus> {
    const end = performance.now() + limitMs;
    let last: WsStatus | undefined;
    while (performance.now() < end) {
      last = await this.wsStatus();
      if (last && holds(last)) return last;
      await wait(50);
    }
    throw new Error(`${what}: not in ${limitMs} ms; status ${JSON.stringify(last)}\n${this.stderr.ws.slice(-3_000)}`);
  }

  async untilMarket(ns: bigint): Promise<void> {
    while (this.clock.nowNs() < ns) await wait(20);
  }

  /** All records of a topic. */
  async records(topic: keyof typeof defaultTopics): Promise<LogRecord[]> {
    const log = await this.openLog();
    try {
      const name = this.topicName(topic);
      const [described] = await log.describeTopics([name]);
      const partitions = described?.partitions ?? [];
      const reader = await log.openReader({
        partitions: partitions.map(({ partition }) => ({ topic: name, partition, start: 'earliest' as const })),
      });
      const found: LogRecord[] = [];
      // Positions, not records, tell the end: markers of transactions take offsets too.
      const isAtEnd = () =>
        partitions.every((item) =>
          reader.positions().some(({ partition, offset }) => partition === item.partition && offset >= item.latest),
        );
      const deadline = performance.now() + 30_000;
      while (!isAtEnd() && performance.now() < deadline) {
        found.push(...(await reader.poll({ maxRecords: 10_000, waitMs: 200 })));
      }
      await reader.close();
      return found;
    } finally {
      await log.close();
    }
  }

  async close(): Promise<void> {
    for (const name of this.#children.keys()) await this.kill(name);
    clearInterval(this.#renewing);
    if (this.#options.beside === undefined) this.clock.close();
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** Payloads of the provider messages of a channel, progress left out. */
export function payloads(records: LogRecord[], channel: string): RawMessage[] {
  return records
    .map((record) => JSON.parse(String(record.value)) as { channel: string; payload: RawMessage })
    .filter((envelope) => envelope.channel === channel)
    .map((envelope) => envelope.payload);
}

/** What a multiset has too much or too little of, as canonical texts with counts. */
export function difference(got: RawMessage[], want: RawMessage[]): { extra: string[]; missing: string[] } {
  const canonical = (message: RawMessage) =>
    JSON.stringify(Object.entries(message).sort(([a], [b]) => (a < b ? -1 : 1)));
  const counts = new Map<string, number>();
  for (const message of want) counts.set(canonical(message), (counts.get(canonical(message)) ?? 0) + 1);
  for (const message of got) counts.set(canonical(message), (counts.get(canonical(message)) ?? 0) - 1);
  const extra: string[] = [];
  const missing: string[] = [];
  for (const [text, count] of counts) {
    if (count > 0) missing.push(`${count}x ${text}`);
    if (count < 0) extra.push(`${-count}x ${text}`);
  }
  // A handful is enough to see what happened; the count of all comes first.
  const short = (list: string[]) =>
    list.length <= 4 ? list : [`${list.length} in all`, ...list.slice(0, 2), ...list.slice(-2)];
  return { extra: short(extra), missing: short(missing) };
}

/**
 * Merges trades, quotes and bars of each partition as ta does, by (running maximum of the stamps, topic, offset), and tells how
 * far a trade lies behind the newest event before it at most (ms). What is over 15 s late misses its bar for good.
 */
export async function worstLatenessMs(of: Rig): Promise<number> {
  const inputs = [await of.records('trades'), await of.records('quotes'), await of.records('bars')];
  const lines = new Map<number, { stamp: number; input: number; record: LogRecord }[]>();
  for (const [input, records] of inputs.entries()) {
    const highest = new Map<number, number>();
    for (const record of records) {
      const stamp = Math.max(highest.get(record.partition) ?? 0, record.timestampMs);
      highest.set(record.partition, stamp);
      const line = lines.get(record.partition) ?? [];
      line.push({ stamp, input, record });
      lines.set(record.partition, line);
    }
  }
  let worst = 0;
  for (const line of lines.values()) {
    line.sort((a, b) => a.stamp - b.stamp || a.input - b.input || Number(a.record.offset - b.record.offset));
    let newest = 0;
    for (const { input, record } of line) {
      const { channel, event_ts } = JSON.parse(String(record.value)) as { channel: string; event_ts: string };
      const at = Date.parse(event_ts);
      if (channel === 'trades') worst = Math.max(worst, newest - at);
      if (input < 2) newest = Math.max(newest, at);
    }
  }
  return worst;
}
