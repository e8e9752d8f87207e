/**
 * Converting tables that have other columns (the former system's), another engine, sorting or partition key: through a shadow
 * table that takes the old one's name in one step (spec ta 4.4).
 * Guarantees: the state is read from the database alone, so a conversion that was cut off anywhere goes on where it was; the old
 * rows are dropped only after every one of them was found in the new table, on a cluster after every host has it in the right
 * form; a repeat finds nothing to do. Refusals (exit 4): `conversion_impossible`, `conversion_no_room`,
 * `conversion_writer_active`, `conversion_incomplete`.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { refusedError } from '../service/errors.ts';
import {
  type ConversionKind,
  catchUpStatement,
  copyStatement,
  daysQuery,
  formerColumns,
  missingQuery,
  type RowSource,
} from './conversion-sql.ts';
import { expectedEngine, type Layout, onCluster } from './layout.ts';
import { type InspectedTable, inspectTables } from './live.ts';
import { createTableSql, type Table, type TtlDays, tableSettings, tables } from './tables.ts';

export const shadowSuffix = '__replicated_migration_v2';

/** Where a conversion stands: the shadow is being filled, or has the name already and the old rows wait to be dropped. */
export type ConversionStage = 'fill' | 'finish';

export interface Conversion {
  table: string;
  kind: ConversionKind;
  stage: ConversionStage;
  /** Is the shadow there? */
  has_shadow: boolean;
  from_engine: string;
  from_sorting_key: string;
  /** What the new table's keeper path has behind the usual one: the old table may hold either. */
  path_suffix: string;
  /** Rows and bytes of the old table, as the asked host counts them. */
  rows: number;
  bytes: number;
}

export interface ConversionQuestion {
  database: string;
  ttlDays: TtlDays;
  layout: Layout;
  runId: string;
}

const isWellShaped = (table: InspectedTable): boolean =>
  table.exists && !table.differences.some(({ aspect }) => aspect === 'shape' || aspect === 'column');

/** The tables that have to be converted, or whose conversion was cut off. @throws `conversion_impossible` */
export async function findConversions(client: ClickHouseClient, question: ConversionQuestion): Promise<Conversion[]> {
  const { database } = question;
  const inspected = await inspectTables(client, question);
  const shadows = await inspectTables(client, { ...question, suffix: shadowSuffix });
  const found: Conversion[] = [];
  for (const [i, table] of tables.entries()) {
    const [live, shadow] = [inspected[i] as InspectedTable, shadows[i] as InspectedTable];
    if (!shadow.exists && !live.exists) continue;
    const isDone = isWellShaped(live);
    const isOurs = shadow.exists && (isDone || isWellShaped(shadow));
    if (shadow.exists && (!live.exists || !isOurs)) {
      throw impossible(database, table.name, `the table ${shadow.table} is there and is not what a conversion made`);
    }
    const old = shadow.exists && isDone ? shadow : live;
    const kind = kindOf(database, table, old);
    // Nothing to convert, or something that a person changed: the plan refuses that by name.
    if (kind === undefined && !shadow.exists) continue;
    if (kind === undefined && !isWellShaped(old)) throw impossible(database, table.name, old.drift.join('; '));
    found.push({
      table: table.name,
      kind: kind ?? 'shape',
      stage: shadow.exists && isDone ? 'finish' : 'fill',
      has_shadow: shadow.exists,
      from_engine: old.engine ?? '',
      from_sorting_key: old.sorting_key ?? '',
      path_suffix: old.keeperPath?.endsWith(shadowSuffix) ? '' : shadowSuffix,
      ...(await sizeOf(client, database, old.table)),
    });
  }
  return found;
}

/** How the rows of a table become ours; undefined when it is ours already, or something that nobody can tell. @throws `conversion_impossible` */
function kindOf(database: string, table: Table, old: InspectedTable): ConversionKind | undefined {
  const has = (aspect: string) => old.differences.some((each) => each.aspect === aspect);
  const former = formerColumns(table);
  const isFormer =
    old.columnTypes.revision === undefined && former?.every((name) => old.columnTypes[name] !== undefined) === true;
  if (!isFormer) return has('shape') && !has('column') ? 'shape' : undefined;
  const foreign = Object.keys(old.columnTypes).filter((name) => !table.columns.some((column) => column.name === name));
  if (foreign.length === 0) return 'v1';
  throw impossible(database, table.name, `its columns ${foreign.join(', ')} have no place in ours and would be lost`);
}

const impossible = (database: string, table: string, why: string) =>
  refusedError({
    code: 'conversion_impossible',
    what: `the table ${database}.${table} cannot be converted`,
    why,
    next: 'see `torghut clickhouse schema`; undo what was changed by hand, or use a new database',
  });

