/**
 * The rows of an older table as rows of ours, and the questions that show that none is missing. Pure text.
 * From the tables of the former system (`v1`, spec ta 4.2, 10 H3, H6): a one-minute row was stamped with its begin and gets its
 * window's end; `seq` becomes the window's end in seconds; rows of one key that differ in seq or ingest time are one row, the
 * newest, whose `revision` counts its forerunners; what was not recorded is 0 or empty, `src_offset` is -1: the row has no place
 * in a topic, so nothing of it goes to the signal log.
 * From tables with our columns in another engine or order (`shape`): the rows as they are, the highest revision of each key.
 * A day is a partition of ours. On a cluster an unreplicated table has other rows on each host; all are read.
 */
import { everywhere, type Layout } from './layout.ts';
import { microbars, signalLog, type Table, type TtlDays } from './tables.ts';

export type ConversionKind = 'v1' | 'shape';

export interface RowSource {
  database: string;
  /** The table's definition, which the rows become rows of. */
  table: Table;
  kind: ConversionKind;
  /** Name of the table that holds the rows now. */
  from: string;
  layout: Layout;
  /** Is the table that holds them replicated? */
  isReplicated: boolean;
  ttlDays: TtlDays;
}

/** Columns of ours that the former tables did not have; every other one they must have. */
const madeUp: Readonly<Record<string, string>> = {
  unpriced_count: 'toUInt64(0)',
  is_flat: 'toUInt8(0)',
  n_bars: 'toUInt32(0)',
  is_warm: 'toUInt8(0)',
  signal_quality_flag: "''",
  feature_schema_version: "'v1'",
  run_id: '{run:String}',
  src_partition: 'toUInt32(0)',
  src_offset: 'toInt64(-1)',
};

/** Columns that a table of the former system has; undefined for the signal log, which it did not know. */
export function formerColumns(table: Table): string[] | undefined {
  if (table === signalLog) return undefined;
  const ours = [...Object.keys(madeUp), 'revision', 'stored_at'];
  return table.columns.map(({ name }) => name).filter((name) => !ours.includes(name));
}

const windowEnd = "coalesce(window_end, if(window_size = 'PT1M', event_ts + toIntervalMinute(1), event_ts))";

/** Rows that the TTL may take away while they are copied are left to it. */
function notExpired(column: string, ttlDays: TtlDays): string {
  return ttlDays === undefined ? '' : ` AND ${column} >= now() - toIntervalDay(${ttlDays}) + toIntervalHour(1)`;
}

function sourceOf({ database, from, layout, isReplicated }: RowSource): string {
  return everywhere(`${database}.${from}`, layout, isReplicated);
}

/** The days that hold rows, as `day`, with their number of rows in the old table. */
export function daysQuery(source: RowSource): string {
  const end = source.kind === 'v1' ? windowEnd : 'event_ts';
  return `SELECT toString(toDate(ended)) AS day, count() AS rows FROM (SELECT ${end} AS ended FROM ${sourceOf(source)}) WHERE 1${notExpired('ended', source.ttlDays)} GROUP BY day ORDER BY day`;
}

