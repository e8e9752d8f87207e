/** What can be set for the trading side; everything else is the exchange's behaviour. Values come from variables.ts. */
export interface TradingSettings {
  /** Start cash in dollars, of a new journal. */
  cash: string;
  /** 1 is a cash account, 2 a margin account. Of a new journal. */
  multiplier: 1 | 2;
  /** Requests a machine minute and key. */
  requestsPerMinute: number;
  /** Seed of all ids, of a new journal. */
  seed: string;
  /** Assets beside those of the tape. */
  extraSymbols: readonly string[];
  notShortable: readonly string[];
}
