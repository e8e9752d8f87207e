/**
 * The broker's book and ours, order by order and fill by fill: what the simulator's journal says against the ledger's rows.
 */
import { Decimal } from 'decimal.js';
import type pg from 'pg';
import { z } from 'zod';

const orderSchema = z.looseObject({
  id: z.string(),
  client_order_id: z.string(),
  status: z.string(),
  filled_qty: z.string(),
});
const fillSchema = z.looseObject({
  execution_id: z.string(),
  order_id: z.string(),
  price: z.string(),
  qty: z.string(),
});
const entrySchema = z.looseObject({
  seq: z.number(),
  kind: z.string(),
  order: orderSchema.optional(),
  fill: fillSchema.optional(),
});
const pageSchema = z.looseObject({ entries: z.array(entrySchema) });

export interface BrokerBook {
  orders: Map<string, z.infer<typeof orderSchema>>;
  fills: Map<string, z.infer<typeof fillSchema>>;
  /** Ids of orders that were filled in parts. */
  partial: Set<string>;
}

/** Reads the whole journal of the simulator. @param url base URL of the simulator */
export async function readBrokerBook(url: string): Promise<BrokerBook> {
  const book: BrokerBook = { orders: new Map(), fills: new Map(), partial: new Set() };
  for (let after = 0; ; ) {
    const response = await fetch(`${url}/_sim/journal?after=${after}&limit=1000`, {
      signal: AbortSignal.timeout(10_000),
    });
    const { entries } = pageSchema.parse(await response.json());
    for (const entry of entries) {
      after = entry.seq;
      if (entry.order) book.orders.set(entry.order.id, entry.order);
      if (entry.fill) book.fills.set(entry.fill.execution_id, entry.fill);
      if (entry.kind === 'partial_fill' && entry.fill) book.partial.add(entry.fill.order_id);
    }
    if (entries.length === 0) return book;
  }
}

/** Counts of the broker's orders by what became of them. */
export function countOrders(book: BrokerBook): Record<string, number> {
  const counts = { accepted: 0, filled: 0, partially_filled: book.partial.size, canceled: 0, rejected: 0 };
  for (const { status } of book.orders.values()) {
    if (status === 'rejected') counts.rejected += 1;
    else counts.accepted += 1;
    if (status === 'filled') counts.filled += 1;
    if (status === 'canceled') counts.canceled += 1;
  }
  return counts;
}

interface LedgerOrder {
  alpaca_order_id: string;
  broker_status: string;
  filled_qty: string;
}
interface LedgerFill {
  broker_execution_id: string;
  qty: string;
  price: string;
}

/** Differences between the two books; empty when they agree. At most ten are named. */
export async function compareBooks(book: BrokerBook, client: pg.ClientBase): Promise<string[]> {
  const orders = await client.query<LedgerOrder>('SELECT alpaca_order_id, broker_status, filled_qty FROM executions');
  const fills = await client.query<LedgerFill>('SELECT broker_execution_id, qty, price FROM execution_fills');
  const differences: string[] = [];
  const ledgerOrders = new Map(orders.rows.map((row) => [row.alpaca_order_id, row]));
  for (const [id, order] of book.orders) {
    const row = ledgerOrders.get(id);
    if (!row) differences.push(`order ${order.client_order_id} is not in the ledger`);
    else if (!new Decimal(row.filled_qty).eq(order.filled_qty) || row.broker_status !== order.status) {
      differences.push(
        `order ${order.client_order_id}: broker ${order.status} ${order.filled_qty}, ledger ${row.broker_status} ${row.filled_qty}`,
      );
    }
  }
  for (const id of ledgerOrders.keys()) if (!book.orders.has(id)) differences.push(`order ${id} is not at the broker`);
  const ledgerFills = new Map(fills.rows.map((row) => [row.broker_execution_id, row]));
  for (const [id, fill] of book.fills) {
    const row = ledgerFills.get(id);
    if (!row) differences.push(`fill ${id} is not in the ledger`);
    else if (!new Decimal(row.qty).eq(fill.qty) || !new Decimal(row.price).eq(fill.price)) {
      differences.push(`fill ${id}: broker ${fill.qty} at ${fill.price}, ledger ${row.qty} at ${row.price}`);
    }
  }
  for (const id of ledgerFills.keys()) if (!book.fills.has(id)) differences.push(`fill ${id} is not at the broker`);
  return differences.length > 10
    ? [...differences.slice(0, 10), `${differences.length - 10} more differences`]
    : differences;
}
