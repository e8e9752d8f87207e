/**
 * Postgres, the engine, the simulator and trade as real processes on one virtual clock; the test plays ta and sink by writing
 * the signal rows itself. The verdict compares the broker's own REST and journal with SQL of the test's own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createClient } from '@clickhouse/client';
import pg from 'pg';
import { type ClockOwner, ownClockFile } from '../../src/lib/service/clock.ts';
import { findService, type ServiceName } from '../../src/lib/service/home.ts';
import { migrateSignalStore } from '../../src/lib/signals/schema.ts';

const entry = fileURLToPath(new URL('./entry.ts', import.meta.url));
export type ChildName = 'postgres' | 'clickhouse' | 'simulator' | 'trade';
export const wait = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** 09:40 in New York on the day of the synthetic market. */
const startMs = Date.UTC(2026, 2, 10, 13, 40, 0);
const keys = { 'APCA-API-KEY-ID': 'SIM-TEST', 'APCA-API-SECRET-KEY': 'SIM-TEST-SECRET' };

/** Symbols with their partition and a price near the synthetic market's. */
const symbols = [
  { symbol: 'AAPL', partition: 0, price: 259.4 },
  { symbol: 'BAC', partition: 1, price: 52.45 },
  { symbol: 'IBM', partition: 2, price: 287.55 },
] as const;

export interface TradeStatus {
  leader: boolean;
  epoch: string | null;
  cursor: Record<string, string>;
  cycles: number;
  decisions: { planned: number; submitted: number; rejected: number; blocked: number };
  reject_reasons: Record<string, number>;
  block_reasons: Record<string, number>;
  orders_open: number;
  unknown_claims: number;
  positions: { symbol: string; qty: string }[];
  draining: boolean;
  drained: boolean;
  last_error: string | null;
}

export interface BrokerOrder {
  id: string;
  client_order_id: string;
  symbol: string;
  status: string;
  qty: string;
  filled_qty: string;
}

export class TradeRig {
  readonly home = mkdtempSync(join(tmpdir(), 'torghut-trade-'));
  readonly clock: ClockOwner;
  readonly stderr: Record<ChildName, string> = { postgres: '', clickhouse: '', simulator: '', trade: '' };
  /** How the newest trade process ended. */
  lastExit: { code: number | null; signal: NodeJS.Signals | null } | undefined;
  simulatorPort = 0;
  readonly #children = new Map<ChildName, ChildProcess>();
  readonly #timers: NodeJS.Timeout[] = [];
  #fedUntilMs = startMs;
  #offset = 0;
  #feeding: Promise<void> = Promise.resolve();

  constructor() {
    mkdirSync(this.home, { recursive: true });
    this.clock = ownClockFile(join(this.home, 'clock'), BigInt(startMs) * 1_000_000n, 0);
    this.#timers.push(setInterval(() => this.clock.renew(), 50));
  }

  env(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
    const clean = Object.entries(process.env).filter(([name]) => !/^(TRADING|TA|KAFKA|APCA|DB|TORGHUT)_/.test(name));
    return {
      ...Object.fromEntries(clean),
      TORGHUT_CLOCK: join(this.home, 'clock'),
      TORGHUT_RUN_HOME: this.home,
      TORGHUT_RUN_ID: 'test',
      LOG_LEVEL: 'info',
      APCA_API_KEY_ID: keys['APCA-API-KEY-ID'],
      APCA_API_SECRET_KEY: keys['APCA-API-SECRET-KEY'],
      APCA_API_BASE_URL: `http://127.0.0.1:${this.simulatorPort}`,
      TRADING_ENABLED: 'true',
      TRADING_KILL_SWITCH_ENABLED: 'false',
      TRADING_STATIC_SYMBOLS: '*',
      TRADING_STRATEGY_CONFIG_PATH: resolve('config/up-strategies.yaml'),
      TRADING_STRATEGY_CONFIG_MODE: 'sync',
      TRADING_POLL_MS: '1000',
      TRADING_RECONCILE_MS: '5000',
      TRADING_SUBMIT_LOOKUP_SECONDS: '3',
      TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS: '2',
      TRADING_MAX_DECISION_AGE_SECONDS: '60',
      // The rows' prices are the test's, the fills the simulator's: losses between the two mean nothing here.
      TRADING_EMERGENCY_STOP_ENABLED: 'false',
      ...extra,
    };
  }

