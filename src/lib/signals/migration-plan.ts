/**
 * What a migration of the signal store would do, before it does it, and what the live schema is.
 * Guarantees: reading changes nothing; the id of a plan is a hash of the plan and of the facts it rests on; everything that
 * would be refused later is refused already here (newer schema, drift, another run). A shorter TTL says how many stored rows
 * it would delete.
 */
import { createHash } from 'node:crypto';
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { codeOf } from '../service/errors.ts';
import { inspectTables, type LiveTable } from './live.ts';
import {
  appliedMigrations,
  changeTtl,
  checkedName,
  migrateSignalStore,
  migrations,
  type RunRecord,
  readRecord,
  recordStatements,
  refuseNewer,
  refuseOtherChecksum,
  refuseOtherRun,
  refuseTableDrift,
  schemaVersion,
  ttlStatements,
} from './schema.ts';
import { type TtlDays, tables } from './tables.ts';

export interface MigrationWish {
  database: string;
  /** The run that a new database will belong to, or that an existing one must belong to; undefined accepts the recorded one. */
  runId: string | undefined;
  /** undefined keeps what is recorded. */
  ttl: { days: TtlDays } | undefined;
  /** For a database that has nothing recorded yet. */
  defaults: { runId: string; ttlDays: TtlDays };
}

export interface MigrationPlan {
  id: string;
  database: string;
  run_id: string;
  ttl_days: number | null;
  database_exists: boolean;
  applied: { version: number; name: string; checksum: string }[];
  pending: { version: number; name: string }[];
  /** In the order in which they run. */
  statements: string[];
  /** Stored rows that the new TTL would delete; 0 when the TTL stays. */
  rows_past_ttl: number;
}

interface Facts {
  databaseExists: boolean;
  record: RunRecord | undefined;
  applied: Map<number, string>;
  live: LiveTable[];
}

async function databaseExists(client: ClickHouseClient, database: string): Promise<boolean> {
  try {
    const result = await client.query({
      query: 'SELECT name FROM system.databases WHERE name = {database:String}',
      query_params: { database },
      format: 'JSONEachRow',
    });
    return (await result.json()).length > 0;
  } catch (error) {
    // The client's own default database is the missing one: then the server takes no statement at all.
    if (codeOf(error) === '81') return false;
    throw error;
  }
}

async function readFacts(client: ClickHouseClient, database: string): Promise<Facts> {
  const none: Facts = { databaseExists: false, record: undefined, applied: new Map(), live: [] };
  if (!(await databaseExists(client, database))) return none;
  const record = await readRecord(client, database);
  const live = await inspectTables(client, database, record?.ttl_days ?? undefined);
  const applied = record ? await appliedMigrations(client, database) : new Map<number, string>();
  return { databaseExists: true, record, applied, live };
}

/** @throws TorghutError `schema_newer`, `schema_drift`, `run_mismatch` (exit 4) */
export async function planMigration(client: ClickHouseClient, wish: MigrationWish): Promise<MigrationPlan> {
  const database = checkedName(wish.database);
  const facts = await readFacts(client, database);
  const { record } = facts;
  if (facts.databaseExists) await refuseNewer(client, database);
  const runId = wish.runId ?? record?.run_id ?? wish.defaults.runId;
  const recorded = record?.ttl_days ?? undefined;
  const ttlDays = wish.ttl ? wish.ttl.days : record ? recorded : wish.defaults.ttlDays;
  const target = { database, runId, ttlDays };
  if (record) refuseOtherRun(database, record, target);
  const pending = migrations.filter(({ version }) => !facts.applied.has(version));
  for (const migration of migrations) {
    const known = facts.applied.get(migration.version);
    if (known !== undefined) refuseOtherChecksum(database, migration, known);
  }
  // A table of a migration that was cut off is not there yet; one of a finished migration must be, and every one as defined.
  // A wanted TTL also finishes a change that was cut off; without the wish another TTL than the recorded one is drift.
  const changesTtl =
    wish.ttl !== undefined &&
    record !== undefined &&
    (recorded !== ttlDays || facts.live.some(({ exists, drift }) => exists && drift.some(isAboutTtl)));
  for (const { table, exists, drift } of facts.live) {
    if (!exists && pending.length > 0) continue;
    const counts = drift.filter((item) => !(changesTtl && isAboutTtl(item)));
    refuseTableDrift(database, table, counts);
  }
  const statements = [
    ...(facts.databaseExists ? [] : [`CREATE DATABASE IF NOT EXISTS ${database}`]),
    ...(record ? [] : recordStatements(target)),
    ...pending.flatMap((migration) => migration.statements(database, ttlDays)),
    ...(changesTtl ? ttlStatements(target, facts.live) : []),
  ];
  const rowsPastTtl =
    changesTtl && ttlDays !== undefined ? await countPastTtl(client, database, ttlDays, facts.live) : 0;
  const plan = {
    database,
    run_id: runId,
    ttl_days: ttlDays ?? null,
    database_exists: facts.databaseExists,
    applied: appliedOf(facts.applied),
    pending: pending.map(({ version, name }) => ({ version, name })),
    statements,
    rows_past_ttl: rowsPastTtl,
  };
  const id = createHash('sha256')
    .update(JSON.stringify([plan, facts.live]))
    .digest('hex')
    .slice(0, 12);
  return { id, ...plan };
}