async function sizeOf(
  client: ClickHouseClient,
  database: string,
  table: string,
): Promise<{ rows: number; bytes: number }> {
  const [size] = await ask(
    client,
    z.object({ rows: z.coerce.number(), bytes: z.coerce.number() }),
    'SELECT sum(rows) AS rows, sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = {database:String} AND table = {table:String}',
    { database, table },
  );
  return size ?? { rows: 0, bytes: 0 };
}

async function ask<T>(client: ClickHouseClient, schema: z.ZodType<T>, query: string, params: object): Promise<T[]> {
  const result = await client.query({ query, query_params: { ...params }, format: 'JSONEachRow' });
  return z.array(schema).parse(await result.json());
}

/** The statements of a conversion in their order; `{day:Date}` stands for each day that has rows. */
export function conversionStatements(question: ConversionQuestion, conversion: Conversion): string[] {
  const { database, layout } = question;
  const table = tableNamed(conversion.table);
  const shadow = `${table.name}${shadowSuffix}`;
  const copy = (from: string, to: string) => copyStatement(sourceOf(question, conversion, from), to);
  const sync = (name: string) => (layout.cluster === undefined ? [] : [syncStatement(database, name, layout)]);
  return [
    ...(conversion.stage === 'finish'
      ? []
      : [
          ...(conversion.has_shadow ? [] : [createShadow(question, conversion)]),
          ...(isReplicated(conversion) ? sync(table.name) : []),
          copy(table.name, shadow),
          ...sync(shadow),
          exchange(database, table.name, layout),
        ]),
    catchUpStatement(sourceOf(question, conversion, shadow), table.name),
    ...sync(table.name),
    dropShadow(database, shadow, layout),
  ];
}

const isReplicated = ({ from_engine }: Conversion) => from_engine.startsWith('Replicated');

const createShadow = ({ database, ttlDays, layout }: ConversionQuestion, { table, path_suffix }: Conversion) =>
  createTableSql(database, tableNamed(table), ttlDays, {
    layout,
    name: `${table}${shadowSuffix}`,
    pathSuffix: path_suffix,
    settings: tableSettings,
  });

const exchange = (database: string, table: string, layout: Layout) =>
  `EXCHANGE TABLES ${database}.${table} AND ${database}.${table}${shadowSuffix}${onCluster(layout)}`;

const dropShadow = (database: string, shadow: string, layout: Layout) =>
  `DROP TABLE ${database}.${shadow}${onCluster(layout)} SYNC SETTINGS max_table_size_to_drop = 0`;

const syncStatement = (database: string, table: string, layout: Layout) =>
  `SYSTEM SYNC REPLICA${onCluster(layout)} ${database}.${table}`;

function tableNamed(name: string): Table {
  const table = tables.find((each) => each.name === name);
  if (!table) throw new Error(`there is no table ${name}`);
  return table;
}

function sourceOf(question: ConversionQuestion, conversion: Conversion, from: string): RowSource {
  const { database, layout, ttlDays } = question;
  const { kind, table } = conversion;
  return { database, table: tableNamed(table), kind, from, layout, isReplicated: isReplicated(conversion), ttlDays };
}

/** Refuses what would fail half way. @throws `conversion_no_room`, `conversion_writer_active` */
export async function refuseUnsafeConversions(
  client: ClickHouseClient,
  { database, layout }: ConversionQuestion,
  conversions: readonly Conversion[],
): Promise<void> {
  const open = conversions.filter(({ stage }) => stage === 'fill');
  if (open.length === 0) return;
  const needed = open.reduce((sum, { bytes }) => sum + 2 * bytes, 0);
  const [disk] = await ask(
    client,
    z.object({ free: z.coerce.number() }),
    'SELECT min(unreserved_space) AS free FROM system.disks',
    {},
  );
  if (disk && disk.free < needed) {
    throw refusedError({
      code: 'conversion_no_room',
      what: `the disk has ${disk.free} free bytes, a conversion needs ${needed}`,
      why: 'old and new table stand side by side until the rows are verified',
      next: 'free space first: `torghut clickhouse disk`',
    });
  }
  for (const { table, kind } of open) {
    if (kind !== 'v1') continue;
    // A part as an insert makes it (a replacing table merges while inserting: level 1); merges make others.
    const [writer] = await ask(
      client,
      z.object({ recent: z.coerce.number() }),
      `SELECT countIf(modification_time > now() - 60 AND level <= 1 AND min_block_number = max_block_number) AS recent FROM ${layout.cluster === undefined ? 'system.parts' : `clusterAllReplicas('${layout.cluster}', system.parts)`} WHERE active AND database = {database:String} AND table = {table:String}`,
      { database, table },
    );
    if ((writer?.recent ?? 0) === 0) continue;
    throw refusedError({
      code: 'conversion_writer_active',
      what: `somebody wrote into ${database}.${table} within the last minute`,
      why: 'a writer of the former system cannot write into the new table',
      next: 'pause it (`torghut ta pause` for ours, suspend the job for the former one), wait a minute, and repeat',
    });
  }
}

