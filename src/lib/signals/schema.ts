/**
 * Migrations of the signal store: versioned, forward only, each with a checksum in `torghut_migrations`, safe to run twice and
 * by two processes at once (every statement is idempotent).
 * The run and the TTL of a database are recorded in the comment of the table `torghut_run`: making a table is one atomic step,
 * so of two first writers one wins, and the other sees whose database it is.
 * Refusals (exit 4): `run_mismatch`, `schema_newer`, `schema_drift`, `ttl_mismatch`.
 */
import { createHash } from 'node:crypto';
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { refusedError } from '../service/errors.ts';
import { inspectTables, type LiveTable } from './live.ts';
import { quoteLiteral } from './sql-text.ts';
import { createTableSql, type TtlDays, tables, ttlExpression } from './tables.ts';

export interface SchemaTarget {
  database: string;
  runId: string;
  /** Days of TTL; undefined for none (always on a virtual clock: 2013 rows would be deleted at once). */
  ttlDays: TtlDays;
}

export interface Migration {
  version: number;
  name: string;
  statements(database: string, ttlDays: TtlDays): string[];
}

/** In order, versions 1, 2, 3 … without a gap. */
export const migrations: readonly Migration[] = [
  {
    version: 1,
    name: 'tables of bars, signals and the signal log',
    statements: (database, ttlDays) => tables.map((table) => createTableSql(database, table, ttlDays)),
  },
];

/** The newest version this code knows. */
export const schemaVersion = migrations.length;

/** The checksum of a migration leaves TTL and database out: they are parameters. */
export function checksumOf(migration: Migration): string {
  return createHash('sha256').update(migration.statements('db', undefined).join(';\n')).digest('hex');
}

const recordSchema = z.object({ run_id: z.string(), ttl_days: z.int().positive().nullable() });
export type RunRecord = z.infer<typeof recordSchema>;

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
async function command(client: ClickHouseClient, query: string): Promise<void> {
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
  for (const statement of recordStatements(target)) await command(client, statement);
  await refuseForeignRecord(client, target);
  const done = await appliedMigrations(client, database);
  const applied: number[] = [];
  for (const migration of migrations) {
    const checksum = checksumOf(migration);
    const known = done.get(migration.version);
    if (known !== undefined) {
      refuseOtherChecksum(database, migration, known);
      continue;
    }
    for (const statement of migration.statements(database, target.ttlDays)) await command(client, statement);
    await client.insert({
      table: `${database}.torghut_migrations`,
      values: [{ version: migration.version, name: migration.name, checksum }],
      format: 'JSONEachRow',
    });
    applied.push(migration.version);
  }
  await refuseDrift(client, database, target.ttlDays);
  return { applied };
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
  await refuseDrift(client, database, target.ttlDays);
}

/** Changes the TTL of an existing database: tables first, then the record, so that a crash between is repaired by a repeat. */
export async function changeTtl(client: ClickHouseClient, target: SchemaTarget): Promise<void> {
  const database = checkedName(target.database);
  const record = await readRecord(client, database);
  if (!record) return;
  refuseOtherRun(database, record, target);
  const live = await inspectTables(client, database, target.ttlDays);
  for (const statement of ttlStatements(target, live)) await command(client, statement);
}

/** The statements that give the tables another TTL, the record last. A table without a TTL cannot have one removed. */
export function ttlStatements(target: SchemaTarget, live: readonly LiveTable[]): string[] {
  const { database, ttlDays } = target;
  const comment = JSON.stringify({ run_id: target.runId, ttl_days: ttlDays ?? null });
  const changed = live.filter(({ exists, ttl }) => exists && (ttlDays !== undefined || ttl !== null));
  const change = ttlDays === undefined ? 'REMOVE TTL' : `MODIFY TTL ${ttlExpression(ttlDays)}`;
  return [
    ...changed.map(({ table }) => `ALTER TABLE ${database}.${table} ${change}`),
    `ALTER TABLE ${database}.torghut_run MODIFY COMMENT ${quoteLiteral(comment)}`,
  ];
}

