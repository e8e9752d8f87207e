/**
 * Realised profit fill by fill for the history of a day (spec ta 9): average cost, long only, per strategy and symbol, fees
 * ignored. Pure. A sell beyond the long position is an anomaly of the data: it is named, and what exceeds realises nothing.
 */
import { Decimal } from 'decimal.js';
import type { StrategyFill } from './profit.ts';

export interface RealizedPoint {
  /** Market ms. */
  atMs: number;
  strategy: string | null;
  symbol: string;
  /** Of this fill, USD. */
  gain: Decimal;
  /** Of the stretch up to and with this fill. */
  total: Decimal;
}

export interface Realized {
  total: Decimal;
  /** Closing fills within the stretch. */
  points: RealizedPoint[];
  wins: number;
  losses: number;
  anomalies: { atMs: number; strategy: string | null; symbol: string; excess: Decimal }[];
}

/** @param fills in order of execution, from the beginning: what came before `fromMs` makes the positions of the stretch */
export function realizedOver(fills: Iterable<StrategyFill>, fromMs: number, toMs: number): Realized {
  const books = new Map<string, { quantity: Decimal; cost: Decimal }>();
  const found: Realized = { total: new Decimal(0), points: [], wins: 0, losses: 0, anomalies: [] };
  for (const { strategy, symbol, side, quantity, price, atMs } of fills) {
    if (atMs >= toMs) continue;
    const key = `${strategy ?? ''}\u001f${symbol}`;
    const book = books.get(key) ?? { quantity: new Decimal(0), cost: new Decimal(0) };
    books.set(key, book);
    if (side === 'buy') {
      book.quantity = book.quantity.plus(quantity);
      book.cost = book.cost.plus(quantity.times(price));
      continue;
    }
    const closed = Decimal.min(quantity, book.quantity);
    const excess = quantity.minus(closed);
    const isWithin = atMs >= fromMs;
    if (excess.gt(0) && isWithin) found.anomalies.push({ atMs, strategy, symbol, excess });
    if (closed.isZero()) continue;
    const cost = book.cost.times(closed).div(book.quantity);
    book.quantity = book.quantity.minus(closed);
    book.cost = book.quantity.isZero() ? new Decimal(0) : book.cost.minus(cost);
    if (!isWithin) continue;
    const gain = closed.times(price).minus(cost);
    found.total = found.total.plus(gain);
    if (gain.gt(0)) found.wins += 1;
    if (gain.lt(0)) found.losses += 1;
    found.points.push({ atMs, strategy, symbol, gain, total: found.total });
  }
  return found;
}
