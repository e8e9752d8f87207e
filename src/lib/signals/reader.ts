/**
 * What trade reads of the signal store (spec ta 4.7, design 5): the signal log by the gapless source offset, and newest prices.
 * Guarantees: rows of one partition and window size come once and by ascending offset, also when a record was stored twice;
 * everything is parsed; every value goes as a query parameter.
 */
import type { ClickHouseClient, ClickHouseSettings } from '@clickhouse/client';
import { Decimal } from 'decimal.js';
import { z } from 'zod';
import type { PriceView } from '../risk/snapshot.ts';
import type { SignalPosition, SignalRow, SignalSource } from '../trading/ports.ts';
import { storeError } from './errors.ts';
import { signalLog } from './tables.ts';

export interface SignalReaderOptions {
  /** Asked before every query, so that a restarted store is found. */
  client(): Promise<ClickHouseClient>;
  database: string;
  runId: string;
  /** Partitions of the ta topics. */
  partitions: number;
  /** A replicated cluster: read what the majority has. */
  isCluster?: boolean;
}

export interface SignalReader extends SignalSource {
  /** Newest event time in the store, market milliseconds; undefined while it is empty. */
  newestEventMs(): Promise<number | undefined>;
  /** Where the signal log of this run ends, for each window size and partition that has rows. */
  ends(): Promise<SignalEnd[]>;
}

export interface SignalEnd {
  windowSize: 'PT1S' | 'PT1M';
  partition: number;
  /** The offset after the newest row. */
  endOffset: bigint;
  /** Market ms. */
  newestEventMs: number;
}

const number = z.number().nullable();
const logRowSchema = z.looseObject({
  symbol: z.string(),
  window_size: z.enum(['PT1S', 'PT1M']),
  event_ms: z.coerce.number(),
  revision: z.coerce.number(),
  src_partition: z.coerce.number(),
  src_offset: z.coerce.bigint(),
  macd: number,
  macd_signal: number,
  rsi14: number,
});
const priceSchema = z.object({ symbol: z.string(), event_ms: z.coerce.number(), c: z.number(), volume: z.number() });
const endSchema = z.object({
  window_size: z.enum(['PT1S', 'PT1M']),
  src_partition: z.coerce.number(),
  last_offset: z.coerce.bigint(),
  event_ms: z.coerce.number(),
});
/** Offsets over which the rounded condition of the tail stays the same: long enough to pay, short enough to leave most rows out. */
const roundedTo = 2_048n;
const featureSchema = z.union([z.number(), z.string(), z.boolean(), z.null()]);

/** Columns stored with a decision as its features: everything but identity and place. */
const featureNames = signalLog.columns
  .map(({ name }) => name)
  .filter((name) => !['symbol', 'window_size', 'event_ts', 'revision', 'src_partition', 'src_offset'].includes(name));

const selectList = [
  'symbol',
  'window_size',
  'toString(toUnixTimestamp64Milli(event_ts)) AS event_ms',
  'revision',
  'src_partition',
  'toString(src_offset) AS src_offset',
  ...featureNames.map(plain),
].join(', ');

/** 64-bit numbers and times come as text: JSON numbers are doubles. */
function plain(name: string): string {
  const type = signalLog.columns.find((column) => column.name === name)?.type ?? '';
  return /Int64|DateTime64/.test(type) ? `toString(${name}) AS ${name}` : name;
}

