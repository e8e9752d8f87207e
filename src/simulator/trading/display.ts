/**
 * What one symbol shows the broker: the best bid and offer with the sizes that our own fills have left of them, and the
 * newest trade that sets a price. Guarantee: a displayed size is taken once, until the side of the quote changes.
 * Facts: which trades set the last price, sale-conditions table ("open, close" column).
 */
import type { SimQuote, SimTrade } from '../contract.ts';
import { type Amount, amount, minOf, text, ZERO } from './amount.ts';
import type { OrderSide } from './order-record.ts';

/** One side of the quote: price, displayed size, and what is left of it. */
export interface Side {
  price: Amount;
  size: Amount;
  left: Amount;
}

/** How much of a side was taken, kept in the journal so that a restart within the same quote takes no size twice. */
export interface TakenSide {
  price: string;
  size: string;
  left: string;
}

/** A side as the tape gives it; decimals are made when an order looks at it, which most quotes never see. */
class QuotedSide {
  #price = 0;
  #size = 0;
  #side: Side | undefined;

  set(price: number, size: number): void {
    if (price === this.#price && size === this.#size) return;
    this.#price = price;
    this.#size = size;
    this.#side = undefined;
  }

  get(): Side {
    this.#side ??= makeSide(this.#price, this.#size);
    return this.#side;
  }
}

function makeSide(price: number, size: number): Side {
  const shares = price > 0 && size > 0 ? amount(size) : ZERO;
  return { price: price > 0 ? amount(price) : ZERO, size: shares, left: shares };
}

export class Display {
  readonly #bid = new QuotedSide();
  readonly #ask = new QuotedSide();
  #last: number | undefined;

  get bid(): Side {
    return this.#bid.get();
  }

  get ask(): Side {
    return this.#ask.get();
  }

  /** Newest price-setting trade; undefined before the first. */
  get last(): Amount | undefined {
    return this.#last === undefined ? undefined : amount(this.#last);
  }

  /** Takes a new quote; a side that shows the same price and size goes on with what is left of it. */
  quote(quote: Pick<SimQuote, 'bidPrice' | 'bidSize' | 'askPrice' | 'askSize'>): void {
    this.#bid.set(quote.bidPrice, quote.bidSize);
    this.#ask.set(quote.askPrice, quote.askSize);
  }

  /** Takes a trade. @returns whether it sets the last price */
  trade(trade: Pick<SimTrade, 'price' | 'conditions'>, isRegularSession: boolean): boolean {
    if (!setsLastPrice(trade.conditions, isRegularSession)) return false;
    this.#last = trade.price;
    return true;
  }

  /** The side that an order meets: a buyer the offer, a seller the bid. */
  opposite(side: OrderSide): Side {
    return side === 'buy' ? this.ask : this.bid;
  }

  take(side: OrderSide, qty: Amount): TakenSide {
    const met = this.opposite(side);
    met.left = met.left.minus(minOf(met.left, qty));
    return { price: text(met.price), size: text(met.size), left: text(met.left) };
  }

  /** After a restart: what the journal says was taken of a side counts when the tape still shows that side. */
  restore(side: OrderSide, taken: TakenSide): void {
    const met = this.opposite(side);
    if (met.price.eq(taken.price) && met.size.eq(taken.size)) met.left = amount(taken.left);
  }

  /** Price for valuing a position: the last trade, else the middle of the quote, else what one side shows. */
  valuation(): Amount | undefined {
    const { last, bid, ask } = this;
    if (last) return last;
    if (bid.price.gt(0) && ask.price.gt(0)) return bid.price.plus(ask.price).div(2);
    if (bid.price.gt(0)) return bid.price;
    return ask.price.gt(0) ? ask.price : undefined;
  }
}

/** Letters after which a trade sets no last price (sale-conditions table); `T` counts outside the regular session only. */
const withoutLast = new Set(['B', 'C', 'N', 'R', 'G', 'H', 'I', 'M', 'Q', 'P', 'U', 'V', '7', 'W', 'Z', '4', '8', '9']);

function setsLastPrice(conditions: readonly string[], isRegularSession: boolean): boolean {
  return !conditions.some((letter) => withoutLast.has(letter) || (letter === 'T' && isRegularSession));
}
