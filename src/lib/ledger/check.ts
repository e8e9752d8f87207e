/**
 * Is the ledger what this program expects? (spec 5.2, 7 `/db-check`, 10.5). Reads alone; each finding says what is wrong.
 * Facts: pg_trigger, pg_index, pg_stat_activity, has_table_privilege of Postgres itself, never a record of our own.
 */
import { sql } from 'kysely';
import { ledgerError, openConnection } from './connection.ts';
import { checksumOf, migrations, readApplied } from './migrator.ts';
import { appRole, keptTables, readOnlyRole } from './roles.ts';
import type { LedgerDb } from './tables.ts';

export interface LedgerCheck {
  ok: boolean;
  /** Every migration of this version is applied, and none besides. */
  schemaCurrent: boolean;
  /** Newest migration of the database; empty before the first. */
  currentHeads: string[];
  expectedHeads: string[];
  /** What is applied is a beginning of what this version knows, with the same checksums. */
  lineageReady: boolean;
  /** One line of migrations; more would be a mistake of the program. */
  branchCount: number;
  pending: string[];
  /** Applied here and unknown to this version: a newer program was at work. */
  newer: string[];
  edited: string[];
  /** What does not stop the loop: missing roles, invalid indexes, waiting sessions. */
  warnings: string[];
  /** Rows are unique per account, never across accounts. */
  accountScope: { checks: string[]; errors: string[] };
}

const scopedUniques: readonly { table: string; columns: string }[] = [
  { table: 'trade_decisions', columns: 'alpaca_account_label, decision_hash' },
  { table: 'executions', columns: 'alpaca_account_label, alpaca_order_id' },
  { table: 'executions', columns: 'alpaca_account_label, client_order_id' },
  { table: 'order_claims', columns: 'account_label, client_order_id' },
  { table: 'execution_fills', columns: 'alpaca_account_label, broker_execution_id' },
];

/** Sessions waiting for a lock longer than this, machine seconds, are named. */
const WAITING_SECONDS = 5;

/** @throws `ledger_unreachable` (exit 3) */
export async function checkLedger(dsn: string): Promise<LedgerCheck> {
  const { db, close } = openConnection({ dsn, applicationName: 'torghut-check', maxConnections: 1 });
  try {
    return await checkLedgerOn(db);
  } catch (error) {
    throw ledgerError(error);
  } finally {
    await close();
  }
}

export async function checkLedgerOn(db: LedgerDb): Promise<LedgerCheck> {
  const applied = await readApplied(db);
  const names = applied.map((row) => row.name);
  const known = migrations.map((migration) => migration.name);
  const pending = known.filter((name) => !names.includes(name));
  const newer = names.filter((name) => !known.includes(name));
  const edited = applied
    .filter(({ name, checksum }) => {
      const mine = migrations.find((migration) => migration.name === name);
      return mine !== undefined && checksum?.trim() !== checksumOf(mine.statements);
    })
    .map(({ name }) => name);
  const schemaCurrent = pending.length === 0 && newer.length === 0 && edited.length === 0;
  const isBeginning = names.every((name, index) => known[index] === name);
  const warnings = [...(await invalidIndexes(db)), ...(await waitingSessions(db))];
  const errors: string[] = [];
  if (schemaCurrent) {
    errors.push(...(await missingUniques(db)));
    warnings.push(...(await missingFences(db)), ...(await missingGrants(db)));
  }
  return {
    ok: schemaCurrent && errors.length === 0,
    schemaCurrent,
    currentHeads: names.slice(-1),
    expectedHeads: known.slice(-1),
    lineageReady: isBeginning && edited.length === 0,
    branchCount: isBeginning || newer.length === 0 ? 1 : 2,
    pending,
    newer,
    edited,
    warnings,
    accountScope: { checks: scopedUniques.map(({ table, columns }) => `${table} (${columns})`), errors },
  };
}

/** Names of what a check says, as its runbook page lists them. */
export const ledgerCheckNames = [
  'ok', 'schema_current', 'current_heads', 'expected_heads', 'lineage_ready', 'branch_count', 'pending', 'newer', 'edited',
  'warnings', 'account_scope',
] as const; // biome-ignore format: one list

