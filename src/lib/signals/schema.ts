/**
 * Migrations of the signal store: versioned, forward only, each with a checksum in `torghut_migrations`, safe to run twice and
 * by two processes at once (every statement is idempotent), from one definition for a single node and for a cluster.
 * What replaces tables (conversion.ts) is not done here but by `torghut clickhouse migrate` alone, under its lock.
 * Refusals (exit 4): `run_mismatch`, `ttl_mismatch`, `layout_mismatch`, `schema_newer`, `schema_drift`.
 */
import { createHash } from 'node:crypto';
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { refusedError } from '../service/errors.ts';
import { type Layout, layoutOf, onCluster, singleNode } from './layout.ts';
import { inspectTables, type LiveTable } from './live.ts';
import {
  layoutOfRecord,
  readRecord,
  recordChangeStatement,
  recordStatements,
  refuseOtherLayout,
  refuseOtherRun,
  refuseOtherTtl,
  type SchemaTarget,
} from './run-record.ts';
import { createTableSql, type TtlDays, tableSettings, tables, ttlExpression } from './tables.ts';
import { derivedStatements } from './views.ts';

export type { SchemaTarget } from './run-record.ts';

export interface Migration {
  version: number;
  name: string;
  statements(database: string, ttlDays: TtlDays, layout: Layout): string[];
}

/** In order, versions 1, 2, 3 … without a gap. */
export const migrations: readonly Migration[] = [
  {
    version: 1,
    name: 'tables of bars, signals and the signal log',
    statements: (database, ttlDays, layout) =>
      tables.map((table) => createTableSql(database, table, ttlDays, { layout })),
  },
  {
    version: 2,
    name: 'expired days dropped whole; views',
    statements: (database, _ttlDays, layout) => [
      ...tables.map(
        ({ name }) =>
          `ALTER TABLE ${database}.${name}${onCluster(layout)} MODIFY SETTING ttl_only_drop_parts = ${tableSettings.ttl_only_drop_parts}`,
      ),
      ...derivedStatements(database, layout),
    ],
  },
];

/** The newest version this code knows. */
export const schemaVersion = migrations.length;

/** The checksum of a migration leaves TTL, database and layout out: they are parameters. */
export function checksumOf(migration: Migration): string {
  return createHash('sha256')
    .update(migration.statements('db', undefined, singleNode).join(';\n'))
    .digest('hex');
}

const namePattern = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** A name that can stand in a statement. @throws `database_name_invalid` (exit 4) */
export function checkedName(database: string): string {
  if (namePattern.test(database)) return database;
  throw refusedError({
    code: 'database_name_invalid',
    what: `${database} cannot be the name of the signal database`,
    next: 'use letters, digits and underscores',
  });
}

async function rows<T>(client: ClickHouseClient, schema: z.ZodType<T>, query: string, params = {}): Promise<T[]> {
  const result = await client.query({ query, query_params: params, format: 'JSONEachRow' });
  return z.array(schema).parse(await result.json());
}

/** A statement that must not name the database as the default one: it may not exist yet. */
export async function command(client: ClickHouseClient, query: string): Promise<void> {
  await client.command({ query });
}

/**
 * Brings the database to this code's version and records or checks run and TTL.
 * @throws TorghutError (exit 4) of the module's list; errors of the client as they are
 */
export async function migrateSignalStore(
  client: ClickHouseClient,
  target: SchemaTarget,
): Promise<{ applied: number[] }> {
  const database = checkedName(target.database);
  await refuseNewer(client, database);
  const known = await readRecord(client, database);
  const layout = known ? layoutOfRecord(known) : layoutOf(target.cluster);
  await refuseForeignTables(client, target, layout);
  for (const statement of recordStatements(target, layout)) await command(client, statement);
  await refuseForeignRecord(client, target);
  const applied = await applyMigrations(client, target, layout);
  await refuseDrift(client, target, layout);
  return { applied };
}

/** Runs and records what is not recorded yet; the bookkeeping tables are there. @throws `schema_drift` */
export async function applyMigrations(
  client: ClickHouseClient,
  { database, ttlDays }: SchemaTarget,
  layout: Layout,
): Promise<number[]> {
  const done = await appliedMigrations(client, database);
  const applied: number[] = [];
  for (const migration of migrations) {
    const checksum = checksumOf(migration);
    const known = done.get(migration.version);
    if (known !== undefined) {
      refuseOtherChecksum(database, migration, known);
      continue;
    }
    for (const statement of migration.statements(database, ttlDays, layout)) await command(client, statement);
    await client.insert({
      table: `${database}.torghut_migrations`,
      values: [{ version: migration.version, name: migration.name, checksum }],
      format: 'JSONEachRow',
    });
    applied.push(migration.version);
  }
  return applied;
}

/** @throws `schema_drift` (exit 4) when a recorded migration is not the one of this code */
export function refuseOtherChecksum(database: string, migration: Migration, known: string): void {
  const checksum = checksumOf(migration);
  if (known === checksum) return;
  throw refusedError({
    code: 'schema_drift',
    what: `migration ${migration.version} of the database ${database} is not the one of this version`,
    why: `recorded checksum ${known.slice(0, 12)}, expected ${checksum.slice(0, 12)}`,
    next: 'use the version of torghut that made the database, or a new database',
  });
}

