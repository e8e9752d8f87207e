/**
 * What the account would look like if everything that is still pending went against us (spec trading 3.2): pending orders of
 * the same side count in full, those of the other side not at all.
 */
import { Decimal } from 'decimal.js';
import type { OrderAction, OrderTerms, OrderType } from './order.ts';
import type { HoldingView, PendingOrder, RiskSnapshot } from './snapshot.ts';

const ZERO = new Decimal(0);

/** Sum of what is still open on one side of a symbol. */
export function pendingQuantity(pending: readonly PendingOrder[], symbol: string, side: OrderAction): Decimal {
  return pending.reduce(
    (sum, order) => (order.symbol === symbol && order.side === side ? sum.plus(order.remaining) : sum),
    ZERO,
  );
}

/** Does the side lower |position|? */
export function reduces(side: OrderAction, position: Decimal): boolean {
  return side === 'sell' ? position.gt(0) : position.lt(0);
}

/** How much of the position a closing order may still take: pending closing orders have reserved their part. */
export function closableQuantity(
  side: OrderAction,
  symbol: string,
  snapshot: Pick<RiskSnapshot, 'position' | 'pending'>,
): Decimal {
  const { position, pending } = snapshot;
  if (position === undefined || !reduces(side, position)) return ZERO;
  return Decimal.max(ZERO, position.abs().minus(pendingQuantity(pending, symbol, side)));
}

/** Largest |position| of the symbol if the order and everything pending on its side fills. */
export function projectedPosition(terms: OrderTerms, position: Decimal, pending: readonly PendingOrder[]): Decimal {
  const sign = terms.side === 'buy' ? 1 : -1;
  return position.plus(pendingQuantity(pending, terms.symbol, terms.side).plus(terms.quantity).times(sign)).abs();
}

/** Alpaca values market buys and opening shorts above the market; the upper documented bounds. */
const MARKET_BUY_FACTOR = new Decimal('1.04');
const SHORT_FACTOR = new Decimal('1.03');

/** USD of buying power that an opening order takes, by the broker's own valuation. */
export function buyingPowerNeed(
  order: { side: OrderAction; type: OrderType; quantity: Decimal; limitPrice?: Decimal | undefined },
  price: Decimal,
): Decimal {
  const { side, type, quantity, limitPrice } = order;
  if (side === 'sell') return quantity.times(Decimal.max(limitPrice ?? ZERO, price.times(SHORT_FACTOR)));
  const hasLimit = (type === 'limit' || type === 'stop_limit') && limitPrice !== undefined;
  return quantity.times(hasLimit ? limitPrice : price.times(MARKET_BUY_FACTOR));
}

/** Buying power left after what the broker does not show yet and after the reserve; USD. */
export function usableBuyingPower(buyingPower: Decimal, pending: readonly PendingOrder[], reserveBps: number): Decimal {
  const unseen = pending.reduce((sum, order) => sum.plus(order.unseenCost ?? ZERO), ZERO);
  return buyingPower
    .times(10_000 - reserveBps)
    .div(10_000)
    .minus(unseen);
}

/** What the whole account would be worth if everything pending filled the way that makes it largest; USD. */
export interface Exposure {
  /** Sum of |value|. */
  gross: Decimal;
  /** |sum of signed values| now, and with the order and everything pending on its side. */
  netBefore: Decimal;
  netAfter: Decimal;
  /** Symbols held or about to be. */
  symbols: ReadonlySet<string>;
}

/** Highest price that something pending of the symbol carries. */
function pendingPrice(pending: readonly PendingOrder[], symbol: string): Decimal | undefined {
  const prices = pending
    .filter((order) => order.symbol === symbol)
    .flatMap(({ price, limitPrice }) => [...(price ? [price] : []), ...(limitPrice ? [limitPrice] : [])]);
  return prices.length === 0 ? undefined : Decimal.max(...prices);
}

/** @param price of the order's own symbol @returns undefined when something held or pending has no known price */
export function projectExposure(
  terms: OrderTerms,
  price: Decimal,
  holdings: readonly HoldingView[],
  pending: readonly PendingOrder[],
): Exposure | undefined {
  const symbols = new Set<string>([terms.symbol]);
  for (const holding of holdings) if (!holding.quantity.isZero()) symbols.add(holding.symbol);
  for (const order of pending) if (order.remaining.gt(0)) symbols.add(order.symbol);
  const sign = terms.side === 'buy' ? 1 : -1;
  let gross = ZERO;
  let netBefore = ZERO;
  let netAfter = ZERO;
  for (const symbol of symbols) {
    const holding = holdings.find((found) => found.symbol === symbol);
    const worth = symbol === terms.symbol ? price : (holding?.price ?? pendingPrice(pending, symbol));
    if (worth === undefined || !worth.isFinite()) return undefined;
    const held = holding?.quantity ?? ZERO;
    const own = symbol === terms.symbol ? terms.quantity : ZERO;
    const buys = pendingQuantity(pending, symbol, 'buy').plus(sign > 0 ? own : ZERO);
    const sells = pendingQuantity(pending, symbol, 'sell').plus(sign < 0 ? own : ZERO);
    gross = gross.plus(Decimal.max(held.plus(buys).abs(), held.minus(sells).abs()).times(worth));
    netBefore = netBefore.plus(held.times(worth));
    netAfter = netAfter.plus((sign > 0 ? held.plus(buys) : held.minus(sells)).times(worth));
  }
  return { gross, netBefore: netBefore.abs(), netAfter: netAfter.abs(), symbols };
}
