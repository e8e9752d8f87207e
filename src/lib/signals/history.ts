/**
 * Bars and signals over time for people and pages (spec ta 9): bounded ranges, pages behind a cursor, thinning on the server.
 * Guarantees: one row per key, the highest revision; ascending by event time; a page never holds more than its limit, and the
 * pages of a range together hold every row once. Parameters go as query parameters; read-only by the server's own setting.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { usageError } from '../service/errors.ts';
import { storeError } from './errors.ts';
import { checkedName } from './schema.ts';
import { indicatorNames } from './tables.ts';

export type HistoryWindow = 'PT1S' | 'PT1M';

export interface HistoryRange {
  symbol: string;
  window: HistoryWindow;
  /** Epoch ms, windows that end in (from, to]. */
  fromMs: number;
  toMs: number;
  /** Seconds that one row stands for; the window itself by default. */
  stepSeconds: number | undefined;
  limit: number;
  /** Only rows after this event time: where the page before ended. */
  afterMs: number | undefined;
}

export interface HistoryPage {
  items: Record<string, unknown>[];
  /** Event time, ms, behind which the next page begins; null at the end. */
  nextAfterMs: number | null;
}

export interface SignalHistory {
  symbols(): Promise<{ symbol: string; first: string; last: string }[]>;
  /** Newest bar and signal of a symbol; null where there is none. */
  latest(
    symbol: string,
    window: HistoryWindow,
  ): Promise<{ bars: Record<string, unknown> | null; signals: Record<string, unknown> | null }>;
  bars(range: HistoryRange): Promise<HistoryPage>;
  signals(range: HistoryRange): Promise<HistoryPage>;
}

const DAY_MS = 86_400_000;
/** Longest range of each window (spec ta 9). */
const longestMs: Record<HistoryWindow, number> = { PT1S: DAY_MS, PT1M: 30 * DAY_MS };
const windowSeconds: Record<HistoryWindow, number> = { PT1S: 1, PT1M: 60 };

/** @throws `history_range` (exit 2) */
export function checkRange({
  window,
  fromMs,
  toMs,
  stepSeconds,
}: Pick<HistoryRange, 'window' | 'fromMs' | 'toMs' | 'stepSeconds'>): void {
  const refuse = (what: string, next: string): never => {
    throw usageError({ code: 'history_range', what, next });
  };
  if (toMs <= fromMs) refuse('from is not before to', 'give from before to');
  if (toMs - fromMs > longestMs[window]) {
    refuse(
      `the range is longer than ${longestMs[window] / DAY_MS} days`,
      'ask for less at once; a day of PT1S, 30 days of PT1M',
    );
  }
  if (stepSeconds !== undefined && stepSeconds % windowSeconds[window] !== 0) {
    refuse(`step ${stepSeconds} is no multiple of the window`, 'give whole windows in seconds');
  }
}

const rowSchema = z.record(z.string(), z.unknown());
const time = "formatDateTime(event_ts, '%Y-%m-%dT%H:%i:%SZ', 'UTC')";
const range = `symbol = {symbol:String} AND event_ts > fromUnixTimestamp64Milli({from:Int64}, 'UTC')
  AND event_ts <= fromUnixTimestamp64Milli({to:Int64}, 'UTC')`;
/** Market ms from the end of the window to its row. */
const lag = "dateDiff('millisecond', event_ts, stored_at)";
/** End of the step that a window belongs to. */
const stepEnd =
  "toDateTime(intDiv(toUnixTimestamp(event_ts) + {step:UInt32} - 1, {step:UInt32}) * {step:UInt32}, 'UTC')";

