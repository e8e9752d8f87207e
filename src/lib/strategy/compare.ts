/**
 * Catalogs as plain values, and what differs between two of them (`torghut strategy diff`, rollback plans). Pure.
 */
import type { CatalogEntry } from './catalog.ts';

/** A strategy as the catalog normalised it: every default filled in, decimals as text. Stored with each version. */
export interface StrategySummary {
  name: string;
  strategy_id: string;
  type: string;
  version: string | null;
  description: string;
  enabled: boolean;
  priority: number;
  base_timeframe: string;
  universe_type: string;
  symbols: readonly string[];
  max_notional_per_trade: string | null;
  max_position_pct_equity: string | null;
  params: unknown;
}

export function strategySummary(entry: CatalogEntry): StrategySummary {
  return {
    name: entry.name,
    strategy_id: entry.strategyId,
    type: entry.type,
    version: entry.version,
    description: entry.description,
    enabled: entry.enabled,
    priority: entry.priority,
    base_timeframe: entry.timeframe,
    universe_type: entry.universeType,
    symbols: entry.symbols,
    max_notional_per_trade: entry.maxNotionalPerTrade?.toFixed() ?? null,
    max_position_pct_equity: entry.maxPositionPctEquity?.toFixed() ?? null,
    params: entry.params,
  };
}

export interface StrategyDifference {
  strategy: string;
  change: 'added' | 'removed' | 'changed';
  /** Name of the field, `params.x` inside the parameters; empty for a whole strategy. */
  field: string;
  from: string;
  to: string;
}

type Fields = ReadonlyMap<string, string>;

/** Every leaf by its path; a list is one leaf. */
function fieldsOf(value: unknown, path: string, into: Map<string, string>): Map<string, string> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    for (const [name, item] of Object.entries(value)) fieldsOf(item, path === '' ? name : `${path}.${name}`, into);
  } else into.set(path, Array.isArray(value) ? value.map(String).join(',') || '*' : String(value ?? '-'));
  return into;
}

const byName = (list: readonly StrategySummary[]): ReadonlyMap<string, Fields> =>
  new Map(list.map((item) => [item.name, fieldsOf(item, '', new Map())]));

/** What turns `from` into `to`, by name of the strategy and then of the field. */
export function catalogDifferences(
  from: readonly StrategySummary[],
  to: readonly StrategySummary[],
): StrategyDifference[] {
  const [before, after] = [byName(from), byName(to)];
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  return names.flatMap((strategy): StrategyDifference[] => {
    const [old, now] = [before.get(strategy), after.get(strategy)];
    if (!old) return [{ strategy, change: 'added', field: '', from: '-', to: stateOf(now) }];
    if (!now) return [{ strategy, change: 'removed', field: '', from: stateOf(old), to: '-' }];
    const fields = [...new Set([...old.keys(), ...now.keys()])].sort();
    return fields
      .filter((field) => old.get(field) !== now.get(field))
      .map((field) => ({
        strategy,
        change: 'changed',
        field,
        from: old.get(field) ?? '-',
        to: now.get(field) ?? '-',
      }));
  });
}

const stateOf = (fields: Fields | undefined): string =>
  `${fields?.get('type') ?? ''} ${fields?.get('enabled') === 'true' ? 'enabled' : 'disabled'}`.trim();
