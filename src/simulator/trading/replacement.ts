/**
 * PATCH of an order: which orders can be replaced, and the terms of the one that takes its place.
 * Facts: alpaca-protocol 3 (messages and statuses). `qty` counts the shares that are already filled, so the new order is for
 * the rest; the SDK's notes: fractional quantities and money amounts cannot be changed.
 */
import { amount, text } from './amount.ts';
import { type BrokerError, invalidParameter, unprocessable } from './broker-error.ts';
import type { OrderRecord } from './order-record.ts';
import type { OrderTerms, ReplaceTerms } from './order-request.ts';

/** The terms of an existing order, as if it were asked for again. */
export function termsOf(order: OrderRecord): OrderTerms {
  return {
    symbol: order.symbol,
    side: order.side,
    type: order.type,
    timeInForce: order.time_in_force,
    qty: order.qty,
    notional: order.notional,
    limitPrice: order.limit_price,
    stopPrice: order.type === 'trailing_stop' ? null : order.stop_price,
    trailPrice: order.trail_price,
    trailPercent: order.trail_percent,
    extendedHours: order.extended_hours,
    clientOrderId: order.client_order_id,
    positionIntent: null,
  };
}

function checkReplaceable(order: OrderRecord): void {
  if (order.status === 'replaced') throw unprocessable('order already replaced');
  if (order.status !== 'new' && order.status !== 'partially_filled') {
    throw unprocessable(`cannot replace order in ${order.status} status`);
  }
  if (order.notional !== null) throw unprocessable('notional orders cannot be replaced');
}

/**
 * Terms of the new order; `qty` is still the whole quantity.
 * @throws BrokerError 422
 */
export function replacedTerms(order: OrderRecord, change: ReplaceTerms): OrderTerms {
  checkReplaceable(order);
  const old = termsOf(order);
  const refuse = (name: string): BrokerError =>
    invalidParameter(`${order.type.replace('_', ' ')} orders must not have ${name}`);
  if (change.limitPrice !== null && old.limitPrice === null) throw refuse('limit price');
  if (change.stopPrice !== null && old.stopPrice === null) throw refuse('stop price');
  if (change.trail !== null && order.type !== 'trailing_stop') throw refuse('trail');
  if (change.qty !== null && !amount(order.qty ?? 0).isInteger())
    throw unprocessable('qty of fractional orders cannot be changed');
  if (change.qty !== null && amount(change.qty).lte(order.filled_qty)) {
    throw unprocessable(`qty must be greater than the filled qty ${order.filled_qty}`);
  }
  const terms: OrderTerms = {
    ...old,
    qty: change.qty ?? old.qty,
    limitPrice: change.limitPrice ?? old.limitPrice,
    stopPrice: change.stopPrice ?? old.stopPrice,
    trailPrice: old.trailPrice === null ? null : (change.trail ?? old.trailPrice),
    trailPercent: old.trailPercent === null ? null : (change.trail ?? old.trailPercent),
    timeInForce: change.timeInForce ?? old.timeInForce,
    clientOrderId: change.clientOrderId,
  };
  const isSame = (['qty', 'limitPrice', 'stopPrice', 'trailPrice', 'trailPercent', 'timeInForce'] as const).every(
    (key) => terms[key] === old[key],
  );
  if (isSame) throw unprocessable('order parameters are not changed');
  return terms;
}

/** The terms for what is left of a replaced order. */
export function remainingTerms(terms: OrderTerms, order: OrderRecord): OrderTerms {
  return { ...terms, qty: text(amount(terms.qty ?? 0).minus(order.filled_qty)) };
}
