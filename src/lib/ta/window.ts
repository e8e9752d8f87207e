/**
 * One 1-second window of one symbol: its trades in order of (event time, trade id, exchange, seq), and the bar they make.
 * Guarantees: the bar is a function of the set of trades, never of their arrival; a trade is held once.
 */
import { sets } from './conditions.ts';
import type { BarOutput, SignalOutput } from './events.ts';

/** What a correction made of a trade; `cancelled` ones are out of the bar. */
export interface TradeOverlay {
  isCancelled: boolean;
  id: number;
  price: number;
  size: number;
  flags: number;
}

export interface HeldTrade {
  nano: number;
  price: number;
  size: number;
  id: number;
  exchange: string;
  seq: number;
  flags: number;
  overlay: TradeOverlay | null;
}

/** A last price and the trading day it belongs to; NaN when there is none. */
export interface LastPrice {
  price: number;
  /** Start of the trading day, epoch seconds. */
  day: number;
}

export interface Window {
  end: number;
  trades: HeldTrade[];
  /** A correction or cancel has changed this window. */
  isAmended: boolean;
  /** Last price after this window; set by its evaluation. */
  lastAfter: LastPrice;
  /** What was given out last; null before the first. */
  bar: BarOutput | null;
  signal: SignalOutput | null;
}

export function openWindow(end: number): Window {
  return {
    end,
    trades: [],
    isAmended: false,
    lastAfter: { price: Number.NaN, day: 0 },
    bar: null,
    signal: null,
  };
}

function compareTrades(a: HeldTrade, b: HeldTrade): number {
  const byKey = a.nano - b.nano || a.id - b.id;
  if (byKey !== 0) return byKey;
  if (a.exchange !== b.exchange) return a.exchange < b.exchange ? -1 : 1;
  // One exchange, one id, one time is one trade. Without an id only the record's number can tell.
  return a.id >= 0 ? 0 : a.seq - b.seq;
}

/** Puts a trade in its place. @returns false when the window holds it already */
export function insertTrade(window: Window, trade: HeldTrade): boolean {
  const { trades } = window;
  let low = trades.length;
  if (low > 0) {
    const order = compareTrades(trades[low - 1] as HeldTrade, trade);
    if (order === 0) return false;
    if (order > 0) {
      let high = low - 1;
      low = 0;
      while (low < high) {
        const middle = (low + high) >> 1;
        const c = compareTrades(trades[middle] as HeldTrade, trade);
        if (c === 0) return false;
        if (c < 0) low = middle + 1;
        else high = middle;
      }
      if (compareTrades(trades[low] as HeldTrade, trade) === 0) return false;
    }
  }
  if (low === trades.length) trades.push(trade);
  else trades.splice(low, 0, trade);
  return true;
}

/** A sold-last print is in order when its exchange reported no later trade of the window before it. */
function isSoldLastInOrder(trades: readonly HeldTrade[], at: number): boolean {
  const trade = trades[at] as HeldTrade;
  for (let i = at + 1; i < trades.length; i++) {
    const later = trades[i] as HeldTrade;
    if (later.exchange === trade.exchange && later.nano > trade.nano && later.id < trade.id) return false;
  }
  return true;
}

/** The figures of a window; reused by every evaluation (the hot path allocates only what it gives out). */
export interface BarFigures {
  count: number;
  unpriced: number;
  volume: number;
  /** Σ price × size over the trades that count for volume. */
  notional: number;
  open: number;
  high: number;
  low: number;
  close: number;
  /** At least one trade set the high and the low. */
  hasPrice: boolean;
  /** At least one trade set open and close. */
  hasLast: boolean;
}

export const emptyFigures = (): BarFigures => ({
  count: 0,
  unpriced: 0,
  volume: 0,
  notional: 0,
  open: Number.NaN,
  high: Number.NaN,
  low: Number.NaN,
  close: Number.NaN,
  hasPrice: false,
  hasLast: false,
});

/**
 * Sums a window up.
 * @param lastPrice the session's last price before the window, NaN when there is none
 * @param asReceived leave corrections and cancels out of account
 */
export function sumWindow(window: Window, lastPrice: number, asReceived: boolean, into: BarFigures): BarFigures {
  const { trades } = window;
  let count = 0;
  let unpriced = 0;
  let volume = 0;
  let notional = 0;
  let correction = 0;
  let open = Number.NaN;
  let close = Number.NaN;
  let high = Number.NEGATIVE_INFINITY;
  let low = Number.POSITIVE_INFINITY;
  let lastExtreme = Number.NaN;
  let hasLast = false;
  for (let i = 0; i < trades.length; i++) {
    const trade = trades[i] as HeldTrade;
    let { price, size, flags } = trade;
    if (trade.overlay !== null && !asReceived) {
      if (trade.overlay.isCancelled) continue;
      ({ price, size, flags } = trade.overlay);
    }
    count += 1;
    if ((flags & sets.volume) !== 0) {
      volume += size;
      // Neumaier: thousands of prints of one second lose no cent.
      const term = price * size;
      const sum = notional + term;
      correction += notional >= term ? notional - sum + term : term - sum + notional;
      notional = sum;
    }
    if ((flags & sets.highLow) === 0) {
      unpriced += 1;
      continue;
    }
    if (price > high) high = price;
    if (price < low) low = price;
    lastExtreme = price;
    if ((flags & sets.last) === 0) continue;
    if ((flags & sets.soldLast) !== 0 && !isSoldLastInOrder(trades, i)) continue;
    if (!hasLast) open = price;
    close = price;
    hasLast = true;
  }
  const hasPrice = high !== Number.NEGATIVE_INFINITY;
  if (hasPrice && !hasLast) {
    // Nothing set open and close: the last price holds, else the extreme nearest to the last print; the extremes widen.
    const fallback = lastExtreme - low <= high - lastExtreme ? low : high;
    open = Number.isNaN(lastPrice) ? fallback : lastPrice;
    close = open;
    if (open > high) high = open;
    if (open < low) low = open;
  }
  into.count = count;
  into.unpriced = unpriced;
  into.volume = volume;
  into.notional = notional + correction;
  into.open = open;
  into.high = hasPrice ? high : Number.NaN;
  into.low = hasPrice ? low : Number.NaN;
  into.close = close;
  into.hasPrice = hasPrice;
  into.hasLast = hasLast;
  return into;
}

/** Is the bar equal in everything but its revision? */
export function isSameBar(a: BarOutput, b: BarOutput): boolean {
  return (
    a.open === b.open &&
    a.high === b.high &&
    a.low === b.low &&
    a.close === b.close &&
    a.volume === b.volume &&
    a.vwap === b.vwap &&
    a.count === b.count &&
    a.unpriced === b.unpriced &&
    a.isFlat === b.isFlat
  );
}
