/** What can be set for the trading side; everything else is the exchange's behaviour. */
export interface TradingSettings {
  /** Start cash in dollars, of a new journal. */
  cash: string;
  /** 1 is a cash account, 2 a margin account. Of a new journal. */
  multiplier: 1 | 2;
  /** Requests a machine minute and account; the real broker allows 200. */
  requestsPerMinute: number;
  /** Seed of all ids, of a new journal. */
  seed: string;
  /** Assets beside those of the tape. */
  extraSymbols: readonly string[];
  notShortable: readonly string[];
}

export const defaultTradingSettings: TradingSettings = {
  cash: '100000',
  multiplier: 2,
  // Large on purpose: a run at thirty times real time asks thirty times as often. The fault http_429 shows the real limit.
  requestsPerMinute: 100_000,
  seed: '1',
  extraSymbols: [],
  notShortable: [],
};