/** Does what the plan says. @returns the versions that were applied by this call */
export async function runMigration(client: ClickHouseClient, plan: MigrationPlan): Promise<{ applied: number[] }> {
  const target = { database: plan.database, runId: plan.run_id, ttlDays: plan.ttl_days ?? undefined };
  // The TTL first: until the record says the wanted TTL, the migration would refuse it.
  if (plan.statements.some((statement) => statement.startsWith('ALTER TABLE'))) await changeTtl(client, target);
  return migrateSignalStore(client, target);
}

const isAboutTtl = (drift: string): boolean => drift.startsWith('TTL ');

function appliedOf(applied: Map<number, string>): MigrationPlan['applied'] {
  const nameOf = (version: number) => migrations.find((migration) => migration.version === version)?.name ?? 'unknown';
  return [...applied].map(([version, checksum]) => ({ version, name: nameOf(version), checksum }));
}

async function countPastTtl(
  client: ClickHouseClient,
  database: string,
  ttlDays: number,
  live: readonly LiveTable[],
): Promise<number> {
  const there = tables.filter(({ name }) => live.some(({ table, exists }) => exists && table === name));
  if (there.length === 0) return 0;
  // The server's own now on purpose: it is what the TTL compares with, whatever the market time of the run.
  const parts = there.map(
    ({ name }) => `SELECT count() AS n FROM ${database}.${name} WHERE event_ts < now() - toIntervalDay({days:UInt32})`,
  );
  const result = await client.query({
    query: `SELECT toUInt32(sum(n)) AS n FROM (${parts.join(' UNION ALL ')})`,
    query_params: { days: ttlDays },
    format: 'JSONEachRow',
  });
  const [found] = z.array(z.object({ n: z.coerce.number() })).parse(await result.json());
  return found?.n ?? 0;
}

export interface SchemaReport {
  database: string;
  run_id: string | null;
  ttl_days: number | null;
  version: number;
  expected_version: number;
  applied: MigrationPlan['applied'];
  tables: LiveTable[];
  /** Everything that is not as expected; empty when the schema is as this code makes it. */
  drift: string[];
}

/** The live schema against the expected one. Changes nothing and never throws for drift. */
export async function reportSchema(client: ClickHouseClient, name: string): Promise<SchemaReport> {
  const database = checkedName(name);
  const { record, applied, live, databaseExists: exists } = await readFacts(client, database);
  const version = Math.max(0, ...applied.keys());
  const drift: string[] = [];
  if (!exists) drift.push(`the database ${database} does not exist`);
  else if (!record) drift.push(`the database ${database} has no record of a run: it was never migrated`);
  else if (version > schemaVersion)
    drift.push(`schema version ${version} is newer than this torghut knows (${schemaVersion})`);
  else if (version < schemaVersion) drift.push(`schema version ${version}, expected ${schemaVersion}`);
  for (const migration of migrations) {
    const known = applied.get(migration.version);
    if (known === undefined) continue;
    try {
      refuseOtherChecksum(database, migration, known);
    } catch {
      drift.push(`migration ${migration.version} has another checksum than this version's`);
    }
  }
  for (const table of live) drift.push(...table.drift.map((item) => `${table.table}: ${item}`));
  return {
    database,
    run_id: record?.run_id ?? null,
    ttl_days: record?.ttl_days ?? null,
    version,
    expected_version: schemaVersion,
    applied: appliedOf(applied),
    tables: live,
    drift,
  };
}
