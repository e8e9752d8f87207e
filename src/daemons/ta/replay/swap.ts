/**
 * Rows of a window of the live tables exchanged as a whole: for each day a staging table gets the new rows of the window and the
 * present rows outside it, and takes the day's partition by one REPLACE PARTITION, which readers see at once or not at all.
 * Guarantees: doing it again gives the same rows; what is staged is compared by count and hash before it is swapped in. Nobody may
 * write into these days meanwhile: the caller makes sure.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { crashPoint } from '../../../lib/service/crash-point.ts';
import { TorghutError } from '../../../lib/service/errors.ts';
import { storeError } from '../../../lib/signals/errors.ts';
import { createTableSql, microbars, signals, type Table, type TtlDays } from '../../../lib/signals/tables.ts';
import { latestRefillStatements } from '../../../lib/signals/views.ts';

/**
 * The tables of current rows. `ta_signal_log` is not among them: it tells what trade was given, by run and source offset, and
 * must go on telling it.
 */
export const currentTables: readonly Table[] = [microbars, signals];

/** Windows that end after `fromMs` and at or before `toMs`, epoch ms. */
export interface RowWindow {
  fromMs: number;
  toMs: number;
}

const DAY_MS = 86_400_000;

/** The UTC days (partitions) that hold windows of a stretch. */
export function daysOf({ fromMs, toMs }: RowWindow): string[] {
  const days: string[] = [];
  // The first window that can end in it ends a millisecond after `fromMs`.
  for (let ms = Math.floor((fromMs + 1) / DAY_MS) * DAY_MS; ms <= toMs; ms += DAY_MS)
    days.push(new Date(ms).toISOString().slice(0, 10));
  return days;
}

const windowSql = `event_ts > fromUnixTimestamp64Milli({from:Int64}, 'UTC') AND event_ts <= fromUnixTimestamp64Milli({to:Int64}, 'UTC')`;
const columnsOf = (table: Table): string => table.columns.map(({ name }) => name).join(', ');

async function run(client: ClickHouseClient, query: string, parameters: Record<string, unknown> = {}): Promise<void> {
  try {
    await client.command({ query, query_params: parameters });
  } catch (error) {
    throw storeError(error);
  }
}

const digestSchema = z.object({ rows: z.coerce.number(), hash: z.string() });
export type Digest = z.infer<typeof digestSchema>;

/** Number and hash of the current rows of a window, all columns. @param name `database.table` */
export async function digestOf(
  client: ClickHouseClient,
  name: string,
  table: Table,
  window: RowWindow,
  side: 'inside' | 'outside' = 'inside',
  day?: string,
): Promise<Digest> {
  const inside = side === 'inside' ? windowSql : `NOT (${windowSql})`;
  const ofDay = day === undefined ? '' : ' AND toDate(event_ts) = {day:Date}';
  try {
    const result = await client.query({
      query: `SELECT toString(count()) AS rows, toString(sum(cityHash64(toString(tuple(${columnsOf(table)}))))) AS hash FROM ${name} FINAL WHERE ${inside}${ofDay}`,
      query_params: { from: window.fromMs, to: window.toMs, ...(day === undefined ? {} : { day }) },
      format: 'JSONEachRow',
    });
    return digestSchema.parse((await result.json<unknown>())[0]);
  } catch (error) {
    throw error instanceof z.ZodError ? error : storeError(error);
  }
}

/** Copies the current rows of a window into a table made anew. */
export async function copyWindow(
  client: ClickHouseClient,
  from: string,
  to: { database: string; name: string },
  table: Table,
  window: RowWindow,
): Promise<void> {
  await run(client, `DROP TABLE IF EXISTS ${to.database}.${to.name} SYNC`);
  await run(client, createTableSql(to.database, { ...table, name: to.name }, undefined));
  await run(
    client,
    `INSERT INTO ${to.database}.${to.name} (${columnsOf(table)}) SELECT ${columnsOf(table)} FROM ${from} FINAL WHERE ${windowSql}`,
    { from: window.fromMs, to: window.toMs },
  );
  const [wanted, got] = [
    await digestOf(client, from, table, window),
    await digestOf(client, `${to.database}.${to.name}`, table, window),
  ];
  if (wanted.hash !== got.hash || wanted.rows !== got.rows)
    throw changedMeanwhile(`${to.database}.${to.name}`, wanted, got);
}

export interface SwapOptions {
  client: ClickHouseClient;
  liveDatabase: string;
  /** Where staging tables are made. */
  database: string;
  table: Table;
  /** `database.table` with the new rows of the window; without it the window becomes empty. */
  source: string | undefined;
  window: RowWindow;
  day: string;
  /** TTL of the live table: parts that come from a table without one would never expire. */
  ttlDays: TtlDays;
}

/** Gives one day of a live table the rows of the source inside the window. */
export async function swapDay(options: SwapOptions): Promise<void> {
  const { client, liveDatabase, database, table, source, window, day, ttlDays } = options;
  const staging = `${database}.staging_${table.name}`;
  const live = `${liveDatabase}.${table.name}`;
  const parameters = { from: window.fromMs, to: window.toMs, day };
  const ofDay = 'toDate(event_ts) = {day:Date}';
  await run(client, `DROP TABLE IF EXISTS ${staging} SYNC`);
  await run(client, createTableSql(database, { ...table, name: `staging_${table.name}` }, ttlDays));
  const fill = (from: string, where: string) =>
    run(
      client,
      `INSERT INTO ${staging} (${columnsOf(table)}) SELECT ${columnsOf(table)} FROM ${from} FINAL WHERE ${ofDay} AND ${where}`,
      parameters,
    );
  if (source !== undefined) await fill(source, windowSql);
  await fill(live, `NOT (${windowSql})`);
  const pairs: [Digest, Digest][] = [
    [
      await digestOf(client, live, table, window, 'outside', day),
      await digestOf(client, staging, table, window, 'outside', day),
    ],
  ];
  if (source !== undefined) {
    pairs.push([
      await digestOf(client, source, table, window, 'inside', day),
      await digestOf(client, staging, table, window, 'inside', day),
    ]);
  }
  for (const [wanted, got] of pairs)
    if (wanted.hash !== got.hash || wanted.rows !== got.rows) throw changedMeanwhile(staging, wanted, got);
  crashPoint('replay.staged');
  // The server refuses to take a partition from an empty table: then nothing is left of it.
  const isEmpty = pairs.every(([, got]) => got.rows === 0);
  const change = isEmpty ? `DROP PARTITION '${day}'` : `REPLACE PARTITION '${day}' FROM ${staging}`;
  await run(client, `ALTER TABLE ${live} ${change}`);
  crashPoint('replay.swapped');
  if (table === signals) await refillLatest(client, liveDatabase);
  await run(client, `DROP TABLE IF EXISTS ${staging} SYNC`);
}

/** To be called when partitions of the live signals have changed. */
export async function refillLatest(client: ClickHouseClient, liveDatabase: string): Promise<void> {
  for (const statement of latestRefillStatements(liveDatabase)) await run(client, statement);
}

function changedMeanwhile(name: string, wanted: Digest, got: Digest): TorghutError {
  return new TorghutError({
    code: 'replay_rows_moved',
    what: `${name} has ${got.rows} rows where ${wanted.rows} were read`,
    why: 'somebody wrote into these days meanwhile; nothing was swapped in',
    next: 'pause the sink (`torghut ta pause --only sink`), then begin the step again',
  });
}
