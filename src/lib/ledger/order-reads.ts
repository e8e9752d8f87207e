/**
 * What everybody may read of orders: open exposure, executions, fills, positions, counts.
 * Guarantee: `openOrders` counts an order until its fills are recorded, so an exposure is never missing between the
 * broker's word and the fill's row.
 */
import { Decimal } from 'decimal.js';
import { sql } from 'kysely';
import type { OrderType } from '../risk/order.ts';
import type { OpenOrder, OrderReads } from './contract.ts';
import { executionOf, fillOf } from './executions.ts';
import { positionsFromFills } from './positions.ts';
import type { LedgerDb } from './tables.ts';
import { decimalOf, defined, optionalDecimal, timeOf } from './values.ts';

export function orderReads(db: LedgerDb): OrderReads {
  return {
    openOrders: async (accountLabel) => {
      const claims = await db
        .selectFrom('order_claims')
        .selectAll()
        .where('account_label', '=', accountLabel)
        .where('state', 'in', ['claimed', 'broker_io'])
        .execute();
      const executions = await db
        .selectFrom('executions as e')
        .leftJoin('trade_decisions as d', 'd.id', 'e.trade_decision_id')
        .selectAll('e')
        .select(['d.intent as decision_intent', 'd.reference_price as decision_price'])
        .where('e.alpaca_account_label', '=', accountLabel)
        .where((eb) =>
          eb.or([
            eb('e.status', 'not in', ['filled', 'canceled', 'expired', 'rejected', 'replaced', 'done_for_day']),
            eb.and([eb('e.status', '=', 'done_for_day'), eb('e.time_in_force', '!=', 'day')]),
            eb('e.filled_qty', '<', eb.ref('e.broker_filled_qty')),
          ]),
        )
        .execute();
      const fromClaims = claims.map(
        (row): OpenOrder =>
          defined({
            clientOrderId: row.client_order_id,
            decisionId: row.decision_id,
            symbol: row.symbol,
            side: row.side,
            type: row.order_type as OrderType,
            intent: row.intent,
            remainingQty: decimalOf(row.qty),
            limitPrice: optionalDecimal(row.limit_price),
            stopPrice: optionalDecimal(row.stop_price),
            price: optionalDecimal(row.reference_price),
            stage: row.state === 'claimed' ? ('claimed' as const) : ('broker_io' as const),
          }),
      );
      const fromExecutions = executions.map((row): OpenOrder => {
        const execution = executionOf(row);
        // What a final order did not fill is gone; what it filled and is not recorded yet still counts.
        const target = execution.isFinal ? execution.brokerFilledQty : execution.submittedQty;
        return defined({
          clientOrderId: execution.clientOrderId,
          decisionId: execution.decisionId,
          symbol: execution.symbol,
          side: execution.side,
          type: execution.orderType as OrderType,
          intent: row.decision_intent ?? undefined,
          remainingQty: Decimal.max(target.minus(execution.filledQty), 0),
          limitPrice: execution.limitPrice,
          stopPrice: execution.stopPrice,
          price: optionalDecimal(row.decision_price),
          stage: 'open' as const,
        });
      });
      return [...fromClaims, ...fromExecutions];
    },

    executions: async (filter) => {
      let query = db.selectFrom('executions').selectAll();
      if (filter.accountLabel !== undefined) query = query.where('alpaca_account_label', '=', filter.accountLabel);
      if (filter.symbol !== undefined) query = query.where('symbol', '=', filter.symbol);
      if (filter.state !== undefined) query = query.where(sql<boolean>`status = ${filter.state}`);
      if (filter.strategyName !== undefined) {
        query = query.where('trade_decision_id', 'in', (eb) =>
          eb
            .selectFrom('trade_decisions')
            .select('id')
            .where('strategy_name', '=', filter.strategyName ?? ''),
        );
      }
      const listedAt = sql<Date>`coalesce(submitted_at, last_update_at)`;
      if (filter.sinceMs !== undefined) query = query.where(listedAt, '>=', timeOf(filter.sinceMs));
      if (filter.after !== undefined) {
        const { atMs, id } = filter.after;
        query = query.where(sql<boolean>`(${listedAt}, id) < (${timeOf(atMs)}, ${id}::uuid)`);
      }
      const rows = await query.orderBy(listedAt, 'desc').orderBy('id', 'desc').limit(filter.limit).execute();
      return rows.map(executionOf);
    },

    fills: async (filter) => {
      let query = db
        .selectFrom('execution_fills as f')
        .innerJoin('executions as e', 'e.id', 'f.execution_id')
        .selectAll('f')
        .select('e.alpaca_order_id')
        .where('f.alpaca_account_label', '=', filter.accountLabel);
      if (filter.executionId !== undefined) query = query.where('f.execution_id', '=', filter.executionId);
      query = query.orderBy('f.executed_at').orderBy('f.execution_id').orderBy('f.cumulative_qty');
      const rows = await (filter.limit === undefined ? query : query.limit(filter.limit)).execute();
      return rows.map((row) => fillOf(row, row.alpaca_order_id));
    },

    positions: async (accountLabel) => {
      const rows = await db
        .selectFrom('execution_fills')
        .select(['symbol', 'side', 'qty', 'price'])
        .where('alpaca_account_label', '=', accountLabel)
        .orderBy('executed_at')
        .orderBy('execution_id')
        .orderBy('cumulative_qty')
        .execute();
      return positionsFromFills(
        rows.map((row) => ({
          symbol: row.symbol,
          side: row.side,
          quantity: decimalOf(row.qty),
          price: decimalOf(row.price),
        })),
      );
    },

    counts: async (accountLabel) => {
      const result = await sql<Record<string, string | null>>`
        select
          (select count(*) from executions where alpaca_account_label = ${accountLabel}) as executions,
          (select count(*) from execution_fills where alpaca_account_label = ${accountLabel}) as fills,
          (select count(*) from executions where alpaca_account_label = ${accountLabel}
             and exists (select 1 from execution_fills f where f.execution_id = executions.id
               and f.cumulative_qty < executions.submitted_qty)) as partially_filled,
          (select count(*) from executions where alpaca_account_label = ${accountLabel}
             and (status in ('open', 'partial', 'pending_change', 'unknown')
               or (status = 'done_for_day' and time_in_force <> 'day'))) as open,
          (select count(*) from order_claims where account_label = ${accountLabel}
             and state in ('claimed', 'broker_io')) as unknown_claims,
          (select count(*) from executions where alpaca_account_label = ${accountLabel} and late_accepted) as late_accepted,
          (select count(*) from executions where alpaca_account_label = ${accountLabel} and orphan) as orphans,
          c.orders, c.slippage, c.abs_slippage
        from (select count(slippage_bps) as orders, avg(slippage_bps) as slippage, avg(abs(slippage_bps)) as abs_slippage
          from execution_tca_metrics where alpaca_account_label = ${accountLabel}) c
      `.execute(db);
      const states = await db
        .selectFrom('executions')
        .select(['status', (eb) => eb.fn.countAll<string>().as('count')])
        .where('alpaca_account_label', '=', accountLabel)
        .groupBy('status')
        .execute();
      const row = result.rows[0] ?? {};
      const number = (name: string) => Number(row[name] ?? 0);
      return {
        executions: number('executions'),
        byState: Object.fromEntries(states.map((state) => [state.status, Number(state.count)])),
        fills: number('fills'),
        partiallyFilled: number('partially_filled'),
        open: number('open'),
        unknownClaims: number('unknown_claims'),
        lateAccepted: number('late_accepted'),
        orphans: number('orphans'),
        costs: {
          orders: number('orders'),
          avgSlippageBps: row.slippage == null ? undefined : Number(row.slippage),
          avgAbsSlippageBps: row.abs_slippage == null ? undefined : Number(row.abs_slippage),
        },
      };
    },
  };
}

