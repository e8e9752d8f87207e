/**
 * What the ledger keeps, as plain values: decisions, cursor places, strategies, orders, fills, snapshots, controls.
 * Money and quantities are decimals, times are market milliseconds.
 */
import type { Decimal } from 'decimal.js';
import type { Decision, OrderAction, OrderIntent, OrderTerms, OrderType, TimeInForce } from '../risk/order.ts';
import type { Jsonb } from './jsonb.ts';

// ---- Decisions ----------------------------------------------------------------------------------------------------

/**
 * Closed set of a decision's statuses (spec 1.8): ours, and the states of its order once the broker has accepted it.
 * `rejected` is both: refused by us before, or by the broker after (the reasons and the origin tell).
 */
export type DecisionStatus = 'planned' | 'blocked' | 'submitted' | OrderState;

/** Execution states (spec 4.5). */
export type OrderState =
  | 'open'
  | 'partial'
  | 'pending_change'
  | 'done_for_day'
  | 'unknown'
  | 'filled'
  | 'canceled'
  | 'expired'
  | 'rejected'
  | 'replaced';

export interface NewDecision {
  decision: Decision;
  /** Market ms at which it was decided. */
  decidedAtMs: number;
  /** Everything it was made from (signal row, features, price snapshot, sizing), for `explain`. */
  detail: Jsonb;
}

export interface DecisionRow {
  decision: Decision;
  status: DecisionStatus;
  decidedAtMs: number;
  /** Market ms of the first complete fill. */
  executedAtMs?: number;
  /** Stable reason codes; empty unless rejected or blocked. */
  reasons: readonly string[];
  /** Who refused: `risk`, `desk`, `broker`, `handler`. */
  rejectOrigin?: string;
}

/** Who refused a decision. `risk` gates, the `desk` (age, expiry, kill switch), the `broker`, `handler` (an error of ours). */
export type RejectOrigin = 'risk' | 'desk' | 'broker' | 'handler';

export interface DecisionFilter {
  accountLabel?: string;
  symbol?: string;
  strategyName?: string;
  status?: string;
  sinceMs?: number;
  /** Only rows after this one in the listing's order. */
  after?: ListPlace;
  limit: number;
}

/** Place of a row in a listing (newest first): its time and, among equal times, its id. */
export interface ListPlace {
  /** Market ms. */
  atMs: number;
  id: string;
}

export interface DecisionCounts {
  total: number;
  /** By current status. */
  byStatus: Record<string, number>;
  /** Every reason code of rejected decisions. */
  rejectReasons: Record<string, number>;
  blockReasons: Record<string, number>;
  /** Decisions whose order the broker accepted. */
  submitted: number;
}

export interface DecisionRefusal {
  id: string;
  /** `blocked`: a switch held it, else a limit or an error refused it. */
  status: 'rejected' | 'blocked';
  /** Must not be empty. */
  reasons: readonly string[];
  /** Who rejected it; blocked decisions have none. */
  origin?: RejectOrigin;
  atMs: number;
  detail: Jsonb;
}

export interface ScreenedDecision extends NewDecision {
  refusal?: Omit<DecisionRefusal, 'id'>;
}

// ---- Signal cursor ------------------------------------------------------------------------------------------------

export interface CursorKey {
  accountLabel: string;
  runId: string;
  windowSize: 'PT1S' | 'PT1M';
  partition: number;
}

/** A signal row that was seen and not traded (design 5: trade). */
export interface SignalNote extends CursorKey {
  sourceOffset: bigint;
  symbol: string;
  eventTsMs: number;
  revision: number;
  kind: 'signal_revised' | 'signal_late' | 'signal_skipped_stale';
  atMs: number;
  /** For a revision: would the action have differed? */
  wouldDiffer?: boolean;
  detail?: Jsonb;
}

// ---- Strategies ---------------------------------------------------------------------------------------------------

export interface StrategyEntry {
  name: string;
  enabled: boolean;
  description?: string;
  baseTimeframe: string;
  universeType: string;
  universeSymbols: readonly string[];
  maxPositionPctEquity?: Decimal;
  maxNotionalPerTrade?: Decimal;
  /** strategy_id, type, version, params, priority: what the catalog says beyond the columns. */
  catalogMeta: Jsonb;
}

export interface StrategyRow extends Omit<StrategyEntry, 'catalogMeta'> {
  id: string;
  catalogMeta: unknown;
  catalogDigest: string;
}

