/**
 * Claims: the right to send one order for one decision, once (spec 4.1, design 5).
 * Guarantees: one claim per decision and per client order id; the states go claimed → broker_io → submitted | rejected, or
 * claimed → rejected, and each step names the state it leaves; the look-up deadline is kept by Postgres' own clock.
 */
import { randomUUID } from 'node:crypto';
import type { Decimal } from 'decimal.js';
import { type Selectable, sql } from 'kysely';
import type { OrderIntent, OrderTerms, OrderType, TimeInForce } from '../risk/order.ts';
import type { ClaimState } from './contract.ts';
import type { LedgerDb, LedgerTables } from './tables.ts';
import { decimalOf, defined, numericOf, optionalDecimal, optionalNumeric, timeOf } from './values.ts';

export interface ClaimRow {
  decisionId: string;
  accountLabel: string;
  clientOrderId: string;
  state: ClaimState;
  intent: OrderIntent;
  terms: OrderTerms;
  referencePrice?: Decimal;
  /** Market ms. */
  approvedAtMs: number;
  claimedAtMs: number;
  /** The look-up deadline has passed (machine time, by Postgres). */
  isLookupOver: boolean;
  lookups: number;
  brokerOrderId?: string;
  executionId?: string;
  lateExecutionId?: string;
  rejectReasons?: readonly string[];
}

type Row = Selectable<LedgerTables['order_claims']> & { is_lookup_over: boolean | null };

function claimOf(row: Row): ClaimRow {
  return defined({
    decisionId: row.decision_id,
    accountLabel: row.account_label,
    clientOrderId: row.client_order_id,
    state: row.state,
    intent: row.intent,
    terms: defined({
      symbol: row.symbol,
      side: row.side,
      quantity: decimalOf(row.qty),
      type: row.order_type as OrderType,
      timeInForce: row.time_in_force as TimeInForce,
      limitPrice: optionalDecimal(row.limit_price),
      stopPrice: optionalDecimal(row.stop_price),
    }),
    referencePrice: optionalDecimal(row.reference_price),
    approvedAtMs: row.approved_at.getTime(),
    claimedAtMs: row.claimed_at.getTime(),
    isLookupOver: row.is_lookup_over ?? false,
    lookups: row.lookups,
    brokerOrderId: row.broker_order_id ?? undefined,
    executionId: row.execution_id ?? undefined,
    lateExecutionId: row.late_execution_id ?? undefined,
    rejectReasons: row.reject_reasons ?? undefined,
  });
}

export interface NewClaim {
  decisionId: string;
  accountLabel: string;
  clientOrderId: string;
  intent: OrderIntent;
  terms: OrderTerms;
  referencePrice?: Decimal;
  approvedAtMs: number;
  claimedAtMs: number;
  epoch: bigint;
  owner: string;
}