/** snake_case, as the command and the HTTP API show it. */
export function checkJson(check: LedgerCheck): Record<(typeof ledgerCheckNames)[number], unknown> {
  return {
    ok: check.ok,
    schema_current: check.schemaCurrent,
    current_heads: check.currentHeads,
    expected_heads: check.expectedHeads,
    lineage_ready: check.lineageReady,
    branch_count: check.branchCount,
    pending: check.pending,
    newer: check.newer,
    edited: check.edited,
    warnings: check.warnings,
    account_scope: check.accountScope,
  };
}

async function invalidIndexes(db: LedgerDb): Promise<string[]> {
  const found = await sql<{ name: string }>`
    select c.relname as name from pg_index i join pg_class c on c.oid = i.indexrelid
    where not i.indisvalid and c.relnamespace = 'public'::regnamespace order by 1
  `.execute(db);
  return found.rows.map(({ name }) => `index ${name} is invalid: drop it and migrate again`);
}

async function waitingSessions(db: LedgerDb): Promise<string[]> {
  const found = await sql<{ pid: number; blockers: number[]; seconds: string; application: string }>`
    select pid, pg_blocking_pids(pid) as blockers, application_name as application,
      extract(epoch from clock_timestamp() - query_start)::int::text as seconds
    from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'
      and query_start < clock_timestamp() - ${WAITING_SECONDS} * interval '1 second'
    order by query_start
  `.execute(db);
  return found.rows.map(
    ({ pid, blockers, seconds, application }) =>
      `session ${pid} (${application}) has waited ${seconds} s for a lock of session ${blockers.join(' ')}`,
  );
}

async function missingUniques(db: LedgerDb): Promise<string[]> {
  const found = await sql<{ place: string }>`
    select t.relname || ' (' || string_agg(a.attname, ', ' order by array_position(i.indkey::int2[], a.attnum)) || ')' as place
    from pg_index i join pg_class t on t.oid = i.indrelid
      join pg_attribute a on a.attrelid = t.oid and a.attnum = any (i.indkey::int2[])
    where i.indisunique and t.relnamespace = 'public'::regnamespace group by i.indexrelid, t.relname
  `.execute(db);
  const places = new Set(found.rows.map(({ place }) => place));
  return scopedUniques
    .map(({ table, columns }) => `${table} (${columns})`)
    .filter((place) => !places.has(place))
    .map((place) => `${place} is not unique`);
}

/** Every table whose rows are kept has triggers against UPDATE or DELETE, and they are on. */
async function missingFences(db: LedgerDb): Promise<string[]> {
  const found = await sql<{ name: string }>`
    select distinct t.relname as name from pg_trigger g join pg_class t on t.oid = g.tgrelid
    where not g.tgisinternal and g.tgenabled in ('O', 'A') and (g.tgtype & 8) <> 0
      and t.relnamespace = 'public'::regnamespace
  `.execute(db);
  const fenced = new Set(found.rows.map(({ name }) => name));
  return Object.keys(keptTables)
    .filter((table) => table !== 'reconcile_runs' && !fenced.has(table))
    .map((table) => `${table} can be deleted from: its append-only trigger is missing or off`);
}

async function missingGrants(db: LedgerDb): Promise<string[]> {
  const roles = await sql<{ name: string }>`
    select rolname as name from pg_roles where rolname in (${appRole}, ${readOnlyRole})
  `.execute(db);
  if (roles.rows.length < 2) {
    return [`the roles ${appRole} and ${readOnlyRole} do not exist: the triggers alone keep the audit tables`];
  }
  const excess = await sql<{ name: string; privilege: string }>`
    select t.relname as name, p.privilege
    from pg_class t, unnest(array['UPDATE', 'DELETE', 'TRUNCATE']) as p(privilege)
    where t.relnamespace = 'public'::regnamespace and t.relkind in ('r', 'p')
      and t.relname = any (${Object.keys(keptTables)}::text[]) and has_table_privilege(${appRole}, t.oid, p.privilege)
    order by 1, 2
  `.execute(db);
  return excess.rows.map(({ name, privilege }) => `${appRole} may ${privilege} on ${name}: migrate again`);
}
