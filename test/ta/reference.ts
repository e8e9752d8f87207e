/**
 * The indicators once more, with 50 digits, from the first bar, straight from their definitions: windows are summed anew at
 * each bar, nothing is shared with lib/ta (its session rule neither: the series say where a session begins).
 */
import { Decimal } from 'decimal.js';
import type { SeriesBar } from './series.ts';

const Real = Decimal.clone({ precision: 50 });
const zero = new Real(0);

export type ReferenceRow = Record<
  | 'ema12' | 'ema26' | 'macd' | 'macdSignal' | 'macdHist' | 'rsi14' | 'bollMid' | 'bollUpper' | 'bollLower'
  | 'vwapSession' | 'vwapW5m' | 'volRealizedW60s',
  Decimal | null
>; // biome-ignore format: one list

const sum = (values: readonly Decimal[]): Decimal => values.reduce((a, b) => a.plus(b), zero);
const mean = (values: readonly Decimal[]): Decimal => sum(values).div(values.length);

/** Population deviation. */
function deviation(values: readonly Decimal[]): Decimal {
  const middle = mean(values);
  return mean(values.map((value) => value.minus(middle).pow(2))).sqrt();
}

/** @param sessionOf a number that is equal for bars of one session period */
export function reference(bars: readonly SeriesBar[], sessionOf: (end: number) => number): ReferenceRow[] {
  const closes = bars.map((bar) => new Real(bar.close));
  const notionals = bars.map(({ trades }) => sum(trades.map(({ price, size }) => new Real(price).times(size))));
  const volumes = bars.map(({ trades }) => sum(trades.map(({ size }) => new Real(size))));
  const returns = closes.map((close, i) => (i === 0 ? zero : close.div(closes[i - 1] as Decimal).ln()));
  const rows: ReferenceRow[] = [];
  let ema12 = closes[0] as Decimal;
  let ema26 = ema12;
  let signal = zero;
  let gain = zero;
  let loss = zero;
  let session = Number.NaN;
  let sessionNotional = zero;
  let sessionVolume = zero;
  for (const [i, close] of closes.entries()) {
    const { end } = bars[i] as SeriesBar;
    if (i > 0) {
      const change = close.minus(closes[i - 1] as Decimal);
      ema12 = ema12.plus(close.minus(ema12).times(2).div(13));
      ema26 = ema26.plus(close.minus(ema26).times(2).div(27));
      signal = signal.plus(ema12.minus(ema26).minus(signal).times(2).div(10));
      gain = gain.times(13).plus(Real.max(change, 0)).div(14);
      loss = loss.times(13).plus(Real.max(change.neg(), 0)).div(14);
    }
    if (sessionOf(end) !== session) {
      session = sessionOf(end);
      sessionNotional = zero;
      sessionVolume = zero;
    }
    sessionNotional = sessionNotional.plus(notionals[i] as Decimal);
    sessionVolume = sessionVolume.plus(volumes[i] as Decimal);
    let first5m = i;
    while (first5m > 0 && (bars[first5m - 1] as SeriesBar).end > end - 300) first5m -= 1;
    let first60s = i;
    while (first60s > 0 && (bars[first60s - 1] as SeriesBar).end >= end - 60) first60s -= 1;
    const window = closes.slice(Math.max(0, i - 19), i + 1);
    const isBoll = window.length === 20;
    const mid = isBoll ? mean(window) : null;
    const width = isBoll ? deviation(window).times(2) : zero;
    const volWindow = returns.slice(first60s + 1, i + 1);
    const macd = ema12.minus(ema26);
    rows.push({
      ema12: i >= 11 ? ema12 : null,
      ema26: i >= 25 ? ema26 : null,
      macd: i >= 34 ? macd : null,
      macdSignal: i >= 34 ? signal : null,
      macdHist: i >= 34 ? macd.minus(signal) : null,
      rsi14: i >= 14 && gain.plus(loss).gt(0) ? gain.div(gain.plus(loss)).times(100) : null,
      bollMid: mid,
      bollUpper: mid?.plus(width) ?? null,
      bollLower: mid?.minus(width) ?? null,
      vwapSession: sessionNotional.div(sessionVolume),
      vwapW5m: sum(notionals.slice(first5m, i + 1)).div(sum(volumes.slice(first5m, i + 1))),
      volRealizedW60s: volWindow.length >= 2 ? deviation(volWindow) : null,
    });
  }
  return rows;
}
