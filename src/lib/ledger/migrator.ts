/**
 * The ledger's schema: ordered, named, forward migrations with a checksum each (spec 5.2).
 * Guarantees: one migrator at a time (Postgres advisory lock); an applied migration that was edited since is refused; a
 * service only checks the version and never migrates by itself.
 */
import { createHash } from 'node:crypto';
import { Kysely, PostgresDialect, sql } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import pg from 'pg';
import { refusedError, unreachableError } from '../service/errors.ts';
import { clientConfig, ledgerError, openConnection, surviveLostConnections } from './connection.ts';
import { decisionsMigration } from './migrations/0001-decisions.ts';
import { ordersMigration } from './migrations/0002-orders.ts';
import { accountMigration } from './migrations/0003-account.ts';
import { appendOnlyMigration } from './migrations/0004-append-only.ts';
import { flattenMigration } from './migrations/0005-flatten.ts';
import { grantRoles } from './roles.ts';
import type { LedgerDb, LedgerTables } from './tables.ts';

/** Every migration in order; the last name is the version that this build expects. */
export const migrations: readonly { name: string; statements: readonly string[] }[] = [
  { name: '0001_decisions', statements: decisionsMigration },
  { name: '0002_orders', statements: ordersMigration },
  { name: '0003_account', statements: accountMigration },
  { name: '0004_append_only', statements: appendOnlyMigration },
  { name: '0005_flatten', statements: flattenMigration },
];

export const expectedVersion = migrations.at(-1)?.name ?? '';

const MIGRATION_TABLE = 'schema_migrations';
const LOCK_TABLE = 'schema_migrations_lock';
const CHECKSUM_TABLE = 'schema_migration_checksums';
/** Machine ms to wait for another migrator. */
const LOCK_WAIT_MS = 300_000;

/** sha256 hex over the statements of a migration. */
export function checksumOf(statements: readonly string[]): string {
  return createHash('sha256').update(statements.join('\u0000')).digest('hex');
}

export interface MigrationStep {
  name: string;
  checksum: string;
  statements: number;
  isApplied: boolean;
}

/** A migration of the database with the checksum that it had. */
export interface AppliedRow {
  name: string;
  checksum: string | null;
}

/** What the database says was applied, in order. */
export async function readApplied(db: LedgerDb): Promise<AppliedRow[]> {
  const exists = await sql<{ present: boolean }>`
    select to_regclass(${MIGRATION_TABLE}) is not null and to_regclass(${CHECKSUM_TABLE}) is not null as present
  `.execute(db);
  if (!exists.rows[0]?.present) return [];
  const rows = await sql<AppliedRow>`
    select m.name, c.checksum
    from ${sql.table(MIGRATION_TABLE)} m left join ${sql.table(CHECKSUM_TABLE)} c on c.name = m.name
    order by m.name
  `.execute(db);
  return rows.rows;
}

/** @throws `ledger_schema_edited`, `ledger_schema_newer` (exit 4) */
function verify(applied: readonly AppliedRow[]): void {
  for (const row of applied) {
    const known = migrations.find((migration) => migration.name === row.name);
    if (!known) {
      throw refusedError({
        code: 'ledger_schema_newer',
        what: `the ledger has the migration ${row.name}, which this version does not know`,
        why: 'a newer torghut migrated this database',
        next: 'use that version; migrations only go forward',
      });
    }
    if (row.checksum?.trim() !== checksumOf(known.statements)) {
      throw refusedError({
        code: 'ledger_schema_edited',
        what: `the applied migration ${row.name} differs from the one in this version`,
        why: 'an applied migration was edited, or another build applied it',
        next: 'restore the migration and write the change as a new one',
      });
    }
  }
}

/** Which migrations are applied and which are pending. */
export async function migrationPlan(db: LedgerDb): Promise<MigrationStep[]> {
  try {
    const applied = await readApplied(db);
    verify(applied);
    const names = new Set(applied.map((row) => row.name));
    return migrations.map(({ name, statements }) => ({
      name,
      checksum: checksumOf(statements),
      statements: statements.length,
      isApplied: names.has(name),
    }));
  } catch (error) {
    throw ledgerError(error);
  }
}

export interface MigrationPlan {
  /** Hash of what is applied and what would be: another state of the database gives another id. */
  id: string;
  steps: MigrationStep[];
  pending: MigrationStep[];
}

/** Reads what `migrate` would do, without doing it. */
export async function planMigration(dsn: string): Promise<MigrationPlan> {
  const { db, close } = openConnection({ dsn, applicationName: 'torghut-migrate', maxConnections: 1 });
  try {
    const steps = await migrationPlan(db);
    const facts = steps.map((step) => `${step.name} ${step.checksum} ${step.isApplied}`).join('\n');
    const id = createHash('sha256').update(facts).digest('hex').slice(0, 12);
    return { id, steps, pending: steps.filter((step) => !step.isApplied) };
  } finally {
    await close();
  }
}

/** Checks that the schema is the expected one. @throws `ledger_schema_pending` (exit 3), `ledger_schema_newer` (exit 4) */
export async function checkSchema(db: LedgerDb): Promise<{ version: string }> {
  const plan = await migrationPlan(db);
  const pending = plan.filter((step) => !step.isApplied);
  if (pending.length > 0) {
    throw unreachableError({
      code: 'ledger_schema_pending',
      what: 'the ledger schema is not up to date',
      why: `pending: ${pending.map((step) => step.name).join(', ')}`,
      next: 'run `torghut db migrate`',
    });
  }
  return { version: expectedVersion };
}

/** Applies what is pending, all or nothing, and returns the names. Safe to call from several processes at once. */
export async function migrate(dsn: string): Promise<string[]> {
  // One connection holds the lock and does the work: it dies with the lock when the process dies.
  const pool = new pg.Pool({
    ...clientConfig({ dsn, applicationName: 'torghut-migrate', statementTimeoutMs: LOCK_WAIT_MS }),
    max: 1,
  });
  surviveLostConnections(pool);
  const db = new Kysely<LedgerTables>({ dialect: new PostgresDialect({ pool }) });
  try {
    return await db.connection().execute(async (connection) => {
      await sql`select pg_advisory_lock(hashtextextended('torghut:migrate', 0))`.execute(connection);
      verify(await readApplied(connection));
      await sql`create table if not exists ${sql.table(CHECKSUM_TABLE)} (
        name varchar(255) primary key, checksum char(64) not null, applied_at timestamptz not null default clock_timestamp()
      )`.execute(connection);
      const migrator = new Migrator({
        db: connection,
        migrationTableName: MIGRATION_TABLE,
        migrationLockTableName: LOCK_TABLE,
        provider: { getMigrations: async () => Object.fromEntries(migrations.map(asKyselyMigration)) },
      });
      const { error, results } = await migrator.migrateToLatest();
      if (error) throw error;
      await grantRoles(connection);
      return (results ?? []).filter((result) => result.status === 'Success').map((result) => result.migrationName);
    });
  } catch (error) {
    throw ledgerError(error);
  } finally {
    await db.destroy();
  }
}

function asKyselyMigration(migration: (typeof migrations)[number]): [string, Migration] {
  const up = async (db: Kysely<unknown>) => {
    for (const statement of migration.statements) await sql.raw(statement).execute(db);
    await sql`insert into ${sql.table(CHECKSUM_TABLE)} (name, checksum)
      values (${migration.name}, ${checksumOf(migration.statements)})`.execute(db);
  };
  return [migration.name, { up }];
}