/** Working orders and claims without an answer; cheap enough to ask after every order. */
export async function openCounts(db: LedgerDb, accountLabel: string): Promise<{ open: number; unknownClaims: number }> {
  const result = await sql<{ open: string; unknown_claims: string }>`
    select
      (select count(*) from executions where alpaca_account_label = ${accountLabel}
         and status in ('open', 'partial', 'pending_change', 'unknown', 'done_for_day')
         and (status <> 'done_for_day' or time_in_force <> 'day')) as open,
      (select count(*) from order_claims where account_label = ${accountLabel} and state in ('claimed', 'broker_io')) as unknown_claims
  `.execute(db);
  return { open: Number(result.rows[0]?.open ?? 0), unknownClaims: Number(result.rows[0]?.unknown_claims ?? 0) };
}

/** See OrderLedgerReads. */
export async function newestRefusalAtMs(
  db: LedgerDb,
  accountLabel: string,
  reason: string,
  sinceMs: number,
): Promise<number | undefined> {
  const row = await db
    .selectFrom('trade_decisions')
    .select((eb) => eb.fn.max('resolved_at').as('at'))
    .where('alpaca_account_label', '=', accountLabel)
    .where('decided_at', '>=', timeOf(sinceMs))
    .where('status', '=', 'rejected')
    .where(sql<boolean>`${reason} = any(reasons)`)
    .executeTakeFirst();
  return row?.at?.getTime();
}
