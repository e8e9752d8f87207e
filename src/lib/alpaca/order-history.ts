/**
 * What the order-event stream would have told, read from the trading REST API: the stream never sends anything again, so what
 * happened while nobody listened is made up of orders and fill activities (spec ingest 1.5, alpaca-protocol 2).
 * Guarantees: only what the broker itself says: a fill for each fill activity with its execution id, and one event for each time
 * that an order carries (submitted, canceled, expired, failed, replaced). Each has `recovered: true`; what REST does not say
 * (event id, position after the fill) is left out. Transient states between them leave no trace and are not invented.
 */
import { Decimal } from 'decimal.js';
import { formatTimestampNs, parseTimestampNs } from '../market/time.ts';
import type { OrderPage, TradingReads } from './trading-rest.ts';
import type { BrokerOrder, FillActivity } from './trading-schema.ts';

/** An event in the form of the stream's `data` object. */
export interface DerivedUpdate {
  /** Market ns. */
  atNs: bigint;
  data: { event: string; timestamp: string; order: Record<string, unknown>; execution_id?: string; recovered: true };
}

/** Orders are listed by submission: one that was submitted so long before (market ns) is seen by its fills alone. */
const LONGEST_ORDER_NS = 7n * 86_400_000_000_000n;
const PAGE = 500;
const MAX_PAGES = 20;
const ACTIVITY_PAGE = 100;

/** The times of an order that are events of their own. */
const stamps = [
  ['submitted_at', 'new'],
  ['canceled_at', 'canceled'],
  ['expired_at', 'expired'],
  ['failed_at', 'rejected'],
  ['replaced_at', 'replaced'],
] as const;

/** Everything that happened to the account's orders since a market time, oldest first. @throws what the reads throw */
export async function updatesSince(
  reads: Pick<TradingReads, 'orders' | 'fillActivities' | 'orderById'>,
  sinceNs: bigint,
  signal: AbortSignal,
): Promise<DerivedUpdate[]> {
  const orders = await ordersSince(reads, sinceNs - LONGEST_ORDER_NS, signal);
  const fills = await fillsSince(reads, sinceNs, signal);
  const updates: DerivedUpdate[] = [];
  for (const order of orders.values()) updates.push(...stampedUpdates(order, sinceNs));
  for (const fill of fills) {
    const order = orders.get(fill.orderId) ?? (await reads.orderById(fill.orderId, signal));
    if (order === undefined) continue;
    orders.set(order.id, order);
    updates.push(fillUpdate(order, fill));
  }
  return updates.sort((a, b) => (a.atNs < b.atNs ? -1 : a.atNs > b.atNs ? 1 : 0));
}

async function ordersSince(
  reads: Pick<TradingReads, 'orders'>,
  fromNs: bigint,
  signal: AbortSignal,
): Promise<Map<string, BrokerOrder>> {
  const found = new Map<string, BrokerOrder>();
  let afterNs = fromNs;
  for (let page = 0; page < MAX_PAGES; page++) {
    const query: OrderPage = { status: 'all', after: formatTimestampNs(afterNs), direction: 'asc', limit: PAGE };
    const orders = await reads.orders(query, signal);
    for (const order of orders) found.set(order.id, order);
    const lastNs = orders.at(-1)?.submittedNs;
    if (orders.length < PAGE || lastNs === undefined) break;
    // `after` is exclusive: one step back keeps others of the same instant, unless they fill the page alone.
    afterNs = lastNs - 1n > afterNs ? lastNs - 1n : lastNs;
  }
  return found;
}

async function fillsSince(
  reads: Pick<TradingReads, 'fillActivities'>,
  sinceNs: bigint,
  signal: AbortSignal,
): Promise<FillActivity[]> {
  const found: FillActivity[] = [];
  for (;;) {
    const last = found.at(-1)?.id;
    const page = await reads.fillActivities(
      {
        after: formatTimestampNs(sinceNs),
        pageSize: ACTIVITY_PAGE,
        ...(last === undefined ? {} : { pageToken: last }),
      },
      signal,
    );
    found.push(...page);
    if (page.length < ACTIVITY_PAGE) return found;
  }
}

function stampedUpdates(order: BrokerOrder, sinceNs: bigint): DerivedUpdate[] {
  return stamps.flatMap(([field, event]): DerivedUpdate[] => {
    const timestamp = order.raw[field];
    const atNs = typeof timestamp === 'string' ? parseTimestampNs(timestamp) : undefined;
    if (typeof timestamp !== 'string' || atNs === undefined || atNs < sinceNs) return [];
    // A rejected order was submitted and never new.
    if (event === 'new' && order.status === 'rejected') return [];
    const shown =
      event === 'new' ? { ...order.raw, status: 'new', filled_qty: '0', filled_avg_price: null } : order.raw;
    return [{ atNs, data: { event, timestamp, order: shown, recovered: true } }];
  });
}

function fillUpdate(order: BrokerOrder, fill: FillActivity): DerivedUpdate {
  const filled = fill.cumulativeQty ?? order.filledQty;
  const isLast = order.quantity === undefined ? filled.equals(order.filledQty) : filled.gte(order.quantity);
  const timestamp = formatTimestampNs(fill.transactionNs);
  const isAsNow = filled.equals(order.filledQty);
  return {
    atNs: fill.transactionNs,
    data: {
      event: isLast ? 'fill' : 'partial_fill',
      timestamp,
      execution_id: fill.executionId,
      ...{ price: new Decimal(fill.price).toFixed(), qty: new Decimal(fill.quantity).toFixed() },
      order: {
        ...order.raw,
        filled_qty: filled.toFixed(),
        // The average after an earlier fill is not told by REST.
        filled_avg_price: isAsNow ? (order.raw.filled_avg_price ?? null) : null,
        status: isLast ? 'filled' : 'partially_filled',
        updated_at: timestamp,
      },
      recovered: true,
    },
  };
}