export function createSignalReader(options: SignalReaderOptions): SignalReader {
  const { database, runId } = options;
  const settings: ClickHouseSettings = options.isCluster ? { select_sequential_consistency: '1' } : {};

  const query = async <T>(schema: z.ZodType<T>, sql: string, parameters: Record<string, unknown>): Promise<T[]> => {
    try {
      const client = await options.client();
      const result = await client.query({
        query: sql,
        query_params: parameters,
        format: 'JSONEachRow',
        clickhouse_settings: settings,
      });
      return z.array(schema).parse(await result.json());
    } catch (error) {
      if (error instanceof z.ZodError) throw error;
      throw storeError(error);
    }
  };

  /**
   * The rows behind all positions as one scan of the index, for a loop that is near the end: a third of the engine's CPU of the
   * union below, which a loop repeats many times a second on a fast clock.
   * The index alone leaves granules of every day to be read, those where one partition ends and the next one begins. The wider
   * condition with rounded offsets stays the same over many polls, so the engine's query condition cache knows of nearly all of
   * these granules that nothing in them fits (measured over 35 days: 18,000 rows read instead of 575,000); no answer changes.
   * It is short, and what was stored twice is left out here and not by LIMIT BY, because planning is most of what remains
   * (measured: 27 against 37 ms for the whole call); a second thread for a few rows only lengthens the tail.
   * @returns undefined when there is more than fits, so that the last positions may have got nothing
   */
  const readTail = async (positions: readonly SignalPosition[], limit: number): Promise<SignalRow[] | undefined> => {
    const parameters: Record<string, unknown> = { run: runId, limit: limit * positions.length };
    const lowest = new Map<number, bigint>();
    const ranges = positions.map(({ windowSize, partition, from }, i) => {
      parameters[`window${i}`] = windowSize;
      parameters[`partition${i}`] = partition;
      parameters[`offset${i}`] = from.toString();
      const known = lowest.get(partition);
      if (known === undefined || from < known) lowest.set(partition, from);
      return `(log.window_size = {window${i}:String} AND log.src_partition = {partition${i}:UInt32} AND log.src_offset >= {offset${i}:Int64})`;
    });
    const wide = [...lowest].map(([partition, from], i) => {
      parameters[`of${i}`] = partition;
      parameters[`rounded${i}`] = (from - (from % roundedTo)).toString();
      return `(log.src_partition = {of${i}:UInt32} AND log.src_offset >= {rounded${i}:Int64})`;
    });
    const found = await query(
      logRowSchema,
      `SELECT ${selectList} FROM ${database}.${signalLog.name} AS log
PREWHERE log.run_id = {run:String} AND log.window_size IN ('PT1S', 'PT1M') AND (${wide.join(' OR ')})
WHERE ${ranges.join(' OR ')}
ORDER BY log.window_size, log.src_partition, log.src_offset LIMIT {limit:UInt32} SETTINGS max_threads = 1`,
      parameters,
    );
    if (found.length >= limit * positions.length) return undefined;
    const taken = new Map<string, { count: number; last: bigint }>();
    return found
      .map(toSignalRow)
      .filter(({ windowSize, partition, offset }) => {
        const key = `${windowSize} ${partition}`;
        const before = taken.get(key);
        // A record that was stored twice counts once, whether its parts are merged already or not.
        if (before?.last === offset) return false;
        const count = (before?.count ?? 0) + 1;
        taken.set(key, { count, last: offset });
        return count <= limit;
      })
      .sort(byPlace);
  };

  /** All positions in one query: each part of the union is one range of the table's index. */
  const readLog = async (
    positions: readonly SignalPosition[],
    limit: number,
    side: 'from' | 'before',
  ): Promise<SignalRow[]> => {
    if (positions.length === 0) return [];
    const parameters: Record<string, unknown> = { run: runId, limit };
    const [comparison, order] = side === 'from' ? ['>=', 'ASC'] : ['<', 'DESC'];
    const parts = positions.map((position, i) => {
      parameters[`window${i}`] = position.windowSize;
      parameters[`partition${i}`] = position.partition;
      parameters[`offset${i}`] = position.from.toString();
      // LIMIT 1 BY: a record that was stored twice counts once, whether its parts are merged already or not.
      return `SELECT * FROM (
  SELECT * FROM ${database}.${signalLog.name}
  WHERE run_id = {run:String} AND window_size = {window${i}:String} AND src_partition = {partition${i}:UInt32}
    AND src_offset ${comparison} {offset${i}:Int64}
  ORDER BY src_offset ${order} LIMIT 1 BY src_offset LIMIT {limit:UInt32}
)`;
    });
    const found = await query(
      logRowSchema,
      `SELECT ${selectList} FROM (\n${parts.join('\nUNION ALL\n')}\n)`,
      parameters,
    );
    return found.map(toSignalRow).sort(byPlace);
  };

  return {
    partitions: options.partitions,
    read: async (positions, limit) => {
      if (positions.length === 0) return [];
      return (await readTail(positions, limit)) ?? readLog(positions, limit, 'from');
    },
    readBefore: (positions, limit) => readLog(positions, limit, 'before'),
    newestPrices: async (symbols, nowMs, lookbackMs) => {
      if (symbols.length === 0) return new Map();
      // The newest revision of each bar first, then the newest bar that has a price.
      const found = await query(
        priceSchema,
        `SELECT symbol, toString(maxIf(bar_ms, bar_close IS NOT NULL)) AS event_ms,
  argMaxIf(bar_close, bar_ms, bar_close IS NOT NULL) AS c, sum(bar_volume) AS volume FROM (
  SELECT symbol, toUnixTimestamp64Milli(event_ts) AS bar_ms, argMax(tuple(c), revision).1 AS bar_close,
    argMax(v, revision) AS bar_volume
  FROM ${database}.ta_microbars
  WHERE symbol IN {symbols:Array(String)} AND window_size = 'PT1S' AND run_id = {run:String}
    AND event_ts <= fromUnixTimestamp64Milli({now:Int64}, 'UTC')
    AND event_ts >= fromUnixTimestamp64Milli({oldest:Int64}, 'UTC')
  GROUP BY symbol, event_ts
) GROUP BY symbol HAVING countIf(bar_close IS NOT NULL) > 0`,
        { symbols: [...symbols], run: runId, now: nowMs, oldest: nowMs - lookbackMs },
      );
      // The one crossing from double to decimal: the shortest text of the double is the price as the provider wrote it.
      return new Map<string, PriceView>(
        found.map(({ symbol, event_ms, c, volume }) => [
          symbol,
          { price: new Decimal(String(c)), asOfMs: event_ms, recentVolume: new Decimal(String(volume)) },
        ]),
      );
    },
    newestEventMs: async () => {
      const found = await query(
        z.object({ n: z.coerce.number(), ms: z.coerce.number() }),
        `SELECT toString(count()) AS n, toString(toUnixTimestamp64Milli(max(event_ts))) AS ms FROM ${database}.ta_microbars`,
        {},
      );
      return found[0] && found[0].n > 0 ? found[0].ms : undefined;
    },
    ends: async () => {
      const found = await query(
        endSchema,
        `SELECT window_size, src_partition, toString(max(src_offset)) AS last_offset,
  toString(toUnixTimestamp64Milli(max(event_ts))) AS event_ms
FROM ${database}.${signalLog.name} WHERE run_id = {run:String} GROUP BY window_size, src_partition`,
        { run: runId },
      );
      return found.map((row) => ({
        windowSize: row.window_size,
        partition: row.src_partition,
        endOffset: row.last_offset + 1n,
        newestEventMs: row.event_ms,
      }));
    },
  };
}

const byPlace = (x: SignalRow, y: SignalRow): number => x.partition - y.partition || (x.offset < y.offset ? -1 : 1);

function toSignalRow(row: z.infer<typeof logRowSchema>): SignalRow {
  const features: Record<string, number | string | boolean | null> = {};
  for (const name of featureNames) features[name] = featureSchema.parse(row[name]);
  return {
    symbol: row.symbol,
    windowSize: row.window_size,
    eventTsMs: row.event_ms,
    revision: row.revision,
    macd: row.macd,
    macdSignal: row.macd_signal,
    rsi14: row.rsi14,
    partition: row.src_partition,
    offset: row.src_offset,
    features,
  };
}
