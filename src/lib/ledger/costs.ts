/**
 * Transaction costs, one row per execution (spec 4.7), recomputed in the transaction that changes its fills.
 * arrival = the decision's reference price; slippage in basis points, positive is worse for us; churn = the quantity that
 * reverses the strategy's net position in the symbol as it stood before this order's fills.
 */
import { sql } from 'kysely';
import type { LedgerDb } from './tables.ts';
import { timeOf } from './values.ts';

/** Writes the row of one execution; null figures unless arrival, average price and filled quantity are positive. */
export async function updateCosts(db: LedgerDb, executionId: string, atMs: number): Promise<void> {
  await sql`
    with e as (
      select e.*, d.reference_price as arrival, d.strategy_id, case e.side when 'buy' then 1 else -1 end as dir,
        (select min(executed_at) from execution_fills where execution_id = e.id) as first_fill
      from executions e left join trade_decisions d on d.id = e.trade_decision_id
      where e.id = ${executionId}
    ), net as (
      select coalesce(sum(case f.side when 'buy' then f.qty else -f.qty end), 0) as before
      from e
      join execution_fills f on f.symbol = e.symbol and f.execution_id <> e.id and f.executed_at < e.first_fill
        and f.alpaca_account_label = e.alpaca_account_label
      join executions o on o.id = f.execution_id
      join trade_decisions od on od.id = o.trade_decision_id and od.strategy_id = e.strategy_id
    ), figures as (
      select e.*, case when sign(net.before) = -e.dir then least(e.filled_qty, abs(net.before)) else 0 end as churn,
        coalesce(e.arrival > 0 and e.avg_fill_price > 0 and e.filled_qty > 0, false) as known
      from e, net
    )
    insert into execution_tca_metrics (id, execution_id, trade_decision_id, strategy_id, alpaca_account_label, symbol, side,
      arrival_price, avg_fill_price, filled_qty, signed_qty, slippage_bps, shortfall_notional, churn_qty, churn_ratio, computed_at)
    select gen_random_uuid(), id, trade_decision_id, strategy_id, alpaca_account_label, symbol, side, arrival, avg_fill_price,
      filled_qty, dir * filled_qty,
      case when known then dir * (avg_fill_price - arrival) / arrival * 10000 end,
      case when known then dir * (avg_fill_price - arrival) * filled_qty end,
      churn, case when filled_qty > 0 then churn / filled_qty end, ${timeOf(atMs)}
    from figures
    on conflict (execution_id) do update set arrival_price = excluded.arrival_price, avg_fill_price = excluded.avg_fill_price,
      filled_qty = excluded.filled_qty, signed_qty = excluded.signed_qty, slippage_bps = excluded.slippage_bps,
      shortfall_notional = excluded.shortfall_notional, churn_qty = excluded.churn_qty, churn_ratio = excluded.churn_ratio,
      computed_at = excluded.computed_at
  `.execute(db);
}
