/**
 * The live tables and views of a signal database against their definitions (tables.ts, views.ts): engine, sorting key,
 * partition key, TTL, settings, the exact columns with their types and codecs, and the SELECT of each view. Read-only; every
 * difference is named by what is there and what is expected.
 * The server writes defaults out (Gorilla(8) for Gorilla) and formats views anew, so texts are compared in one spelling.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { engineOf, expectedEngine, type Layout, singleNode } from './layout.ts';
import { type Column, type Table, type TtlDays, tableSettings, tables, ttlExpression } from './tables.ts';
import { expectedLatest, views } from './views.ts';

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

/** What a difference is about: a conversion mends the shape, a migration settings and views, a person columns. */
export type Aspect = 'missing' | 'shape' | 'ttl' | 'setting' | 'column' | 'view';

export interface Difference {
  aspect: Aspect;
  text: string;
}

export interface InspectedTable extends LiveTable {
  differences: Difference[];
  columnTypes: Record<string, string>;
  isReplicated: boolean;
  /** Path in the keeper, as the table was made with; null for one that is not replicated. */
  keeperPath: string | null;
}

const tableSchema = z.object({
  name: z.string(),
  engine_full: z.string(),
  sorting_key: z.string(),
  partition_key: z.string(),
  create_table_query: z.string(),
  as_select: z.string(),
});
const columnSchema = z.object({
  table: z.string(),
  name: z.string(),
  type: z.string(),
  default_kind: z.string(),
  compression_codec: z.string(),
});

async function rows<T>(client: ClickHouseClient, schema: z.ZodType<T>, query: string, params: object): Promise<T[]> {
  const result = await client.query({ query, query_params: { ...params }, format: 'JSONEachRow' });
  return z.array(schema).parse(await result.json());
}

const tablesQuery = `SELECT name, engine_full, sorting_key, partition_key, create_table_query, as_select
FROM system.tables WHERE database = {database:String}`;

export interface Inspection {
  database: string;
  /** The TTL recorded for the database. */
  ttlDays: TtlDays;
  layout?: Layout;
  /** Of the tables' names, to look at tables that stand beside the real ones. */
  suffix?: string;
}

/** Every table of the definition as it is now. */
export async function inspectTables(client: ClickHouseClient, inspection: Inspection): Promise<InspectedTable[]> {
  const { database, ttlDays, layout = singleNode, suffix = '' } = inspection;
  const [foundTables, foundColumns] = await Promise.all([
    rows(client, tableSchema, tablesQuery, { database }),
    rows(
      client,
      columnSchema,
      'SELECT table, name, type, default_kind, compression_codec FROM system.columns WHERE database = {database:String} ORDER BY table, position',
      { database },
    ),
  ]);
  return tables.map((expected) => {
    const name = `${expected.name}${suffix}`;
    const live = foundTables.find((table) => table.name === name);
    const columns = foundColumns.filter(({ table }) => table === name);
    const columnTypes = Object.fromEntries(columns.map((column) => [column.name, column.type]));
    if (!live) {
      const differences: Difference[] = [{ aspect: 'missing', text: 'the table is missing' }];
      const nothing = { engine: null, sorting_key: null, partition_key: null, ttl: null };
      const drift = differences.map(({ text }) => text);
      const none = { columns: 0, drift, differences, columnTypes, isReplicated: false, keeperPath: null };
      return { table: name, exists: false, ...nothing, ...none };
    }
    const engine = engineOf(live.engine_full);
    const ttl = ttlOf(live.create_table_query);
    const differences = [
      ...difference('shape', 'engine', engine, expectedEngine(expected.engine, layout)),
      ...difference('shape', 'sorting key', live.sorting_key, expected.orderBy.join(', ')),
      ...difference('shape', 'partition key', live.partition_key, 'toDate(event_ts)'),
      ...difference('ttl', 'TTL', ttl ?? 'none', ttlDays === undefined ? 'none' : ttlExpression(ttlDays)),
      ...settingDrift(live.engine_full),
      ...columnDrift(columns, expected),
    ];
    return {
      table: name,
      exists: true,
      engine,
      sorting_key: live.sorting_key,
      partition_key: live.partition_key,
      ttl: ttl ?? null,
      columns: columns.length,
      drift: differences.map(({ text }) => text),
      differences,
      columnTypes,
      isReplicated: engine.startsWith('Replicated'),
      keeperPath: /^Replicated\w+\('([^']*)'/.exec(live.engine_full)?.[1] ?? null,
    };
  });
}

