/**
 * The verdict of the crash matrix: what is wrong between the broker and the ledger, by SQL of its own and by what the broker
 * itself counted. Empty = all is well.
 */
import { query } from '../../ledger/support/postgres.ts';
import type { FakeBroker } from './fake-broker.ts';

const same = (a: unknown[][], b: unknown[][]): boolean => JSON.stringify(a.sort()) === JSON.stringify(b.sort());

/** @param decisions how many decisions were made */
export async function disagreements(dsn: string, broker: FakeBroker, decisions: number): Promise<string[]> {
  const wrong: string[] = [];
  const doubled = broker.posts.filter((id, index) => broker.posts.indexOf(id) !== index);
  if (doubled.length > 0) wrong.push('posted_twice');
  const claims = await query<{ client_order_id: string }>(dsn, 'select client_order_id from order_claims');
  const claimed = new Set(claims.map((row) => row.client_order_id));
  if (broker.posts.some((id) => !claimed.has(id))) wrong.push('posted_without_claim');
  const executions = await query<{ alpaca_order_id: string; broker_status: string; filled_qty: string }>(
    dsn,
    'select * from executions',
  );
  const known = new Set(executions.map((row) => row.alpaca_order_id));
  if (broker.orders.some((order) => !known.has(order.id))) wrong.push('order_unknown_to_ledger');
  const isSameOrders = same(
    executions.map((row) => [row.alpaca_order_id, row.broker_status, Number(row.filled_qty)]),
    broker.orders.map((order) => [order.id, order.status, Number(order.filled_qty)]),
  );
  if (!isSameOrders) wrong.push('orders_differ');
  const fills = await query<{ broker_execution_id: string; qty: string; price: string }>(
    dsn,
    'select * from execution_fills',
  );
  const isSameFills = same(
    fills.map((row) => [row.broker_execution_id, Number(row.qty), Number(row.price)]),
    broker.fills.map((fill) => [fill.executionId, Number(fill.qty), Number(fill.price)]),
  );
  if (!isSameFills) wrong.push('fills_differ');
  const count = async (sql: string) => (await query(dsn, sql)).length;
  if ((await count(`select 1 from order_claims where state in ('claimed', 'broker_io')`)) > 0) wrong.push('claim_open');
  const open = `select 1 from trade_decisions where status in ('planned', 'submitted', 'partial')`;
  if ((await count(open)) > 0) wrong.push('decision_open');
  if ((await count('select 1 from trade_decisions')) !== decisions) wrong.push('decision_lost');
  if ((await count('select 1 from reconcile_findings where resolved_at is null')) > 0) wrong.push('finding_open');
  return wrong;
}