  #spawn(name: ChildName, args: string[], extra: NodeJS.ProcessEnv = {}): ChildProcess {
    const env = this.env(extra);
    const child = spawn(process.execPath, [entry, ...args, '--home', this.home], {
      env: { ...env, TORGHUT_PARENT: 'stdin' },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    child.stderr?.on('data', (data: Buffer) => {
      this.stderr[name] += data.toString();
    });
    child.stdout?.resume();
    if (name === 'trade') {
      child.on('exit', (code, signal) => {
        if (this.#children.get('trade') === child) this.lastExit = { code, signal };
      });
    }
    this.#children.set(name, child);
    return child;
  }

  startPostgres(): void {
    this.#spawn('postgres', ['embedded-postgres']);
  }

  startEngine(): void {
    this.#spawn('clickhouse', ['embedded-clickhouse']);
  }

  startSimulator(): void {
    const port = String(this.simulatorPort);
    this.#spawn('simulator', ['simulator', '--synthetic', '7', '--from', '09:40', '--to', '15:00', '--port', port]);
  }

  startTrade(extra: NodeJS.ProcessEnv = {}): void {
    // A test that failed may have left one behind: two would only wait for each other.
    this.#children.get('trade')?.kill('SIGKILL');
    this.lastExit = undefined;
    this.#spawn('trade', ['trade', '--port', '0'], extra);
  }

  async startStores(): Promise<void> {
    this.startPostgres();
    this.startEngine();
    this.startSimulator();
    await this.until(() => this.service('postgres') && this.service('clickhouse') && this.service('simulator'), 60_000);
    this.simulatorPort = Number(new URL(this.service('simulator')?.url ?? '').port);
    await this.withEngine(async (client) => {
      await migrateSignalStore(client, { database: 'torghut', runId: 'test', ttlDays: undefined });
    });
  }

  service(name: ServiceName) {
    return findService(this.home, name);
  }

  async until(holds: () => unknown, limitMs: number, what = String(holds)): Promise<void> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      if (await holds()) return;
      if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}\n${this.tail()}`);
      await wait(50);
    }
  }

  /** The end of every process's log, for failures. */
  tail(): string {
    return Object.entries(this.stderr)
      .map(([name, text]) => `--- ${name}\n${text.split('\n').slice(-15).join('\n')}`)
      .join('\n');
  }

  async kill(name: ChildName): Promise<void> {
    const child = this.#children.get(name);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once('exit', done));
    child.kill('SIGKILL');
    await ended;
  }

  async withEngine<T>(work: (client: ReturnType<typeof createClient>) => Promise<T>): Promise<T> {
    const service = this.service('clickhouse');
    if (!service) throw new Error('the engine is not there');
    const client = createClient({ url: service.url, username: service.user ?? '', password: service.password ?? '' });
    try {
      return await work(client);
    } finally {
      await client.close();
    }
  }

  /** Rows for every market second that has passed: both sides in turn, so that there are entries and exits. */
  startFeeding(): void {
    const timer = setInterval(() => {
      this.#feeding = this.#feeding.then(() => this.#feed().catch(() => undefined));
    }, 100);
    this.#timers.push(timer);
  }

  async #feed(): Promise<void> {
    const nowMs = this.clock.nowMs();
    const signals: Record<string, unknown>[] = [];
    const bars: Record<string, unknown>[] = [];
    let fedMs = this.#fedUntilMs;
    let offset = this.#offset;
    while (fedMs + 1_000 <= nowMs) {
      fedMs += 1_000;
      const second = Math.round(fedMs / 1_000);
      for (const { symbol, partition, price } of symbols) {
        const isBuy = Math.floor((second + partition * 3) / 7) % 2 === 0;
        const place = { run_id: 'test', src_partition: partition, src_offset: offset++ };
        const time = new Date(fedMs).toISOString().replace('T', ' ').slice(0, 23);
        const envelope = { symbol, window_size: 'PT1S', event_ts: time, revision: 0, seq: second, ...place };
        bars.push({ ...envelope, o: price, h: price, l: price, c: price, v: 100, count: 1 });
        signals.push({ ...envelope, macd: isBuy ? 0.1 : -0.1, macd_signal: 0, rsi14: isBuy ? 40 : 60, is_warm: 1 });
      }
    }
    if (signals.length === 0) return;
    await this.withEngine(async (client) => {
      await client.insert({ table: 'torghut.ta_microbars', values: bars, format: 'JSONEachRow' });
      await client.insert({ table: 'torghut.ta_signal_log', values: signals, format: 'JSONEachRow' });
    });
    this.#fedUntilMs = fedMs;
    this.#offset = offset;
  }

  async status(): Promise<TradeStatus | undefined> {
    const url = this.service('trade')?.url;
    if (url === undefined) return undefined;
    try {
      const answer = await fetch(`${url}/status`, { signal: AbortSignal.timeout(2_000) });
      return (await answer.json()) as TradeStatus;
    } catch {
      return undefined;
    }
  }

  async drain(limitMs = 40_000): Promise<void> {
    await this.until(
      async () => {
        const status = await this.status();
        if (status?.drained) return true;
        const { url, extra } = this.service('trade') ?? {};
        const headers = { authorization: `Bearer ${extra?.token}` };
        if (url && status && !status.draining)
          await fetch(`${url}/drain`, { method: 'POST', headers }).catch(() => undefined);
        return false;
      },
      limitMs,
      'drained',
    );
  }

  async sql<T extends pg.QueryResultRow>(text: string): Promise<T[]> {
    const client = new pg.Client({ connectionString: this.service('postgres')?.extra?.dsn });
    await client.connect();
    try {
      return (await client.query<T>(text)).rows;
    } finally {
      await client.end();
    }
  }

  async broker<T>(path: string): Promise<T> {
    const answer = await fetch(`http://127.0.0.1:${this.simulatorPort}${path}`, { headers: keys });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  }

  /** Every order of the broker, oldest first. */
  async brokerOrders(): Promise<BrokerOrder[]> {
    const all: BrokerOrder[] = [];
    let after = '';
    for (;;) {
      const path = `/v2/orders?status=all&limit=500&direction=asc${after && `&after=${encodeURIComponent(after)}`}`;
      const page = await this.broker<(BrokerOrder & { submitted_at: string })[]>(path);
      all.push(...page);
      const last = page.at(-1);
      if (page.length < 500 || !last) return all;
      after = last.submitted_at;
    }
  }

  report(name: string): string {
    try {
      return readFileSync(join(this.home, name), 'utf8');
    } catch {
      return '';
    }
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    for (const name of ['trade', 'simulator', 'clickhouse', 'postgres'] as const) {
      const child = this.#children.get(name);
      child?.stdin?.end();
    }
    await wait(1_000);
    for (const name of ['trade', 'simulator', 'clickhouse', 'postgres'] as const) await this.kill(name);
    this.clock.close();
    rmSync(this.home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}
