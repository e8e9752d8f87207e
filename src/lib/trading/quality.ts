/**
 * The gate on the quality of a batch of signals (spec trading 1.7), pure: what is wrong with the rows, and what follows.
 * Our order of progress is the place in the signal log (design 5), so "must not decrease" is asked of offsets, and a
 * revision of a window is no duplicate. Guarantee: a batch is either decided on, passed over as stale, or left unread.
 */
import { featureSchemaVersion } from '../ta/record.ts';
import type { SignalRow } from './ports.ts';
import type { QualitySettings } from './settings.ts';

const required = ['macd', 'macdSignal', 'rsi14'] as const;

export interface Quality {
  rows: number;
  /** Codes of what is wrong and holds decisions. */
  reasons: readonly string[];
  /** Codes that are only told. */
  warnings: readonly string[];
  /** `pass`: decide; `skip`: the cursor moves on, nothing is decided; `hold`: nothing of it counts as read. */
  verdict: 'pass' | 'skip' | 'hold';
  stalenessP95Ms: number;
  duplicateRatio: number;
  nullRate: number;
}

const nothing: Quality = {
  rows: 0,
  reasons: [],
  warnings: [],
  verdict: 'pass',
  stalenessP95Ms: 0,
  duplicateRatio: 0,
  nullRate: 0,
};

function percentile95(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * 0.95) - 1)] ?? 0;
}

/** Do the offsets of every partition and window rise from row to row? */
function isMonotonic(rows: readonly SignalRow[]): boolean {
  const last = new Map<string, bigint>();
  for (const row of rows) {
    const place = `${row.windowSize}:${row.partition}`;
    const before = last.get(place);
    if (before !== undefined && row.offset <= before) return false;
    last.set(place, row.offset);
  }
  return true;
}

function duplicateRatioOf(rows: readonly SignalRow[]): number {
  const keys = new Set(rows.map((row) => `${row.symbol} ${row.windowSize} ${row.eventTsMs} ${row.revision}`));
  return rows.length === 0 ? 0 : (rows.length - keys.size) / rows.length;
}

/** A row that declares no schema is taken for ours. */
function hasForeignSchema(row: SignalRow): boolean {
  const version = row.features.feature_schema_version;
  return typeof version === 'string' && version !== '' && version !== featureSchemaVersion;
}

/** @param rows of the symbols and windows that enabled strategies look at, as they were read */
export function judgeQuality(rows: readonly SignalRow[], nowMs: number, settings: QualitySettings): Quality {
  if (!settings.isEnabled || rows.length === 0) return nothing;
  const stalenessP95Ms = percentile95(rows.map((row) => Math.max(0, nowMs - row.eventTsMs)));
  const duplicateRatio = duplicateRatioOf(rows);
  const nulls = rows.reduce((sum, row) => sum + required.filter((name) => row[name] === null).length, 0);
  const nullRate = nulls / (rows.length * required.length);
  const holds = [
    ...(isMonotonic(rows) ? [] : ['non_monotonic_progression']),
    ...(rows.some(hasForeignSchema) ? ['schema_mismatch'] : []),
    ...(duplicateRatio > settings.maxDuplicateRatio ? ['duplicate_ratio_exceeds_threshold'] : []),
  ];
  const isStale = stalenessP95Ms > settings.maxStalenessMs;
  return {
    rows: rows.length,
    reasons: [...holds, ...(isStale ? ['feature_staleness_exceeds_budget'] : [])],
    warnings: nullRate > settings.maxNullRate ? ['required_feature_null_rate_exceeds_threshold'] : [],
    verdict: holds.length > 0 ? 'hold' : isStale ? 'skip' : 'pass',
    stalenessP95Ms,
    duplicateRatio,
    nullRate,
  };
}