export function createSignalHistory(options: { client(): Promise<ClickHouseClient>; database: string }): SignalHistory {
  const database = checkedName(options.database);

  const ask = async (query: string, parameters: Record<string, unknown>): Promise<Record<string, unknown>[]> => {
    try {
      const client = await options.client();
      const result = await client.query({
        query,
        query_params: parameters,
        format: 'JSONEachRow',
        clickhouse_settings: {
          readonly: '2',
          // Numbers of bars and seconds stay far below 2^53.
          output_format_json_quote_64bit_integers: 0,
          // event_ts in a condition is the column, not the text that is shown for it.
          prefer_column_name_to_alias: 1,
          do_not_merge_across_partitions_select_final: 1,
          max_execution_time: 10,
        },
      });
      return z.array(rowSchema).parse(await result.json());
    } catch (error) {
      if (error instanceof z.ZodError) throw error;
      throw storeError(error);
    }
  };

  const page = async (query: string, given: HistoryRange): Promise<HistoryPage> => {
    const { symbol, window, fromMs, toMs, limit, afterMs, stepSeconds } = given;
    const step = stepSeconds ?? windowSeconds[window];
    // A step belongs to the range as a whole: a page begins behind the step that the one before ended with.
    const parameters = { symbol, window, from: Math.max(fromMs, afterMs ?? 0), to: toMs, step, limit: limit + 1 };
    const rows = await ask(query, parameters);
    const items = rows.slice(0, limit);
    const last = items.at(-1)?.event_ts;
    return { items, nextAfterMs: rows.length > limit && typeof last === 'string' ? Date.parse(last) : null };
  };

  const barFields = `formatDateTime(step_end, '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS event_ts,
  argMinIf(o, log.event_ts, o IS NOT NULL) AS o, max(h) AS h, min(l) AS l, argMaxIf(c, log.event_ts, c IS NOT NULL) AS c, sum(log.v) AS v,
  if(sumIf(log.v, vwap IS NOT NULL) > 0, sum(vwap * log.v) / sumIf(log.v, vwap IS NOT NULL), NULL) AS vwap,
  sum(log.count) AS count, max(log.revision) AS revision, max(lag) AS lag_ms, NULL AS warm`;

  const signalFields = `${time.replace('event_ts', 'at')} AS event_ts, ${indicatorNames.join(', ')}, n_bars,
  CAST(is_warm, 'Bool') AS warm, signal_quality_flag, revision, lag AS lag_ms`;

  return {
    symbols: async () => {
      const rows = await ask(
        `SELECT symbol, ${time.replace('event_ts', 'min(event_ts)')} AS first, ${time.replace('event_ts', 'max(event_ts)')} AS last
FROM ${database}.ta_microbars GROUP BY symbol ORDER BY symbol`,
        {},
      );
      return z.array(z.object({ symbol: z.string(), first: z.string(), last: z.string() })).parse(rows);
    },
    latest: async (symbol, window) => {
      const newest = (table: string, fields: string, of: HistoryWindow) =>
        ask(
          `SELECT symbol, window_size AS window, ${time} AS event_ts, ${fields}, revision, ${lag} AS lag_ms
FROM ${database}.${table} AS log WHERE symbol = {symbol:String} AND window_size = {window:String}
ORDER BY log.event_ts DESC, revision DESC LIMIT 1`,
          { symbol, window: of },
        );
      const [[bar], [signal]] = await Promise.all([
        newest('ta_microbars', 'o, h, l, c, v, vwap, count, NULL AS warm', 'PT1S'),
        newest(
          'ta_signals',
          `${indicatorNames.join(', ')}, n_bars, CAST(is_warm, 'Bool') AS warm, signal_quality_flag`,
          window,
        ),
      ]);
      return { bars: bar ?? null, signals: signal ?? null };
    },
    bars: (given) => {
      checkRange(given);
      // Only 1-second bars are stored: a minute is sixty of them.
      const source = `(SELECT *, ${stepEnd} AS step_end, ${lag} AS lag FROM ${database}.ta_microbars FINAL
  WHERE window_size = 'PT1S' AND ${range}) AS log`;
      return page(
        `SELECT {symbol:String} AS symbol, {window:String} AS window, ${barFields}
FROM ${source} GROUP BY step_end ORDER BY step_end LIMIT {limit:UInt32}`,
        given,
      );
    },
    signals: (given) => {
      checkRange(given);
      // Of each step the newest row: an indicator is a state, not a sum.
      return page(
        `SELECT symbol, window_size AS window, ${signalFields} FROM (
  SELECT *, event_ts AS at, ${stepEnd} AS step_end, ${lag} AS lag FROM ${database}.ta_signals FINAL
  WHERE window_size = {window:String} AND ${range} ORDER BY event_ts DESC LIMIT 1 BY step_end
) ORDER BY at LIMIT {limit:UInt32}`,
        given,
      );
    },
  };
}
