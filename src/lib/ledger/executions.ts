/**
 * Executions and their fills (spec 4.5, 4.6, 5.1).
 * Guarantees: one row per broker order; one fill per broker execution id and per cumulative quantity; `filled_qty` and the
 * average price are always recomputed from the fills in the same transaction, so their sum is the filled quantity.
 */
import { randomUUID } from 'node:crypto';
import { Decimal } from 'decimal.js';
import { type Selectable, sql } from 'kysely';
import type { ExecutionRow, FillRow, OrderState } from './contract.ts';
import type { Jsonb } from './jsonb.ts';
import type { LedgerDb, LedgerTables } from './tables.ts';
import {
  decimalOf,
  defined,
  numericOf,
  optionalDecimal,
  optionalMs,
  optionalNumeric,
  optionalTime,
  timeOf,
} from './values.ts';

const finalStates: readonly OrderState[] = ['filled', 'canceled', 'expired', 'rejected', 'replaced'];

export function executionOf(row: Selectable<LedgerTables['executions']>): ExecutionRow {
  return defined({
    id: row.id,
    decisionId: row.trade_decision_id ?? undefined,
    accountLabel: row.alpaca_account_label,
    brokerOrderId: row.alpaca_order_id,
    clientOrderId: row.client_order_id,
    symbol: row.symbol,
    side: row.side,
    orderType: row.order_type,
    timeInForce: row.time_in_force,
    submittedQty: decimalOf(row.submitted_qty),
    limitPrice: optionalDecimal(row.limit_price),
    stopPrice: optionalDecimal(row.stop_price),
    filledQty: decimalOf(row.filled_qty),
    brokerFilledQty: decimalOf(row.broker_filled_qty),
    avgFillPrice: optionalDecimal(row.avg_fill_price),
    state: row.status,
    brokerStatus: row.broker_status,
    isFinal: finalStates.includes(row.status),
    isLateAccepted: row.late_accepted,
    isOrphan: row.orphan,
    listedAtMs: (row.submitted_at ?? row.last_update_at).getTime(),
    cancelRequestedAtMs: optionalMs(row.cancel_requested_at),
    submittedAtMs: optionalMs(row.submitted_at),
    filledAtMs: optionalMs(row.filled_at),
    canceledAtMs: optionalMs(row.canceled_at),
    brokerUpdatedAtMs: optionalMs(row.broker_updated_at),
  });
}

export interface NewExecution {
  decisionId?: string;
  accountLabel: string;
  brokerOrderId: string;
  clientOrderId: string;
  symbol: string;
  side: 'buy' | 'sell';
  orderType: string;
  timeInForce: string;
  submittedQty: Decimal;
  limitPrice?: Decimal;
  stopPrice?: Decimal;
  state: OrderState;
  brokerStatus: string;
  brokerFilledQty: Decimal;
  isLateAccepted: boolean;
  isOrphan: boolean;
  submittedAtMs?: number;
  brokerUpdatedAtMs?: number;
  replacedBy?: string;
  raw: Jsonb;
  atMs: number;
  epoch: bigint;
}

export interface ExecutionChange {
  state: OrderState;
  brokerStatus: string;
  brokerFilledQty: Decimal;
  brokerUpdatedAtMs?: number;
  filledAtMs?: number;
  canceledAtMs?: number;
  replacedBy?: string;
  raw?: Jsonb;
  atMs: number;
}

export interface NewFill {
  executionId: string;
  accountLabel: string;
  brokerExecutionId: string;
  symbol: string;
  side: 'buy' | 'sell';
  quantity: Decimal;
  price: Decimal;
  cumulativeQty: Decimal;
  atMs: number;
  source: 'trade_update' | 'activity';
}

export function fillOf(row: Selectable<LedgerTables['execution_fills']>, brokerOrderId: string): FillRow {
  return {
    executionId: row.execution_id,
    brokerOrderId,
    brokerExecutionId: row.broker_execution_id,
    symbol: row.symbol,
    side: row.side,
    quantity: decimalOf(row.qty),
    price: decimalOf(row.price),
    cumulativeQty: decimalOf(row.cumulative_qty),
    atMs: row.executed_at.getTime(),
    source: row.source,
  };
}

