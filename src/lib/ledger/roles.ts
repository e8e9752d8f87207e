/**
 * The database roles of the ledger (spec 5.4): `torghut_app` for the loop and the commands, `torghut_readonly` for pages and
 * reports. Both are groups without login; the login of DB_DSN is made a member by whoever runs the database.
 * Guarantees: neither owns a table; the app role can append to the append-only tables and read them, nothing else; the
 * triggers of the migrations hold for everybody, the owner included. Grants are repeated after every migration, so a new
 * table is never without them.
 */
import { sql } from 'kysely';
import type { LedgerDb } from './tables.ts';

export const appRole = 'torghut_app';
export const readOnlyRole = 'torghut_readonly';

/** What the app role may update of tables whose rows are kept; an empty list: insert and read alone. */
export const keptTables: Readonly<Record<string, readonly string[]>> = {
  decision_events: [],
  signal_notes: [],
  execution_fills: [],
  audit_events: [],
  strategy_catalogs: [],
  reconcile_runs: [],
  execution_order_events: ['execution_id', 'trade_decision_id'],
  trade_decisions: ['status', 'reasons', 'reject_origin', 'resolved_at', 'executed_at'],
};

/** Written by the migrator alone. */
const migratorTables = ['schema_migrations', 'schema_migrations_lock', 'schema_migration_checksums'];

/** Makes the roles where this login may; a managed database has them made by its operator. @returns do both exist now? */
async function makeRoles(db: LedgerDb): Promise<boolean> {
  for (const role of [appRole, readOnlyRole]) {
    await sql
      .raw(
        `do $$ begin
          if not exists (select 1 from pg_roles where rolname = '${role}') then create role ${role} nologin; end if;
        exception when insufficient_privilege or duplicate_object or unique_violation then null; end $$`,
      )
      .execute(db);
  }
  const found = await sql<{ count: string }>`
    select count(*)::text as count from pg_roles where rolname in (${appRole}, ${readOnlyRole})
  `.execute(db);
  return found.rows[0]?.count === '2';
}

/** Gives both roles what they may do in this database, and takes what they may not. */
export async function grantRoles(db: LedgerDb): Promise<boolean> {
  if (!(await makeRoles(db))) return false;
  const tables = await sql<{ name: string; is_mine: boolean }>`
    select c.relname as name, pg_has_role(c.relowner, 'usage') as is_mine
    from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') order by c.relname
  `.execute(db);
  const grants: string[] = [`grant usage on schema public to ${appRole}, ${readOnlyRole}`];
  for (const { name, is_mine: isMine } of tables.rows) {
    if (!isMine) continue;
    grants.push(
      `revoke all on table "${name}" from ${appRole}, ${readOnlyRole}`,
      `grant select on table "${name}" to ${appRole}, ${readOnlyRole}`,
    );
    if (migratorTables.includes(name)) continue;
    const mayUpdate = keptTables[name];
    if (mayUpdate === undefined) grants.push(`grant insert, update on table "${name}" to ${appRole}`);
    else {
      grants.push(`grant insert on table "${name}" to ${appRole}`);
      if (mayUpdate.length > 0) grants.push(`grant update (${mayUpdate.join(', ')}) on table "${name}" to ${appRole}`);
    }
  }
  for (const grant of grants) await sql.raw(grant).execute(db);
  return true;
}
