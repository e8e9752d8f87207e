/**
 * The environment of `torghut trade` (spec trading 8): every name here does something. Defaults are the safe ones: nothing is
 * decided, nothing is sent, paper account. The stores' addresses are in src/embedded/variables.ts, `KAFKA_*` belongs to the
 * event log.
 */
import { Decimal } from 'decimal.js';
import { type ConfigOf, kind, optional } from '../../lib/service/config.ts';
import { controlVariables } from './control-variables.ts';
import { feedVariables } from './feed-variables.ts';
import { amount, fraction, quantity, symbols } from './parsers.ts';

const none = undefined as Decimal | undefined;
const noText = undefined as string | undefined;

export const tradeVariables = {
  ...controlVariables,
  ...feedVariables,
  APCA_API_KEY_ID: { parse: kind.optionalText, default: noText, describe: 'API key id of the account', secret: true },
  APCA_API_SECRET_KEY: {
    parse: kind.optionalText,
    default: noText,
    describe: 'API secret of the account',
    secret: true,
  },
  APCA_API_BASE_URL: {
    parse: kind.url('http:', 'https:'),
    default: 'https://paper-api.alpaca.markets',
    describe: 'broker; must be the host of TRADING_MODE, or a simulator on loopback',
  },
  TRADING_ENABLED: { parse: kind.boolean, default: false, describe: 'decide and submit; false still reconciles' },
  TRADING_MODE: {
    parse: kind.oneOf('paper', 'live'),
    default: 'paper' as 'paper' | 'live',
    describe: 'which account; live needs its flags, an arming and a confirmation (runbook go-live)',
  },
  TRADING_KILL_SWITCH_ENABLED: {
    parse: kind.boolean,
    default: true,
    describe: 'refuse every submit and cancel open orders in each cycle',
  },
  TRADING_ACCOUNT_LABEL: {
    parse: kind.optionalText,
    default: noText,
    describe: 'name of the account; default the mode',
  },
  TRADING_POLL_MS: {
    parse: kind.integer(1, 3_600_000),
    default: 5_000,
    describe: 'between the starts of two cycles',
    time: 'market',
  },
  TRADING_RECONCILE_MS: {
    parse: kind.integer(1, 3_600_000),
    default: 15_000,
    describe: 'between two reconcile passes, and between two readings of the account',
    time: 'market',
  },
  TRADING_SIGNAL_BATCH_SIZE: {
    parse: kind.integer(1, 50_000),
    default: 500,
    describe: 'signal rows of one partition and window size in one cycle',
  },
  TRADING_PRICE_LOOKBACK_MINUTES: {
    parse: kind.integer(1, 1_440),
    default: 5,
    describe: 'how far back a price is looked for',
    time: 'market',
  },
  TRADING_MAX_PRICE_AGE_SECONDS: {
    parse: optional(kind.integer(1, 86_400)),
    default: undefined as number | undefined,
    describe: 'age of a price above which no order is sent; default 60, live 15',
    time: 'market',
  },
  TRADING_MAX_DECISION_AGE_SECONDS: {
    parse: kind.integer(1, 86_400),
    default: 30,
    describe: 'age of a signal above which it is skipped, of a decision above which it is rejected',
    time: 'market',
  },
  TRADING_MAX_PRICE_DRIFT_BPS: {
    parse: kind.integer(0, 100_000),
    default: 50,
    describe: 'price change since the decision above which it is rejected, basis points',
  },
  TRADING_STORE_GUARD_URL: {
    parse: optional(kind.url('http:', 'https:')),
    default: noText,
    describe: 'guard of the signal store, whose emergency lets trade only close; default the one of this home',
  },
  TRADING_STRATEGY_CONFIG_PATH: {
    parse: kind.optionalText,
    default: noText,
    describe: 'strategy catalog (YAML or JSON)',
  },
  TRADING_STRATEGY_PLUGIN_PATH: {
    parse: kind.optionalText,
    default: noText,
    describe: 'file or folder of strategy plug-ins (.ts, .js), loaded at start with the rights of this process',
  },
  TRADING_STRATEGY_CONFIG_MODE: {
    parse: kind.oneOf('merge', 'sync'),
    default: 'merge' as 'merge' | 'sync',
    describe: 'sync disables strategies that the catalog no longer names',
  },
  TRADING_STRATEGY_RELOAD_SECONDS: {
    parse: kind.integer(1, 86_400),
    default: 10,
    describe: 'between two looks at the catalog',
    time: 'market',
  },
  TRADING_STATIC_SYMBOLS: {
    parse: symbols,
    default: [] as readonly string[] | 'all',
    describe: 'symbols that may be traded; empty allows none, * allows all; also the fallback of a service',
  },
  TRADING_UNIVERSE_SYMBOL_ALLOWLIST: {
    parse: symbols,
    default: 'all' as readonly string[] | 'all',
    describe: 'if set, only these of TRADING_STATIC_SYMBOLS',
  },
  TRADING_DEFAULT_QTY: {
    parse: quantity,
    default: new Decimal(1),
    describe: 'quantity where no budget is set (paper)',
  },
  TRADING_MAX_NOTIONAL_PER_TRADE: {
    parse: optional(amount),
    default: none,
    describe: 'US dollars of one order at most',
  },
  TRADING_MIN_NOTIONAL_PER_TRADE: {
    parse: optional(amount),
    default: none,
    describe: 'US dollars of one order at least',
  },
  TRADING_MAX_POSITION_PCT_EQUITY: {
    parse: optional(fraction),
    default: none,
    describe: 'part of equity in one symbol at most',
  },
  TRADING_BUYING_POWER_RESERVE_BPS: {
    parse: kind.integer(0, 10_000),
    default: 1_000,
    describe: 'part of the buying power that is never used, basis points',
  },
  TRADING_COOLDOWN_SECONDS: {
    parse: kind.integer(0, 86_400),
    default: 0,
    describe: 'between two entries of one strategy in one symbol; 0 is off',
    time: 'market',
  },
  TRADING_ALLOW_SHORTS: { parse: kind.boolean, default: false, describe: 'sell what is not held' },
  TRADING_FRACTIONAL_EQUITIES_ENABLED: { parse: kind.boolean, default: false, describe: 'trade parts of a share' },
  TRADING_CRYPTO_ENABLED: { parse: kind.boolean, default: false, describe: 'trade pairs such as BTC/USD' },
  TRADING_SUBMIT_LOOKUP_SECONDS: {
    parse: kind.integer(1, 3_600),
    default: 60,
    describe: 'how long an order of unknown outcome is looked up; above the time-out of a POST',
    time: 'machine',
  },
  TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS: {
    parse: kind.integer(1, 15),
    default: 10,
    describe: 'time-out of one order or cancel request',
    time: 'machine',
  },
  TRADING_BROKER_REQUESTS_PER_MINUTE: {
    parse: optional(kind.integer(1, 1_000_000)),
    default: undefined as number | undefined,
    describe: 'budget of broker requests a machine minute; default 150 plus 50 for cancels, 60000 on a simulator',
  },
  TORGHUT_PARTITIONS: { parse: kind.integer(1, 1_000), default: 3, describe: 'partitions of the ingest and ta topics' },
  TRADING_HTTP_HOST: {
    parse: kind.text,
    default: '127.0.0.1',
    describe: 'address that the HTTP API listens on; read-only but for what carries the token',
  },
  TRADING_API_TOKEN: {
    parse: kind.optionalText,
    default: noText,
    describe: 'bearer token of POST /drain and /reconcile; default a random one, kept in the home for its own commands',
    secret: true,
  },
  TRADING_HTTP_PORT: {
    parse: optional(kind.integer(0, 65_535)),
    default: undefined as number | undefined,
    describe: 'port of /healthz, /readyz, /metrics, /status, /trading/*; default 8181, under `up` a free one',
  },
} as const;

export type TradeConfig = ConfigOf<typeof tradeVariables>;

/** Names that other parts read in the same environment. */
export const otherNames: readonly string[] = [
  'TORGHUT_ACCOUNT_LABEL',
  'TORGHUT_CRASH_AT',
  'TORGHUT_CRASH_REPORT',
  'TORGHUT_TEST_FULL',
];
