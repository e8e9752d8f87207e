/**
 * The settings under which `up` runs its children. With the simulator that it started itself as the broker, trading is on;
 * with any other broker every safe default holds. The profile is printed at start.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { formatTimestampNs } from '../../lib/market/time.ts';
import { cliCommand } from '../../lib/service/cli-entry.ts';
import { unreachableError } from '../../lib/service/errors.ts';
import type { ServiceName } from '../../lib/service/home.ts';

const accountLabel = 'paper';

export interface ProfileInput {
  runId: string;
  clockFile: string;
  simulatorPort: number;
  symbols: readonly string[];
  startNs: bigint;
}

/** config/up-strategies.yaml beside the program: two folders above the bundle, one above the sources. */
export function upStrategiesPath(): string {
  const entry = cliCommand().args[0] as string;
  for (const up of ['..', join('..', '..')]) {
    const path = join(dirname(entry), up, 'config', 'up-strategies.yaml');
    if (existsSync(path)) return path;
  }
  throw unreachableError({
    code: 'catalog_missing',
    what: 'cannot find config/up-strategies.yaml beside the program',
    next: 'run torghut from its checkout',
  });
}

export type ChildProfile = Partial<Record<ServiceName, Record<string, string>>>;

/** Settings of each child under `up` with its own simulator, as environment variables. */
export function simulatorProfile(input: ProfileInput): ChildProfile {
  const http = `http://127.0.0.1:${input.simulatorPort}`;
  const socket = `ws://127.0.0.1:${input.simulatorPort}`;
  const symbols = input.symbols.join(',');
  // Both keys begin with SIM: that is what allows a loopback broker at all.
  const keys = { APCA_API_KEY_ID: 'SIM-UP', APCA_API_SECRET_KEY: 'SIM-UP-LOCAL' };
  const common = { TORGHUT_RUN_ID: input.runId, TORGHUT_CLOCK: input.clockFile };
  return {
    simulator: common,
    // The engine's own thread pool; without it the process would have to replace itself to get one.
    clickhouse: { ...common, UV_THREADPOOL_SIZE: '32' },
    postgres: common,
    ws: {
      ...common,
      ...keys,
      ALPACA_STREAM_URL: socket,
      ALPACA_BASE_URL: http,
      ALPACA_TRADE_STREAM_URL: `${socket}/stream`,
      ALPACA_FEED: 'sip',
      ENABLE_TRADE_UPDATES: 'true',
      // The simulator is back within a second of a kill: a short first wait keeps the gap short.
      RECONNECT_BASE_MS: '100',
      TORGHUT_ACCOUNT_LABEL: accountLabel,
      SYMBOLS: symbols,
      INGEST_START_TS: formatTimestampNs(input.startNs),
    },
    ta: { ...common, TA_COMMIT_INTERVAL_MS: '50' },
    sink: { ...common, TA_CLICKHOUSE_FLUSH_MS: '100' },
    trade: {
      ...common,
      ...keys,
      APCA_API_BASE_URL: http,
      APCA_DATA_API_BASE_URL: http,
      TRADING_MODE: 'paper',
      TRADING_ENABLED: 'true',
      TRADING_KILL_SWITCH_ENABLED: 'false',
      TRADING_ALLOW_SHORTS: 'false',
      TRADING_ACCOUNT_LABEL: accountLabel,
      TRADING_STRATEGY_CONFIG_PATH: upStrategiesPath(),
      TRADING_STRATEGY_CONFIG_MODE: 'sync',
      TRADING_STATIC_SYMBOLS: symbols,
      TRADING_COOLDOWN_SECONDS: '5',
      // Its block orders are meant to be large: more than half of the simulator's equity in one symbol.
      TRADING_MAX_ORDER_PCT_EQUITY: '1',
      TRADING_MAX_SYMBOL_PCT_EQUITY: '1',
      TRADING_MAX_GROSS_PCT_EQUITY: '2',
      TRADING_MAX_NET_PCT_EQUITY: '2',
      // And more than a tenth of what a thin symbol trades in five minutes.
      TRADING_MAX_PARTICIPATION_RATE: '1',
      TRADING_POLL_MS: '1000',
      TRADING_SUBMIT_LOOKUP_SECONDS: '3',
      TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS: '2',
      TRADING_MAX_DECISION_AGE_SECONDS: '60',
      TRADING_MAX_PRICE_AGE_SECONDS: '60',
    },
  };
}

/** Settings of each child with a configured broker: everything comes from the environment. */
export function accountProfile(runId: string): ChildProfile {
  const common = { TORGHUT_RUN_ID: runId, TORGHUT_CLOCK: 'system' };
  return { clickhouse: common, postgres: common, ws: common, ta: common, sink: common, trade: common };
}

/** The lines that say what the profile means, printed once at start. */
export function describeProfile(profile: ChildProfile): string[] {
  const trade = profile.trade ?? {};
  return [
    'profile up: broker is the simulator started by this command; trading is enabled, kill switch off, mode paper',
    `profile up: strategies ${trade.TRADING_STRATEGY_CONFIG_PATH}, cooldown ${trade.TRADING_COOLDOWN_SECONDS} s, ` +
      `poll ${trade.TRADING_POLL_MS} market ms, decision age limit ${trade.TRADING_MAX_DECISION_AGE_SECONDS} market s`,
  ];
}
