/**
 * What is derived from the tables of the signal store, for people and programs that read it by SQL (spec ta 4.8).
 * - `v_ta_signals_current`: the highest revision of each signal, merged or not.
 * - `v_ta_latest`: the newest signal of each symbol and window size. What is kept beside the table (`ta_latest`, filled by the
 *   materialized view `ta_latest_feed`) is only where the newest row is; the row itself is read from `ta_signals`, so a revision
 *   and a partition that a replay puts in are seen at once.
 * - `v_ta_coverage_daily`: rows, seconds, first and last window, share of unknown values, by New York day.
 * Guarantees: argMax of the engine passes over NULL, which would mix values of two revisions, so rows are taken as tuples;
 * nothing here holds a fact of its own: it may be dropped and made again at any time.
 */
import { engineText, expectedEngine, keeperPath, type Layout, onCluster } from './layout.ts';
import { indicatorNames, signals } from './tables.ts';

/** A view with the SELECT it must have; `to` for the one that feeds a table. */
export interface View {
  name: string;
  select(database: string): string;
  to?: string;
}

const latestTable = { name: 'ta_latest', engine: 'AggregatingMergeTree', orderBy: ['symbol', 'window_size'] } as const;

const key = ['symbol', 'window_size', 'event_ts'];
const others = signals.columns.map(({ name }) => name).filter((name) => ![...key, 'revision'].includes(name));

/** The highest revision of every key in `from`, all columns in their order. */
function currentRows(from: string): string {
  const columns = signals.columns.map(({ name }) => {
    if (key.includes(name)) return name;
    return name === 'revision' ? 'newest AS revision' : `current.${others.indexOf(name) + 1} AS ${name}`;
  });
  return [
    `SELECT ${columns.join(', ')}`,
    `FROM (SELECT ${key.join(', ')}, max(revision) AS newest, argMax(tuple(${others.join(', ')}), revision) AS current`,
    `FROM ${from} GROUP BY ${key.join(', ')})`,
  ].join(' ');
}

const newestPositions = (database: string, from: string) =>
  `SELECT symbol, window_size, max(event_ts) AS event_ts FROM ${database}.${from} GROUP BY symbol, window_size`;

function coverage(database: string, table: string, nullable: readonly string[]): string {
  const rates = nullable.map((name) => `'${name}', countIf(isNull(${name})) / count()`);
  return [
    `SELECT '${table}' AS table, symbol, window_size, toDate(toTimeZone(event_ts, 'America/New_York')) AS day,`,
    'count() AS rows, uniqExact(toUnixTimestamp(event_ts)) AS distinct_seconds, min(event_ts) AS first_event_ts,',
    `max(event_ts) AS last_event_ts, countIf(revision > 0) AS revised_rows, map(${rates.join(', ')}) AS null_rates`,
    `FROM ${database}.${table} FINAL GROUP BY symbol, window_size, day`,
  ].join(' ');
}

/** In the order in which they can be made. */
export const views: readonly View[] = [
  {
    name: 'ta_latest_feed',
    to: latestTable.name,
    select: (database) => newestPositions(database, signals.name),
  },
  { name: 'v_ta_signals_current', select: (database) => currentRows(`${database}.${signals.name}`) },
  {
    name: 'v_ta_latest',
    select: (database) =>
      currentRows(
        `${database}.${signals.name} WHERE (${key.join(', ')}) IN (${newestPositions(database, latestTable.name)})`,
      ),
  },
  {
    name: 'v_ta_coverage_daily',
    select: (database) =>
      [
        coverage(database, 'ta_microbars', ['o', 'h', 'l', 'c', 'vwap']),
        coverage(database, 'ta_signals', indicatorNames),
      ].join(' UNION ALL '),
  },
];

/** The statements that make everything derived, where it is missing, and bring `ta_latest` up to what is stored. */
export function derivedStatements(database: string, layout: Layout): string[] {
  const on = onCluster(layout);
  const engine = engineText(latestTable.engine, layout, keeperPath(database, latestTable.name));
  return [
    `CREATE TABLE IF NOT EXISTS ${database}.${latestTable.name}${on} (\n  symbol LowCardinality(String),\n` +
      "  window_size LowCardinality(String),\n  event_ts SimpleAggregateFunction(max, DateTime64(3, 'UTC'))\n" +
      `) ENGINE = ${engine}\nORDER BY (${latestTable.orderBy.join(', ')})`,
    ...views.map(({ name, to, select }) =>
      to === undefined
        ? `CREATE VIEW IF NOT EXISTS ${database}.${name}${on} AS ${select(database)}`
        : `CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.${name}${on} TO ${database}.${to} AS ${select(database)}`,
    ),
    latestFillStatement(database),
  ];
}

/** Brings `ta_latest` up to the rows that are stored. */
function latestFillStatement(database: string): string {
  return `INSERT INTO ${database}.${latestTable.name} (symbol, window_size, event_ts) ${newestPositions(database, signals.name)}`;
}

/**
 * For who changed partitions of ta_signals without inserting: the feed saw nothing of it, and a newest position that is gone
 * would hide its symbol from `v_ta_latest`.
 */
export function latestRefillStatements(database: string): string[] {
  return [`TRUNCATE TABLE ${database}.${latestTable.name}`, latestFillStatement(database)];
}

/** The statements that take away everything derived, what reads before what is read. */
export function dropDerivedStatements(database: string, layout: Layout): string[] {
  const on = onCluster(layout);
  return [
    ...[...views].reverse().map(({ name }) => `DROP VIEW IF EXISTS ${database}.${name}${on} SYNC`),
    `DROP TABLE IF EXISTS ${database}.${latestTable.name}${on} SYNC`,
  ];
}

/** What `system.tables` must say of `ta_latest`. */
export function expectedLatest(layout: Layout): { name: string; engine: string; sortingKey: string } {
  return {
    name: latestTable.name,
    engine: expectedEngine(latestTable.engine, layout),
    sortingKey: latestTable.orderBy.join(', '),
  };
}