export function executionRepository(db: LedgerDb) {
  return {
    /** Locked until the end of the transaction. */
    byBrokerOrderId: async (accountLabel: string, brokerOrderId: string): Promise<ExecutionRow | undefined> => {
      const row = await db
        .selectFrom('executions')
        .selectAll()
        .where('alpaca_account_label', '=', accountLabel)
        .where('alpaca_order_id', '=', brokerOrderId)
        .forUpdate()
        .executeTakeFirst();
      return row && executionOf(row);
    },

    /** Every execution, by broker order id: what a reconcile pass compares the broker's list with. */
    byIds: async (accountLabel: string, brokerOrderIds: readonly string[]): Promise<Map<string, ExecutionRow>> => {
      if (brokerOrderIds.length === 0) return new Map();
      const rows = await db
        .selectFrom('executions')
        .selectAll()
        .where('alpaca_account_label', '=', accountLabel)
        .where(sql<boolean>`alpaca_order_id = any(${brokerOrderIds as string[]})`)
        .execute();
      return new Map(rows.map((row) => [row.alpaca_order_id, executionOf(row)]));
    },

    /** Orders that may change: not final, or with fills that are not recorded yet. */
    unsettled: async (accountLabel: string): Promise<ExecutionRow[]> => {
      const rows = await db
        .selectFrom('executions')
        .selectAll()
        .where('alpaca_account_label', '=', accountLabel)
        .where((eb) => eb.or([eb('status', 'not in', finalStates), eb('filled_qty', '<', eb.ref('broker_filled_qty'))]))
        .orderBy('created_at')
        .execute();
      return rows.map(executionOf);
    },

    insert: async (row: NewExecution): Promise<ExecutionRow> => {
      const inserted = await db
        .insertInto('executions')
        .values({
          id: randomUUID(),
          trade_decision_id: row.decisionId ?? null,
          alpaca_account_label: row.accountLabel,
          alpaca_order_id: row.brokerOrderId,
          client_order_id: row.clientOrderId,
          symbol: row.symbol,
          side: row.side,
          order_type: row.orderType,
          time_in_force: row.timeInForce,
          submitted_qty: numericOf(row.submittedQty),
          limit_price: optionalNumeric(row.limitPrice),
          stop_price: optionalNumeric(row.stopPrice),
          filled_qty: '0',
          broker_filled_qty: numericOf(row.brokerFilledQty),
          status: row.state,
          broker_status: row.brokerStatus,
          replaced_by: row.replacedBy ?? null,
          late_accepted: row.isLateAccepted,
          orphan: row.isOrphan,
          submitted_at: optionalTime(row.submittedAtMs),
          broker_updated_at: optionalTime(row.brokerUpdatedAtMs),
          last_update_at: timeOf(row.atMs),
          raw_order: row.raw,
          fencing_epoch: row.epoch,
        })
        .returningAll()
        .executeTakeFirstOrThrow();
      return executionOf(inserted);
    },

    update: async (id: string, change: ExecutionChange): Promise<void> => {
      await db
        .updateTable('executions')
        .set({
          status: change.state,
          broker_status: change.brokerStatus,
          broker_filled_qty: numericOf(change.brokerFilledQty),
          last_update_at: timeOf(change.atMs),
          ...(change.brokerUpdatedAtMs === undefined ? {} : { broker_updated_at: timeOf(change.brokerUpdatedAtMs) }),
          ...(change.filledAtMs === undefined ? {} : { filled_at: timeOf(change.filledAtMs) }),
          ...(change.canceledAtMs === undefined ? {} : { canceled_at: timeOf(change.canceledAtMs) }),
          ...(change.replacedBy === undefined ? {} : { replaced_by: change.replacedBy }),
          ...(change.raw === undefined ? {} : { raw_order: change.raw }),
        })
        .where('id', '=', id)
        .execute();
    },

    /** Gives an orphan to the decision that its claim belongs to. */
    adopt: async (
      id: string,
      { decisionId, isLateAccepted, atMs }: { decisionId: string; isLateAccepted: boolean; atMs: number },
    ): Promise<void> => {
      await db
        .updateTable('executions')
        .set({
          trade_decision_id: decisionId,
          orphan: false,
          late_accepted: isLateAccepted,
          last_update_at: timeOf(atMs),
        })
        .where('id', '=', id)
        .where('orphan', '=', true)
        .execute();
    },

    markCancelRequested: async (id: string, atMs: number): Promise<void> => {
      await db
        .updateTable('executions')
        .set({ cancel_requested_at: timeOf(atMs) })
        .where('id', '=', id)
        .execute();
    },

    fills: async (executionId: string): Promise<Selectable<LedgerTables['execution_fills']>[]> =>
      db
        .selectFrom('execution_fills')
        .selectAll()
        .where('execution_id', '=', executionId)
        .orderBy('cumulative_qty')
        .execute(),

    /** False when the fill is there already, under its execution id or its cumulative quantity. */
    addFill: async (fill: NewFill): Promise<boolean> => {
      const inserted = await db
        .insertInto('execution_fills')
        .values({
          id: randomUUID(),
          execution_id: fill.executionId,
          alpaca_account_label: fill.accountLabel,
          broker_execution_id: fill.brokerExecutionId,
          symbol: fill.symbol,
          side: fill.side,
          qty: numericOf(fill.quantity),
          price: numericOf(fill.price),
          cumulative_qty: numericOf(fill.cumulativeQty),
          executed_at: timeOf(fill.atMs),
          source: fill.source,
        })
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirst();
      if (inserted.numInsertedOrUpdatedRows !== 1n) return false;
      await sql`
        update executions e set filled_qty = f.qty, avg_fill_price = f.value / f.qty,
          broker_filled_qty = greatest(e.broker_filled_qty, f.qty)
        from (select sum(qty) as qty, sum(qty * price) as value from execution_fills where execution_id = ${fill.executionId}) f
        where e.id = ${fill.executionId}
      `.execute(db);
      return true;
    },
  };
}

export type ExecutionRepository = ReturnType<typeof executionRepository>;

/** Earliest submission among orders that may change; where a reconcile listing has to begin. */
export function earliestSubmission(rows: readonly ExecutionRow[]): number | undefined {
  return rows.reduce<number | undefined>((least, row) => {
    if (row.submittedAtMs === undefined) return least;
    return least === undefined || row.submittedAtMs < least ? row.submittedAtMs : least;
  }, undefined);
}

/** Zero as a decimal. */
export const zero = new Decimal(0);
