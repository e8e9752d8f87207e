/**
 * The environment of `torghut trade` that says when it may not trade (spec trading 1.7, 2.5, 3.3, 3.4, 8): live trading,
 * account-wide caps and stops, interrupted or poor signals, the universe.
 */
import { Decimal } from 'decimal.js';
import { kind, optional } from '../../lib/service/config.ts';
import { fraction, ratio } from './parsers.ts';

const noText = undefined as string | undefined;

const liveVariables = {
  TRADING_SIMPLE_SUBMIT_ENABLED: {
    parse: kind.boolean,
    default: false,
    describe: 'live: the first of its two submit flags',
  },
  TRADING_LIVE_SUBMIT_ENABLED: { parse: kind.boolean, default: false, describe: 'live: the second' },
  TRADING_ACCOUNT_ID: {
    parse: kind.optionalText,
    default: noText,
    describe: 'id or number of the only account that may be traded; live needs it',
  },
  TRADING_LIVE_CONFIRMATION_KEY: {
    parse: kind.optionalText,
    default: noText,
    describe: 'live: public key of the person who confirms (ed25519, `torghut trade arm-live --new-key`)',
  },
  TRADING_LIVE_CONFIRMATION_FILE: {
    parse: kind.optionalText,
    default: noText,
    describe: 'live: where the signed confirmation is read; default live-confirmation.json in the home of the run',
  },
} as const;

const capVariables = {
  TRADING_MAX_ORDER_PCT_EQUITY: {
    parse: optional(ratio),
    default: new Decimal('0.5') as Decimal | undefined,
    describe: 'value of one order at most, as a fraction of equity',
  },
  TRADING_MAX_SYMBOL_PCT_EQUITY: {
    parse: optional(ratio),
    default: new Decimal('0.5') as Decimal | undefined,
    describe: 'value of one symbol at most, over all strategies',
  },
  TRADING_MAX_GROSS_PCT_EQUITY: {
    parse: optional(ratio),
    default: new Decimal(1) as Decimal | undefined,
    describe: 'sum of the absolute values of all positions at most',
  },
  TRADING_MAX_NET_PCT_EQUITY: {
    parse: optional(ratio),
    default: new Decimal('0.5') as Decimal | undefined,
    describe: 'long less short at most',
  },
  TRADING_MAX_POSITIONS: {
    parse: optional(kind.integer(0, 10_000)),
    default: undefined as number | undefined,
    describe: 'symbols held at once at most',
  },
  TRADING_MAX_PARTICIPATION_RATE: {
    parse: optional(fraction),
    default: new Decimal('0.1') as Decimal | undefined,
    describe: 'part of the volume of TRADING_PRICE_LOOKBACK_MINUTES that one order may be',
  },
  TRADING_CRYPTO_LIVE_ENABLED: {
    parse: kind.boolean,
    default: false,
    describe: 'besides TRADING_CRYPTO_ENABLED: pairs also on a live account',
  },
  TRADING_BLOCK_ON_FOREIGN_ORDERS: {
    parse: kind.boolean,
    default: false,
    describe: 'open nothing while the account holds orders that are not ours',
  },
} as const;

const stopVariables = {
  TRADING_EMERGENCY_STOP_ENABLED: {
    parse: kind.boolean,
    default: true,
    describe: 'latch the emergency stop when an account limit is hit; a latched one always holds',
  },
  TRADING_EMERGENCY_STOP_RECOVERY_CYCLES: {
    parse: kind.integer(1, 10_000),
    default: 3,
    describe: 'clean cycles after which a stop because of signals lets go by itself',
  },
  TRADING_DAILY_LOSS_STOP_PCT_EQUITY: {
    parse: optional(fraction),
    default: new Decimal('0.01') as Decimal | undefined,
    describe: 'loss since the first snapshot of the session that stops and closes everything, as a fraction of equity',
  },
  TRADING_PERSISTENT_DRAWDOWN_STOP_PCT_EQUITY: {
    parse: optional(fraction),
    default: new Decimal('0.05') as Decimal | undefined,
    describe: 'fall from the highest equity since the last release that stops and closes everything',
  },
  TRADING_ROLLBACK_SIGNAL_LAG_SECONDS_LIMIT: {
    parse: kind.integer(1, 86_400),
    default: 600,
    describe: 'age of the newest signal in the session that stops',
    time: 'market',
  },
  TRADING_ROLLBACK_SIGNAL_STALENESS_ALERT_STREAK_LIMIT: {
    parse: kind.integer(1, 10_000),
    default: 3,
    describe: 'cycles in a row with the same critical reason that stop',
  },
} as const;