/** Converts one table, from wherever it stands. @throws `conversion_incomplete`; errors of the client as they are */
export async function convertTable(
  client: ClickHouseClient,
  question: ConversionQuestion,
  conversion: Conversion,
): Promise<void> {
  const { database, layout } = question;
  const table = conversion.table;
  const shadow = `${table}${shadowSuffix}`;
  if (conversion.stage === 'fill') {
    if (!conversion.has_shadow) await client.command({ query: createShadow(question, conversion) });
    // This host reads for all of them.
    if (layout.cluster !== undefined && isReplicated(conversion)) {
      await client.command({ query: syncStatement(database, table, layout) });
    }
    await carryOver(client, question, conversion, { from: table, to: shadow, isExact: true });
    await client.command({ query: exchange(database, table, layout) });
  }
  // What came in between the copy and the exchange.
  await carryOver(client, question, conversion, { from: shadow, to: table, isExact: false });
  await requireForm(client, question, table);
  await client.command({ query: dropShadow(database, shadow, layout) });
}

/** Copies the days of which something is missing, then requires that nothing is. */
async function carryOver(
  client: ClickHouseClient,
  question: ConversionQuestion,
  conversion: Conversion,
  way: { from: string; to: string; isExact: boolean },
): Promise<void> {
  const { database, layout, runId } = question;
  const source = sourceOf(question, conversion, way.from);
  const missingOf = async (day: string) => {
    const [found] = await ask(
      client,
      z.object({ missing: z.coerce.number(), rows: z.coerce.number(), there: z.coerce.number() }),
      missingQuery(source, way.to, way.isExact),
      { day, run: runId },
    );
    return found ?? { missing: 0, rows: 0, there: 0 };
  };
  const days = await ask(client, z.object({ day: z.string() }), daysQuery(source), {});
  let copied = 0;
  for (const { day } of days) {
    if ((await missingOf(day)).missing === 0) continue;
    const query = way.isExact ? copyStatement(source, way.to) : catchUpStatement(source, way.to);
    await client.command({ query, query_params: { day, run: runId } });
    copied += 1;
  }
  if (layout.cluster !== undefined && (copied > 0 || way.isExact)) {
    await client.command({ query: syncStatement(database, way.to, layout) });
  }
  for (const { day } of days) {
    const { missing, rows, there } = await missingOf(day);
    if (missing === 0 && (!way.isExact || rows === there)) continue;
    throw refusedError({
      code: 'conversion_incomplete',
      what: `${database}.${way.to} does not hold every row of ${database}.${way.from} of ${day}`,
      why: `${missing} of ${rows} rows are missing, ${there} are there`,
      next: 'nothing was dropped; look for a writer that still runs, then repeat the migration',
    });
  }
}

/** Every host has the table in our form before the old rows go. @throws `conversion_incomplete` */
async function requireForm(client: ClickHouseClient, question: ConversionQuestion, name: string): Promise<void> {
  const { database, layout } = question;
  const table = tableNamed(name);
  const from =
    layout.cluster === undefined ? 'system.tables' : `clusterAllReplicas('${layout.cluster}', system.tables)`;
  const hosts = await ask(
    client,
    z.object({ host: z.string(), engine: z.string(), sorting_key: z.string() }),
    `SELECT hostName() AS host, engine, sorting_key FROM ${from} WHERE database = {database:String} AND name = {name:String} ORDER BY host`,
    { database, name },
  );
  const engine = expectedEngine(table.engine, layout).replace(/\(.*/, '');
  const wrong = hosts.filter((host) => host.engine !== engine || host.sorting_key !== table.orderBy.join(', '));
  if (hosts.length > 0 && wrong.length === 0) return;
  throw refusedError({
    code: 'conversion_incomplete',
    what: `${database}.${name} has not its new form on every host`,
    why: wrong.map(({ host, engine: is, sorting_key: by }) => `${host}: ${is} by ${by}`).join('; '),
    next: 'nothing was dropped; see that every host runs its queue of DDL, then repeat the migration',
  });
}
