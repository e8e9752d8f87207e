/**
 * The live tables of a signal database against the definition (tables.ts): engine, sorting key, partition key, TTL and the
 * exact columns with their types and codecs. Read-only; every difference is named by what is there and what is expected.
 * The server writes defaults out (Gorilla(8) for Gorilla), so texts are compared in one spelling.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { type Column, type Table, type TtlDays, tables, ttlExpression } from './tables.ts';

export interface LiveTable {
  table: string;
  exists: boolean;
  engine: string | null;
  sorting_key: string | null;
  partition_key: string | null;
  ttl: string | null;
  columns: number;
  /** Differences from the definition, one sentence each. */
  drift: string[];
}

const tableSchema = z.object({
  name: z.string(),
  engine_full: z.string(),
  sorting_key: z.string(),
  partition_key: z.string(),
  create_table_query: z.string(),
});
const columnSchema = z.object({
  table: z.string(),
  name: z.string(),
  type: z.string(),
  default_kind: z.string(),
  compression_codec: z.string(),
});

async function rows<T>(client: ClickHouseClient, schema: z.ZodType<T>, query: string, database: string): Promise<T[]> {
  const result = await client.query({ query, query_params: { database }, format: 'JSONEachRow' });
  return z.array(schema).parse(await result.json());
}

/** Every table of the definition as it is now. @param ttlDays the TTL recorded for the database */
export async function inspectTables(
  client: ClickHouseClient,
  database: string,
  ttlDays: TtlDays,
): Promise<LiveTable[]> {
  const [foundTables, foundColumns] = await Promise.all([
    rows(
      client,
      tableSchema,
      'SELECT name, engine_full, sorting_key, partition_key, create_table_query FROM system.tables WHERE database = {database:String}',
      database,
    ),
    rows(
      client,
      columnSchema,
      'SELECT table, name, type, default_kind, compression_codec FROM system.columns WHERE database = {database:String} ORDER BY table, position',
      database,
    ),
  ]);
  return tables.map((expected) => {
    const live = foundTables.find(({ name }) => name === expected.name);
    const columns = foundColumns.filter(({ table }) => table === expected.name);
    if (!live) {
      const drift = ['the table is missing'];
      const nothing = { engine: null, sorting_key: null, partition_key: null, ttl: null };
      return { table: expected.name, exists: false, ...nothing, columns: 0, drift };
    }
    const engine = engineOf(live.engine_full);
    const ttl = ttlOf(live.create_table_query);
    return {
      table: expected.name,
      exists: true,
      engine,
      sorting_key: live.sorting_key,
      partition_key: live.partition_key,
      ttl: ttl ?? null,
      columns: columns.length,
      drift: [
        ...difference('engine', engine, expected.engine),
        ...difference('sorting key', live.sorting_key, expected.orderBy.join(', ')),
        ...difference('partition key', live.partition_key, 'toDate(event_ts)'),
        ...difference('TTL', ttl ?? 'none', ttlDays === undefined ? 'none' : ttlExpression(ttlDays)),
        ...columnDrift(columns, expected),
      ],
    };
  });
}

/** The TTL expression in a table's definition; undefined when it has none. */
export function ttlOf(createTableQuery: string): string | undefined {
  return /\bTTL (.+?)(?: SETTINGS| COMMENT|$)/.exec(createTableQuery)?.[1];
}

/** The engine with its arguments, without the clauses behind it; a replicated one without its path and replica. */
function engineOf(engineFull: string): string {
  const engine = engineFull.split(/ (?:PARTITION BY|PRIMARY KEY|ORDER BY|TTL|SETTINGS)\b/)[0] ?? '';
  return engine.trim();
}

function difference(what: string, live: string, expected: string): string[] {
  return live === expected ? [] : [`${what} is ${live}, expected ${expected}`];
}

function codecText(codec: string): string {
  return codec.replace(/^CODEC\((.*)\)$/, '$1').replace(/\bGorilla\(8\)/, 'Gorilla');
}

function columnDrift(live: readonly z.infer<typeof columnSchema>[], table: Table): string[] {
  const found: string[] = [];
  for (const column of table.columns) found.push(...oneColumn(live, column));
  for (const { name, type } of live) {
    if (!table.columns.some((column) => column.name === name)) found.push(`column ${name} ${type} is not ours`);
  }
  const order = live.map(({ name }) => name).join(', ');
  if (found.length === 0 && order !== table.columns.map(({ name }) => name).join(', ')) {
    found.push(`the columns stand in another order: ${order}`);
  }
  return found;
}

function oneColumn(live: readonly z.infer<typeof columnSchema>[], column: Column): string[] {
  const there = live.find(({ name }) => name === column.name);
  if (!there) return [`column ${column.name} ${column.type} is missing`];
  const drift = difference(`type of column ${column.name}`, there.type, column.type);
  drift.push(
    ...difference(
      `codec of column ${column.name}`,
      codecText(there.compression_codec) || 'the default',
      column.codec ?? 'the default',
    ),
  );
  if (there.default_kind !== '') drift.push(`column ${column.name} has a ${there.default_kind} expression`);
  return drift;
}