export function claimRepository(db: LedgerDb) {
  const select = () =>
    db
      .selectFrom('order_claims')
      .selectAll()
      .select(sql<boolean | null>`recovery_after <= clock_timestamp()`.as('is_lookup_over'));
  return {
    byDecision: async (decisionId: string): Promise<ClaimRow | undefined> => {
      const row = await select().where('decision_id', '=', decisionId).executeTakeFirst();
      return row && claimOf(row);
    },

    /** Locked until the end of the transaction: whoever settles it and whoever reads an update of its order take turns. */
    lockByClientOrderId: async (accountLabel: string, clientOrderId: string): Promise<ClaimRow | undefined> => {
      const row = await select()
        .where('account_label', '=', accountLabel)
        .where('client_order_id', '=', clientOrderId)
        .forUpdate()
        .executeTakeFirst();
      return row && claimOf(row);
    },

    /** Claims without an answer, oldest first. */
    open: async (accountLabel: string): Promise<ClaimRow[]> => {
      const rows = await select()
        .where('account_label', '=', accountLabel)
        .where('state', 'in', ['claimed', 'broker_io'])
        .orderBy('claimed_at')
        .orderBy('decision_id')
        .execute();
      return rows.map(claimOf);
    },

    /** False when the decision, or the client order id, has a claim already. */
    insert: async (claim: NewClaim): Promise<boolean> => {
      const inserted = await db
        .insertInto('order_claims')
        .values({
          decision_id: claim.decisionId,
          account_label: claim.accountLabel,
          client_order_id: claim.clientOrderId,
          claim_token: randomUUID(),
          fencing_epoch: claim.epoch,
          owner: claim.owner,
          state: 'claimed',
          symbol: claim.terms.symbol,
          side: claim.terms.side,
          intent: claim.intent,
          qty: numericOf(claim.terms.quantity),
          order_type: claim.terms.type,
          time_in_force: claim.terms.timeInForce,
          limit_price: optionalNumeric(claim.terms.limitPrice),
          stop_price: optionalNumeric(claim.terms.stopPrice),
          reference_price: optionalNumeric(claim.referencePrice),
          approved_at: timeOf(claim.approvedAtMs),
          claimed_at: timeOf(claim.claimedAtMs),
        })
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirst();
      return inserted.numInsertedOrUpdatedRows === 1n;
    },

    /** claimed → broker_io. From here on the order may be at the broker. @param lookupMs machine ms until it counts as lost */
    beginBrokerIo: async (decisionId: string, lookupMs: number, epoch: bigint, owner: string): Promise<boolean> => {
      const updated = await db
        .updateTable('order_claims')
        .set({
          state: 'broker_io',
          broker_io_started_at: sql<Date>`clock_timestamp()`,
          recovery_after: sql<Date>`clock_timestamp() + ${lookupMs} * interval '1 millisecond'`,
          fencing_epoch: epoch,
          owner,
        })
        .where('decision_id', '=', decisionId)
        .where('state', '=', 'claimed')
        .executeTakeFirst();
      return updated.numUpdatedRows === 1n;
    },

    /** broker_io → submitted. */
    submitted: async (
      decisionId: string,
      order: { brokerOrderId: string; executionId: string; atMs: number; wasLookedUp: boolean },
    ): Promise<boolean> => {
      const updated = await db
        .updateTable('order_claims')
        .set({
          state: 'submitted',
          broker_order_id: order.brokerOrderId,
          execution_id: order.executionId,
          completed_at: timeOf(order.atMs),
          ...(order.wasLookedUp ? { recovery_outcome: 'found' as const } : {}),
        })
        .where('decision_id', '=', decisionId)
        .where('state', '=', 'broker_io')
        .executeTakeFirst();
      return updated.numUpdatedRows === 1n;
    },

    /** claimed | broker_io → rejected. */
    rejected: async (
      decisionId: string,
      refusal: { from: 'claimed' | 'broker_io'; reasons: readonly string[]; atMs: number; wasLookedUp: boolean },
    ): Promise<boolean> => {
      const updated = await db
        .updateTable('order_claims')
        .set({
          state: 'rejected',
          reject_reasons: [...refusal.reasons],
          completed_at: timeOf(refusal.atMs),
          ...(refusal.wasLookedUp ? { recovery_outcome: 'not_found' as const } : {}),
        })
        .where('decision_id', '=', decisionId)
        .where('state', '=', refusal.from)
        .executeTakeFirst();
      return updated.numUpdatedRows === 1n;
    },

    /** Counts a look-up that settled nothing. */
    lookedUp: async (decisionId: string): Promise<void> => {
      await db
        .updateTable('order_claims')
        .set({ lookups: sql<number>`lookups + 1`, recovery_outcome: 'indeterminate' })
        .where('decision_id', '=', decisionId)
        .where('state', '=', 'broker_io')
        .execute();
    },

    /** Links the execution of an order that appeared after its claim was rejected. */
    setLate: async (decisionId: string, executionId: string): Promise<void> => {
      await db
        .updateTable('order_claims')
        .set({ late_execution_id: executionId })
        .where('decision_id', '=', decisionId)
        .execute();
    },
  };
}

export type ClaimRepository = ReturnType<typeof claimRepository>;
