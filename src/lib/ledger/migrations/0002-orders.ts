/**
 * 0002: claims, executions, fills, order events, costs (spec 4 and 5.1). Never edit an applied migration.
 * A claim carries no lease of its own: the account's leader row is the lease of all its claims (design 5).
 */
export const ordersMigration: readonly string[] = [
  `create table executions (
    id uuid primary key,
    trade_decision_id uuid references trade_decisions (id) on delete restrict,
    alpaca_account_label varchar(64) not null default 'paper',
    alpaca_order_id varchar(128) not null,
    client_order_id varchar(128) not null,
    symbol varchar(64) not null,
    side varchar(8) not null check (side in ('buy', 'sell')),
    order_type varchar(32) not null,
    time_in_force varchar(16) not null,
    submitted_qty numeric(20,8) not null,
    limit_price numeric(20,8),
    stop_price numeric(20,8),
    filled_qty numeric(20,8) not null default 0 check (filled_qty >= 0),
    broker_filled_qty numeric(20,8) not null default 0,
    avg_fill_price numeric(20,8),
    status varchar(32) not null check (status in ('open', 'partial', 'pending_change', 'done_for_day', 'unknown', 'filled',
      'canceled', 'expired', 'rejected', 'replaced')),
    broker_status varchar(32) not null,
    replaced_by varchar(128),
    late_accepted boolean not null default false,
    orphan boolean not null default false,
    cancel_requested_at timestamptz,
    submitted_at timestamptz,
    filled_at timestamptz,
    canceled_at timestamptz,
    broker_updated_at timestamptz,
    last_update_at timestamptz not null,
    raw_order jsonb not null,
    fencing_epoch bigint not null,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    unique (alpaca_account_label, alpaca_order_id),
    unique (alpaca_account_label, client_order_id)
  )`,
  `create index executions_decision on executions (trade_decision_id)`,
  `create index executions_symbol on executions (symbol, status)`,
  `create index executions_status on executions (alpaca_account_label, status)`,

  `create table execution_fills (
    id uuid primary key,
    execution_id uuid not null references executions (id) on delete restrict,
    alpaca_account_label varchar(64) not null,
    broker_execution_id varchar(128) not null,
    symbol varchar(64) not null,
    side varchar(8) not null check (side in ('buy', 'sell')),
    qty numeric(20,8) not null check (qty > 0),
    price numeric(20,8) not null check (price > 0),
    cumulative_qty numeric(20,8) not null,
    executed_at timestamptz not null,
    source varchar(16) not null check (source in ('trade_update', 'activity')),
    recorded_at timestamptz not null default clock_timestamp(),
    unique (alpaca_account_label, broker_execution_id),
    unique (execution_id, cumulative_qty)
  )`,
  `create index execution_fills_account on execution_fills (alpaca_account_label, symbol, executed_at)`,
  `create trigger execution_fills_append_only before update or delete on execution_fills
    for each row execute function torghut_refuse_change()`,

  `create table order_claims (
    decision_id uuid primary key references trade_decisions (id) on delete restrict,
    account_label varchar(64) not null,
    client_order_id varchar(128) not null,
    claim_token uuid not null,
    fencing_epoch bigint not null check (fencing_epoch > 0),
    owner varchar(128) not null,
    state varchar(16) not null check (state in ('claimed', 'broker_io', 'submitted', 'rejected')),
    symbol varchar(64) not null,
    side varchar(8) not null check (side in ('buy', 'sell')),
    intent varchar(8) not null check (intent in ('entry', 'exit')),
    qty numeric(20,8) not null check (qty > 0),
    order_type varchar(32) not null,
    time_in_force varchar(16) not null,
    limit_price numeric(20,8),
    stop_price numeric(20,8),
    reference_price numeric(20,8),
    approved_at timestamptz not null,
    claimed_at timestamptz not null,
    broker_io_started_at timestamptz,
    recovery_after timestamptz,
    lookups integer not null default 0,
    recovery_outcome varchar(16) check (recovery_outcome in ('found', 'not_found', 'indeterminate')),
    broker_order_id varchar(128),
    execution_id uuid references executions (id) on delete restrict,
    late_execution_id uuid references executions (id) on delete restrict,
    reject_reasons text[],
    completed_at timestamptz,
    unique (account_label, client_order_id),
    constraint claim_claimed check (state <> 'claimed' or (broker_io_started_at is null and broker_order_id is null
      and execution_id is null and reject_reasons is null and completed_at is null)),
    constraint claim_broker_io check (state <> 'broker_io' or (broker_io_started_at is not null and recovery_after is not null
      and broker_order_id is null and execution_id is null and reject_reasons is null and completed_at is null)),
    constraint claim_submitted check (state <> 'submitted' or (broker_io_started_at is not null and broker_order_id is not null
      and execution_id is not null and reject_reasons is null and completed_at is not null)),
    constraint claim_rejected check (state <> 'rejected' or (broker_order_id is null and execution_id is null
      and reject_reasons is not null and completed_at is not null))
  )`,
  `create index order_claims_state on order_claims (account_label, state)`,

  `create table order_feed_cursor (
    account_label varchar(64) not null,
    run_id varchar(128) not null,
    topic varchar(255) not null,
    source_partition integer not null,
    next_offset bigint not null,
    cursor_at timestamptz not null,
    primary key (account_label, run_id, topic, source_partition)
  )`,
  `create table execution_order_events (
    id uuid primary key,
    event_fingerprint char(64) not null,
    run_id varchar(128) not null,
    source_topic varchar(128) not null,
    source_partition integer not null,
    source_offset bigint not null,
    alpaca_account_label varchar(64) not null,
    feed_seq bigint,
    event_ts timestamptz not null,
    symbol varchar(64) not null,
    alpaca_order_id varchar(128) not null,
    client_order_id varchar(128) not null,
    event_type varchar(64) not null,
    status varchar(32) not null,
    qty numeric(20,8),
    price numeric(20,8),
    filled_qty numeric(20,8) not null,
    avg_fill_price numeric(20,8),
    broker_execution_id varchar(128),
    raw_event jsonb not null,
    execution_id uuid references executions (id) on delete set null,
    trade_decision_id uuid references trade_decisions (id) on delete set null,
    recorded_at timestamptz not null default clock_timestamp(),
    unique (alpaca_account_label, event_fingerprint),
    unique (run_id, source_topic, source_partition, source_offset)
  )`,
  `create index execution_order_events_order on execution_order_events (alpaca_account_label, alpaca_order_id)`,
  `create index execution_order_events_execution on execution_order_events (execution_id)`,
  `create index execution_order_events_ts on execution_order_events (event_ts)`,
  // The two links may be set once, when the execution appears after its event; nothing else may change.
  `create function torghut_link_order_event() returns trigger language plpgsql as $$
    begin
      if old.execution_id is null and (to_jsonb(new) - 'execution_id' - 'trade_decision_id')
          = (to_jsonb(old) - 'execution_id' - 'trade_decision_id') then
        return new;
      end if;
      raise exception 'table % is append-only', tg_table_name using errcode = 'restrict_violation';
    end
  $$`,
  `create trigger execution_order_events_append_only before update on execution_order_events
    for each row execute function torghut_link_order_event()`,
  `create trigger execution_order_events_keep before delete on execution_order_events
    for each row execute function torghut_refuse_change()`,

  `create table execution_tca_metrics (
    id uuid primary key,
    execution_id uuid not null unique references executions (id) on delete cascade,
    trade_decision_id uuid references trade_decisions (id) on delete set null,
    strategy_id uuid references strategies (id) on delete set null,
    alpaca_account_label varchar(64) not null,
    symbol varchar(64) not null,
    side varchar(8) not null,
    arrival_price numeric(20,8),
    avg_fill_price numeric(20,8),
    filled_qty numeric(20,8) not null default 0,
    signed_qty numeric(20,8) not null default 0,
    slippage_bps numeric(20,8),
    shortfall_notional numeric(20,8),
    churn_qty numeric(20,8) not null default 0,
    churn_ratio numeric(20,8),
    computed_at timestamptz not null
  )`,
];
