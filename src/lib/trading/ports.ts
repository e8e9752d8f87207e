/**
 * What the trading cycle needs of the outside: signals and prices (lib/signals), the broker's view of the account
 * (lib/alpaca), the catalog file. Ledger and order desk have contracts of their own.
 */
import type { Decimal } from 'decimal.js';
import type { AccountView, AssetView, PriceView } from '../risk/snapshot.ts';
import type { CatalogReading } from '../strategy/reload.ts';
import type { StrategySignal } from '../strategy/signal.ts';

export type WindowSize = 'PT1S' | 'PT1M';

/** One row of the signal log with its place in the ta topic. */
export interface SignalRow extends StrategySignal {
  partition: number;
  offset: bigint;
}

/** A place in the signal log: an offset of one partition and window size. */
export interface SignalPosition {
  windowSize: WindowSize;
  partition: number;
  from: bigint;
}

export interface SignalSource {
  /** Why nothing new may be opened: the store is in an emergency; undefined while it is not, or nobody watches it. */
  emergency?(): string | undefined;
  /** Partitions of the ta topic. */
  readonly partitions: number;
  /**
   * Rows from the positions on, at most `limit` for each, by ascending offset within each; every offset once.
   * @throws a TorghutError that may be retried when the store does not answer
   */
  read(positions: readonly SignalPosition[], limit: number): Promise<SignalRow[]>;
  /** Up to `limit` rows that lie before each position, by ascending offset: what strategies saw last. */
  readBefore(positions: readonly SignalPosition[], limit: number): Promise<SignalRow[]>;
  /** Newest price of each symbol that has one at or before `nowMs` and not over `lookbackMs` old. */
  newestPrices(symbols: readonly string[], nowMs: number, lookbackMs: number): Promise<Map<string, PriceView>>;
}

export interface BrokerAccount extends AccountView {
  cash: Decimal;
  /** The broker's id and number of the account. */
  ids: readonly string[];
}

export interface BrokerPosition {
  symbol: string;
  /** Signed: negative is short. */
  quantity: Decimal;
  averageEntryPrice: Decimal | undefined;
  /** USD, by the broker. */
  currentPrice?: Decimal;
}

export interface BrokerSession {
  isOpen: boolean;
  /** Market milliseconds of the next bells. */
  nextOpenMs: number;
  nextCloseMs: number;
}

/** One trading day of the broker's calendar. */
export interface BrokerDay {
  /** New York date, YYYY-MM-DD. */
  date: string;
  /** Market ms of its bells. */
  openMs: number;
  closeMs: number;
}

/** Reads of the broker; each throws a TorghutError, retryable when the same call may work later. */
export interface BrokerView {
  account(): Promise<BrokerAccount>;
  positions(): Promise<BrokerPosition[]>;
  session(): Promise<BrokerSession>;
  /** Trading days from a week before to two weeks after an instant. */
  days(nowMs: number): Promise<readonly BrokerDay[]>;
  /** undefined when the broker does not know the symbol. */
  asset(symbol: string): Promise<AssetView | undefined>;
}

export interface CatalogSource {
  /** Reads the file; an unreadable file is a reading, not an exception. */
  read(): Promise<CatalogReading>;
}
