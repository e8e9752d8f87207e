/**
 * What a strategy sees of one signal row. Pure values: the reader (lib/signals) makes them, no I/O here.
 * Indicators are IEEE doubles (USD, RSI 0–100), null while they are not warm (spec ta 1.5); they never enter money
 * arithmetic, they are only compared.
 */

/** One row of the signal log as a strategy sees it. */
export interface StrategySignal {
  symbol: string;
  /** ISO window: `PT1S` or `PT1M`. */
  windowSize: 'PT1S' | 'PT1M';
  /** Window end, market milliseconds. */
  eventTsMs: number;
  revision: number;
  macd: number | null;
  macdSignal: number | null;
  /** RSI over 14 bars, 0–100. */
  rsi14: number | null;
  /** Every other column of the row by its name: `vwap_session`, `ema12`, `vol_realized_w60s` … */
  features: Readonly<Record<string, number | string | boolean | null>>;
}

/** The timeframe name of a window size, as catalogs and decisions write it (spec trading 1.3). */
export function timeframeOf(windowSize: 'PT1S' | 'PT1M'): '1Sec' | '1Min' {
  return windowSize === 'PT1S' ? '1Sec' : '1Min';
}

/** The window size of a timeframe; undefined when no signal has it. */
export function windowSizeOf(timeframe: string): 'PT1S' | 'PT1M' | undefined {
  if (timeframe === '1Sec') return 'PT1S';
  if (timeframe === '1Min') return 'PT1M';
  return undefined;
}
