/**
 * Versions of the strategy catalog (spec 2.2, 10.7): what was in force from when on, by which file, why.
 * Guarantees: append-only; a version is written in the transaction that applies its catalog; a rollback that was asked for
 * is the cause of at most one version.
 */
import { type Selectable, sql } from 'kysely';
import type { CatalogVersion } from './contract.ts';
import type { Jsonb } from './jsonb.ts';
import type { LedgerDb, LedgerTables } from './tables.ts';
import { defined, timeOf } from './values.ts';

/** Action of the audit event with which an operator asks for an earlier catalog; its `after` names the digest. */
export const rollbackAction = 'strategy_rollback';

function versionOf(row: Omit<Selectable<LedgerTables['strategy_catalogs']>, 'content'>): CatalogVersion {
  return defined({
    version: Number(row.version),
    digest: row.digest.trim(),
    mode: row.mode,
    strategies: row.strategies,
    inserted: row.inserted,
    updated: row.updated,
    disabled: row.disabled,
    cause: row.cause,
    reason: row.reason ?? undefined,
    actor: row.actor,
    epoch: BigInt(row.epoch),
    appliedAtMs: row.applied_at.getTime(),
  });
}

const columns = [
  'version', 'digest', 'mode', 'strategies', 'inserted', 'updated', 'disabled', 'cause', 'audit_id', 'reason', 'actor',
  'epoch', 'applied_at', 'recorded_at',
] as const; // biome-ignore format: one list

/** Newest first. */
export async function catalogVersions(db: LedgerDb, limit: number): Promise<CatalogVersion[]> {
  const rows = await db
    .selectFrom('strategy_catalogs')
    .select(columns)
    .orderBy('version', 'desc')
    .limit(limit)
    .execute();
  return rows.map(versionOf);
}

/** One version with the whole text of its file. */
export async function catalogVersion(
  db: LedgerDb,
  version: number,
): Promise<(CatalogVersion & { content: string }) | undefined> {
  const row = await db
    .selectFrom('strategy_catalogs')
    .selectAll()
    .where('version', '=', String(version))
    .executeTakeFirst();
  return row && { ...versionOf(row), content: row.content };
}

export interface NewCatalogVersion {
  digest: string;
  content: string;
  mode: 'merge' | 'sync';
  strategies: Jsonb;
  inserted: number;
  updated: number;
  disabled: number;
  actor: string;
  epoch: bigint;
  appliedAtMs: number;
}

/** Writes the next version; nothing when the newest one is this very file. @returns the version in force */
export async function addCatalogVersion(db: LedgerDb, added: NewCatalogVersion): Promise<number> {
  // Two accounts of one ledger have a leader each: they take turns.
  await sql`select pg_advisory_xact_lock(hashtextextended('torghut:strategy-catalogs', 0))`.execute(db);
  const [newest] = await catalogVersions(db, 1);
  if (newest && newest.digest === added.digest && newest.mode === added.mode) return newest.version;
  const asked = await sql<{ id: string; actor: string; reason: string | null }>`
    select id::text, actor, reason from audit_events
    where action = ${rollbackAction} and after ->> 'digest' = ${added.digest}
      and not exists (select 1 from strategy_catalogs c where c.audit_id = audit_events.id)
      and recorded_at > coalesce((select max(recorded_at) from strategy_catalogs), '-infinity')
    order by id desc limit 1
  `.execute(db);
  const rollback = asked.rows[0];
  const version = (newest?.version ?? 0) + 1;
  await db
    .insertInto('strategy_catalogs')
    .values({
      version: BigInt(version),
      digest: added.digest,
      content: added.content,
      mode: added.mode,
      strategies: added.strategies,
      inserted: added.inserted,
      updated: added.updated,
      disabled: added.disabled,
      cause: rollback ? 'rollback' : 'file',
      audit_id: rollback ? BigInt(rollback.id) : null,
      reason: rollback?.reason ?? null,
      actor: rollback?.actor ?? added.actor,
      epoch: added.epoch,
      applied_at: timeOf(added.appliedAtMs),
    })
    .execute();
  return version;
}
