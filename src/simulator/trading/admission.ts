/**
 * Whether the account and the open orders allow a new order: known asset, unique client id, shares, wash trades, shorts,
 * buying power. Facts: alpaca-protocol 3 (error table); Alpaca's order documentation for the value of an opening order.
 */
import { buyingPowerOf, type PriceOf, valuationOf } from './account.ts';
import { type Amount, amount, maxOf, minOf, rounded, text, ZERO } from './amount.ts';
import type { Asset, AssetList } from './assets.ts';
import { forbidden, invalidParameter, unprocessable } from './broker-error.ts';
import type { BrokerState } from './broker-state.ts';
import type { Display } from './display.ts';
import {
  isOpen,
  type OrderRecord,
  type OrderSide,
  type PositionIntent,
  remainingNotional,
  remainingQtyAt,
} from './order-record.ts';
import type { OrderTerms } from './order-request.ts';

export interface Market {
  state: BrokerState;
  assets: AssetList;
  displayOf(symbol: string): Display;
  priceOf: PriceOf;
}

/** Shorting needs a margin account with this much equity (Alpaca's margin page). */
const MIN_SHORT_EQUITY = 2000;

/** What is known of an order when its value is estimated. */
interface Valued {
  symbol: string;
  side: OrderSide;
  notional: string | null;
  limit: string | null;
  stop: string | null;
}

/** Price that an order's buying power is reckoned at; zero where the market has shown none. */
function reckonedPrice(order: Valued, display: Display): Amount {
  const ask = display.ask.price.gt(0) ? display.ask.price : (display.valuation() ?? ZERO);
  if (order.side === 'sell') {
    const raised = ask.times('1.03');
    return order.limit === null ? raised : maxOf(amount(order.limit), raised);
  }
  if (order.limit !== null) return amount(order.limit);
  return order.stop === null ? ask : amount(order.stop);
}

/** Shares of open orders on one side of a symbol. */
function pendingQty(market: Market, symbol: string, side: OrderSide, exceptId?: string): Amount {
  const price = market.displayOf(symbol).valuation() ?? ZERO;
  return market.state
    .openOrders(symbol)
    .filter((order) => order.side === side && order.id !== exceptId)
    .reduce((sum, order) => sum.plus(remainingQtyAt(order, price)), ZERO);
}

/** Value that the open opening orders claim of the buying power. */
export function openOrderValue(market: Market, exceptId?: string): Amount {
  let sum = ZERO;
  const covering = new Map<string, Amount>();
  for (const order of market.state.allOpenOrders()) {
    if (order.id === exceptId) continue;
    const display = market.displayOf(order.symbol);
    const valued = { ...order, limit: order.limit_price, stop: order.stop_price };
    const price = reckonedPrice(valued, display);
    const held = market.state.account.positionQty(order.symbol);
    const closes = order.side === 'sell' ? held.gt(0) : held.lt(0);
    const qty = remainingQtyAt(order, price);
    const key = `${order.symbol}:${order.side}`;
    const coverable = covering.get(key) ?? (closes ? held.abs() : ZERO);
    const covered = minOf(coverable, qty);
    covering.set(key, coverable.minus(covered));
    const opening = qty.minus(covered);
    if (order.notional !== null && covered.isZero()) sum = sum.plus(remainingNotional(order));
    else sum = sum.plus(opening.times(price));
  }
  return sum;
}

/** Buying power of the account now. */
export function buyingPower(market: Market, exceptId?: string) {
  const multiplier = market.state.multiplier();
  const valuation = valuationOf(market.state.account, multiplier, market.priceOf);
  return { valuation, ...buyingPowerOf(market.state.account, valuation, multiplier, openOrderValue(market, exceptId)) };
}

/** @throws BrokerError 422: an accepted id is spent for ever; the code tells whether the first order still rests */
export function checkUnique(state: BrokerState, clientOrderId: string | null): void {
  const first = clientOrderId === null ? undefined : state.orderByClientId(clientOrderId);
  if (!first) return;
  throw isOpen(first)
    ? unprocessable('client_order_id must be unique')
    : invalidParameter('client_order_id must be unique');
}

/** @throws BrokerError 422 for a symbol that is not traded here */
export function tradedAsset(assets: AssetList, symbol: string): Asset {
  const asset = assets.find(symbol);
  if (!asset) throw unprocessable(`asset "${symbol}" not found`);
  return asset;
}

/**
 * The rules on shares and money. @param replaced the order that the new one takes the place of: it claims nothing
 * @returns the intent that the position implies
 * @throws BrokerError 403 or 422
 */
