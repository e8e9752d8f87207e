/**
 * The lists: orders with their filters and paging, and the account's fill activities.
 * Facts: alpaca-protocol 3 (defaults, exclusive bounds on submission time), SDK models for the activity fields.
 */
import { newYorkTime } from '../../lib/market/calendar.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import { invalidParameter } from './broker-error.ts';
import type { ActivityRecord, BrokerState } from './broker-state.ts';
import { isOpen, type OrderRecord, type WireOrder, wireOrder } from './order-record.ts';

const MAX_ORDERS = 500;
const DEFAULT_ORDERS = 50;
const MAX_ACTIVITIES = 100;

/** A query parameter as an instant; a plain date is its UTC midnight. @throws BrokerError 422 */
export function instantParameter(query: URLSearchParams, name: string): bigint | undefined {
  const given = query.get(name);
  if (!given) return undefined;
  const ns = parseTimestampNs(/^\d{4}-\d{2}-\d{2}$/.test(given) ? `${given}T00:00:00Z` : given);
  if (ns === undefined) throw invalidParameter(`invalid ${name}`);
  return ns;
}

export function countParameter(query: URLSearchParams, name: string, fallback: number, max: number): number {
  const given = query.get(name);
  if (given === null || given === '') return fallback;
  const count = Number(given);
  if (!Number.isInteger(count) || count < 1 || count > max)
    throw invalidParameter(`${name} must be between 1 and ${max}`);
  return count;
}

function choice<T extends string>(query: URLSearchParams, name: string, fallback: T, allowed: readonly T[]): T {
  const given = (query.get(name) || fallback) as T;
  if (!allowed.includes(given)) throw invalidParameter(`invalid ${name}`);
  return given;
}

const listOf = (query: URLSearchParams, name: string) =>
  query
    .getAll(name)
    .flatMap((part) => part.split(','))
    .filter(Boolean);

/** GET /v2/orders. `nested` changes nothing: orders here have no legs. @throws BrokerError 422 */
export function listOrders(state: BrokerState, query: URLSearchParams): WireOrder[] {
  const status = choice(query, 'status', 'open', ['open', 'closed', 'all']);
  const direction = choice(query, 'direction', 'desc', ['asc', 'desc']);
  const limit = countParameter(query, 'limit', DEFAULT_ORDERS, MAX_ORDERS);
  const after = instantParameter(query, 'after');
  const until = instantParameter(query, 'until');
  const symbols = new Set(listOf(query, 'symbols').map((symbol) => symbol.toUpperCase()));
  const side = query.get('side');
  const numberOf = (name: string) => {
    const id = query.get(name);
    if (!id) return undefined;
    const order = state.order(id);
    if (!order) throw invalidParameter(`invalid ${name}`);
    return order.working.number;
  };
  const beforeNumber = numberOf('before_order_id');
  const afterNumber = numberOf('after_order_id');
  const matches = (order: OrderRecord) => {
    if (status !== 'all' && isOpen(order) !== (status === 'open')) return false;
    if (symbols.size > 0 && !symbols.has(order.symbol)) return false;
    if (side && order.side !== side) return false;
    const submitted = BigInt(order.working.submittedNs);
    if (after !== undefined && submitted <= after) return false;
    if (until !== undefined && submitted >= until) return false;
    if (beforeNumber !== undefined && order.working.number >= beforeNumber) return false;
    return afterNumber === undefined || order.working.number > afterNumber;
  };
  const orders = status === 'open' ? state.allOpenOrders() : [...state.orders.values()];
  if (direction === 'desc') orders.reverse();
  const found: WireOrder[] = [];
  for (const order of orders) {
    if (found.length === limit) break;
    if (matches(order)) found.push(wireOrder(order));
  }
  return found;
}

/** Activity id: New York time in digits, then the execution's uuid; text order is time order. */
function activityId(activity: ActivityRecord): string {
  const ns = parseTimestampNs(activity.at) ?? 0n;
  const { date, msOfDay } = newYorkTime(ns);
  const clock = new Date(msOfDay).toISOString().slice(11, 23).replace(/[:.]/g, '');
  return `${date.replace(/-/g, '')}${clock}::${activity.execution_id}`;
}

function activityView(activity: ActivityRecord): Record<string, unknown> {
  return {
    id: activityId(activity),
    activity_type: 'FILL',
    transaction_time: activity.at,
    type: activity.kind,
    price: activity.price,
    qty: activity.qty,
    side: activity.side,
    symbol: activity.symbol,
    leaves_qty: activity.leaves_qty,
    order_id: activity.order_id,
    cum_qty: activity.cum_qty,
    order_status: activity.order_status,
  };
}

/**
 * GET /v2/account/activities[/{type}]: fills; other types have none here.
 * @throws BrokerError 422 for a bad parameter or an unknown page token
 */
export function listActivities(state: BrokerState, query: URLSearchParams, type?: string): Record<string, unknown>[] {
  const types = type === undefined ? listOf(query, 'activity_types') : [type];
  if (types.length > 0 && !types.some((name) => name.toUpperCase() === 'FILL')) return [];
  if (query.get('category') === 'non_trade_activity') return [];
  const direction = choice(query, 'direction', 'desc', ['asc', 'desc']);
  const size = countParameter(query, 'page_size', MAX_ACTIVITIES, MAX_ACTIVITIES);
  const after = instantParameter(query, 'after');
  const until = instantParameter(query, 'until');
  const date = query.get('date')?.slice(0, 10);
  const token = query.get('page_token');
  const list = direction === 'asc' ? state.activities : [...state.activities].reverse();
  let from = 0;
  if (token) {
    from = list.findIndex((activity) => activityId(activity) === token) + 1;
    if (from === 0) throw invalidParameter('invalid page_token');
  }
  const found: Record<string, unknown>[] = [];
  for (const activity of list.slice(from)) {
    if (found.length === size) break;
    const ns = parseTimestampNs(activity.at) ?? 0n;
    if (after !== undefined && ns <= after) continue;
    if (until !== undefined && ns >= until) continue;
    if (date && newYorkTime(ns).date !== date) continue;
    found.push(activityView(activity));
  }
  return found;
}