/** The bookkeeping tables: what was applied, and (in the comment, see the header) whose database it is. */
export function recordStatements({ database, runId, ttlDays }: SchemaTarget): string[] {
  const comment: RunRecord = { run_id: runId, ttl_days: ttlDays ?? null };
  return [
    `CREATE TABLE IF NOT EXISTS ${database}.torghut_migrations (
  version UInt32, name String, checksum String
) ENGINE = ReplacingMergeTree ORDER BY version`,
    `CREATE TABLE IF NOT EXISTS ${database}.torghut_run (run_id String) ENGINE = MergeTree ORDER BY run_id COMMENT ${quoteLiteral(JSON.stringify(comment))}`,
  ];
}

/** After the bookkeeping tables are there: is the database ours? */
async function refuseForeignRecord(client: ClickHouseClient, target: SchemaTarget): Promise<void> {
  const record = await readRecord(client, target.database);
  if (!record) throw new Error('the table torghut_run has no record');
  refuseOtherRun(target.database, record, target);
  refuseOtherTtl(target.database, record, target);
}

/** Run and TTL recorded in a database; undefined when it has no tables of ours. */
export async function readRecord(client: ClickHouseClient, database: string): Promise<RunRecord | undefined> {
  const found = await rows(
    client,
    z.object({ comment: z.string() }),
    "SELECT comment FROM system.tables WHERE database = {database:String} AND name = 'torghut_run'",
    { database },
  );
  const comment = found[0]?.comment;
  return comment === undefined ? undefined : recordSchema.parse(JSON.parse(comment));
}

/** @throws `run_mismatch` (exit 4) */
export function refuseOtherRun(database: string, record: RunRecord, target: SchemaTarget): void {
  if (record.run_id === target.runId) return;
  throw refusedError({
    code: 'run_mismatch',
    what: `the database ${database} belongs to run ${record.run_id}, this is run ${target.runId}`,
    why: 'one database holds one run',
    next: 'set TORGHUT_RUN_ID to the run of the database, or name another database in TA_CLICKHOUSE_URL',
  });
}

function refuseOtherTtl(database: string, record: RunRecord, target: SchemaTarget): void {
  const wanted = target.ttlDays ?? null;
  if (record.ttl_days === wanted) return;
  const text = (days: number | null) => (days === null ? 'none' : `${days} days`);
  throw refusedError({
    code: 'ttl_mismatch',
    what: `the tables ta_* of the database ${database} have a TTL of ${text(record.ttl_days)}, wanted is ${text(wanted)}`,
    why: 'on a virtual clock rows with old event times would be deleted at once',
    next: `set TA_CLICKHOUSE_TTL_DAYS to ${record.ttl_days ?? 'none'}, or use another database`,
  });
}

/** @throws `schema_newer` (exit 4) */
export async function refuseNewer(client: ClickHouseClient, database: string): Promise<void> {
  const exists = await rows(
    client,
    z.object({ name: z.string() }),
    "SELECT name FROM system.tables WHERE database = {database:String} AND name = 'torghut_migrations'",
    { database },
  );
  if (exists.length === 0) return;
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
  const found = await rows(
    client,
    z.object({ version: z.coerce.number(), checksum: z.string() }),
    `SELECT version, checksum FROM ${database}.torghut_migrations FINAL ORDER BY version`,
  );
  return new Map(found.map(({ version, checksum }) => [version, checksum]));
}

/** Compares every table with its definition. @throws `schema_drift` */
async function refuseDrift(client: ClickHouseClient, database: string, ttlDays: TtlDays): Promise<void> {
  for (const { table, drift } of await inspectTables(client, database, ttlDays))
    refuseTableDrift(database, table, drift);
}

/** @throws `schema_drift` (exit 4) when there is any difference */
export function refuseTableDrift(database: string, table: string, drift: readonly string[]): void {
  if (drift.length === 0) return;
  throw refusedError({
    code: 'schema_drift',
    what: `the table ${database}.${table} is not as torghut made it`,
    why: drift.join('; '),
    next: 'undo the change, or use a new database',
  });
}
