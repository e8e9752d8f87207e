/** The tables of the former system as it made them (spec ta 4.2), and rows as it wrote them, for tests of the conversion. */
import type { ClickHouseClient } from '@clickhouse/client';
import { indicatorNames } from '../../src/lib/signals/tables.ts';

const time = "DateTime64(3, 'UTC')";
const envelope = `symbol LowCardinality(String), event_ts ${time}, seq UInt64, ingest_ts ${time}, is_final UInt8,
  source LowCardinality(String), window_size LowCardinality(String), window_step Nullable(String),
  window_start Nullable(${time}), window_end Nullable(${time}), version UInt32`;
const indicators = indicatorNames.map(
  (name) => `${name} Nullable(${/^imbalance_.*_sz$/.test(name) ? 'UInt64' : 'Float64'})`,
);
const columns = {
  ta_microbars: `${envelope}, o Float64, h Float64, l Float64, c Float64, v Float64, vwap Nullable(Float64), count UInt64`,
  ta_signals: `${envelope}, ${indicators.join(', ')}, microstructure_signal_v1 Nullable(String)`,
};
export type FormerTable = keyof typeof columns;

/** @param engine with its version column */
export async function makeFormerTables(
  client: ClickHouseClient,
  database: string,
  engine: (table: FormerTable) => string = () => 'ReplacingMergeTree(ingest_ts)',
): Promise<void> {
  for (const [name, list] of Object.entries(columns)) {
    await client.command({
      query: `CREATE TABLE ${database}.${name} (${list}) ENGINE = ${engine(name as FormerTable)}
PARTITION BY toDate(event_ts) ORDER BY (symbol, event_ts, seq) SETTINGS index_granularity = 8192`,
    });
  }
}

/** 2026-08-03 and the two days after it, and the minute before a midnight, whose end is of the next day. */
export const formerDays = ['2026-08-03', '2026-08-04', '2026-08-05'];

/**
 * Bars of 12 symbols and signals of 1 s and 1 min; every 50th second was written again under another seq after a restart (H3),
 * and one-minute rows are stamped with the begin of their minute (H6).
 */
export async function fillFormerTables(client: ClickHouseClient, database: string, perDay = 200): Promise<void> {
  const rows = `FROM (
  SELECT arrayJoin(['${formerDays.join("', '")}']) AS day, number AS n, concat('S', toString(number % 12)) AS symbol,
    toDateTime64(concat(day, ' 14:30:00'), 3, 'UTC') + toIntervalSecond(intDiv(number, 12)) AS at,
    arrayJoin(if(intDiv(number, 12) % 50 = 0, [0, 1], [0])) AS again
  FROM numbers(${perDay * 12}))`;
  const common = "symbol, at, n + 100000 * again, at + toIntervalMillisecond(2500 + 60000 * again), 1, 'ta', 'PT1S'";
  const names = 'symbol, event_ts, seq, ingest_ts, is_final, source, window_size';
  await client.command({
    query: `INSERT INTO ${database}.ta_microbars (${names}, window_start, window_end, version, o, h, l, c, v, vwap, count)
SELECT ${common}, at - toIntervalSecond(1), at, 1, n + 0.1, n + 0.2, n, n + 0.15 + again, 10, if(n % 7 = 0, NULL, n + 0.1), 3 ${rows}`,
  });
  await client.command({
    query: `INSERT INTO ${database}.ta_signals (${names}, window_end, version, macd, rsi14, imbalance_bid_sz)
SELECT ${common}, if(n % 5 = 0, NULL, at), 1, if(again = 1, NULL, n / 3), n / 7, if(n % 3 = 0, NULL, n) ${rows}`,
  });
  await client.command({
    query: `INSERT INTO ${database}.ta_signals (${names}, version, macd)
SELECT concat('S', toString(number % 12)), toDateTime64('2026-08-03 23:50:00', 3, 'UTC') + toIntervalMinute(intDiv(number, 12)), 900000 + number,
  toDateTime64('2026-08-04 00:30:00', 3, 'UTC'), 1, 'ta', 'PT1M', 1, number FROM numbers(240)`,
  });
}
