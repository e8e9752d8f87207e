/**
 * Findings of reconcile passes, and the passes themselves (spec 4.6): open until a pass no longer sees them.
 */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { type Jsonb, toJsonb } from './jsonb.ts';
import type { LedgerDb } from './tables.ts';
import { timeOf } from './values.ts';

export interface NewFinding {
  kind: string;
  subject: string;
  isPaging: boolean;
  detail: Record<string, unknown>;
}

export interface OpenFinding {
  kind: string;
  subject: string;
  isPaging: boolean;
  passesSeen: number;
  detail: unknown;
  firstSeenAtMs: number;
}

export function findingRepository(db: LedgerDb) {
  const open = async (accountLabel: string): Promise<OpenFinding[]> => {
    const rows = await db
      .selectFrom('reconcile_findings')
      .selectAll()
      .where('account_label', '=', accountLabel)
      .where('resolved_at', 'is', null)
      .orderBy('first_seen_at')
      .execute();
    return rows.map((row) => ({
      kind: row.kind,
      subject: row.subject,
      isPaging: row.is_paging,
      passesSeen: row.passes_seen,
      detail: row.detail,
      firstSeenAtMs: row.first_seen_at.getTime(),
    }));
  };
  const add = async (accountLabel: string, finding: NewFinding, atMs: number): Promise<boolean> => {
    const inserted = await db
      .insertInto('reconcile_findings')
      .values({
        id: randomUUID(),
        account_label: accountLabel,
        kind: finding.kind,
        subject: finding.subject,
        is_paging: finding.isPaging,
        detail: toJsonb(finding.detail),
        first_seen_at: timeOf(atMs),
        last_seen_at: timeOf(atMs),
      })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst();
    return inserted.numInsertedOrUpdatedRows === 1n;
  };
  return {
    open,
    /** Notes one finding outside a pass; false when it is open already. */
    add,
    /**
     * Makes the open findings of the given kinds equal to what a pass saw. Returns how many were opened or resolved.
     */
    replace: async (
      accountLabel: string,
      kinds: readonly string[],
      seen: readonly NewFinding[],
      atMs: number,
    ): Promise<number> => {
      const before = (await open(accountLabel)).filter((finding) => kinds.includes(finding.kind));
      const keyOf = (finding: { kind: string; subject: string }) => `${finding.kind} ${finding.subject}`;
      const seenKeys = new Set(seen.map(keyOf));
      const beforeKeys = new Set(before.map(keyOf));
      let changes = 0;
      for (const finding of before) {
        const still = seenKeys.has(keyOf(finding));
        await db
          .updateTable('reconcile_findings')
          .set(
            still ? { last_seen_at: timeOf(atMs), passes_seen: finding.passesSeen + 1 } : { resolved_at: timeOf(atMs) },
          )
          .where('account_label', '=', accountLabel)
          .where('kind', '=', finding.kind)
          .where('subject', '=', finding.subject)
          .where('resolved_at', 'is', null)
          .execute();
        if (!still) changes += 1;
      }
      for (const finding of seen) {
        if (!beforeKeys.has(keyOf(finding)) && (await add(accountLabel, finding, atMs))) changes += 1;
      }
      return changes;
    },

    /** Notes a pass. Quiet ones only move the state row. */
    recordPass: async (
      accountLabel: string,
      pass: { atMs: number; changes: number; epoch: bigint; summary: Jsonb; error?: string },
    ): Promise<void> => {
      if (pass.error === undefined) {
        await db
          .insertInto('reconcile_state')
          .values({
            account_label: accountLabel,
            reconciled_at: timeOf(pass.atMs),
            passes: 1n,
            last_changes: pass.changes,
          })
          .onConflict((conflict) =>
            conflict.column('account_label').doUpdateSet({
              reconciled_at: timeOf(pass.atMs),
              passes: sql<bigint>`reconcile_state.passes + 1`,
              last_changes: pass.changes,
            }),
          )
          .execute();
      }
      if (pass.changes === 0 && pass.error === undefined) return;
      await db
        .insertInto('reconcile_runs')
        .values({
          id: randomUUID(),
          account_label: accountLabel,
          at: timeOf(pass.atMs),
          epoch: pass.epoch,
          changes: pass.changes,
          summary: pass.summary,
          error: pass.error ?? null,
        })
        .execute();
    },

    /** Market ms of the last pass without an error. */
    lastPassAtMs: async (accountLabel: string): Promise<number | undefined> => {
      const row = await db
        .selectFrom('reconcile_state')
        .select('reconciled_at')
        .where('account_label', '=', accountLabel)
        .executeTakeFirst();
      return row?.reconciled_at.getTime();
    },
  };
}

export type FindingRepository = ReturnType<typeof findingRepository>;
