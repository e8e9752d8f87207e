/**
 * The changes of one order, pure: from a record to the next one. Times are market time, RFC 3339.
 * Guarantee: filled_qty only grows and never passes qty; terms of an order never change (a replace makes a new order).
 */
import { formatTimestampNs } from '../../lib/market/time.ts';
import { type Amount, amount, rounded, text } from './amount.ts';
import type { Asset } from './assets.ts';
import type { FillRecord } from './broker-state.ts';
import type { TakenSide } from './display.ts';
import { seededUuid } from './identity.ts';
import type { MatchedFill } from './matching.ts';
import {
  type OrderRecord,
  type OrderStatus,
  type PositionIntent,
  signedQty,
  trailingStopPrice,
} from './order-record.ts';
import type { OrderTerms } from './order-request.ts';
import type { OrderWindow } from './session.ts';

/** Digits of an average fill price; the exact value is the fills' own. */
const AVERAGE_DIGITS = 6;

export interface NewOrder {
  terms: OrderTerms;
  asset: Asset;
  intent: PositionIntent;
  window: OrderWindow;
  nowNs: bigint;
  seed: string;
  /** 1 for the first order of the journal. */
  number: number;
  /** The newest price-setting trade: where a trailing stop begins. */
  last: Amount | undefined;
  replaces?: OrderRecord;
}

export function makeOrder(made: NewOrder): OrderRecord {
  const { terms, nowNs, window, replaces } = made;
  const at = formatTimestampNs(nowNs);
  const id = seededUuid(made.seed, `order ${made.number}`);
  const isActive = window.activeFromNs <= nowNs;
  const record: OrderRecord = {
    id,
    client_order_id: terms.clientOrderId ?? seededUuid(made.seed, `client ${made.number}`),
    created_at: at,
    updated_at: at,
    submitted_at: at,
    filled_at: null,
    expired_at: null,
    expires_at: formatTimestampNs(window.expiresNs),
    canceled_at: null,
    failed_at: null,
    replaced_at: null,
    replaced_by: null,
    replaces: replaces?.id ?? null,
    asset_id: made.asset.id,
    symbol: made.asset.symbol,
    asset_class: 'us_equity',
    notional: terms.notional,
    qty: terms.qty,
    filled_qty: '0',
    filled_avg_price: null,
    order_class: '',
    order_type: terms.type,
    type: terms.type,
    side: terms.side,
    position_intent: made.intent,
    time_in_force: terms.timeInForce,
    limit_price: terms.limitPrice,
    stop_price: terms.stopPrice,
    status: isActive ? 'pending_new' : 'accepted',
    extended_hours: terms.extendedHours,
    legs: null,
    trail_percent: terms.trailPercent,
    trail_price: terms.trailPrice,
    hwm: null,
    subtag: null,
    source: null,
    working: {
      number: made.number,
      submittedNs: nowNs.toString(),
      activeFromNs: window.activeFromNs.toString(),
      expiresNs: window.expiresNs.toString(),
      filledValue: '0',
      isElected: false,
    },
  };
  if (terms.type !== 'trailing_stop' || !made.last) return record;
  return { ...record, hwm: text(made.last), stop_price: trailingStopPrice(record, made.last) };
}

/** The order in another status, with the time stamp that belongs to it. */
export function withStatus(order: OrderRecord, status: OrderStatus, nowNs: bigint): OrderRecord {
  const at = formatTimestampNs(nowNs);
  const next: OrderRecord = { ...order, status, updated_at: at };
  if (status === 'canceled') next.canceled_at = at;
  if (status === 'expired') next.expired_at = at;
  if (status === 'rejected') next.failed_at = at;
  if (status === 'replaced') next.replaced_at = at;
  return next;
}

/** The order after a fill, and the fill's record. */
export function withFill(
  order: OrderRecord,
  fill: MatchedFill,
  context: { nowNs: bigint; seed: string; number: number; positionQty: Amount; taken?: TakenSide },
): { order: OrderRecord; fill: FillRecord } {
  const at = formatTimestampNs(context.nowNs);
  const filledQty = amount(order.filled_qty).plus(fill.qty);
  const value = amount(order.working.filledValue).plus(fill.price.times(fill.qty));
  if (order.qty !== null && filledQty.gt(order.qty))
    throw new Error(`order ${order.id} would fill beyond its quantity`);
  const next: OrderRecord = {
    ...order,
    filled_qty: text(filledQty),
    filled_avg_price: rounded(value.div(filledQty), AVERAGE_DIGITS),
    filled_at: at,
    updated_at: at,
    status: fill.isComplete ? 'filled' : 'partially_filled',
    working: { ...order.working, filledValue: text(value) },
  };
  return {
    order: next,
    fill: {
      number: context.number,
      execution_id: seededUuid(context.seed, `execution ${context.number}`),
      order_id: order.id,
      symbol: order.symbol,
      side: order.side,
      price: text(fill.price),
      qty: text(fill.qty),
      position_qty: text(context.positionQty.plus(signedQty(order.side, fill.qty))),
      cum_qty: text(filledQty),
      leaves_qty: order.qty === null ? '0' : text(amount(order.qty).minus(filledQty)),
      ...(context.taken ? { taken: context.taken } : {}),
    },
  };
}