/** Read-only: does the database have this version, this run and this TTL? @throws as migrateSignalStore, `schema_missing` */
export async function checkSignalStore(client: ClickHouseClient, target: SchemaTarget): Promise<void> {
  const database = checkedName(target.database);
  await refuseNewer(client, database);
  const record = await readRecord(client, database);
  if (!record) {
    throw refusedError({
      code: 'schema_missing',
      what: `the database ${database} has not the tables of torghut`,
      next: 'let the sink make them: TA_CLICKHOUSE_MIGRATE=true',
    });
  }
  refuseOtherRun(database, record, target);
  refuseOtherTtl(database, record, target);
  refuseOtherLayout(database, record, target);
  await refuseDrift(client, target, layoutOfRecord(record));
}

/** Changes the TTL of an existing database: tables first, then the record, so that a crash between is repaired by a repeat. */
export async function changeTtl(client: ClickHouseClient, target: SchemaTarget): Promise<void> {
  const database = checkedName(target.database);
  const record = await readRecord(client, database);
  if (!record) return;
  refuseOtherRun(database, record, target);
  const layout = layoutOfRecord(record);
  const live = await inspectTables(client, { database, ttlDays: target.ttlDays, layout });
  for (const statement of ttlStatements(target, live, layout)) await command(client, statement);
}

/** The statements that give the tables another TTL, the record last. A table without a TTL cannot have one removed. */
export function ttlStatements(target: SchemaTarget, live: readonly LiveTable[], layout: Layout): string[] {
  const { database, ttlDays } = target;
  const changed = live.filter(({ exists, ttl }) => exists && (ttlDays !== undefined || ttl !== null));
  const change = ttlDays === undefined ? 'REMOVE TTL' : `MODIFY TTL ${ttlExpression(ttlDays)}`;
  return [
    ...changed.map(({ table }) => `ALTER TABLE ${database}.${table}${onCluster(layout)} ${change}`),
    recordChangeStatement(target, layout),
  ];
}

/** After the bookkeeping tables are there: is the database ours? */
async function refuseForeignRecord(client: ClickHouseClient, target: SchemaTarget): Promise<void> {
  const record = await readRecord(client, target.database);
  if (!record) throw new Error('the table torghut_run has no record');
  refuseOtherRun(target.database, record, target);
  refuseOtherTtl(target.database, record, target);
  refuseOtherLayout(target.database, record, target);
}

/** @throws `schema_newer` (exit 4) */
export async function refuseNewer(client: ClickHouseClient, database: string): Promise<void> {
  const newest = Math.max(0, ...(await appliedMigrations(client, database)).keys());
  if (newest <= schemaVersion) return;
  throw refusedError({
    code: 'schema_newer',
    what: `the database ${database} has schema version ${newest}, this version of torghut knows ${schemaVersion}`,
    next: 'use the newer version of torghut',
  });
}

/** Checksums of the migrations a database has, by version; the table must exist. */
export async function appliedMigrations(client: ClickHouseClient, database: string): Promise<Map<number, string>> {
  const there = await rows(
    client,
    z.object({ name: z.string() }),
    "SELECT name FROM system.tables WHERE database = {database:String} AND name = 'torghut_migrations'",
    { database },
  );
  if (there.length === 0) return new Map();
  const found = await rows(
    client,
    z.object({ version: z.coerce.number(), checksum: z.string() }),
    `SELECT version, checksum FROM ${database}.torghut_migrations FINAL ORDER BY version`,
  );
  return new Map(found.map(({ version, checksum }) => [version, checksum]));
}

/** Tables of another program or of another layout are not touched: converting them is a decision. @throws `schema_drift` */
async function refuseForeignTables(client: ClickHouseClient, target: SchemaTarget, layout: Layout): Promise<void> {
  const { database, ttlDays } = target;
  for (const { table, exists, differences } of await inspectTables(client, { database, ttlDays, layout })) {
    const foreign = differences.filter(({ aspect }) => aspect === 'shape' || aspect === 'column');
    if (exists)
      refuseTableDrift(
        database,
        table,
        foreign.map(({ text }) => text),
      );
  }
}

/** Compares every table with its definition. @throws `schema_drift` */
async function refuseDrift(client: ClickHouseClient, target: SchemaTarget, layout: Layout): Promise<void> {
  const { database, ttlDays } = target;
  for (const { table, drift } of await inspectTables(client, { database, ttlDays, layout }))
    refuseTableDrift(database, table, drift);
}

/** @throws `schema_drift` (exit 4) when there is any difference */
export function refuseTableDrift(database: string, table: string, drift: readonly string[]): void {
  if (drift.length === 0) return;
  throw refusedError({
    code: 'schema_drift',
    what: `the table ${database}.${table} is not as torghut made it`,
    why: drift.join('; '),
    next: 'see `torghut clickhouse schema`; undo the change, or let `torghut clickhouse migrate --plan` say what it can convert',
  });
}