/** The rows of the day `{day:Date}` as rows of ours, every column in its order, one row for each key. */
export function mappedRows(source: RowSource): string {
  const { table, ttlDays } = source;
  const columns = table.columns.map(({ name }) => name);
  if (source.kind === 'shape') {
    const isNewer = table === signalLog ? '' : ' ORDER BY revision DESC';
    return `SELECT ${columns.join(', ')} FROM ${sourceOf(source)} WHERE toDate(event_ts) = {day:Date}${notExpired('event_ts', ttlDays)}${isNewer} LIMIT 1 BY ${table.orderBy.join(', ')}`;
  }
  const key = ['symbol', 'window_size', 'event_ts'];
  const former = (formerColumns(table) ?? []).filter((name) => ![...key, 'seq'].includes(name));
  const place = (name: string) => `newest.${former.indexOf(name) + 1}`;
  const columnOf = (name: string): string => {
    if (name === 'symbol') return name;
    if (name === 'window_size') return 'size AS window_size';
    if (name === 'event_ts') return 'ended AS event_ts';
    if (name === 'revision') return 'toUInt32(versions - 1) AS revision';
    if (name === 'seq') return 'toUInt64(toUnixTimestamp(ended)) AS seq';
    if (name === 'stored_at') return `${place('ingest_ts')} AS stored_at`;
    if (/^imbalance_.*_sz$/.test(name)) return `CAST(${place(name)}, 'Nullable(Float64)') AS ${name}`;
    if (table === microbars && /^[ohlc]$/.test(name)) return `CAST(${place(name)}, 'Nullable(Float64)') AS ${name}`;
    return madeUp[name] === undefined ? `${place(name)} AS ${name}` : `${madeUp[name]} AS ${name}`;
  };
  return [
    `SELECT ${columns.map(columnOf).join(', ')} FROM (`,
    'SELECT symbol, size, ended, uniqExact((ingested, place)) AS versions, argMax(row, (ingested, place)) AS newest FROM (',
    `SELECT symbol, if(window_size = '', 'PT1S', window_size) AS size, ${windowEnd} AS ended, ingest_ts AS ingested,`,
    `seq AS place, tuple(${former.join(', ')}) AS row FROM ${sourceOf(source)}`,
    'WHERE toDate(event_ts) IN ({day:Date} - 1, {day:Date})',
    `) WHERE toDate(ended) = {day:Date}${notExpired('ended', ttlDays)} GROUP BY symbol, size, ended)`,
  ].join(' ');
}

/** Puts the rows of a day into another table; repeated, it changes nothing, since the rows have the same keys. */
export function copyStatement(source: RowSource, to: string): string {
  const columns = source.table.columns.map(({ name }) => name).join(', ');
  return `INSERT INTO ${source.database}.${to} (${columns}) ${mappedRows(source)}`;
}

/** The same for a table that others write already: only keys that it has not, or has in a lower revision. */
export function catchUpStatement(source: RowSource, to: string): string {
  const columns = source.table.columns.map(({ name }) => name).join(', ');
  return `INSERT INTO ${source.database}.${to} (${columns}) SELECT ${columns} ${sideBySide(source, to)} WHERE ${isBehind}`;
}

const isBehind = 'present = 0 OR have < revision';

/** The mapped rows of a day, each beside the row of its key in another table; with marks of their contents where asked. */
function sideBySide(source: RowSource, to: string, hasMarks = false): string {
  const { database, table } = source;
  const key = table.orderBy.join(', ');
  const columns = table.columns.map(({ name }) => name).join(', ');
  const mark = (name: string) => (hasMarks ? `, cityHash64(toString(tuple(${columns}))) AS ${name}` : '');
  const old = hasMarks ? `SELECT ${key}, revision${mark('mark')} FROM (${mappedRows(source)})` : mappedRows(source);
  const there = `SELECT ${key}, revision AS have${mark('mark_there')}, 1 AS present FROM ${database}.${to} FINAL WHERE toDate(event_ts) = {day:Date}`;
  return `FROM (${old}) AS rows_of_old LEFT JOIN (${there}) AS rows_of_new USING (${key})`;
}

/**
 * Rows of a day that another table lacks, and how many keys it has in all that day. `isExact`: the table holds nothing but
 * copied rows, so each must be there byte by byte; else one that somebody wrote since in the same revision counts as there.
 */
export function missingQuery(source: RowSource, to: string, isExact: boolean): string {
  const counted = `SELECT count() FROM ${source.database}.${to} FINAL WHERE toDate(event_ts) = {day:Date}${notExpired('event_ts', source.ttlDays)}`;
  const missing = isExact ? `${isBehind} OR (have = revision AND mark != mark_there)` : isBehind;
  return `SELECT countIf(${missing}) AS missing, count() AS rows, (${counted}) AS there ${sideBySide(source, to, isExact)}`;
}
