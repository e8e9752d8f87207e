/**
 * What is wrong between an account at its broker and its ledger: the exchange's own journal and REST against SQL of the
 * test's own. Empty = all is well.
 */
import { query } from '../../ledger/support/postgres.ts';
import { KEY, SECRET } from '../../simulator/trading/test-exchange.ts';
import type { MatrixAccount } from './account.ts';

export interface PostReceived {
  seq: number;
  key_id: string;
  /** Machine time, RFC 3339. */
  machine_at: string;
  client_order_id: string | null;
}

const headers = { 'APCA-API-KEY-ID': KEY, 'APCA-API-SECRET-KEY': SECRET };

async function read<T>(account: MatrixAccount, path: string): Promise<T> {
  const answer = await fetch(`${account.exchange.url}${path}`, { headers });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return (await answer.json()) as T;
}

/** Every POST that reached the exchange, in order, whether it was answered or not. */
export async function postsOf(account: MatrixAccount): Promise<PostReceived[]> {
  const { entries } = await read<{ entries: (PostReceived & { kind: string })[] }>(
    account,
    '/_sim/journal?limit=10000',
  );
  return entries.filter((entry) => entry.kind === 'post_received');
}

const sorted = (rows: readonly (readonly unknown[])[]): string =>
  JSON.stringify(rows.map((row) => row.join(' ')).sort());

export interface Verdict {
  wrong: string[];
  orders: number;
  fills: number;
}

export async function verdictOf(account: MatrixAccount): Promise<Verdict> {
  const { dsn } = account;
  const wrong: string[] = [];
  const [posts, orders, fills, held] = await Promise.all([
    postsOf(account),
    read<{ id: string; client_order_id: string; status: string; filled_qty: string }[]>(
      account,
      '/v2/orders?status=all&limit=500',
    ),
    read<{ order_id: string; qty: string; price: string }[]>(account, '/v2/account/activities/FILL?page_size=100'),
    read<{ symbol: string; qty: string }[]>(account, '/v2/positions'),
  ]);
  const ids = posts.map((post) => post.client_order_id);
  if (new Set(ids).size !== ids.length) wrong.push('posted_twice');
  const clientIds = orders.map((order) => order.client_order_id);
  if (new Set(clientIds).size !== clientIds.length) wrong.push('order_doubled');
  const claims = await query<{ client_order_id: string; state: string }>(dsn, 'select * from order_claims');
  const claimed = new Set(claims.map((claim) => claim.client_order_id));
  if (ids.some((id) => !claimed.has(id ?? ''))) wrong.push('posted_without_claim');
  if (claims.some(({ state }) => state === 'claimed' || state === 'broker_io')) wrong.push('claim_open');
  const executions = await query<{
    alpaca_order_id: string;
    client_order_id: string;
    broker_status: string;
    filled_qty: string;
  }>(dsn, 'select * from executions');
  const known = new Set(executions.map((row) => row.alpaca_order_id));
  if (orders.some((order) => !known.has(order.id))) wrong.push('order_unknown_to_ledger');
  const mine = sorted(
    executions.map((row) => [row.alpaca_order_id, row.client_order_id, row.broker_status, Number(row.filled_qty)]),
  );
  const theirs = sorted(
    orders.map((order) => [order.id, order.client_order_id, order.status, Number(order.filled_qty)]),
  );
  if (mine !== theirs) wrong.push('orders_differ');
  const recorded = await query<{ alpaca_order_id: string; qty: string; price: string }>(
    dsn,
    'select e.alpaca_order_id, f.qty, f.price from execution_fills f join executions e on e.id = f.execution_id',
  );
  const myFills = sorted(recorded.map((fill) => [fill.alpaca_order_id, Number(fill.qty), Number(fill.price)]));
  if (myFills !== sorted(fills.map((fill) => [fill.order_id, Number(fill.qty), Number(fill.price)])))
    wrong.push('fills_differ');
  const sums = await query<{ symbol: string; qty: string }>(
    dsn,
    `select symbol, sum(case when side = 'buy' then qty else -qty end)::text as qty from execution_fills group by symbol
     having sum(case when side = 'buy' then qty else -qty end) <> 0`,
  );
  if (
    sorted(sums.map((row) => [row.symbol, Number(row.qty)])) !==
    sorted(held.map((row) => [row.symbol, Number(row.qty)]))
  ) {
    wrong.push('positions_differ');
  }
  const count = async (sql: string) => (await query(dsn, sql)).length;
  if ((await count("select 1 from trade_decisions where status in ('planned', 'submitted', 'open', 'partial')")) > 0)
    wrong.push('decision_open');
  if ((await count('select 1 from reconcile_findings where resolved_at is null and is_paging')) > 0)
    wrong.push('finding_open');
  // Every signal row decided once: as a decision, or as a note that says why not.
  const decisions = await query<{ n: string }>(
    dsn,
    'select count(distinct source_offset)::text as n from trade_decisions',
  );
  const notes = await query<{ n: string }>(dsn, 'select count(distinct source_offset)::text as n from signal_notes');
  if (Number(decisions[0]?.n) + Number(notes[0]?.n) !== account.rows) wrong.push('signal_lost');
  return { wrong, orders: orders.length, fills: fills.length };
}