export function admit(market: Market, terms: OrderTerms, asset: Asset, replaced?: OrderRecord): PositionIntent {
  const { state } = market;
  if (state.configuration.suspend_trade) throw forbidden('new orders are rejected by user request');
  checkWashTrade(market, terms, replaced);
  const held = state.account.positionQty(terms.symbol);
  const isClosing = terms.side === 'sell' ? held.gt(0) : held.lt(0);
  const intent = (
    terms.side === 'buy' ? (isClosing ? 'buy_to_close' : 'buy_to_open') : isClosing ? 'sell_to_close' : 'sell_to_open'
  ) as PositionIntent;
  if (terms.positionIntent !== null && terms.positionIntent !== intent) {
    throw unprocessable(`position intent mismatch, inferred: ${intent}, specified: ${terms.positionIntent}`);
  }
  if (isClosing) checkShares(market, terms, held.abs(), replaced);
  else {
    if (terms.side === 'sell') checkShort(market, terms, asset);
    checkBuyingPower(market, terms, replaced);
  }
  return intent;
}

/** A closing order cannot ask for more than the position less what other orders hold of it. */
function checkShares(market: Market, terms: OrderTerms, held: Amount, replaced?: OrderRecord): void {
  const pending = pendingQty(market, terms.symbol, terms.side, replaced?.id);
  const available = maxOf(ZERO, held.minus(pending));
  const price = market.displayOf(terms.symbol).valuation() ?? ZERO;
  const affordable = price.isZero()
    ? ZERO
    : amount(terms.notional ?? 0)
        .div(price)
        .toDecimalPlaces(9, 1);
  const requested = terms.qty === null ? affordable : amount(terms.qty).minus(replaced?.filled_qty ?? 0);
  if (requested.lte(available)) return;
  throw forbidden(
    `insufficient qty available for order (requested: ${text(requested)}, available: ${text(available)})`,
    {
      symbol: terms.symbol,
      existing_qty: text(held),
      available: text(available),
      held_for_orders: text(minOf(held, pending)),
      related_orders: market.state
        .openOrders(terms.symbol)
        .filter((order) => order.side === terms.side && order.id !== replaced?.id)
        .map((order) => order.id),
    },
  );
}

function checkShort(market: Market, terms: OrderTerms, asset: Asset): void {
  if (terms.notional !== null || !amount(terms.qty ?? 0).isInteger()) {
    throw unprocessable('fractional orders cannot be sold short');
  }
  if (!asset.shortable) throw unprocessable(`asset "${asset.symbol}" cannot be sold short`);
  if (!isShortingEnabled(market)) throw forbidden('account is not allowed to short');
}

export function isShortingEnabled(market: Market): boolean {
  const { state } = market;
  if (state.configuration.no_shorting || state.multiplier() === 1) return false;
  return valuationOf(state.account, state.multiplier(), market.priceOf).equity.gte(MIN_SHORT_EQUITY);
}

/** Cost of an opening order. */
export function orderCost(market: Market, terms: OrderTerms, filledQty: Amount = ZERO): Amount {
  if (terms.notional !== null) return amount(terms.notional);
  const valued = { ...terms, limit: terms.limitPrice, stop: terms.stopPrice };
  return reckonedPrice(valued, market.displayOf(terms.symbol)).times(amount(terms.qty ?? 0).minus(filledQty));
}

function checkBuyingPower(market: Market, terms: OrderTerms, replaced?: OrderRecord): void {
  const cost = orderCost(market, terms, amount(replaced?.filled_qty ?? 0));
  const { buyingPower: power } = buyingPower(market, replaced?.id);
  if (cost.lte(power)) return;
  throw forbidden('insufficient buying power', { buying_power: rounded(power), cost_basis: rounded(cost) });
}

/** Could the new order trade with an open order of the same account? */
function checkWashTrade(market: Market, terms: OrderTerms, replaced?: OrderRecord): void {
  for (const other of market.state.openOrders(terms.symbol)) {
    if (other.side === terms.side || other.id === replaced?.id) continue;
    const mine = terms.limitPrice;
    const theirs = other.limit_price;
    const isPriced = mine !== null && theirs !== null;
    const crosses = !isPriced || (terms.side === 'buy' ? amount(mine).gte(theirs) : amount(mine).lte(theirs));
    if (!crosses) continue;
    throw forbidden('potential wash trade detected. use complex orders', {
      existing_order_id: other.id,
      reject_reason: `opposite side ${theirs === null ? 'market/stop' : 'limit'} order exists`,
    });
  }
}