/** What is wrong with the views and with `ta_latest`, by name. */
export async function inspectViews(
  client: ClickHouseClient,
  database: string,
  layout: Layout,
): Promise<Map<string, string[]>> {
  const expected = views.map(({ name, select }) => ({ name, sql: select(database) }));
  const [found, spelled] = await Promise.all([
    rows(client, tableSchema, tablesQuery, { database }),
    rows(
      client,
      z.object({ spelled: z.array(z.string()) }),
      'SELECT arrayMap(sql -> formatQuerySingleLine(sql), {texts:Array(String)}) AS spelled',
      { texts: expected.map(({ sql }) => sql) },
    ),
  ]);
  const result = new Map<string, string[]>();
  for (const [i, { name, to }] of views.entries()) {
    const live = found.find((table) => table.name === name);
    if (!live) result.set(name, ['the view is missing']);
    else {
      const drift =
        live.as_select === spelled[0]?.spelled[i] ? [] : ['the view has another SELECT than torghut gave it'];
      if (to !== undefined && !live.create_table_query.includes(` TO ${database}.${to} `))
        drift.push(`the view does not fill ${to}`);
      result.set(name, drift);
    }
  }
  const latest = expectedLatest(layout);
  const live = found.find((table) => table.name === latest.name);
  result.set(
    latest.name,
    live
      ? [
          ...difference('shape', 'engine', engineOf(live.engine_full), latest.engine),
          ...difference('shape', 'sorting key', live.sorting_key, latest.sortingKey),
        ].map(({ text }) => text)
      : ['the table is missing'],
  );
  return result;
}

/** The TTL expression in a table's definition; undefined when it has none. */
export function ttlOf(createTableQuery: string): string | undefined {
  return /\bTTL (.+?)(?: SETTINGS| COMMENT|$)/.exec(createTableQuery)?.[1];
}

function difference(aspect: Aspect, what: string, live: string, expected: string): Difference[] {
  return live === expected ? [] : [{ aspect, text: `${what} is ${live}, expected ${expected}` }];
}

function settingDrift(engineFull: string): Difference[] {
  const text = /\bSETTINGS (.+)$/.exec(engineFull)?.[1] ?? '';
  const live = new Map(
    text
      .split(', ')
      .filter(Boolean)
      .map((item) => item.split(' = ') as [string, string]),
  );
  const names = new Set([...Object.keys(tableSettings), ...live.keys()]);
  return [...names].flatMap((name) =>
    difference('setting', `setting ${name}`, live.get(name) ?? 'the default', tableSettings[name] ?? 'the default'),
  );
}

function codecText(codec: string): string {
  return codec.replace(/^CODEC\((.*)\)$/, '$1').replace(/\bGorilla\(8\)/, 'Gorilla');
}

function columnDrift(live: readonly z.infer<typeof columnSchema>[], table: Table): Difference[] {
  const found: Difference[] = [];
  const add = (text: string) => found.push({ aspect: 'column', text });
  for (const column of table.columns) found.push(...oneColumn(live, column));
  for (const { name, type } of live) {
    if (!table.columns.some((column) => column.name === name)) add(`column ${name} ${type} is not ours`);
  }
  const order = live.map(({ name }) => name).join(', ');
  if (found.length === 0 && order !== table.columns.map(({ name }) => name).join(', ')) {
    add(`the columns stand in another order: ${order}`);
  }
  return found;
}

function oneColumn(live: readonly z.infer<typeof columnSchema>[], column: Column): Difference[] {
  const there = live.find(({ name }) => name === column.name);
  if (!there) return [{ aspect: 'column', text: `column ${column.name} ${column.type} is missing` }];
  const drift = difference('column', `type of column ${column.name}`, there.type, column.type);
  drift.push(
    ...difference(
      'column',
      `codec of column ${column.name}`,
      codecText(there.compression_codec) || 'the default',
      column.codec ?? 'the default',
    ),
  );
  if (there.default_kind !== '')
    drift.push({ aspect: 'column', text: `column ${column.name} has a ${there.default_kind} expression` });
  return drift;
}
