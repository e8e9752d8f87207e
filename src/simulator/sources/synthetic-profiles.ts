/**
 * The names and habits of the synthetic market. Prices and rates are invented; only their proportions matter.
 */
export interface SymbolProfile {
  symbol: string;
  /** Starting price in ticks. */
  priceTicks: number;
  /** Decimals of a price: a tick is 10^-decimals. */
  decimals: number;
  tape: 'A' | 'B' | 'C' | undefined;
  /** Trades and quotes per second in a calm part of the regular session. */
  tradesPerSecond: number;
  quotesPerSecond: number;
  /** Deviation of the price per second, in ticks. */
  ticksPerSecond: number;
  spreadTicks: number;
  /** Most round lots of 100 shares in a quote. */
  lots: number;
}

/** New York date on which the synthetic market begins. */
export const SYNTHETIC_DATE = '2026-03-10';

const stock = (
  symbol: string,
  priceTicks: number,
  tape: 'A' | 'B' | 'C',
  tradesPerSecond: number,
  quotesPerSecond: number,
  ticksPerSecond: number,
  spreadTicks: number,
  lots: number,
): SymbolProfile => ({
  symbol,
  priceTicks,
  decimals: 2,
  tape,
  tradesPerSecond,
  quotesPerSecond,
  ticksPerSecond,
  spreadTicks,
  lots,
});

export const stockProfiles: readonly SymbolProfile[] = [
  stock('AAPL', 25_940, 'C', 2, 3, 1.6, 1, 6),
  stock('AMD', 19_210, 'C', 1.6, 2.5, 1.8, 2, 5),
  stock('BAC', 5_245, 'A', 1.2, 2, 0.6, 1, 30),
  stock('IBM', 28_755, 'A', 1, 2, 2.2, 4, 2),
  stock('NVDA', 18_430, 'C', 2.8, 3.5, 1.9, 1, 8),
  stock('SPY', 67_480, 'B', 2.4, 3.5, 2.4, 1, 10),
];

export const syntheticSymbols: readonly string[] = stockProfiles.map((profile) => profile.symbol);

/** The symbol of the always-open test stream. */
export const testProfile: SymbolProfile = stock('FAKEPACA', 13_200, 'C', 1, 2, 1.2, 2, 4);

export const cryptoProfiles: readonly SymbolProfile[] = [
  { ...stock('BTC/USD', 8_765_400, 'C', 1, 2, 250, 900, 3), tape: undefined },
  { ...stock('ETH/USD', 312_550, 'C', 1, 2, 30, 90, 20), tape: undefined },
];
