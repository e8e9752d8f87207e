/**
 * The environment of `torghut ws` (spec ingest 3.5): every name here does something. `KAFKA_*` belongs to the event log.
 */
import { type MarketChannel, marketChannels } from '../../lib/alpaca/subscription.ts';
import { defaultTopics, type TopicRole } from '../../lib/log/topics.ts';
import {
  type CryptoLocation,
  cryptoLocations,
  type EquityFeed,
  equityFeeds,
  type Feed,
} from '../../lib/market/feeds.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import { type ConfigOf, kind, loadConfig, optional, type VariableTable } from '../../lib/service/config.ts';
import { refusedError, usageError } from '../../lib/service/errors.ts';
import { healthVariables } from './health-variables.ts';
import { resolveSymbols, type SymbolSettings, symbolVariables } from './symbol-variables.ts';

const defaultChannels: readonly MarketChannel[] = [
  'trades', 'quotes', 'bars', 'updatedBars', 'statuses', 'corrections', 'cancelErrors',
]; // biome-ignore format: one list

/** What the crypto stream has (spec ingest 1.3). */
const cryptoChannels: readonly MarketChannel[] = ['trades', 'quotes', 'bars'];

function parseChannels(text: string): readonly MarketChannel[] {
  const names = kind.csv(text);
  const found = names.map((name) => marketChannels.find((known) => known.toLowerCase() === name.toLowerCase()));
  if (names.length === 0 || found.includes(undefined)) {
    throw new Error(`must be a list out of ${marketChannels.join(',')}`);
  }
  return [...new Set(found as MarketChannel[])];
}

function parseInstant(text: string): bigint {
  const ns = parseTimestampNs(text.trim());
  if (ns === undefined) throw new Error('must be a point of time such as 2013-10-08T13:30:00Z');
  return ns;
}

const topic = (role: TopicRole, describe: string) => ({
  parse: (text: string) => {
    const name = text.trim();
    if (!/^[a-zA-Z0-9._-]{1,249}$/.test(name)) throw new Error('must be a topic name');
    return name;
  },
  default: defaultTopics[role],
  describe,
});

