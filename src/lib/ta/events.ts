/**
 * What goes into the core and what comes out of it. Times are whole epoch seconds and nanoseconds (time.ts); prices in USD
 * and sizes in shares are IEEE doubles (design 5).
 */

export interface TradeEvent {
  kind: 'trade';
  symbol: string;
  sec: number;
  nano: number;
  price: number;
  size: number;
  /** Provider's trade id, unique per exchange and day; -1 when it sent none. */
  id: number;
  exchange: string;
  conditions: readonly string[];
  tape: string;
  /** Envelope seq: the last tie-breaker of equal times. */
  seq: number;
}

export interface QuoteEvent {
  kind: 'quote';
  symbol: string;
  sec: number;
  nano: number;
  bidPrice: number;
  bidSize: number;
  askPrice: number;
  askSize: number;
  seq: number;
}

/** A provider minute bar; `sec` is the START of its minute. */
export interface MinuteBarEvent {
  kind: 'bar';
  symbol: string;
  sec: number;
  nano: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  vwap: number | null;
  /** From updatedBars: supersedes the bar of the same minute whatever arrives first. */
  isUpdate: boolean;
  /** Revision that ws gave to the minute. */
  revision: number;
  seq: number;
}

/** Replaces the trade (exchange, id) by another price, size, id and conditions at the original's time. */
export interface CorrectionEvent {
  kind: 'correction';
  symbol: string;
  sec: number;
  nano: number;
  exchange: string;
  id: number;
  newId: number;
  price: number;
  size: number;
  conditions: readonly string[];
  tape: string;
  seq: number;
}

/** Removes the trade (exchange, id). */
export interface CancelEvent {
  kind: 'cancel';
  symbol: string;
  sec: number;
  nano: number;
  exchange: string;
  id: number;
  seq: number;
}

export type Amendment = CorrectionEvent | CancelEvent;
export type MarketEvent = TradeEvent | QuoteEvent | MinuteBarEvent | Amendment;

/** A 1-second bar. Its key is (symbol, PT1S, end); `revision` counts 0, 1, 2 … per key. */
export interface BarOutput {
  kind: 'bar';
  symbol: string;
  /** End of the window in whole epoch seconds. */
  end: number;
  revision: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  /** Of the trades that count for volume; null without volume. */
  vwap: number | null;
  /** All trades of the window. */
  count: number;
  /** Trades that set no price. */
  unpriced: number;
  /** No trade set a price: all four prices are the session's last one. */
  isFlat: boolean;
}

/** Everything that an indicator step yields; null is "not known (yet)". */
export interface IndicatorValues {
  macd: number | null;
  macdSignal: number | null;
  macdHist: number | null;
  ema12: number | null;
  ema26: number | null;
  rsi14: number | null;
  bollMid: number | null;
  bollUpper: number | null;
  bollLower: number | null;
  vwapSession: number | null;
  vwapW5m: number | null;
  volRealizedW60s: number | null;
  /** Bars that the branch has seen, this one included. */
  bars: number;
}

/** The quote that was valid at the window's end; null when there was none or it was stale. */
export interface QuoteJoin {
  /** Null when a side has no price. */
  spread: number | null;
  bidPrice: number;
  askPrice: number;
  bidSize: number;
  askSize: number;
}

/**
 * `ok`; `limited_history` (an indicator is not warm); `no_quote` (none, or stale); `crossed_quote` (bid at or above ask, or a
 * side missing); `withdrawn` (corrections took every price of the window back: all values are null). The worst one is given.
 */
export type SignalQuality = 'ok' | 'limited_history' | 'no_quote' | 'crossed_quote' | 'withdrawn';

export interface SignalOutput {
  kind: 'signal';
  symbol: string;
  /** 1 (PT1S, from micro-bars) or 60 (PT1M, from the provider's bars). */
  windowSeconds: 1 | 60;
  end: number;
  revision: number;
  values: IndicatorValues;
  quote: QuoteJoin | null;
  /** Every indicator of the row is warm. */
  isWarm: boolean;
  quality: SignalQuality;
}

/** An event that came too late to change anything, or a correction whose trade is not (any more) held. */
export interface LateOutput {
  kind: 'late';
  reason: 'late_trade' | 'late_amendment' | 'unmatched_amendment' | 'late_bar';
  event: MarketEvent;
}

export type TaOutput = BarOutput | SignalOutput | LateOutput;

export type Emit = (output: TaOutput) => void;

export interface TaSettings {
  /** `compat`: every trade counts for everything, indicators as the former system computed them. */
  profile: 'default' | 'compat';
  /** Market ms that the watermark stays behind the newest event. */
  maxOutOfOrderMs: number;
  /** Market ms after which a quote is not joined; 0 or less disables the age test. */
  quoteStaleAfterMs: number;
  vwapWindowSeconds: number;
  realizedVolWindowSeconds: number;
  /** Whole market seconds after a window became final in which it is still revised. */
  latenessSeconds: number;
}

export const defaultSettings: TaSettings = {
  profile: 'default',
  maxOutOfOrderMs: 500,
  quoteStaleAfterMs: 15_000,
  vwapWindowSeconds: 300,
  realizedVolWindowSeconds: 60,
  latenessSeconds: 15,
};

/** Settings of a profile (design 5: `compat` holds the watermark for 2,000 ms). */
export function settingsOf(profile: TaSettings['profile'], changes: Partial<TaSettings> = {}): TaSettings {
  const base: TaSettings = { ...defaultSettings, profile };
  if (profile === 'compat') base.maxOutOfOrderMs = 2_000;
  return { ...base, ...changes };
}
