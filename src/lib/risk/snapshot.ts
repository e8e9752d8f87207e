/**
 * The explicit input of risk: everything the gates look at, as values (spec trading 3). Collected by the trading cycle,
 * stored with the decision; the gates ask nothing else and nobody else.
 */
import type { Decimal } from 'decimal.js';
import type { OrderAction, OrderType } from './order.ts';

export interface AccountView {
  /** USD. */
  equity: Decimal;
  /** USD, as the broker states it: its own open orders are already taken off. */
  buyingPower: Decimal;
  /** trading_blocked, account_blocked or trade_suspended_by_user. */
  isRestricted: boolean;
  /** The account may sell short. */
  shortingEnabled: boolean;
  /** Market milliseconds of the reading. */
  asOfMs: number;
}

/** An order that may still change the position: open at the broker, or submitted since the account was read. */
export interface PendingOrder {
  symbol: string;
  side: OrderAction;
  /** Not yet filled. */
  remaining: Decimal;
  type: OrderType;
  limitPrice?: Decimal;
  /** Reference price of its decision, USD; absent for orders that no decision of ours made. */
  price?: Decimal;
  /** Estimated USD that the broker's buying power does not show yet; absent for orders that it already counts. */
  unseenCost?: Decimal;
}

export interface PriceView {
  /** USD. */
  price: Decimal;
  /** Market milliseconds of the bar it comes from. */
  asOfMs: number;
  /** Shares traded over the price look-back; absent when it was not asked for. */
  recentVolume?: Decimal;
}

/** What is held of one symbol. */
export interface HoldingView {
  symbol: string;
  /** Signed. */
  quantity: Decimal;
  /** USD, the newest that is known of it. */
  price: Decimal | undefined;
}

export interface AssetView {
  isTradable: boolean;
  isShortable: boolean;
  isEasyToBorrow: boolean;
  isFractionable: boolean;
}

export interface TradingSwitches {
  /** TRADING_ENABLED. */
  tradingEnabled: boolean;
  /** From the environment or from trading_controls: either one stops. */
  killSwitch: boolean;
  paused: boolean;
  /** Reason of the latched emergency stop; null when none. */
  emergencyStop: string | null;
  /** The catalog file has been unreadable three times in a row: exits only. */
  catalogInvalid: boolean;
  /** Why the signal store is in an emergency (its disk is nearly full): exits only; null or absent while it is not. */
  storeEmergency?: string | null;
  /** Codes that hold entries only (universe, cut-off before the close, stale reconcile …); closing goes on. */
  entryHolds?: readonly string[];
  /** Codes that hold every order of a live account (spec 3.4), in that order; always empty on paper. */
  liveHolds?: readonly string[];
}

export interface RiskSnapshot {
  /** Market milliseconds. */
  nowMs: number;
  switches: TradingSwitches;
  session: 'open' | 'closed' | 'unknown';
  /** undefined when the broker did not answer. */
  account: AccountView | undefined;
  /** Signed quantity held in the decision's symbol; undefined when unknown. */
  position: Decimal | undefined;
  /** Pending orders of all symbols, the broker's and those that it may not show yet. */
  pending: readonly PendingOrder[];
  /** Everything held; undefined when the broker did not say. */
  holdings: readonly HoldingView[] | undefined;
  /** Newest price of the symbol. */
  price: PriceView | undefined;
  asset: AssetView | undefined;
  /** Market ms of the newest submitted or filled entry of (account, strategy, symbol), this decision's row excluded. */
  lastEntryAtMs: number | undefined;
}

/** Limits in force for one decision. Absent means no such limit; 0 means nothing is allowed. */
export interface RiskLimits {
  mode: 'paper' | 'live';
  strategyEnabled: boolean;
  /** Symbols of the strategy; empty = the whole universe. */
  strategySymbols: readonly string[];
  /** Symbols that may be traded at all; 'all' only when that was asked for by name. */
  universe: readonly string[] | 'all';
  /** USD per order; the strategy's beats the global one. */
  maxNotionalPerTrade: Decimal | undefined;
  minNotionalPerTrade: Decimal | undefined;
  /** Fraction of equity per symbol; the strategy's beats the global one. */
  maxPositionPctEquity: Decimal | undefined;
  /** Account-wide caps, fractions of equity (spec 3.3): one order, one symbol, sum of all, long less short. */
  maxOrderPctEquity: Decimal | undefined;
  maxSymbolPctEquity: Decimal | undefined;
  maxGrossPctEquity: Decimal | undefined;
  maxNetPctEquity: Decimal | undefined;
  /** Symbols held at once. */
  maxPositions: number | undefined;
  /** Part of the recent volume that one order may be. */
  maxParticipationRate: Decimal | undefined;
  allowShorts: boolean;
  allowFractional: boolean;
  allowCrypto: boolean;
  /** Besides allowCrypto, on a live account. */
  allowCryptoLive: boolean;
  /** Market seconds; 0 = off. */
  cooldownSeconds: number;
  /** Basis points of the broker's buying power that are never used. */
  buyingPowerReserveBps: number;
  /** Market seconds. */
  maxPriceAgeSeconds: number;
  maxDecisionAgeSeconds: number;
  maxPriceDriftBps: number;
}
