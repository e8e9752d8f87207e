/**
 * The verdict over a finished run: from the raw file, SQL of this test's own and the simulator's journal file; never from the
 * summary.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect } from 'vitest';
import { torghutRows } from '../support/torghut.ts';
import type { OracleTotals } from './oracle.ts';

interface StoredBar {
  symbol: string;
  second: string;
  count: string | number;
  v: number;
  o: number;
  h: number;
  l: number;
  c: number;
}

const day = 'us-equities-2013-10-08';

export function dataFile(name: string): string {
  return join(process.env.TORGHUT_DATA as string, day, name);
}

/** Stored one-second bars, highest revision per key, keyed like the oracle. */
export async function storedBars(home: string): Promise<Map<string, StoredBar>> {
  const rows = await torghutRows<StoredBar>([
    'clickhouse',
    'query',
    `SELECT symbol, formatDateTime(event_ts - INTERVAL 1 SECOND, '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS second,
            argMax(count, revision) AS count, argMax(v, revision) AS v, argMax(o, revision) AS o,
            argMax(h, revision) AS h, argMax(l, revision) AS l, argMax(c, revision) AS c
     FROM ta_microbars WHERE window_size = 'PT1S' GROUP BY symbol, event_ts`,
    '--home',
    home,
  ]);
  return new Map(rows.map((row) => [`${row.symbol} ${row.second}`, row]));
}

/** Every symbol and second of the raw file is stored with its count, volume, high and low, and nothing else is. */
export function expectBars(stored: ReadonlyMap<string, StoredBar>, oracle: OracleTotals): void {
  const wrong: string[] = [];
  for (const [key, second] of oracle.seconds) {
    const bar = stored.get(key);
    const same =
      bar && Number(bar.count) === second.count && bar.v === second.volume && bar.h === second.h && bar.l === second.l;
    if (!same) wrong.push(`${key}: raw ${JSON.stringify(second)}, stored ${JSON.stringify(bar)}`);
  }
  for (const key of stored.keys()) if (!oracle.seconds.has(key)) wrong.push(`${key} is stored and not in the file`);
  expect(wrong.slice(0, 10)).toEqual([]);
  expect(stored.size).toBe(oracle.seconds.size);
}

interface ExpectedSecond {
  symbol: string;
  second: string;
  count: number;
  volume: number;
  o: number;
  h: number;
  l: number;
  c: number;
}

/** The file of expected seconds that came with the data, open and close included. @returns how many were compared */
export function expectPublishedSeconds(stored: ReadonlyMap<string, StoredBar>, to: string): number {
  const lines = gunzipSync(readFileSync(dataFile('expected-seconds.ndjson.gz')))
    .toString('utf8')
    .trim()
    .split('\n');
  let compared = 0;
  for (const line of lines) {
    const second = JSON.parse(line) as ExpectedSecond;
    if (second.second >= to) continue;
    compared += 1;
    const bar = stored.get(`${second.symbol} ${second.second}`);
    expect(
      bar && { count: Number(bar.count), volume: bar.v, o: bar.o, h: bar.h, l: bar.l, c: bar.c },
      `${second.symbol} ${second.second}`,
    ).toEqual({ count: second.count, volume: second.volume, o: second.o, h: second.h, l: second.l, c: second.c });
  }
  return compared;
}

interface JournalOrder {
  id: string;
  client_order_id: string;
  status: string;
  symbol: string;
  filled_qty: string;
}
interface JournalFill {
  execution_id: string;
  order_id: string;
  qty: string;
  price: string;
}
interface JournalEntry {
  kind: string;
  order?: JournalOrder;
  fill?: JournalFill;
}

export interface Journal {
  orders: Map<string, JournalOrder>;
  fills: Map<string, JournalFill>;
  partial: Set<string>;
  entries: JournalEntry[];
}

/** The simulator's journal, from its file. */
export function readJournal(home: string): Journal {
  const folder = join(home, 'simulator');
  const file = readdirSync(folder, { recursive: true, encoding: 'utf8' }).find((name) =>
    name.endsWith('trading.ndjson'),
  );
  if (file === undefined) throw new Error(`no journal under ${folder}`);
  const entries = readFileSync(join(folder, file), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as JournalEntry);
  const journal: Journal = { orders: new Map(), fills: new Map(), partial: new Set(), entries };
  for (const entry of entries) {
    if (entry.order) journal.orders.set(entry.order.id, entry.order);
    if (entry.fill) journal.fills.set(entry.fill.execution_id, entry.fill);
    if (entry.kind === 'partial_fill' && entry.fill) journal.partial.add(entry.fill.order_id);
  }
  return journal;
}

/** Journal and ledger agree order by order and fill by fill, no client order id was accepted twice, no decision is open. */
export async function expectBooks(home: string, journal: Journal): Promise<void> {
  const query = <T>(sql: string) => torghutRows<T>(['db', 'query', sql, '--home', home]);
  const orders = await query<{
    id: string;
    client_order_id: string;
    status: string;
    filled: string;
    decision: string | null;
  }>(
    `SELECT alpaca_order_id AS id, client_order_id, broker_status AS status, trim_scale(filled_qty)::text AS filled,
            trade_decision_id AS decision FROM executions`,
  );
  const expected = [...journal.orders.values()].map(({ id, client_order_id, status, filled_qty }) => ({
    id,
    client_order_id,
    status,
    filled: String(Number(filled_qty)),
  }));
  const byId = (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1);
  expect(
    orders.map(({ decision: _decision, ...order }) => ({ ...order, filled: String(Number(order.filled)) })).sort(byId),
  ).toEqual(expected.sort(byId));
  expect(new Set(orders.map((order) => order.decision)).size, 'one order per decision').toBe(orders.length);
  expect(new Set(expected.map((order) => order.client_order_id)).size, 'one order per client order id').toBe(
    expected.length,
  );
  const fills = await query<{ id: string; qty: string; price: string }>(
    'SELECT broker_execution_id AS id, trim_scale(qty)::text AS qty, trim_scale(price)::text AS price FROM execution_fills',
  );
  const number = (fill: { id: string; qty: string; price: string }) => ({
    ...fill,
    qty: Number(fill.qty),
    price: Number(fill.price),
  });
  expect(fills.map(number).sort(byId)).toEqual(
    [...journal.fills.values()]
      .map(({ execution_id, qty, price }) => number({ id: execution_id, qty, price }))
      .sort(byId),
  );
  const [open] = await query<{ n: string }>("SELECT count(*) AS n FROM trade_decisions WHERE status = 'planned'");
  expect(Number(open?.n)).toBe(0);
}
