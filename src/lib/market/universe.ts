/**
 * A versioned universe: a name, and the hash of exactly the symbols it stands for, so that two deployments that claim the same
 * universe have the same list (spec ingest 2.1). Pure.
 */
import { createHash } from 'node:crypto';

export interface Universe {
  id: string;
  symbolHash: string;
  symbols: readonly string[];
}

const ID = /^[a-z0-9]+([.-][a-z0-9]+)*$/;

/** Lower-case hex SHA-256 of the symbols joined by commas. */
export function universeHash(symbols: readonly string[]): string {
  return createHash('sha256').update(symbols.join(',')).digest('hex');
}

/**
 * What is wrong with a universe, as texts that continue a variable's name; empty when nothing is.
 * @param symbols as configured, before allowlist and shards
 */
export function universeMistakes(universe: Universe): string[] {
  const { id, symbolHash, symbols } = universe;
  const mistakes: string[] = [];
  if (!ID.test(id)) mistakes.push('MARKET_DATA_UNIVERSE_ID must be lower-case words with . or - between them');
  const isSorted = symbols.every((symbol, i) => i === 0 || (symbols[i - 1] as string) < symbol);
  if (!isSorted) mistakes.push('SYMBOLS of a versioned universe must be sorted, each once');
  const hash = universeHash(symbols);
  if (hash !== symbolHash) {
    mistakes.push(`MARKET_DATA_UNIVERSE_SYMBOL_HASH is not that of SYMBOLS, which is ${hash}`);
  }
  return mistakes;
}
