/**
 * Cash and positions of the one account, and the margin figures that follow from them.
 * Guarantee: cash changes only by fills, by exactly −Σ signed quantity × price; a position is exactly Σ signed quantity.
 * Facts: Alpaca's margin pages (Regulation T: half of a position's value at entry; maintenance 30 % long, and for shorts the
 * larger of 30 % and 5 dollars a share, 100 % or 2.50 below 5 dollars), issue text (100,000 start cash, multiplier 2).
 */
import { type Amount, amount, maxOf, minOf, ZERO } from './amount.ts';
import type { OrderSide } from './order-record.ts';
import { signedQty } from './order-record.ts';

export interface Position {
  symbol: string;
  /** Signed: negative for a short. */
  qty: Amount;
  /** Signed cost of the open quantity: qty × average entry price. */
  cost: Amount;
  /** The same with what was held overnight at the last close's price, for the intraday profit. */
  intradayCost: Amount;
  /** Price of the newest fill: the valuation until the tape shows one. */
  fillPrice: Amount;
  /** Price at the last session close, when one was passed. */
  closePrice: Amount | undefined;
}

/** Prices by symbol; undefined where the market has shown none. */
export type PriceOf = (symbol: string) => Amount | undefined;

export class Account {
  cash: Amount;
  readonly startCash: Amount;
  /** Equity and maintenance margin at the last session close. */
  lastEquity: Amount;
  lastMaintenanceMargin: Amount = ZERO;
  /** New York date of that close; null before the first. */
  balanceDate: string | null = null;
  readonly positions = new Map<string, Position>();
  /** Closing orders of shares opened on the same New York date, by date. */
  readonly #dayTrades = new Map<string, Set<string>>();
  readonly #openedToday = new Map<string, { date: string; qty: Amount }>();

  constructor(startCash: Amount) {
    this.startCash = startCash;
    this.cash = startCash;
    this.lastEquity = startCash;
  }

  positionQty(symbol: string): Amount {
    return this.positions.get(symbol)?.qty ?? ZERO;
  }

  /** Books a fill. @param date New York date of the fill */
  applyFill(fill: {
    symbol: string;
    side: OrderSide;
    qty: Amount;
    price: Amount;
    orderId: string;
    date: string;
  }): void {
    const delta = signedQty(fill.side, fill.qty);
    this.cash = this.cash.minus(delta.times(fill.price));
    const before = this.positions.get(fill.symbol);
    const held = before?.qty ?? ZERO;
    this.#countDayTrade(fill, held, delta);
    const qty = held.plus(delta);
    if (qty.isZero()) {
      this.positions.delete(fill.symbol);
      return;
    }
    const next: Position = before
      ? { ...before, qty, fillPrice: fill.price }
      : { symbol: fill.symbol, qty, cost: ZERO, intradayCost: ZERO, fillPrice: fill.price, closePrice: undefined };
    const isAdding = held.isZero() || held.isPositive() === delta.isPositive();
    const isFlipped = !isAdding && held.isPositive() !== qty.isPositive();
    if (isAdding) {
      next.cost = next.cost.plus(delta.times(fill.price));
      next.intradayCost = next.intradayCost.plus(delta.times(fill.price));
    } else if (isFlipped) {
      next.cost = qty.times(fill.price);
      next.intradayCost = next.cost;
    } else {
      next.cost = next.cost.times(qty).div(held);
      next.intradayCost = next.intradayCost.times(qty).div(held);
    }
    this.positions.set(fill.symbol, next);
  }

  /** The session's close: its prices become the base of the next day's intraday profit. */
  closeDay(date: string, equity: Amount, maintenance: Amount, priceOf: PriceOf): void {
    this.balanceDate = date;
    this.lastEquity = equity;
    this.lastMaintenanceMargin = maintenance;
    for (const position of this.positions.values()) {
      const price = priceOf(position.symbol) ?? position.fillPrice;
      position.closePrice = price;
      position.intradayCost = position.qty.times(price);
    }
  }

  /** Day trades of the given dates (Alpaca counts five trading days). */
  dayTradeCount(dates: readonly string[]): number {
    return dates.reduce((sum, date) => sum + (this.#dayTrades.get(date)?.size ?? 0), 0);
  }

  #countDayTrade(
    fill: { symbol: string; orderId: string; date: string; qty: Amount },
    held: Amount,
    delta: Amount,
  ): void {
    const today = this.#openedToday.get(fill.symbol);
    const opened = today?.date === fill.date ? today.qty : ZERO;
    if (held.isZero() || held.isPositive() === delta.isPositive()) {
      this.#openedToday.set(fill.symbol, { date: fill.date, qty: opened.plus(fill.qty) });
      return;
    }
    if (opened.lte(0)) return;
    this.#openedToday.set(fill.symbol, { date: fill.date, qty: maxOf(ZERO, opened.minus(fill.qty)) });
    const orders = this.#dayTrades.get(fill.date) ?? new Set<string>();
    this.#dayTrades.set(fill.date, orders.add(fill.orderId));
  }
}

/** Figures of an account at some prices. */
export interface Valuation {
  longValue: Amount;
  /** Negative or zero. */
  shortValue: Amount;
  equity: Amount;
  initialMargin: Amount;
  maintenanceMargin: Amount;
}

const half = amount('0.5');

export function valuationOf(account: Account, multiplier: number, priceOf: PriceOf): Valuation {
  let longValue = ZERO;
  let shortValue = ZERO;
  let maintenanceMargin = ZERO;
  for (const position of account.positions.values()) {
    const price = priceOf(position.symbol) ?? position.fillPrice;
    const value = position.qty.times(price);
    if (value.isNegative()) shortValue = shortValue.plus(value);
    else longValue = longValue.plus(value);
    maintenanceMargin = maintenanceMargin.plus(maintenanceOf(position.qty, price));
  }
  const gross = longValue.minus(shortValue);
  return {
    longValue,
    shortValue,
    equity: account.cash.plus(longValue).plus(shortValue),
    initialMargin: multiplier === 1 ? gross : gross.times(half),
    maintenanceMargin: multiplier === 1 ? gross : maintenanceMargin,
  };
}

function maintenanceOf(qty: Amount, price: Amount): Amount {
  const value = qty.times(price).abs();
  if (qty.isPositive()) return price.lt('2.5') ? value : value.times('0.3');
  const perShare = price.lt(5) ? maxOf(amount('2.5'), price) : maxOf(amount(5), price.times('0.3'));
  return qty.abs().times(perShare);
}

export interface BuyingPower {
  buyingPower: Amount;
  regtBuyingPower: Amount;
  nonMarginable: Amount;
}

/**
 * What new opening orders may cost: multiplier × (equity − initial margin), less what open orders already claim.
 * With multiplier 1 the settled cash alone counts.
 */
export function buyingPowerOf(
  account: Account,
  valuation: Valuation,
  multiplier: number,
  openOrders: Amount,
): BuyingPower {
  const excess = maxOf(ZERO, valuation.equity.minus(valuation.initialMargin));
  const free = (value: Amount) => maxOf(ZERO, value.minus(openOrders));
  const nonMarginable = free(minOf(maxOf(ZERO, account.cash), multiplier === 1 ? account.cash : excess));
  if (multiplier === 1) return { buyingPower: nonMarginable, regtBuyingPower: nonMarginable, nonMarginable };
  const buyingPower = free(excess.times(multiplier));
  return { buyingPower, regtBuyingPower: buyingPower, nonMarginable };
}
