/**
 * The tables of the signal store, one definition for migrations, checks, writer and reader (spec ta 4.2, 4.3; design 5).
 * Decided: a row's key is (symbol, window_size, event_ts), event_ts is the window's END, `revision` is the replacing version.
 * The signal log keeps every revision under its place in the ta topic. Sizes are doubles (fractions of a share exist), times
 * keep milliseconds (nanoseconds stay in the log), and no column defaults to the server's now: it is given as a value.
 */
import { usageError } from '../service/errors.ts';
import { engineText, keeperPath, type Layout, onCluster, singleNode } from './layout.ts';

export interface Column {
  name: string;
  type: string;
  codec?: string;
}

export interface Table {
  name: string;
  columns: readonly Column[];
  engine: string;
  orderBy: readonly string[];
}

const time = "DateTime64(3, 'UTC')";
const timeCodec = 'DoubleDelta, ZSTD(1)';
const floatCodec = 'Gorilla, ZSTD(1)';
const countCodec = 'T64, ZSTD(1)';

const nullableDouble = (name: string): Column => ({ name, type: 'Nullable(Float64)', codec: floatCodec });

/** Identity, order and provenance: the same in every table. */
const envelope: readonly Column[] = [
  { name: 'symbol', type: 'LowCardinality(String)' },
  { name: 'window_size', type: 'LowCardinality(String)' },
  { name: 'event_ts', type: time, codec: timeCodec },
  { name: 'revision', type: 'UInt32', codec: countCodec },
  { name: 'seq', type: 'UInt64', codec: countCodec },
  { name: 'ingest_ts', type: time, codec: timeCodec },
  { name: 'is_final', type: 'UInt8' },
  { name: 'source', type: 'LowCardinality(String)' },
  { name: 'window_step', type: 'Nullable(String)' },
  { name: 'window_start', type: `Nullable(${time})`, codec: timeCodec },
  { name: 'window_end', type: `Nullable(${time})`, codec: timeCodec },
  { name: 'version', type: 'UInt32' },
];

/** Where the row came from and when it was stored (market time). */
const provenance: readonly Column[] = [
  { name: 'run_id', type: 'LowCardinality(String)' },
  { name: 'src_partition', type: 'UInt32', codec: countCodec },
  { name: 'src_offset', type: 'Int64', codec: timeCodec },
  { name: 'stored_at', type: time, codec: timeCodec },
];

/** Indicators of a signal, all unknown until warm. */
export const indicatorNames = [
  'macd', 'macd_signal', 'macd_hist', 'ema12', 'ema26', 'rsi14', 'boll_mid', 'boll_upper', 'boll_lower', 'vwap_session',
  'vwap_w5m', 'imbalance_spread', 'imbalance_bid_px', 'imbalance_ask_px', 'imbalance_bid_sz', 'imbalance_ask_sz',
  'vol_realized_w60s',
] as const; // biome-ignore format: one list

const signalColumns: readonly Column[] = [
  ...envelope,
  ...indicatorNames.map(nullableDouble),
  { name: 'microstructure_signal_v1', type: 'Nullable(String)' },
  { name: 'n_bars', type: 'UInt32', codec: countCodec },
  { name: 'is_warm', type: 'UInt8' },
  { name: 'signal_quality_flag', type: 'LowCardinality(String)' },
  { name: 'feature_schema_version', type: 'LowCardinality(String)' },
  ...provenance,
];

export const microbars: Table = {
  name: 'ta_microbars',
  columns: [
    ...envelope,
    // Null while no trade of the session has set a price yet; 0 would be a price.
    ...['o', 'h', 'l', 'c'].map(nullableDouble),
    { name: 'v', type: 'Float64', codec: floatCodec },
    nullableDouble('vwap'),
    { name: 'count', type: 'UInt64', codec: countCodec },
    { name: 'unpriced_count', type: 'UInt64', codec: countCodec },
    { name: 'is_flat', type: 'UInt8' },
    ...provenance,
  ],
  engine: 'ReplacingMergeTree(revision)',
  orderBy: ['symbol', 'window_size', 'event_ts'],
};

export const signals: Table = {
  name: 'ta_signals',
  columns: signalColumns,
  engine: 'ReplacingMergeTree(revision)',
  orderBy: ['symbol', 'window_size', 'event_ts'],
};

/** Every revision of every signal, in the order of the ta topic; a record stored twice has the same key. */
export const signalLog: Table = {
  name: 'ta_signal_log',
  columns: signalColumns,
  engine: 'ReplacingMergeTree',
  orderBy: ['run_id', 'window_size', 'src_partition', 'src_offset'],
};

export const tables: readonly Table[] = [microbars, signals, signalLog];

/** Days that rows are kept after their event time; undefined keeps them for ever. */
export type TtlDays = number | undefined;

/** Settings of every table since migration 2: an expired day is dropped whole, which needs no room for a rewrite. */
export const tableSettings: Readonly<Record<string, string>> = { index_granularity: '8192', ttl_only_drop_parts: '1' };

/** Settings that migration 1 gave the tables. */
export const firstSettings: Readonly<Record<string, string>> = { index_granularity: '8192' };

/** How one table is made; the defaults are those of migration 1 on a single node. */
export interface TableVariant {
  layout?: Layout;
  /** Another name than the definition's, for a shadow. */
  name?: string;
  /** Of the keeper path, see layout.ts. */
  pathSuffix?: string;
  settings?: Readonly<Record<string, string>>;
}

/** The statement that makes a table. @param database is checked by the caller (schema.ts) */
export function createTableSql(database: string, table: Table, ttlDays: TtlDays, variant: TableVariant = {}): string {
  const { layout = singleNode, name = table.name, pathSuffix = '', settings = firstSettings } = variant;
  const columns = table.columns.map(
    (column) => `  ${column.name} ${column.type}${column.codec === undefined ? '' : ` CODEC(${column.codec})`}`,
  );
  return [
    `CREATE TABLE IF NOT EXISTS ${database}.${name}${onCluster(layout)} (`,
    `${columns.join(',\n')}`,
    `) ENGINE = ${engineText(table.engine, layout, keeperPath(database, table.name, pathSuffix))}`,
    'PARTITION BY toDate(event_ts)',
    `ORDER BY (${table.orderBy.join(', ')})`,
    ...(ttlDays === undefined ? [] : [`TTL ${ttlExpression(ttlDays)}`]),
    `SETTINGS ${Object.entries(settings)
      .map(([setting, value]) => `${setting} = ${value}`)
      .join(', ')}`,
  ].join('\n');
}

export function ttlExpression(ttlDays: number): string {
  return `toDateTime(event_ts) + toIntervalDay(${ttlDays})`;
}

/** `none` or a number of days. @throws `ttl_invalid` (exit 2) */
export function parseTtlDays(text: string): TtlDays {
  if (text.trim().toLowerCase() === 'none') return undefined;
  const days = Number(text);
  if (/^\d+$/.test(text.trim()) && days >= 1 && days <= 36_500) return days;
  throw usageError({ code: 'ttl_invalid', what: `${text} is no TTL`, next: 'give days from 1 to 36500, or none' });
}
