/**
 * Types of the ledger's tables for the query builder (migrations/ is their source).
 * numeric and int8 arrive as text and become Decimal and bigint in the repositories; JSONB columns take `Jsonb` alone.
 */
import type { ColumnType, Generated, Kysely } from 'kysely';
import type { OrderAction, OrderIntent } from '../risk/order.ts';
import type { ClaimState, DecisionStatus, OrderState, RejectOrigin } from './contract.ts';
import type { Jsonb } from './jsonb.ts';

type Int8 = ColumnType<string, bigint, bigint>;
type Json = ColumnType<unknown, Jsonb, Jsonb>;
/** Set by Postgres' own clock: a record time, never a market time. */
type RecordTime = ColumnType<Date, never, never>;

export interface LedgerTables {
  torghut_meta: { key: string; value: string; updated_at: RecordTime };
  trading_leader: {
    account_label: string;
    epoch: Int8;
    owner: string;
    backend_pid: number;
    acquired_at: Date;
    lease_expires_at: Date;
  };
  strategies: {
    id: string;
    name: string;
    description: string | null;
    enabled: boolean;
    base_timeframe: string;
    universe_type: string;
    universe_symbols: Json;
    max_position_pct_equity: string | null;
    max_notional_per_trade: string | null;
    catalog_meta: Json;
    catalog_digest: string;
    created_at: RecordTime;
    updated_at: RecordTime;
  };
  trade_decisions: {
    id: string;
    strategy_id: string;
    strategy_name: string;
    alpaca_account_label: string;
    symbol: string;
    timeframe: string;
    event_ts: Date;
    action: OrderAction;
    intent: OrderIntent;
    qty: string;
    order_type: string;
    time_in_force: string;
    limit_price: string | null;
    stop_price: string | null;
    reference_price: string | null;
    reference_price_as_of: Date | null;
    rationale: string;
    run_id: string;
    window_size: string;
    signal_revision: number;
    source_partition: number;
    source_offset: Int8;
    decision_json: Json;
    decision_hash: string;
    status: DecisionStatus;
    reasons: Generated<string[]>;
    reject_origin: RejectOrigin | null;
    decided_at: Date;
    resolved_at: Date | null;
    executed_at: Date | null;
    created_at: RecordTime;
  };
  decision_events: {
    id: Generated<string>;
    decision_id: string;
    stage: string;
    at: Date;
    epoch: Int8;
    detail: Json;
    recorded_at: RecordTime;
  };
  trade_cursor: {
    account_label: string;
    run_id: string;
    window_size: string;
    source_partition: number;
    next_offset: Int8;
    cursor_at: Date;
  };
  trade_cursor_symbols: {
    account_label: string;
    run_id: string;
    symbol: string;
    window_size: string;
    last_event_ts: Date;
  };
  signal_notes: {
    account_label: string;
    run_id: string;
    window_size: string;
    source_partition: number;
    source_offset: Int8;
    kind: string;
    symbol: string;
    event_ts: Date;
    revision: number;
    noted_at: Date;
    would_differ: boolean | null;
    detail: ColumnType<unknown, Jsonb | null, Jsonb | null>;
  };
  executions: {
    id: string;
    trade_decision_id: string | null;
    alpaca_account_label: string;
    alpaca_order_id: string;
    client_order_id: string;
    symbol: string;
    side: OrderAction;
    order_type: string;
    time_in_force: string;
    submitted_qty: string;
    limit_price: string | null;
    stop_price: string | null;
    filled_qty: string;
    broker_filled_qty: string;
    avg_fill_price: string | null;
    status: OrderState;
    broker_status: string;
    replaced_by: string | null;
    late_accepted: boolean;
    orphan: boolean;
    cancel_requested_at: Date | null;
    submitted_at: Date | null;
    filled_at: Date | null;
    canceled_at: Date | null;
    broker_updated_at: Date | null;
    last_update_at: Date;
    raw_order: Json;
    fencing_epoch: Int8;
    created_at: RecordTime;
    updated_at: RecordTime;
  };
  execution_fills: {
    id: string;
    execution_id: string;
    alpaca_account_label: string;
    broker_execution_id: string;
    symbol: string;
    side: OrderAction;
    qty: string;
    price: string;
    cumulative_qty: string;
    executed_at: Date;
    source: 'trade_update' | 'activity';
    recorded_at: RecordTime;
  };
  order_claims: {
    decision_id: string;
    account_label: string;
    client_order_id: string;
    claim_token: string;
    fencing_epoch: Int8;
    owner: string;
    state: ClaimState;
    symbol: string;
    side: OrderAction;
    intent: OrderIntent;
    qty: string;
    order_type: string;
    time_in_force: string;
    limit_price: string | null;
    stop_price: string | null;
    reference_price: string | null;
    approved_at: Date;
    claimed_at: Date;
    broker_io_started_at: Date | null;
    recovery_after: Date | null;
    lookups: Generated<number>;
    recovery_outcome: 'found' | 'not_found' | 'indeterminate' | null;
    broker_order_id: string | null;
    execution_id: string | null;
    late_execution_id: string | null;
    reject_reasons: string[] | null;
    completed_at: Date | null;
  };
  order_feed_cursor: {
    account_label: string;
    run_id: string;
    topic: string;
    source_partition: number;
    next_offset: Int8;
    cursor_at: Date;
  };
  execution_order_events: {
    id: string;
    event_fingerprint: string;
    run_id: string;
    source_topic: string;
    source_partition: number;
    source_offset: Int8;
    alpaca_account_label: string;
    feed_seq: Int8 | null;
    event_ts: Date;
    symbol: string;
    alpaca_order_id: string;
    client_order_id: string;
    event_type: string;
    status: string;
    qty: string | null;
    price: string | null;
    filled_qty: string;
    avg_fill_price: string | null;
    broker_execution_id: string | null;
    raw_event: Json;
    execution_id: string | null;
    trade_decision_id: string | null;
    recorded_at: RecordTime;
  };
  execution_tca_metrics: {
    id: string;
    execution_id: string;
    trade_decision_id: string | null;
    strategy_id: string | null;
    alpaca_account_label: string;
    symbol: string;
    side: OrderAction;
    arrival_price: string | null;
    avg_fill_price: string | null;
    filled_qty: string;
    signed_qty: string;
    slippage_bps: string | null;
    shortfall_notional: string | null;
    churn_qty: string;
    churn_ratio: string | null;
    computed_at: Date;
  };
  position_snapshots: {
    id: string;
    alpaca_account_label: string;
    as_of: Date;
    equity: string;
    cash: string;
    buying_power: string;
    positions: Json;
    created_at: RecordTime;
  };
  trading_controls: {
    account_label: string;
    kill_switch: boolean;
    paused: boolean;
    emergency_stop_reason: string | null;
    live_armed_until: Date | null;
    reason: string;
    actor: string;
    updated_at: Date;
  };
  audit_events: {
    id: Generated<string>;
    actor: string;
    action: string;
    reason: string | null;
    before: ColumnType<unknown, Jsonb | null, never>;
    after: ColumnType<unknown, Jsonb | null, never>;
    at: Date;
    recorded_at: RecordTime;
  };
  reconcile_state: { account_label: string; reconciled_at: Date; passes: Int8; last_changes: number };
  reconcile_runs: {
    id: string;
    account_label: string;
    at: Date;
    epoch: Int8;
    changes: number;
    summary: Json;
    error: string | null;
    recorded_at: RecordTime;
  };
  reconcile_findings: {
    id: string;
    account_label: string;
    kind: string;
    subject: string;
    is_paging: boolean;
    detail: Json;
    passes_seen: Generated<number>;
    first_seen_at: Date;
    last_seen_at: Date;
    resolved_at: Date | null;
  };
}

/** A connection or a transaction of the ledger. */
export type LedgerDb = Kysely<LedgerTables>;