export const wsVariables = {
  ALPACA_KEY_ID: {
    parse: kind.optionalText,
    default: undefined as string | undefined,
    describe: 'API key id of the market data; APCA_API_KEY_ID counts when this is unset',
    secret: true,
  },
  ALPACA_SECRET_KEY: {
    parse: kind.optionalText,
    default: undefined as string | undefined,
    describe: 'API secret of the market data; APCA_API_SECRET_KEY counts when this is unset',
    secret: true,
  },
  APCA_API_KEY_ID: {
    parse: kind.optionalText,
    default: undefined as string | undefined,
    describe: 'API key id common to all parts',
    secret: true,
  },
  APCA_API_SECRET_KEY: {
    parse: kind.optionalText,
    default: undefined as string | undefined,
    describe: 'API secret common to all parts',
    secret: true,
  },
  ALPACA_MARKET_TYPE: {
    parse: kind.oneOf('equity', 'crypto'),
    default: 'equity' as 'equity' | 'crypto',
    describe: 'what is forwarded: stocks of ALPACA_FEED, or crypto of ALPACA_CRYPTO_LOCATION',
  },
  ALPACA_FEED: {
    parse: kind.oneOf(...equityFeeds),
    default: 'iex' as EquityFeed,
    describe: 'market-data feed of stocks',
  },
  ALPACA_CRYPTO_LOCATION: {
    parse: kind.oneOf(...cryptoLocations),
    default: 'us' as CryptoLocation,
    describe: 'where crypto is traded; with ALPACA_MARKET_TYPE=crypto',
  },
  ALPACA_STREAM_URL: {
    parse: kind.url('ws:', 'wss:'),
    default: 'wss://stream.data.alpaca.markets',
    describe: 'address of the market stream, without version and feed',
  },
  ALPACA_BASE_URL: {
    parse: kind.url('http:', 'https:'),
    default: 'https://data.alpaca.markets',
    describe: 'address of the market-data REST service, for repair',
  },
  ALPACA_TRADE_STREAM_URL: {
    parse: optional(kind.url('ws:', 'wss:')),
    default: undefined as string | undefined,
    describe: 'address of the order-event stream; needed for trade updates',
  },
  ALPACA_STREAM_ENCODING: {
    parse: kind.oneOf('json', 'msgpack'),
    default: 'json' as 'json' | 'msgpack',
    describe: 'encoding asked of the market stream',
  },
  ALPACA_MARKET_DATA_CHANNELS: {
    parse: parseChannels,
    default: defaultChannels,
    describe: 'channels to subscribe',
  },
  ALPACA_MARKET_DATA_READ_IDLE_TIMEOUT_MS: {
    parse: kind.integer(1_000),
    default: 180_000,
    describe: 'silence on an open socket, in a session, after which it is replaced',
    time: 'market',
  },
  ...symbolVariables,
  SUBSCRIBE_BATCH_SIZE: {
    parse: kind.integer(1, 10_000),
    default: 200,
    describe: 'symbols in one subscribe message and in one REST request',
  },
  ENABLE_TRADE_UPDATES: {
    parse: optional(kind.boolean),
    default: undefined as boolean | undefined,
    describe: 'forward order events; default: when ALPACA_TRADE_STREAM_URL is set',
  },
  TORGHUT_ACCOUNT_LABEL: {
    parse: kind.optionalText,
    default: undefined as string | undefined,
    describe: 'account name in the records of trade updates, version 2',
  },
  RECONNECT_BASE_MS: { parse: kind.integer(1), default: 500, describe: 'first back-off', time: 'machine' },
  RECONNECT_MAX_MS: { parse: kind.integer(1), default: 30_000, describe: 'longest back-off', time: 'machine' },
  INGEST_REFUSED_RETRY_MS: {
    parse: kind.integer(1),
    default: 60_000,
    describe:
      'wait after refused credentials; five times as long after a missing entitlement, from a twelfth of it on after 406',
    time: 'machine',
  },
  INGEST_PING_MS: {
    parse: optional(kind.integer(10, 60_000)),
    default: undefined as number | undefined,
    describe: 'time between pings, which bound the progress records; default 50 on a virtual clock, else 1000',
    time: 'machine',
  },
  INGEST_PONG_TIMEOUT_MS: {
    parse: kind.integer(100),
    default: 10_000,
    describe: 'time without an answered ping after which the peer counts as dead',
    time: 'machine',
  },
  INGEST_START_TS: {
    parse: optional(parseInstant),
    default: undefined as bigint | undefined,
    describe: 'where the first gap begins when a topic is empty; set by `up`',
  },
  INGEST_GAP_LIMIT_MS: {
    parse: kind.integer(1),
    default: 60_000,
    describe: 'longest time that live data wait for the repair of a gap',
    time: 'machine',
  },
  INGEST_MAX_AGE_MS: {
    parse: kind.integer(1_000),
    default: 30_000,
    describe: 'age of flowing data, beyond their usual one, at which a connection is replaced and the rest repaired',
    time: 'market',
  },
  INGEST_COMMIT_MS: {
    parse: kind.integer(1, 1_000),
    default: 25,
    describe: 'a commit waits this long at most',
    time: 'machine',
  },
  INGEST_COMMIT_RECORDS: { parse: kind.integer(1, 100_000), default: 2_000, describe: 'records in one commit at most' },
  INGEST_QUEUE_BYTES: {
    parse: kind.integer(65_536),
    default: 67_108_864,
    describe: 'bytes that wait in memory for the log; more go to the spool',
  },
  INGEST_SPOOL_DIR: {
    parse: kind.optionalText,
    default: undefined as string | undefined,
    describe: 'folder of the spool; default spool/ in the run home',
  },
  INGEST_SPOOL_BYTES: {
    parse: kind.integer(65_536),
    default: 536_870_912,
    describe: 'bytes that wait on disk at most; beyond it market data are left out, counted and repaired later',
  },
  SHUTDOWN_DRAIN_MS: {
    parse: kind.integer(100),
    default: 20_000,
    describe: 'time for a graceful stop',
    time: 'machine',
  },
  ...healthVariables,
  TORGHUT_PARTITIONS: { parse: kind.integer(1, 1_000), default: 3, describe: 'partitions of the ingest and ta topics' },
  TOPIC_TRADES: topic('trades', 'topic of trades, corrections and cancels'),
  TOPIC_QUOTES: topic('quotes', 'topic of quotes'),
  TOPIC_BARS_1M: topic('bars', 'topic of minute bars and their updates'),
  TOPIC_STATUS: topic('status', 'topic of status, halts and LULD'),
  TOPIC_TRADE_UPDATES: topic('tradeUpdates', 'topic of order events, version 1'),
  TOPIC_TRADE_UPDATES_V2: topic('tradeUpdatesV2', 'topic of order events with the account label'),
  INGEST_REPAIR_TOPIC: topic('repair', 'topic of what was repaired too late for the live path'),
  INGEST_DLQ_TOPIC: topic('dlq', 'topic of what could not be read'),
} satisfies VariableTable;

