/**
 * Reads the next signals and judges them before anything is made of them (spec trading 1.3, 1.7).
 * Guarantee: a store that does not answer is a reading too ("unavailable"), so that stops, flatten and reconcile go on
 * without it; the cursor is not touched here.
 */
import { describeError, TorghutError } from '../service/errors.ts';
import type { Logger } from '../service/logging.ts';
import type { CatalogEntry } from '../strategy/catalog.ts';
import { timeframeOf } from '../strategy/signal.ts';
import { cursorName } from './batch.ts';
import { type CycleCounters, count } from './counters.ts';
import type { SignalPosition, SignalRow, SignalSource } from './ports.ts';
import { judgeQuality, type Quality } from './quality.ts';
import type { TradingSettings } from './settings.ts';

export interface Intake {
  /** Everything that was read: the cursor moves past all of it. */
  rows: readonly SignalRow[];
  /** Of the sources that may be listened to. */
  relevant: readonly SignalRow[];
  quality: Quality;
  /** Why nothing could be read; undefined when it could. */
  fault: string | undefined;
  /** Newest event time of everything read so far, market ms. */
  newestEventMs: number | undefined;
}

export interface SignalIntake {
  read(from: readonly SignalPosition[], entries: readonly CatalogEntry[]): Promise<Intake>;
  /** Did the newest reading reach the end of the log there? */
  readonly atEnd: ReadonlyMap<string, boolean>;
}

export interface IntakePorts {
  settings: TradingSettings;
  signals: SignalSource;
  clock: { nowMs(): number };
  counters: CycleCounters;
  log: Logger;
}

export function signalIntake({ settings, signals, clock, counters, log }: IntakePorts): SignalIntake {
  const atEnd = new Map<string, boolean>();
  let newestEventMs: number | undefined;
  let told = '';

  /** Once when something begins, changes or ends: a cycle comes every few seconds. */
  const tell = (
    quality: Quality,
    fault: string | undefined,
    why: string | undefined,
    from: readonly SignalPosition[],
  ) => {
    const now = [fault, ...quality.reasons, ...quality.warnings].filter((code) => code !== undefined).join(' ');
    if (now === told) return;
    told = now;
    const about = { reason_codes: now, rows_total: quality.rows, account_label: settings.accountLabel, why };
    const cursor = from.map((place) => `${place.windowSize}:${place.partition}:${place.from}`).join(' ');
    if (fault !== undefined || quality.verdict !== 'pass') log.error({ ...about, cursor }, 'signals are not taken');
    else if (now !== '') log.warn({ ...about, null_rate: quality.nullRate }, 'signals lack features');
    else log.info('signals are taken again');
  };

  const readRows = async (from: readonly SignalPosition[]) => {
    try {
      return { rows: await signals.read(from, settings.batchSize), fault: undefined, why: undefined };
    } catch (error) {
      if (!(error instanceof TorghutError) || !error.canRetry) throw error;
      count(counters.faults, error.code);
      return { rows: [], fault: 'clickhouse_signal_query_failed', why: describeError(error) };
    }
  };

  const isHeard = (row: SignalRow): boolean => {
    const { signalSources } = settings;
    const source = row.features.source;
    return signalSources === 'all' || (typeof source === 'string' && signalSources.includes(source.toLowerCase()));
  };

  /** Rows that an enabled strategy looks at: the others cannot make a batch worse than it is. */
  const concerns = (row: SignalRow, entries: readonly CatalogEntry[]): boolean =>
    entries.some(
      (entry) =>
        entry.enabled &&
        entry.timeframe === timeframeOf(row.windowSize) &&
        (entry.symbols.length === 0 || entry.symbols.includes(row.symbol)),
    );

  return {
    atEnd,
    read: async (from, entries) => {
      const { rows, fault, why } = await readRows(from);
      if (fault === undefined) {
        const counts = new Map<string, number>();
        for (const row of rows) counts.set(cursorName(row), (counts.get(cursorName(row)) ?? 0) + 1);
        for (const place of from) {
          atEnd.set(cursorName(place), (counts.get(cursorName(place)) ?? 0) < settings.batchSize);
        }
      }
      for (const { eventTsMs } of rows) newestEventMs = Math.max(newestEventMs ?? eventTsMs, eventTsMs);
      const relevant = rows.filter(isHeard);
      const judged = relevant.filter((row) => concerns(row, entries));
      const quality = judgeQuality(judged, clock.nowMs(), settings.quality);
      tell(quality, fault, why, from);
      counters.judge(quality);
      return { rows, relevant, quality, fault, newestEventMs };
    },
  };
}
