/**
 * One account of the matrix: its exchange on a tape, its signals, its ledger, its home, and daemons on it. The exchange is
 * the simulator's trading side itself; its trade updates reach the event log as the forwarder would write them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { openEmbeddedLog } from '../../../src/lib/log/embedded/event-log.ts';
import { topicSpec } from '../../../src/lib/log/topics.ts';
import type { Clock } from '../../../src/lib/service/clock.ts';
import { findService } from '../../../src/lib/service/home.ts';
import { FakeTape } from '../../simulator/trading/fake-tape.ts';
import { KEY, SECRET, startExchange, type TestExchange } from '../../simulator/trading/test-exchange.ts';
import type { MatrixWorld } from './world.ts';

/** A tape whose now is the market clock. */
export class ClockedTape extends FakeTape {
  readonly #clock: Clock;
  constructor(symbols: string[], clock: Clock) {
    super(symbols, clock.nowNs());
    this.#clock = clock;
  }
  override nowNs(): bigint {
    this.now = this.#clock.nowNs();
    return this.now;
  }
  override catchUp(): bigint {
    return this.nowNs();
  }
}

/** IBM fills at once, GE in parts, REST rests until it is cancelled. */
const catalog = `strategies:
  - name: matrix
    enabled: true
    base_timeframe: 1Sec
    strategy_type: macd_rsi
    params: { buy_rsi_below: 50, sell_rsi_above: 50, quantities: { IBM: 7, GE: 5, REST: 2 } }
    max_notional_per_trade: "100000"
    max_position_pct_equity: "1"
`;
const prices = { IBM: 184.25, GE: 24.1, REST: 50 };
/** Seconds of signals; each gives one decision per symbol. */
const SECONDS = 6;

export interface DaemonStatus {
  epoch: string | null;
  leader: boolean;
  cycles: number;
  cursor: Record<string, string>;
  decisions: { planned: number; submitted: number; rejected: number; blocked: number };
  decisions_total: number;
  drained: boolean;
  last_error: string | null;
}

export interface RunningDaemon {
  child: ChildProcess;
  pid: number;
  home: string;
  exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  ended(): boolean;
  stderr(): string;
  status(): Promise<DaemonStatus | undefined>;
  drain(): Promise<void>;
}