export interface WsConfig
  extends Omit<ConfigOf<typeof wsVariables>, 'ALPACA_FEED' | 'SYMBOLS' | 'ENABLE_TRADE_UPDATES' | 'INGEST_PING_MS'> {
  /** The feed's name in records: of stocks ALPACA_FEED, of crypto its location. */
  ALPACA_FEED: Feed;
  key: string;
  secret: string;
  /** The list at start; SYMBOLS_URL may change it later. */
  symbols: readonly string[];
  symbolRules: SymbolSettings['rules'];
  shard: SymbolSettings['shard'];
  universe: SymbolSettings['universe'];
  pairLimit: number | undefined;
  isOrderStreamOn: boolean;
  pingMs: number;
  warnings: string[];
}

/** @throws `config_invalid` (exit 2) that names every mistake */
export function loadWsConfig(env: NodeJS.ProcessEnv, clockKind: 'system' | 'virtual'): WsConfig {
  const { values, warnings } = loadConfig(wsVariables, env);
  const mistakes: string[] = [];
  const key = values.ALPACA_KEY_ID ?? values.APCA_API_KEY_ID;
  const secret = values.ALPACA_SECRET_KEY ?? values.APCA_API_SECRET_KEY;
  if (key === undefined) mistakes.push('ALPACA_KEY_ID is not set');
  if (secret === undefined) mistakes.push('ALPACA_SECRET_KEY is not set');
  const isCrypto = values.ALPACA_MARKET_TYPE === 'crypto';
  const feed: Feed = isCrypto ? values.ALPACA_CRYPTO_LOCATION : values.ALPACA_FEED;
  const asked = values.ALPACA_MARKET_DATA_CHANNELS;
  const channels = isCrypto && asked === defaultChannels ? cryptoChannels : asked;
  const foreign = isCrypto ? channels.filter((name) => name !== 'updatedBars' && !cryptoChannels.includes(name)) : [];
  if (foreign.length > 0) mistakes.push(`ALPACA_MARKET_DATA_CHANNELS: crypto has no ${foreign.join(', ')}`);
  const { settings, mistakes: wrongSymbols } = resolveSymbols(values, {
    feed,
    channels,
    isLogEmbedded: (env.KAFKA_BOOTSTRAP ?? '').trim() === '',
  });
  mistakes.push(...wrongSymbols);
  if (values.RECONNECT_MAX_MS < values.RECONNECT_BASE_MS) mistakes.push('RECONNECT_MAX_MS is below RECONNECT_BASE_MS');
  if (values.INGEST_REFUSED_RETRY_MS < 60_000 && !isLoopback(values.ALPACA_STREAM_URL)) {
    mistakes.push('INGEST_REFUSED_RETRY_MS below 60000 is allowed with the simulator only');
  }
  const wantsOrders = values.ENABLE_TRADE_UPDATES ?? values.ALPACA_TRADE_STREAM_URL !== undefined;
  // An account has one order-event session: of several forwarders the first holds it.
  const isOrderStreamOn = wantsOrders && settings.shard.index === 0;
  if (isOrderStreamOn && values.ALPACA_TRADE_STREAM_URL === undefined) {
    mistakes.push('ENABLE_TRADE_UPDATES needs ALPACA_TRADE_STREAM_URL');
  }
  if (mistakes.length > 0 || key === undefined || secret === undefined) {
    throw usageError({
      code: 'config_invalid',
      what: `${mistakes.length === 1 ? 'a setting is' : `${mistakes.length} settings are`} wrong`,
      why: mistakes.join('; '),
      next: 'correct the environment; `torghut config` lists every variable with its meaning',
    });
  }
  if (clockKind === 'virtual') refuseRealFeed(values);
  const pingMs = values.INGEST_PING_MS ?? (clockKind === 'virtual' ? 50 : 1_000);
  const { rules: symbolRules, symbols, shard, universe, pairLimit } = settings;
  return {
    ...values,
    ALPACA_FEED: feed,
    ALPACA_MARKET_DATA_CHANNELS: channels,
    key,
    secret,
    symbols,
    symbolRules,
    shard,
    universe,
    pairLimit,
    isOrderStreamOn,
    pingMs,
    warnings,
  };
}

const isLoopback = (address: string) => /^(localhost|\[::1\]|127(\.\d+){3})$/.test(new URL(address).hostname);

/** A virtual clock's stamps would be nonsense beside real ones: only the simulator, on loopback, may feed it (design 4). */
function refuseRealFeed(values: { ALPACA_STREAM_URL: string; ALPACA_BASE_URL: string }): void {
  const real = [values.ALPACA_STREAM_URL, values.ALPACA_BASE_URL].find((address) => !isLoopback(address));
  if (real === undefined) return;
  throw refusedError({
    code: 'virtual_clock_feed',
    what: `refusing to forward ${real} on a virtual clock`,
    why: 'a virtual clock is allowed with the simulator only',
    next: 'unset TORGHUT_CLOCK, or let `torghut up` start its simulator',
  });
}
