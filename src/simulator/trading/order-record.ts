/**
 * One order as the broker keeps it: the wire object of the trading API plus what matching needs to remember.
 * Guarantee: a record is never changed, a new one replaces it; it is what the journal stores, so an order is rebuilt by
 * reading its last entry. Facts: alpaca-protocol 3 (order fields, statuses, enums).
 */
import { type Amount, amount, text, ZERO } from './amount.ts';

export type OrderSide = 'buy' | 'sell';
export type OrderType = 'market' | 'limit' | 'stop' | 'stop_limit' | 'trailing_stop';
export type TimeInForce = 'day' | 'gtc' | 'opg' | 'cls' | 'ioc' | 'fok';
export type PositionIntent = 'buy_to_open' | 'buy_to_close' | 'sell_to_open' | 'sell_to_close';
export type OrderStatus =
  | 'accepted'
  | 'pending_new'
  | 'new'
  | 'partially_filled'
  | 'pending_cancel'
  | 'pending_replace'
  | 'filled'
  | 'canceled'
  | 'expired'
  | 'rejected'
  | 'replaced';

export const terminalStatuses: ReadonlySet<OrderStatus> = new Set([
  'filled',
  'canceled',
  'expired',
  'rejected',
  'replaced',
]);

/** The order object as clients see it: every amount a string or null, times RFC 3339. */
export interface WireOrder {
  id: string;
  client_order_id: string;
  created_at: string;
  updated_at: string;
  submitted_at: string;
  filled_at: string | null;
  expired_at: string | null;
  expires_at: string;
  canceled_at: string | null;
  failed_at: string | null;
  replaced_at: string | null;
  replaced_by: string | null;
  replaces: string | null;
  asset_id: string;
  symbol: string;
  asset_class: 'us_equity';
  notional: string | null;
  qty: string | null;
  filled_qty: string;
  filled_avg_price: string | null;
  order_class: '';
  order_type: OrderType;
  type: OrderType;
  side: OrderSide;
  position_intent: PositionIntent;
  time_in_force: TimeInForce;
  limit_price: string | null;
  stop_price: string | null;
  status: OrderStatus;
  extended_hours: boolean;
  legs: null;
  trail_percent: string | null;
  trail_price: string | null;
  hwm: string | null;
  subtag: string | null;
  source: string | null;
}

/** What clients do not see. */
export interface OrderWorking {
  /** Position in the order of acceptance: time priority, and the number that the ids are made from. */
  number: number;
  /** Nanoseconds of submission; `submitted_at` is its text. */
  submittedNs: string;
  /** Market nanoseconds from which the order may work: submission, or the open of its session. */
  activeFromNs: string;
  /** Market nanoseconds at which a day or gtc order expires. */
  expiresNs: string;
  /** Sum of price × quantity of all fills, exact. */
  filledValue: string;
  /** A stop that was reached: it works as market or limit from then on. */
  isElected: boolean;
  /** A cancel that lost the race (fault late_fill): the rest fills at this instant, market nanoseconds. */
  lateFillNs?: string;
}

export interface OrderRecord extends WireOrder {
  working: OrderWorking;
}

/** The order as an answer shows it. */
export function wireOrder(record: OrderRecord): WireOrder {
  const { working: _working, ...wire } = record;
  return wire;
}

export function isTerminal(order: Pick<WireOrder, 'status'>): boolean {
  return terminalStatuses.has(order.status);
}

export function isOpen(order: Pick<WireOrder, 'status'>): boolean {
  return !terminalStatuses.has(order.status);
}

/** Shares still to fill; undefined for a notional order, whose shares follow from the price. */
export function remainingQty(order: WireOrder): Amount | undefined {
  return order.qty === null ? undefined : amount(order.qty).minus(order.filled_qty);
}

/** Money still to spend of a notional order. */
export function remainingNotional(order: OrderRecord): Amount {
  return order.notional === null ? ZERO : amount(order.notional).minus(order.working.filledValue);
}

/** Shares still to fill, a notional order's estimated at a price. */
export function remainingQtyAt(order: OrderRecord, price: Amount): Amount {
  const qty = remainingQty(order);
  if (qty) return qty;
  return price.isZero() ? ZERO : remainingNotional(order).div(price).toDecimalPlaces(9, 1);
}

/** Does the price allow a fill under the order's limit? Orders without a limit take any price. */
export function isWithinLimit(order: WireOrder, price: Amount): boolean {
  if (order.limit_price === null) return true;
  return order.side === 'buy' ? price.lte(order.limit_price) : price.gte(order.limit_price);
}

/** Is the order waiting for its stop price? */
export function isWaitingForStop(order: OrderRecord): boolean {
  const hasStop = order.type === 'stop' || order.type === 'stop_limit' || order.type === 'trailing_stop';
  return hasStop && !order.working.isElected;
}

/** Signed quantity: positive for a buy. */
export function signedQty(side: OrderSide, qty: Amount): Amount {
  return side === 'buy' ? qty : qty.negated();
}

/** The stop price that a trailing stop has at a high (low) water mark. */
export function trailingStopPrice(order: WireOrder, mark: Amount): string {
  const distance =
    order.trail_price !== null ? amount(order.trail_price) : mark.times(order.trail_percent ?? '0').div(100);
  const stop = order.side === 'sell' ? mark.minus(distance) : mark.plus(distance);
  return text(stop.toDecimalPlaces(stop.lt(1) ? 4 : 2));
}