export interface MatrixAccount {
  readonly dsn: string;
  readonly exchange: TestExchange;
  readonly home: string;
  readonly rows: number;
  /** @param name homes and keys of daemons: replicas have one each, a restart has the same */
  start(name?: string, env?: NodeJS.ProcessEnv): RunningDaemon;
  /** Feeds another stretch of signals. */
  feed(seconds: number, symbols?: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

let number = 0;

/** @param options.seconds of signals that are there when a daemon starts, the first of them `agoSeconds` old */
export async function openAccount(
  world: MatrixWorld,
  { seconds = SECONDS, agoSeconds = SECONDS } = {},
): Promise<MatrixAccount> {
  const { clock } = world;
  const runId = `m${process.pid}x${++number}`;
  const milli = number % 1_000;
  const home = mkdtempSync(join(tmpdir(), 'torghut-matrix-run-'));
  const tape = new ClockedTape(['GE', 'IBM', 'REST'], clock);
  const exchange = await startExchange({ tape, directory: home, settings: { requestsPerMinute: 1_000_000 } });
  const dsn = await world.postgres.newLedgerDatabase();
  const catalogPath = join(home, 'catalog.yaml');
  writeFileSync(catalogPath, catalog);
  const quote = () => {
    tape.nowNs();
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    tape.quote('GE', [24.09, 3], [24.1, 3]);
  };
  quote();
  const quoting = setInterval(quote, 50);

  // The log of the account: the updates of the exchange become its records.
  const log = openEmbeddedLog({ home, clock });
  await log.ensureTopics([topicSpec('tradeUpdatesV2', { clock: 'virtual' })]);
  const writer = await log.openWriter({ owner: 'ws' });
  const socket = new WebSocket(`${exchange.url.replace('http', 'ws')}/stream`);
  let seq = 0;
  let writing: Promise<unknown> = Promise.resolve();
  socket.on('message', (data) => {
    const frame = JSON.parse(data.toString()) as { stream: string; data: Record<string, unknown> };
    if (frame.stream !== 'trade_updates') return;
    const { symbol } = frame.data.order as { symbol: string };
    const eventTs = frame.data.timestamp ?? new Date(clock.nowMs()).toISOString();
    const envelope = {
      event_ts: eventTs,
      channel: 'trade_updates',
      symbol,
      seq: ++seq,
      payload: frame.data,
      account_label: 'paper',
    };
    const record = {
      topic: 'torghut.trade-updates.v2',
      key: symbol,
      value: Buffer.from(JSON.stringify(envelope)),
      timestampMs: clock.nowMs(),
    };
    writing = writing.then(() => writer.commit({ records: [record] })).catch(() => undefined);
  });
  await once(socket, 'open');
  socket.send(JSON.stringify({ action: 'auth', key: KEY, secret: SECRET }));
  socket.send(JSON.stringify({ action: 'listen', data: { streams: ['trade_updates'] } }));

  let fedUntilMs = Math.floor(clock.nowMs() / 1_000) * 1_000 - agoSeconds * 1_000;
  let offset = 0;
  const feed = async (seconds: number, symbols: readonly string[] = Object.keys(prices)) => {
    const bars: Record<string, unknown>[] = [];
    const signals: Record<string, unknown>[] = [];
    for (let i = 0; i < seconds; i++) {
      fedUntilMs += 1_000;
      const second = Math.round(fedUntilMs / 1_000);
      for (const [symbol, price] of Object.entries(prices)) {
        if (!symbols.includes(symbol)) continue;
        const time = new Date(fedUntilMs).toISOString().replace('T', ' ').slice(0, 23);
        const place = { run_id: runId, src_partition: 0, src_offset: offset++ };
        const envelope = { symbol, window_size: 'PT1S', event_ts: time, revision: 0, seq: second, ...place };
        const isBuy = second % 2 === 0;
        // A bar's key is symbol, window and time, not the run (one database holds one run): runs at the same second must
        // not replace each other's prices.
        const barTime = new Date(fedUntilMs - 1_000 + milli).toISOString().replace('T', ' ').slice(0, 23);
        bars.push({ ...envelope, event_ts: barTime, o: price, h: price, l: price, c: price, v: 100, count: 1 });
        signals.push({ ...envelope, macd: isBuy ? 0.1 : -0.1, macd_signal: 0, rsi14: isBuy ? 40 : 60, is_warm: 1 });
      }
    }
    await world.engine.insert({ table: 'torghut.ta_microbars', values: bars, format: 'JSONEachRow' });
    await world.engine.insert({ table: 'torghut.ta_signal_log', values: signals, format: 'JSONEachRow' });
  };
  if (seconds > 0) await feed(seconds);

  const clean = Object.entries(process.env).filter(([name]) => !/^(TRADING|TA|KAFKA|APCA|DB|TORGHUT)_/.test(name));
  const environment = (key: string): NodeJS.ProcessEnv => ({
    ...Object.fromEntries(clean),
    ...world.storeEnv,
    NODE_COMPILE_CACHE: `${world.daemon}.compiled`,
    DB_DSN: dsn,
    TORGHUT_CLOCK: world.clockPath,
    TORGHUT_RUN_ID: runId,
    TORGHUT_PARTITIONS: '1',
    LOG_LEVEL: 'warn',
    APCA_API_KEY_ID: key,
    APCA_API_SECRET_KEY: SECRET,
    APCA_API_BASE_URL: exchange.url,
    TRADING_ENABLED: 'true',
    TRADING_KILL_SWITCH_ENABLED: 'false',
    TRADING_ALLOW_SHORTS: 'false',
    TRADING_ACCOUNT_LABEL: 'paper',
    TRADING_STATIC_SYMBOLS: '*',
    TRADING_STRATEGY_CONFIG_PATH: catalogPath,
    TRADING_STRATEGY_CONFIG_MODE: 'sync',
    TRADING_POLL_MS: '40',
    TRADING_RECONCILE_MS: '300',
    TRADING_SIGNAL_BATCH_SIZE: '4',
    TRADING_SUBMIT_LOOKUP_SECONDS: '2',
    TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS: '1',
    TRADING_MAX_DECISION_AGE_SECONDS: '600',
    TRADING_MAX_PRICE_AGE_SECONDS: '600',
    TRADING_MAX_PRICE_DRIFT_BPS: '1000',
    // Prices of the signals and fills of the exchange are two things here: losses between them mean nothing.
    TRADING_EMERGENCY_STOP_ENABLED: 'false',
  });

  const daemons: RunningDaemon[] = [];
  return {
    dsn,
    exchange,
    home,
    get rows() {
      return offset;
    },
    feed,
    start: (name, env = {}) => {
      const own = name === undefined ? home : join(home, name);
      mkdirSync(own, { recursive: true });
      const child = spawn(process.execPath, [world.daemon, own], {
        env: { ...environment(name === undefined ? KEY : `SIM-${name}`), ...env },
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let stderr = '';
      child.stderr.on('data', (data: Buffer) => {
        stderr = (stderr + data.toString()).slice(-20_000);
      });
      let isEnded = false;
      const exit = once(child, 'exit').then(([code, signal]) => {
        isEnded = true;
        return { code: code as number | null, signal: signal as NodeJS.Signals | null };
      });
      const urlOf = () => findService(own, 'trade')?.url;
      const daemon: RunningDaemon = {
        child,
        pid: child.pid ?? 0,
        home: own,
        exit,
        ended: () => isEnded,
        stderr: () => stderr,
        status: async () => {
          const url = urlOf();
          if (url === undefined) return undefined;
          try {
            const answer = await fetch(`${url}/status`, { signal: AbortSignal.timeout(2_000) });
            return (await answer.json()) as DaemonStatus;
          } catch {
            return undefined;
          }
        },
        drain: async () => {
          const { url, extra } = findService(own, 'trade') ?? {};
          const headers = { authorization: `Bearer ${extra?.token}` };
          if (url !== undefined) await fetch(`${url}/drain`, { method: 'POST', headers }).catch(() => undefined);
        },
      };
      daemons.push(daemon);
      return daemon;
    },
    close: async () => {
      clearInterval(quoting);
      for (const { child } of daemons) child.kill('SIGKILL');
      await Promise.all(daemons.map(({ exit }) => exit));
      socket.terminate();
      await writing;
      await writer.close();
      await log.close();
      await exchange.close();
      rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
}

export function readReport(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
