/**
 * The matching rules, pure: which fill one order gets from one displayed side, and when a stop is reached.
 * Guarantees: a buy pays the offer and a sell gets the bid, never beyond the limit, never more than is displayed; the same
 * arguments give the same answer.
 */
import { type Amount, amount, maxOf, minOf, text } from './amount.ts';
import type { Side } from './display.ts';
import {
  isWaitingForStop,
  isWithinLimit,
  type OrderRecord,
  remainingNotional,
  remainingQty,
  trailingStopPrice,
} from './order-record.ts';

export interface MatchedFill {
  price: Amount;
  qty: Amount;
  /** Does the fill complete the order? */
  isComplete: boolean;
}

/** Smallest part of a share that is traded. */
const FRACTION_DIGITS = 9;

/** What the order gets of the side now; undefined for nothing. Time and halts are the caller's business. */
export function matchOrder(order: OrderRecord, side: Side): MatchedFill | undefined {
  if (isWaitingForStop(order) || side.left.lte(0) || side.price.lte(0)) return undefined;
  if (!isWithinLimit(order, side.price)) return undefined;
  const wanted = remainingQty(order) ?? affordable(order, side.price);
  if (wanted.lte(0)) return undefined;
  // All or nothing: a fok order meets one display, so less than everything is nothing.
  if (order.time_in_force === 'fok' && side.left.lt(wanted)) return undefined;
  const qty = minOf(wanted, side.left);
  return { price: side.price, qty, isComplete: qty.eq(wanted) };
}

/** Shares that a notional order still buys or sells at a price. */
function affordable(order: OrderRecord, price: Amount): Amount {
  return remainingNotional(order).div(price).toDecimalPlaces(FRACTION_DIGITS, 1);
}

/** What a price-setting trade does to a waiting stop: nothing, a new water mark, or its election. */
export type StopEffect = { kind: 'elected' } | { kind: 'trailed'; hwm: string; stopPrice: string } | undefined;

export function stopEffect(order: OrderRecord, last: Amount): StopEffect {
  if (!isWaitingForStop(order)) return undefined;
  const isSell = order.side === 'sell';
  if (order.type === 'trailing_stop') {
    if (order.hwm === null) return { kind: 'trailed', hwm: text(last), stopPrice: trailingStopPrice(order, last) };
    const mark = isSell ? maxOf(amount(order.hwm), last) : minOf(amount(order.hwm), last);
    if (!mark.eq(order.hwm)) return { kind: 'trailed', hwm: text(mark), stopPrice: trailingStopPrice(order, mark) };
  }
  if (order.stop_price === null) return undefined;
  const isReached = isSell ? last.lte(order.stop_price) : last.gte(order.stop_price);
  return isReached ? { kind: 'elected' } : undefined;
}
