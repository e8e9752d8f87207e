/**
 * The words that strategy, risk and orders share: decision, order terms, the approved order, the reduce-only order.
 * Guarantee: both orders can be made only by lib/risk (the brands' symbols are not exported) and are the only things that
 * lib/orders accepts. Money and quantities are decimals (design 5).
 */
import type { Decimal } from 'decimal.js';

export type OrderAction = 'buy' | 'sell';
/** entry raises |position|, exit lowers it. */
export type OrderIntent = 'entry' | 'exit';
export type OrderType = 'market' | 'limit' | 'stop' | 'stop_limit';
export type TimeInForce = 'day' | 'gtc' | 'ioc' | 'fok';

/** Everything that a decision was made from; stored with it so that it can be explained (design 1.3). */
export interface SignalReference {
  runId: string;
  symbol: string;
  windowSize: 'PT1S' | 'PT1M';
  /** Window end, market milliseconds. */
  eventTsMs: number;
  revision: number;
  sourcePartition: number;
  sourceOffset: bigint;
}

/** What a strategy wants, before sizes are final. */
export interface Decision {
  /** uuid of the ledger row. */
  id: string;
  accountLabel: string;
  strategyId: string;
  strategyName: string;
  symbol: string;
  /** `1Sec` or `1Min`. */
  timeframe: string;
  eventTsMs: number;
  action: OrderAction;
  intent: OrderIntent;
  quantity: Decimal;
  orderType: OrderType;
  timeInForce: TimeInForce;
  limitPrice?: Decimal;
  stopPrice?: Decimal;
  /** Reference price of the decision (newest micro-bar close), USD. */
  price?: Decimal;
  priceAsOfMs?: number;
  rationale: string;
  signal: SignalReference;
  /** sha256 hex of account, strategy name, symbol, timeframe, event time, action, intent joined by 0x1f (design 5). */
  hash: string;
}

/** What goes over the wire to the broker. */
export interface OrderTerms {
  symbol: string;
  side: OrderAction;
  quantity: Decimal;
  type: OrderType;
  timeInForce: TimeInForce;
  limitPrice?: Decimal;
  stopPrice?: Decimal;
}

declare const approved: unique symbol;

/** An order that passed every gate of risk #2. Only lib/risk makes one. */
export interface ApprovedOrder {
  readonly [approved]: true;
  readonly decision: Decision;
  readonly terms: OrderTerms;
  /** Market milliseconds at which risk #2 approved it. */
  readonly approvedAtMs: number;
}

declare const reduceOnly: unique symbol;

/**
 * An order of an operator's flatten, or of an account stop: lowers |position| and cannot flip it, so it may leave while
 * switches hold everything else. Only lib/risk makes one (reduction.ts).
 */
export interface ReduceOnlyOrder {
  readonly [reduceOnly]: true;
  readonly decision: Decision;
  readonly terms: OrderTerms;
  /** Market milliseconds. */
  readonly approvedAtMs: number;
}

export interface RefusedOrder {
  readonly decision: Decision;
  /** Stable reason codes in gate order (spec trading 3.1), never empty. */
  readonly reasons: readonly string[];
}
