/**
 * Requests to close every position of an account (spec 3.3, 10.2).
 * Guarantees: one at a time for an account; it ends once; who asked and why is in the audit trail with it.
 */
import { randomUUID } from 'node:crypto';
import { Decimal } from 'decimal.js';
import type { Selectable } from 'kysely';
import { z } from 'zod';
import { accountRepository } from './account.ts';
import { toJsonb } from './jsonb.ts';
import type { LedgerDb, LedgerTables } from './tables.ts';
import { numericOf, timeOf } from './values.ts';

export type FlattenCause = 'operator' | 'stop' | 'closeout';
export type FlattenEnd = 'done' | 'expired' | 'cancelled';
export type FlattenState = 'requested' | 'running' | FlattenEnd;

export interface FlattenTarget {
  symbol: string;
  /** Signed, as held when it was asked for. */
  quantity: Decimal;
}

export interface FlattenRequest {
  id: string;
  accountLabel: string;
  cause: FlattenCause;
  state: FlattenState;
  targets: readonly FlattenTarget[];
  reason: string;
  actor: string;
  /** Market ms. */
  requestedAtMs: number;
  expiresAtMs: number;
}

const planSchema = z.array(z.object({ symbol: z.string(), qty: z.string() }));

function requestOf(row: Selectable<LedgerTables['flatten_requests']>): FlattenRequest {
  return {
    id: row.id,
    accountLabel: row.account_label,
    cause: row.cause,
    state: row.state,
    targets: planSchema.parse(row.plan).map(({ symbol, qty }) => ({ symbol, quantity: new Decimal(qty) })),
    reason: row.reason,
    actor: row.actor,
    requestedAtMs: row.requested_at.getTime(),
    expiresAtMs: row.expires_at.getTime(),
  };
}

export interface FlattenReads {
  /** The request that is being worked off. */
  active(accountLabel: string): Promise<FlattenRequest | undefined>;
  newest(accountLabel: string): Promise<FlattenRequest | undefined>;
}

export interface FlattenWrites extends FlattenReads {
  /** The id; undefined when one is active already. */
  request(request: Omit<FlattenRequest, 'id' | 'state'>): Promise<string | undefined>;
  /** requested → running. */
  begin(id: string): Promise<boolean>;
  end(id: string, state: FlattenEnd, atMs: number): Promise<boolean>;
}

export function flattenRepository(db: LedgerDb): FlattenWrites {
  const newest = async (accountLabel: string, isActive: boolean) => {
    let found = db.selectFrom('flatten_requests').selectAll().where('account_label', '=', accountLabel);
    if (isActive) found = found.where('ended_at', 'is', null);
    const row = await found.orderBy('recorded_at', 'desc').limit(1).executeTakeFirst();
    return row && requestOf(row);
  };
  return {
    active: (accountLabel) => newest(accountLabel, true),
    newest: (accountLabel) => newest(accountLabel, false),
    request: async ({ accountLabel, cause, targets, reason, actor, requestedAtMs, expiresAtMs }) => {
      const id = randomUUID();
      const plan = toJsonb(targets.map(({ symbol, quantity }) => ({ symbol, qty: numericOf(quantity) })));
      const inserted = await db
        .insertInto('flatten_requests')
        .values({
          id,
          account_label: accountLabel,
          cause,
          state: 'requested',
          plan,
          reason,
          actor,
          requested_at: timeOf(requestedAtMs),
          expires_at: timeOf(expiresAtMs),
          ended_at: null,
        })
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirst();
      if (inserted.numInsertedOrUpdatedRows !== 1n) return undefined;
      const event = { actor, action: 'flatten_requested', reason, after: plan, atMs: requestedAtMs };
      await accountRepository(db).audit(event);
      return id;
    },
    begin: async (id) => {
      const changed = await db
        .updateTable('flatten_requests')
        .set({ state: 'running' })
        .where('id', '=', id)
        .where('state', '=', 'requested')
        .executeTakeFirst();
      return changed.numUpdatedRows === 1n;
    },
    end: async (id, state, atMs) => {
      const changed = await db
        .updateTable('flatten_requests')
        .set({ state, ended_at: timeOf(atMs) })
        .where('id', '=', id)
        .where('ended_at', 'is', null)
        .returning(['account_label'])
        .executeTakeFirst();
      if (!changed) return false;
      const after = toJsonb({ accountLabel: changed.account_label, id, state });
      await accountRepository(db).audit({ actor: 'trade', action: 'flatten_ended', after, atMs });
      return true;
    },
  };
}
