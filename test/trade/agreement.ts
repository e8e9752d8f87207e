/** The verdict: broker and ledger agree order by order, every decision has its end. */
import { expect } from 'vitest';
import type { TradeRig } from './rig.ts';

interface LedgerOrder {
  alpaca_order_id: string;
  client_order_id: string;
  status: string;
  filled_qty: string;
  fills: string;
}

/** @returns the broker's orders */
export async function expectAgreement(rig: TradeRig) {
  const orders = await rig.brokerOrders();
  const ledger = await rig.sql<LedgerOrder>(
    `select e.alpaca_order_id, e.client_order_id, e.broker_status as status, e.filled_qty::text,
       coalesce((select sum(f.qty) from execution_fills f where f.execution_id = e.id), 0)::text as fills
     from executions e`,
  );
  const clientIds = orders.map((order) => order.client_order_id);
  expect(new Set(clientIds).size, 'no client order id twice').toBe(clientIds.length);
  const known = new Map(ledger.map((row) => [row.alpaca_order_id, row]));
  for (const order of orders) {
    const row = known.get(order.id);
    expect(row, `order ${order.client_order_id} of the broker is in the ledger`).toBeDefined();
    expect(Number(row?.filled_qty), `filled quantity of ${order.client_order_id}`).toBe(Number(order.filled_qty));
    expect(Number(row?.fills), `fills of ${order.client_order_id}`).toBe(Number(order.filled_qty));
    expect(row?.status).toBe(order.status);
  }
  expect(ledger.length, 'no order in the ledger that the broker does not know').toBe(orders.length);
  const open = await rig.sql<{ id: string }>("select id from trade_decisions where status in ('planned', 'submitted')");
  const claims = await rig.sql<{ n: string }>(
    "select count(*) as n from order_claims where state in ('claimed', 'broker_io')",
  );
  expect(open, 'no decision left open').toEqual([]);
  expect(claims[0]?.n).toBe('0');
  const held = await rig.broker<{ symbol: string; qty: string }[]>('/v2/positions');
  const sums = await rig.sql<{ symbol: string; qty: string }>(
    `select symbol, sum(case when side = 'buy' then filled_qty else -filled_qty end)::text as qty
     from executions group by symbol having sum(case when side = 'buy' then filled_qty else -filled_qty end) <> 0`,
  );
  const asMap = (rows: { symbol: string; qty: string }[]) =>
    Object.fromEntries(rows.map((r) => [r.symbol, Number(r.qty)]));
  expect(asMap(sums)).toEqual(asMap(held));
  return orders;
}
