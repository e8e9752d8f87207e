/**
 * Hot reload of the catalog as a pure state machine (spec trading 2.2): same digest is no change; a whole valid file
 * replaces the catalog; any failure keeps the last good one. After three failures in a row entries are blocked and only
 * exits go on (`strategy_catalog_invalid`), because the limits in force may no longer be the ones that are meant.
 */
import { type Catalog, type CatalogMistake, parseCatalog } from './catalog.ts';
import { builtInStrategies, type StrategyRegistry } from './registry.ts';

/** Failures in a row after which new entries are blocked. */
const BLOCK_AFTER = 3;

export interface CatalogState {
  catalog: Catalog;
  /** sha256 hex of the file in force; null before the first. */
  digest: string | null;
  failuresInRow: number;
  /** Why the newest reading failed; null when it was good. */
  failure: CatalogFailure | null;
}

export interface CatalogFailure {
  kind: 'io' | 'parse' | 'empty' | 'unstorable';
  message: string;
  mistakes: readonly CatalogMistake[];
}

/** What reading the file gave. */
export type CatalogReading = { text: string; digest: string } | { ioError: string };

/** `sync` disables strategies that the file no longer names, `merge` leaves them. */
export type CatalogMode = 'merge' | 'sync';

export const noCatalog: CatalogState = {
  catalog: { entries: [], allowEmpty: false },
  digest: null,
  failuresInRow: 0,
  failure: null,
};

/** Are new entries blocked because the file stays unreadable? */
export function blocksEntries(state: CatalogState): boolean {
  return state.failuresInRow >= BLOCK_AFTER;
}

/** A reading that cannot be taken over: the catalog in force stays. */
export function refuseReading(
  state: CatalogState,
  kind: CatalogFailure['kind'],
  message: string,
  mistakes: readonly CatalogMistake[] = [],
): CatalogState {
  return { ...state, failuresInRow: state.failuresInRow + 1, failure: { kind, message, mistakes } };
}

/** The next state after one reading, and whether the catalog in force changed. */
export function applyReading(
  state: CatalogState,
  reading: CatalogReading,
  mode: CatalogMode,
  registry: StrategyRegistry = builtInStrategies,
): { state: CatalogState; changed: boolean } {
  const fail = (kind: CatalogFailure['kind'], message: string, mistakes: readonly CatalogMistake[] = []) => ({
    state: refuseReading(state, kind, message, mistakes),
    changed: false,
  });
  if ('ioError' in reading) return fail('io', reading.ioError);
  if (reading.digest === state.digest) return { state: { ...state, failuresInRow: 0, failure: null }, changed: false };
  const parsed = parseCatalog(reading.text, registry);
  if (!parsed.ok) return fail('parse', describeMistakes(parsed.mistakes), parsed.mistakes);
  if (mode === 'sync' && parsed.catalog.entries.length === 0 && !parsed.catalog.allowEmpty) {
    return fail('empty', 'the file names no strategy and would disable all; set allow_empty: true when that is meant');
  }
  const entries = mode === 'sync' ? parsed.catalog.entries : merge(state.catalog, parsed.catalog);
  return {
    state: {
      catalog: { entries, allowEmpty: parsed.catalog.allowEmpty },
      digest: reading.digest,
      failuresInRow: 0,
      failure: null,
    },
    changed: true,
  };
}

function merge(old: Catalog, next: Catalog): Catalog['entries'] {
  const named = new Set(next.entries.map((entry) => entry.name));
  const kept = old.entries.filter((entry) => !named.has(entry.name));
  return [...next.entries, ...kept].sort((a, b) => a.priority - b.priority || a.line - b.line);
}

/** One line per mistake: `line:column path: message`. */
export function describeMistakes(mistakes: readonly CatalogMistake[]): string {
  return mistakes.map((m) => `${m.line}:${m.column} ${m.path}: ${m.message}`).join('; ');
}
