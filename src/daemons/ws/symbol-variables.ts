/**
 * Which symbols ws forwards, as settings (spec ingest 2.1, 2.2 and 3.5): list, service, allowlist, shard, versioned universe and
 * the limits of the plan, checked together before anything is connected.
 */
import type { MarketChannel } from '../../lib/alpaca/subscription.ts';
import { isOwnSymbol, type Shard } from '../../lib/market/shard.ts';
import { normalizeSymbols, type SymbolRules } from '../../lib/market/symbol-source.ts';
import { type Universe, universeMistakes } from '../../lib/market/universe.ts';
import { type ConfigOf, kind, optional, type VariableTable } from '../../lib/service/config.ts';

function parseSymbols(text: string): readonly string[] {
  const symbols = [...new Set(kind.csv(text).map((symbol) => symbol.toUpperCase()))];
  const wrong = symbols.find((symbol) => !/^[A-Z0-9][A-Z0-9./-]{0,31}$/.test(symbol));
  if (wrong !== undefined) throw new Error(`holds ${JSON.stringify(wrong)}, which is no symbol`);
  return symbols;
}

function parseAllowlist(text: string): readonly string[] {
  const symbols = parseSymbols(text);
  if (symbols.length > 12) throw new Error('may hold at most 12 symbols');
  return symbols;
}

export const symbolVariables = {
  SYMBOLS: {
    parse: parseSymbols,
    default: [] as readonly string[],
    describe: 'symbols to forward; with SYMBOLS_URL the list until the first good answer',
  },
  SYMBOLS_ALLOWLIST: {
    parse: parseAllowlist,
    default: [] as readonly string[],
    describe: 'if set, only these are forwarded, wherever they come from (12 at most)',
  },
  SYMBOLS_URL: {
    parse: optional(kind.url('http:', 'https:')),
    default: undefined as string | undefined,
    describe: 'service that answers the list of symbols; unset: SYMBOLS alone',
    aliases: ['JANGAR_SYMBOLS_URL'],
  },
  SYMBOLS_POLL_INTERVAL_MS: {
    parse: kind.integer(1),
    default: 30_000,
    describe: 'time between two polls of SYMBOLS_URL',
    time: 'machine',
  },
  SHARD_COUNT: { parse: kind.integer(1, 1_000), default: 1, describe: 'processes that share the symbols' },
  SHARD_INDEX: { parse: kind.integer(0, 999), default: 0, describe: 'which of them this one is, from 0' },
  ALPACA_CONNECTION_LIMIT: {
    parse: kind.integer(1, 1_000),
    default: 1,
    describe: 'connections that the plan allows to one endpoint with one key',
  },
  ALPACA_SYMBOL_LIMIT: {
    parse: optional(kind.integer(0)),
    default: undefined as number | undefined,
    describe:
      'symbols over trades and quotes together that the plan grants; 0 for no limit; default 30 on iex, else none',
  },
  MARKET_DATA_UNIVERSE_ID: {
    parse: kind.optionalText,
    default: undefined as string | undefined,
    describe: 'name of the versioned universe that SYMBOLS is; with its hash only',
  },
  MARKET_DATA_UNIVERSE_SYMBOL_HASH: {
    parse: kind.optionalText,
    default: undefined as string | undefined,
    describe: 'SHA-256 of the comma-joined symbols of the universe, lower-case hex',
  },
} satisfies VariableTable;

export interface SymbolSettings {
  /** The list at start: normalised, allowed, of this shard. */
  symbols: readonly string[];
  rules: SymbolRules;
  shard: Shard;
  universe: Universe | undefined;
  /** Symbol-channel pairs over trades and quotes that the plan grants; undefined: no limit. */
  pairLimit: number | undefined;
}

/** What the free plan of the iex feed grants over trades and quotes together (spec ingest 1.1). */
const IEX_PAIRS = 30;

/** Works the settings out; every mistake is a text that names its variable. */
export function resolveSymbols(
  values: ConfigOf<typeof symbolVariables>,
  context: { feed: string; channels: readonly MarketChannel[]; isLogEmbedded: boolean },
): { settings: SymbolSettings; mistakes: string[] } {
  const mistakes: string[] = [];
  const shard: Shard = { index: values.SHARD_INDEX, count: values.SHARD_COUNT };
  if (shard.index >= shard.count) mistakes.push('SHARD_INDEX must be below SHARD_COUNT');
  if (shard.count > values.ALPACA_CONNECTION_LIMIT) {
    mistakes.push(
      `SHARD_COUNT ${shard.count} needs as many connections of one key, ALPACA_CONNECTION_LIMIT allows ${values.ALPACA_CONNECTION_LIMIT}`,
    );
  }
  if (shard.count > 1 && context.isLogEmbedded) {
    mistakes.push('SHARD_COUNT above 1 needs KAFKA_BOOTSTRAP: the embedded log has one forwarder');
  }
  const pairLimit = values.ALPACA_SYMBOL_LIMIT ?? (context.feed === 'iex' ? IEX_PAIRS : 0);
  const counted = context.channels.filter((channel) => channel === 'trades' || channel === 'quotes').length;
  const limit = pairLimit === 0 || counted === 0 ? undefined : Math.floor(pairLimit / counted);
  const allowed = normalizeSymbols(values.SYMBOLS, {
    allowlist: values.SYMBOLS_ALLOWLIST,
    shard: { index: 0, count: 1 },
  });
  if (allowed.length === 0 && values.SYMBOLS_URL === undefined) {
    mistakes.push('SYMBOLS names no symbol (after SYMBOLS_ALLOWLIST), and there is no SYMBOLS_URL');
  }
  const symbols = allowed.filter((symbol) => isOwnSymbol(symbol, shard));
  if (limit !== undefined && symbols.length > limit) {
    mistakes.push(
      `SYMBOLS has ${symbols.length} symbols, the ${context.feed} feed grants ${pairLimit} over trades and quotes (ALPACA_SYMBOL_LIMIT)`,
    );
  }
  const { MARKET_DATA_UNIVERSE_ID: id, MARKET_DATA_UNIVERSE_SYMBOL_HASH: symbolHash } = values;
  let universe: Universe | undefined;
  if ((id === undefined) !== (symbolHash === undefined)) {
    mistakes.push('MARKET_DATA_UNIVERSE_ID and MARKET_DATA_UNIVERSE_SYMBOL_HASH go together');
  } else if (id !== undefined && symbolHash !== undefined) {
    universe = { id, symbolHash, symbols: values.SYMBOLS };
    if (values.SYMBOLS_URL !== undefined) mistakes.push('SYMBOLS_URL and a versioned universe exclude each other');
    mistakes.push(...universeMistakes(universe));
  }
  const rules: SymbolRules = { allowlist: values.SYMBOLS_ALLOWLIST, shard, limit };
  return {
    settings: { symbols, rules, shard, universe, pairLimit: pairLimit === 0 ? undefined : pairLimit },
    mistakes,
  };
}