const signalVariables = {
  TRADING_SIGNAL_ALLOWED_SOURCES: {
    parse: (text: string) => {
      const list = kind.csv(text).map((source) => source.toLowerCase());
      return list.length === 0 ? ('all' as const) : list;
    },
    default: 'all' as readonly string[] | 'all',
    describe: 'if set, only signals of these sources are evaluated',
  },
  TRADING_SIGNAL_NO_SIGNAL_STREAK_ALERT_THRESHOLD: {
    parse: kind.integer(1, 10_000),
    default: 2,
    describe: 'cycles in a row without a signal that alert',
  },
  TRADING_SIGNAL_STALE_LAG_ALERT_SECONDS: {
    parse: kind.integer(1, 86_400),
    default: 300,
    describe: 'age of the newest signal in the session that alerts, and closes a live account',
    time: 'market',
  },
  TRADING_SIGNAL_CONTINUITY_RECOVERY_CYCLES: {
    parse: kind.integer(1, 10_000),
    default: 2,
    describe: 'healthy cycles that end the alert',
  },
  TRADING_SIGNAL_BOOTSTRAP_GRACE_SECONDS: {
    parse: kind.integer(0, 86_400),
    default: 180,
    describe: 'after a start, before silence alerts',
    time: 'market',
  },
  TRADING_SIGNAL_STALENESS_ALERT_CRITICAL_REASONS: {
    parse: kind.csv,
    default: ['cursor_ahead_of_stream', 'universe_source_unavailable'] as readonly string[],
    describe: 'reasons that alert also while the market is closed, and stop by their streak',
  },
  TRADING_SIGNAL_MARKET_CLOSED_EXPECTED_REASONS: {
    parse: kind.csv,
    default: ['no_signals_in_window', 'cursor_tail_stable', 'empty_batch_advanced'] as readonly string[],
    describe: 'reasons that are as they should be while the market is closed',
  },
  TRADING_FEATURE_QUALITY_ENABLED: {
    parse: kind.boolean,
    default: true,
    describe: 'decide on no batch of signals that is stale, doubled, out of order or of another schema',
  },
  TRADING_FEATURE_MAX_STALENESS_MS: {
    parse: kind.integer(1, 86_400_000),
    default: 300_000,
    describe: 'age of the 95th percentile of a batch at most',
    time: 'market',
  },
  TRADING_FEATURE_MAX_DUPLICATE_RATIO: {
    parse: kind.number(0, 1),
    default: 0.02,
    describe: 'part of a batch that may be there twice',
  },
  TRADING_FEATURE_MAX_REQUIRED_NULL_RATE: {
    parse: kind.number(0, 1),
    default: 0.01,
    describe: 'part of the required features that may be missing before it is told',
  },
} as const;

const universeVariables = {
  TRADING_UNIVERSE_SOURCE: {
    parse: kind.oneOf('static', 'url', 'jangar'),
    default: 'static' as 'static' | 'url' | 'jangar',
    describe: 'where the symbols that may be traded come from; jangar is another word for url',
  },
  UNIVERSE_SYMBOLS_URL: {
    parse: kind.optionalText,
    default: noText,
    describe: 'answers GET with {"symbols":[…]} or {"items":[{"symbol":…,"enabled":…}]}',
    aliases: ['JANGAR_SYMBOLS_URL'],
  },
  TRADING_UNIVERSE_CACHE_SECONDS: {
    parse: kind.integer(1, 86_400),
    default: 300,
    describe: 'how long an answer is used',
    time: 'market',
  },
  TRADING_UNIVERSE_MAX_STALE_SECONDS: {
    parse: kind.integer(1, 86_400),
    default: 900,
    describe: 'how long it is used when no new one comes',
    time: 'market',
  },
  TRADING_UNIVERSE_TIMEOUT_SECONDS: {
    parse: kind.integer(1, 60),
    default: 5,
    describe: 'time-out of one request',
    time: 'machine',
  },
  TRADING_UNIVERSE_STATIC_FALLBACK_ENABLED: {
    parse: kind.boolean,
    default: false,
    describe: 'use TRADING_STATIC_SYMBOLS when the service is gone for too long',
  },
  TRADING_UNIVERSE_REQUIRE_NON_EMPTY: {
    parse: kind.boolean,
    default: true,
    describe: 'hold every entry while the service gives no symbols',
  },
} as const;

export const controlVariables = {
  ...liveVariables,
  ...capVariables,
  ...stopVariables,
  ...signalVariables,
  ...universeVariables,
} as const;