/** A change of the catalog in force. */
export interface CatalogVersion {
  /** 1, 2, 3 … */
  version: number;
  /** sha256 hex of the file. */
  digest: string;
  mode: 'merge' | 'sync';
  /** The strategies as the catalog normalised them. */
  strategies: unknown;
  inserted: number;
  updated: number;
  disabled: number;
  /** `rollback`: an operator wrote an earlier file back. */
  cause: 'file' | 'rollback';
  reason?: string;
  actor: string;
  epoch: bigint;
  /** Market ms. */
  appliedAtMs: number;
}

// ---- Orders, fills, positions -------------------------------------------------------------------------------------

export type ClaimState = 'claimed' | 'broker_io' | 'submitted' | 'rejected';

export interface ExecutionRow {
  id: string;
  decisionId?: string;
  accountLabel: string;
  brokerOrderId: string;
  clientOrderId: string;
  symbol: string;
  side: OrderAction;
  orderType: string;
  timeInForce: string;
  submittedQty: Decimal;
  limitPrice?: Decimal;
  stopPrice?: Decimal;
  /** Sum of the recorded fills, always. */
  filledQty: Decimal;
  /** What the broker reports; greater than filledQty only until the missing fills are known. */
  brokerFilledQty: Decimal;
  avgFillPrice?: Decimal;
  state: OrderState;
  /** The broker's own word. */
  brokerStatus: string;
  isFinal: boolean;
  /** Appeared after its decision had been refused as unconfirmed. */
  isLateAccepted: boolean;
  /** Carries our prefix but no decision of this ledger. */
  isOrphan: boolean;
  /** Market ms by which listings order it: when it was submitted, else when it was first heard of. */
  listedAtMs: number;
  cancelRequestedAtMs?: number;
  submittedAtMs?: number;
  filledAtMs?: number;
  canceledAtMs?: number;
  brokerUpdatedAtMs?: number;
}

export interface FillRow {
  executionId: string;
  brokerOrderId: string;
  brokerExecutionId: string;
  symbol: string;
  side: OrderAction;
  quantity: Decimal;
  price: Decimal;
  /** Filled quantity of the order after this fill. */
  cumulativeQty: Decimal;
  atMs: number;
  source: 'trade_update' | 'activity';
}

export interface PositionRow {
  symbol: string;
  /** Signed: negative is short. */
  quantity: Decimal;
  avgEntryPrice: Decimal;
}

export interface OpenOrder {
  clientOrderId: string;
  decisionId?: string;
  symbol: string;
  side: OrderAction;
  type: OrderType;
  intent?: OrderIntent;
  /** Not yet filled. */
  remainingQty: Decimal;
  limitPrice?: Decimal;
  stopPrice?: Decimal;
  /** Reference price of its decision. */
  price?: Decimal;
  /** `claimed` and `broker_io` are orders whose outcome is not known yet; they count like open ones. */
  stage: 'claimed' | 'broker_io' | 'open';
}

export interface OrderCounts {
  executions: number;
  byState: Record<string, number>;
  fills: number;
  /** Orders with at least one fill that was not the whole order. */
  partiallyFilled: number;
  open: number;
  unknownClaims: number;
  lateAccepted: number;
  orphans: number;
  /** Costs of the orders whose arrival price and fills are known; basis points, positive is worse for us. */
  costs: { orders: number; avgSlippageBps: number | undefined; avgAbsSlippageBps: number | undefined };
}

// ---- Account, controls, audit -------------------------------------------------------------------------------------

export interface AccountSnapshot {
  accountLabel: string;
  asOfMs: number;
  equity: Decimal;
  cash: Decimal;
  buyingPower: Decimal;
  positions: Jsonb;
}

export interface TradingControls {
  accountLabel: string;
  killSwitch: boolean;
  paused: boolean;
  emergencyStopReason?: string;
  liveArmedUntilMs?: number;
  reason?: string;
  actor?: string;
}

/** null clears; what is absent stays. */
export interface ControlsChange {
  killSwitch?: boolean;
  paused?: boolean;
  emergencyStopReason?: string | null;
  liveArmedUntilMs?: number | null;
}

// ---- The ledger ---------------------------------------------------------------------------------------------------

/** Terms of an order as the claim keeps them. */
export interface ClaimTerms extends OrderTerms {
  timeInForce: TimeInForce;
}
