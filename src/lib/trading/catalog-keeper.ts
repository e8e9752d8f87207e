/**
 * Keeps the catalog in force: looks at the file every few market seconds, applies a changed one to the ledger, and keeps the
 * last good one through every failure (spec trading 2.2).
 */
import type { Leadership, Ledger, StrategyEntry } from '../ledger/contract.ts';
import { toJsonb } from '../ledger/jsonb.ts';
import { isUnstorable } from '../orders/unstorable.ts';
import { describeError } from '../service/errors.ts';
import type { Logger } from '../service/logging.ts';
import type { CatalogEntry } from '../strategy/catalog.ts';
import { strategySummary } from '../strategy/compare.ts';
import { builtInStrategies, type StrategyRegistry } from '../strategy/registry.ts';
import { applyReading, blocksEntries, type CatalogState, noCatalog, refuseReading } from '../strategy/reload.ts';
import type { CatalogSource } from './ports.ts';
import type { TradingSettings } from './settings.ts';

export interface CatalogKeeper {
  readonly entries: readonly CatalogEntry[];
  /** Entries are held back because the file stays broken. */
  readonly isInvalid: boolean;
  /** Ledger ids by strategy name. */
  readonly strategyIds: ReadonlyMap<string, string>;
  readonly digest: string | null;
  /** Number of the version in force in `torghut strategy history`. */
  readonly version: number | null;
  /** What is wrong with the file now; null when nothing is. */
  readonly failure: string | null;
  /** Looks at the file when its time has come. @throws ledger errors of the apply */
  refresh(nowMs: number, ledger: Ledger, leadership: Leadership): Promise<void>;
}

function toStrategyEntry(entry: CatalogEntry): StrategyEntry {
  return {
    name: entry.name,
    enabled: entry.enabled,
    description: entry.description,
    baseTimeframe: entry.timeframe,
    universeType: entry.universeType,
    universeSymbols: entry.symbols,
    ...(entry.maxPositionPctEquity === null ? {} : { maxPositionPctEquity: entry.maxPositionPctEquity }),
    ...(entry.maxNotionalPerTrade === null ? {} : { maxNotionalPerTrade: entry.maxNotionalPerTrade }),
    catalogMeta: toJsonb({
      strategy_id: entry.strategyId,
      type: entry.type,
      version: entry.version,
      params: entry.params,
      priority: entry.priority,
    }),
  };
}

/**
 * @param registry the strategies that the catalog may name
 * @param source undefined when no catalog is configured: no strategies, and the ledger's rows are left alone
 */
export function catalogKeeper(
  source: CatalogSource | undefined,
  settings: Pick<TradingSettings, 'catalogMode' | 'catalogReloadSeconds'>,
  log: Logger,
  registry: StrategyRegistry = builtInStrategies,
): CatalogKeeper {
  let state: CatalogState = noCatalog;
  let strategyIds: ReadonlyMap<string, string> = new Map();
  let lastLookMs: number | undefined;
  let version: number | null = null;

  /** Once for each failure: a look comes every few seconds. */
  const tellFailure = ({ failure }: CatalogState) => {
    if (!failure || failure.message === state.failure?.message) return;
    log.error({ kind: failure.kind, why: failure.message }, 'Strategy catalog load failed');
  };

  const refresh = async (nowMs: number, ledger: Ledger, leadership: Leadership) => {
    if (source === undefined) return;
    if (lastLookMs !== undefined && nowMs - lastLookMs < settings.catalogReloadSeconds * 1_000) return;
    const reading = await source.read();
    const next = applyReading(state, reading, settings.catalogMode, registry);
    tellFailure(next.state);
    if (next.changed && 'text' in reading) {
      // The ledger first: a catalog counts as in force only when its rows are there.
      const applying = ledger.write(leadership, (tx) =>
        tx.strategies.applyCatalog({
          entries: next.state.catalog.entries.map(toStrategyEntry),
          digest: next.state.digest ?? '',
          mode: settings.catalogMode,
          actor: 'trade',
          source: { text: reading.text, strategies: toJsonb(next.state.catalog.entries.map(strategySummary)) },
        }),
      );
      const applied = await applying.catch((error: unknown) => {
        if (!isUnstorable(error)) throw error;
        return describeError(error);
      });
      if (typeof applied === 'string') {
        // An edit must not end the loop: what is in force goes on, exits and cancels too.
        const refused = refuseReading(state, 'unstorable', `the ledger cannot hold it: ${applied}`);
        tellFailure(refused);
        state = refused;
        lastLookMs = nowMs;
        return;
      }
      strategyIds = new Map(applied.rows.map((row) => [row.name, row.id]));
      version = applied.version ?? null;
      const { inserted, updated, disabled } = applied;
      log.info({ digest: next.state.digest, version, inserted, updated, disabled }, 'strategy catalog applied');
    }
    state = next.state;
    lastLookMs = nowMs;
  };

  return {
    get entries() {
      return state.catalog.entries;
    },
    get isInvalid() {
      return blocksEntries(state);
    },
    get strategyIds() {
      return strategyIds;
    },
    get version() {
      return version;
    },
    get digest() {
      return state.digest;
    },
    get failure() {
      return state.failure?.message ?? null;
    },
    refresh,
  };
}
