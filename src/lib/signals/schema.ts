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
import { createTableSql, type Table, type TtlDays, tables, ttlExpression } from './tables.ts';

export interface SchemaTarget {
  database: string;
  runId: string;
  /** Days of TTL; undefined for none (always on a virtual clock: 2013 rows would be deleted at once). */
  ttlDays: TtlDays;
}

interface Migration {
  version: number;
  name: string;
  statements(database: string, ttlDays: TtlDays): string[];
}

const migrations: readonly Migration[] = [
  {
    version: 1,
    name: 'tables of bars, signals and the signal log',
    statements: (database, ttlDays) => tables.map((table) => createTableSql(database, table, ttlDays)),
  },
];

/** The newest version this code knows. */
export const schemaVersion = migrations.length;

/** The checksum of a migration leaves TTL and database out: they are parameters. */
function checksumOf(migration: Migration): string {
  return createHash('sha256').update(migration.statements('db', undefined).join(';\n')).digest('hex');
}

const recordSchema = z.object({ run_id: z.string(), ttl_days: z.int().positive().nullable() });
type RunRecord = z.infer<typeof recordSchema>;

const namePattern = /^[A-Za-z_][A-Za-z0-9_]*$/;

function checkedName(database: string): string {
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
  await command(
    client,
    `CREATE TABLE IF NOT EXISTS ${database}.torghut_migrations (
  version UInt32, name String, checksum String
) ENGINE = ReplacingMergeTree ORDER BY version`,
  );
  await claimDatabase(client, target);
  const done = await appliedMigrations(client, database);
  const applied: number[] = [];
  for (const migration of migrations) {
    const checksum = checksumOf(migration);
    const known = done.get(migration.version);
    if (known !== undefined && known !== checksum) {
      throw refusedError({
        code: 'schema_drift',
        what: `migration ${migration.version} of the database ${database} is not the one of this version`,
        why: `recorded checksum ${known.slice(0, 12)}, expected ${checksum.slice(0, 12)}`,
        next: 'use the version of torghut that made the database, or a new database',
      });
    }
    if (known !== undefined) continue;
    for (const statement of migration.statements(database, target.ttlDays)) await command(client, statement);
    await client.insert({
      table: `${database}.torghut_migrations`,
      values: [{ version: migration.version, name: migration.name, checksum }],
      format: 'JSONEachRow',
    });
    applied.push(migration.version);
  }
  await checkColumns(client, database);
  return { applied };
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
  await checkColumns(client, database);
}

/** Changes the TTL of an existing database: tables first, then the record, so that a crash between is repaired by a repeat. */
export async function changeTtl(client: ClickHouseClient, target: SchemaTarget): Promise<void> {
  const database = checkedName(target.database);
  const record = await readRecord(client, database);
  if (!record) return;
  refuseOtherRun(database, record, target);
  for (const table of tables) {
    const change = target.ttlDays === undefined ? 'REMOVE TTL' : `MODIFY TTL ${ttlExpression(target.ttlDays)}`;
    const hasTtl = (await tableTtl(client, database, table)) !== undefined;
    if (target.ttlDays !== undefined || hasTtl)
      await command(client, `ALTER TABLE ${database}.${table.name} ${change}`);
  }
  const comment = JSON.stringify({ run_id: record.run_id, ttl_days: target.ttlDays ?? null });
  await command(client, `ALTER TABLE ${database}.torghut_run MODIFY COMMENT ${literal(comment)}`);
}

/** A literal of DDL, where query parameters are not allowed. */
function literal(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** Records the run when the database has none; checks it otherwise. */
async function claimDatabase(client: ClickHouseClient, target: SchemaTarget): Promise<void> {
  const comment: RunRecord = { run_id: target.runId, ttl_days: target.ttlDays ?? null };
  await command(
    client,
    `CREATE TABLE IF NOT EXISTS ${target.database}.torghut_run (run_id String) ENGINE = MergeTree ORDER BY run_id COMMENT ${literal(JSON.stringify(comment))}`,
  );
  const record = await readRecord(client, target.database);
  if (!record) throw new Error('the table torghut_run has no record');
  refuseOtherRun(target.database, record, target);
  refuseOtherTtl(target.database, record, target);
}

async function readRecord(client: ClickHouseClient, database: string): Promise<RunRecord | undefined> {
  const found = await rows(
    client,
    z.object({ comment: z.string() }),
    "SELECT comment FROM system.tables WHERE database = {database:String} AND name = 'torghut_run'",
    { database },
  );
  const comment = found[0]?.comment;
  return comment === undefined ? undefined : recordSchema.parse(JSON.parse(comment));
}

function refuseOtherRun(database: string, record: RunRecord, target: SchemaTarget): void {
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

async function refuseNewer(client: ClickHouseClient, database: string): Promise<void> {
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

async function appliedMigrations(client: ClickHouseClient, database: string): Promise<Map<number, string>> {
  const found = await rows(
    client,
    z.object({ version: z.coerce.number(), checksum: z.string() }),
    `SELECT version, checksum FROM ${database}.torghut_migrations FINAL ORDER BY version`,
  );
  return new Map(found.map(({ version, checksum }) => [version, checksum]));
}

async function tableTtl(client: ClickHouseClient, database: string, table: Table): Promise<string | undefined> {
  const found = await rows(
    client,
    z.object({ create_table_query: z.string() }),
    'SELECT create_table_query FROM system.tables WHERE database = {database:String} AND name = {name:String}',
    { database, name: table.name },
  );
  return /\bTTL (.+?) (?:SETTINGS|COMMENT|$)/.exec(found[0]?.create_table_query ?? '')?.[1];
}

/** Compares names, types and order of the columns with the definition. @throws `schema_drift` */
async function checkColumns(client: ClickHouseClient, database: string): Promise<void> {
  const found = await rows(
    client,
    z.object({ table: z.string(), name: z.string(), type: z.string() }),
    "SELECT table, name, type FROM system.columns WHERE database = {database:String} AND startsWith(table, 'ta_') ORDER BY table, position",
    { database },
  );
  for (const table of tables) {
    const live = found.filter((column) => column.table === table.name).map(({ name, type }) => `${name} ${type}`);
    const expected = table.columns.map(({ name, type }) => `${name} ${type}`);
    const wrong = [
      ...expected.filter((item) => !live.includes(item)),
      ...live.filter((item) => !expected.includes(item)),
    ];
    if (wrong.length === 0) continue;
    throw refusedError({
      code: 'schema_drift',
      what: `the table ${database}.${table.name} is not as torghut made it`,
      why: `different columns: ${wrong.join(', ')}`,
      next: 'undo the change, or use a new database',
    });
  }
}
