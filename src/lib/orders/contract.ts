/**
 * The order desk: everything after the approved order (spec 4, design 5).
 * Guarantees: one POST per claim, for ever; an order at the broker is known to the ledger once the desk has resolved its
 * claims and a reconcile pass has run; nothing goes back from a final state; only what risk made can be submitted.
 */

import type { OrderState } from '../ledger/contract.ts';
import type { ApprovedOrder, ReduceOnlyOrder } from '../risk/order.ts';

export type SubmitOutcome =
  /** The broker has it. `adopted`: it was already there under our client order id. */
  | {
      kind: 'submitted';
      executionId: string;
      brokerOrderId: string;
      clientOrderId: string;
      state: OrderState;
      adopted: boolean;
    }
  /** Definitely not at the broker; the decision is `rejected` with these codes. */
  | { kind: 'rejected'; reasons: readonly string[]; brokerStatus?: number; brokerCode?: string; brokerMessage?: string }
  /** A switch held it before any I/O (`kill_switch_enabled`, `trading_paused`, `emergency_stop_active`, `draining`, …). */
  | { kind: 'blocked'; reasons: readonly string[] }
  /** May be at the broker: looked up by client id until found or expired. Counts as an open order meanwhile. */
  | { kind: 'unknown'; clientOrderId: string; why: string }
  /** The decision already has a claim: nothing was done. */
  | { kind: 'duplicate'; clientOrderId: string; claimState: string };

export interface RecoverySummary {
  /** Claims found open. */
  claims: number;
  posted: number;
  adopted: number;
  rejected: number;
  /** Still unknown; the desk goes on looking. */
  unknown: number;
}

export interface Finding {
  kind:
    | 'orphan_order'
    | 'foreign_order'
    | 'position_drift'
    | 'state_drift'
    | 'fills_missing'
    | 'late_accepted'
    | 'missing_at_broker'
    | 'terms_mismatch'
    | 'unknown_status'
    /** A trade update that could not be read or stored. */
    | 'unreadable_update'
    /** An order that the ledger cannot hold. */
    | 'unstorable_order';
  /** Order id or symbol. */
  subject: string;
  /** true: page somebody (spec 11). */
  isPaging: boolean;
  detail: Record<string, unknown>;
}

export interface ReconcileSummary {
  /** Ledger rows that this pass changed (executions, fills, claims, decisions, findings opened or closed). 0 = agreed. */
  changes: number;
  ordersSeen: number;
  fillsAdded: number;
  statesChanged: number;
  claimsResolved: number;
  adopted: number;
  unknownClaims: number;
  openOrders: number;
  /** Findings open after the pass. */
  findings: readonly Finding[];
  /** Market ms at which the pass read the broker. */
  atMs: number;
}

export interface CancelSummary {
  requested: number;
  /** Final after the request (canceled, or filled before it). */
  confirmed: number;
  /** Client order ids that were not final when the machine limit ended. */
  stillOpen: readonly string[];
}

export interface OrderDeskStatus {
  openOrders: number;
  unknownClaims: number;
  /** Market ms of the last reconcile pass without an error. */
  lastReconcileAtMs?: number;
  lastReconcileChanges?: number;
  lastReconcileError?: string;
  /** Findings open after the last pass, by kind. */
  findings: Readonly<Record<string, number>>;
  /** 401 of the broker: no submit until a read works again. */
  isBrokerAuthLatched: boolean;
  /** The broker refused an order of today as a pattern day trade: nothing is opened until tomorrow. */
  isDayTradeHeld: boolean;
  isDraining: boolean;
  feed: { partition: number; nextOffset: bigint }[];
  counters: {
    posts: number;
    /** POSTs by `side asset_class`. */
    attempts: Readonly<Record<string, number>>;
    submitted: number;
    rejected: number;
    unknown: number;
    duplicates: number;
    updatesApplied: number;
    updatesDuplicate: number;
    updatesStale: number;
    /** Records of the trade-update topic, those kept as events, those that could not be read, and failed readings. */
    feedRecords: number;
    feedEvents: number;
    feedUnreadable: number;
    feedFailures: number;
    reconcilePasses: number;
    /** Ledger rows that passes changed. */
    reconcileChanges: number;
  };
}

export interface OrderDesk {
  /** Resolves every claim that former processes left open. Call once, after leadership and before the first submit. */
  recover(): Promise<RecoverySummary>;
  /**
   * claim → one POST → settle. Never throws for anything the broker does; throws `leadership_lost` and ledger errors.
   * The decision's status is written by the desk (submitted, rejected, blocked).
   */
  submit(order: ApprovedOrder): Promise<SubmitOutcome>;
  /** The same for an order that only lowers a position: it also leaves while pause, kill switch or a stop are on. */
  submitReduction(order: ReduceOnlyOrder): Promise<SubmitOutcome>;
  /**
   * One pass: orders, fills, claims, positions. Runs by itself inside `run` too; passes never overlap.
   * @param sinceMs market ms: list orders from a day before it at the latest, however recent the last pass was
   */
  reconcile(sinceMs?: number): Promise<ReconcileSummary>;
  /** Cancels our open orders one by one and waits for their final state (machine ms limit). Foreign orders stay. */
  cancelOpenOrders(reason: string, limitMs?: number): Promise<CancelSummary>;
  /** Refuses further submits with `draining`. */
  beginDrain(): void;
  /**
   * The desk's own loop until the signal aborts: reads the trade-update topic, looks up unknown claims, cancels late
   * orders, reconciles every TRADING_RECONCILE_MS market ms. Rejects with `leadership_lost` when that happens.
   */
  run(signal: AbortSignal): Promise<void>;
  status(): OrderDeskStatus;
}
