/**
 * The settings under which `up` runs its children. With the simulator that it started itself as the broker, trading is on;
 * with any other broker every safe default holds. The profile is printed at start.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { formatTimestampNs } from '../../lib/market/time.ts';
import { cliCommand } from '../../lib/service/cli-entry.ts';
import { unreachableError } from '../../lib/service/errors.ts';

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

/** Settings of every child under `up` with its own simulator, as environment variables. */
export function simulatorProfile(input: ProfileInput): Record<string, string> {
  const http = `http://127.0.0.1:${input.simulatorPort}`;
  const socket = `ws://127.0.0.1:${input.simulatorPort}`;
  const symbols = input.symbols.join(',');
  return {
    TORGHUT_RUN_ID: input.runId,
    TORGHUT_CLOCK: input.clockFile,
    // Both key pairs begin with SIM: that is what allows a loopback broker at all.
    APCA_API_KEY_ID: 'SIM-UP',
    APCA_API_SECRET_KEY: 'SIM-UP-LOCAL',
    APCA_API_BASE_URL: http,
    APCA_DATA_API_BASE_URL: http,
    ALPACA_STREAM_URL: socket,
    ALPACA_BASE_URL: http,
    ALPACA_TRADE_STREAM_URL: `${socket}/stream`,
    ALPACA_FEED: 'sip',
    ENABLE_TRADE_UPDATES: 'true',
    TORGHUT_ACCOUNT_LABEL: 'paper',
    SYMBOLS: symbols,
    INGEST_START_TS: formatTimestampNs(input.startNs),
    TA_COMMIT_INTERVAL_MS: '50',
    TA_CLICKHOUSE_FLUSH_MS: '100',
    TRADING_MODE: 'paper',
    TRADING_LIVE_ENABLED: 'false',
    TRADING_ENABLED: 'true',
    TRADING_KILL_SWITCH_ENABLED: 'false',
    TRADING_ALLOW_SHORTS: 'false',
    TRADING_ACCOUNT_LABEL: 'paper',
    TRADING_STRATEGY_CONFIG_PATH: upStrategiesPath(),
    TRADING_STRATEGY_CONFIG_MODE: 'sync',
    TRADING_STATIC_SYMBOLS: symbols,
    TRADING_COOLDOWN_SECONDS: '5',
    TRADING_POLL_MS: '1000',
    TRADING_SUBMIT_LOOKUP_SECONDS: '3',
    TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS: '2',
    TRADING_MAX_DECISION_AGE_SECONDS: '60',
    TRADING_MAX_PRICE_AGE_SECONDS: '60',
  };
}

/** The lines that say what the profile means, printed once at start. */
export function describeProfile(profile: Record<string, string>): string[] {
  return [
    'profile up: broker is the simulator started by this command; trading is enabled, kill switch off, mode paper',
    `profile up: strategies ${profile.TRADING_STRATEGY_CONFIG_PATH}, cooldown ${profile.TRADING_COOLDOWN_SECONDS} s, ` +
      `poll ${profile.TRADING_POLL_MS} market ms, decision age limit ${profile.TRADING_MAX_DECISION_AGE_SECONDS} market s`,
  ];
}
