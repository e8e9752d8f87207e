/**
 * 0001: strategies, decisions and their history, the signal cursor, the leader (spec 5.1 with its [R] changes, design 5).
 * Never edit an applied migration: its checksum is kept in the database.
 * `created_at`, `updated_at`, `recorded_at` say when Postgres wrote the row; every market time is given by the writer.
 */
export const decisionsMigration: readonly string[] = [
  `create table torghut_meta (
    key varchar(64) primary key,
    value text not null,
    updated_at timestamptz not null default clock_timestamp()
  )`,

  // Append-only tables refuse changes whoever asks (spec 5.4); roles are a second fence, not the first.
  `create function torghut_refuse_change() returns trigger language plpgsql as $$
    begin
      raise exception 'table % is append-only', tg_table_name using errcode = 'restrict_violation';
    end
  $$`,

  `create table trading_leader (
    account_label varchar(64) primary key,
    epoch bigint not null check (epoch > 0),
    owner varchar(128) not null,
    backend_pid integer not null,
    acquired_at timestamptz not null,
    lease_expires_at timestamptz not null
  )`,
  // A unique index over the epoch makes raising it a key change: it waits for the FOR KEY SHARE of a running write, while
  // the renewal of the lease (no key column) does not.
  `create unique index trading_leader_epoch on trading_leader (account_label, epoch)`,

  `create table strategies (
    id uuid primary key,
    name varchar(255) not null unique,
    description text,
    enabled boolean not null default true,
    base_timeframe varchar(16) not null,
    universe_type varchar(64) not null,
    universe_symbols jsonb not null,
    max_position_pct_equity numeric(20,8),
    max_notional_per_trade numeric(20,8),
    catalog_meta jsonb not null,
    catalog_digest char(64) not null,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp()
  )`,
  `create index strategies_enabled on strategies (enabled)`,

  `create table trade_decisions (
    id uuid primary key,
    strategy_id uuid not null references strategies (id) on delete restrict,
    strategy_name varchar(255) not null,
    alpaca_account_label varchar(64) not null default 'paper',
    symbol varchar(64) not null,
    timeframe varchar(16) not null,
    event_ts timestamptz not null,
    action varchar(8) not null check (action in ('buy', 'sell')),
    intent varchar(8) not null check (intent in ('entry', 'exit')),
    qty numeric(20,8) not null,
    order_type varchar(32) not null,
    time_in_force varchar(16) not null,
    limit_price numeric(20,8),
    stop_price numeric(20,8),
    reference_price numeric(20,8),
    reference_price_as_of timestamptz,
    rationale text not null,
    run_id varchar(128) not null,
    window_size varchar(8) not null,
    signal_revision integer not null,
    source_partition integer not null,
    source_offset bigint not null,
    decision_json jsonb not null,
    decision_hash char(64) not null,
    status varchar(32) not null default 'planned' check (status in ('planned', 'blocked', 'rejected', 'submitted', 'open',
      'partial', 'pending_change', 'done_for_day', 'unknown', 'filled', 'canceled', 'expired', 'replaced')),
    reasons text[] not null default '{}',
    reject_origin varchar(16) check (reject_origin in ('risk', 'desk', 'broker', 'handler')),
    decided_at timestamptz not null,
    resolved_at timestamptz,
    executed_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    unique (alpaca_account_label, decision_hash),
    check (status not in ('rejected', 'blocked') or cardinality(reasons) > 0)
  )`,
  `create index trade_decisions_strategy on trade_decisions (strategy_id)`,
  `create index trade_decisions_status on trade_decisions (alpaca_account_label, status)`,
  `create index trade_decisions_decided on trade_decisions (alpaca_account_label, decided_at)`,
  `create index trade_decisions_symbol on trade_decisions (alpaca_account_label, strategy_id, symbol, decided_at)`,

  `create table decision_events (
    id bigint generated always as identity primary key,
    decision_id uuid not null references trade_decisions (id) on delete restrict,
    stage varchar(64) not null,
    at timestamptz not null,
    epoch bigint not null,
    detail jsonb not null,
    recorded_at timestamptz not null default clock_timestamp()
  )`,
  `create index decision_events_decision on decision_events (decision_id, id)`,
  `create trigger decision_events_append_only before update or delete on decision_events
    for each row execute function torghut_refuse_change()`,

  `create table trade_cursor (
    account_label varchar(64) not null,
    run_id varchar(128) not null,
    window_size varchar(8) not null,
    source_partition integer not null,
    next_offset bigint not null,
    cursor_at timestamptz not null,
    primary key (account_label, run_id, window_size, source_partition)
  )`,
  `create table trade_cursor_symbols (
    account_label varchar(64) not null,
    run_id varchar(128) not null,
    symbol varchar(64) not null,
    window_size varchar(8) not null,
    last_event_ts timestamptz not null,
    primary key (account_label, run_id, symbol, window_size)
  )`,
  `create table signal_notes (
    account_label varchar(64) not null,
    run_id varchar(128) not null,
    window_size varchar(8) not null,
    source_partition integer not null,
    source_offset bigint not null,
    kind varchar(32) not null check (kind in ('signal_revised', 'signal_late', 'signal_skipped_stale')),
    symbol varchar(64) not null,
    event_ts timestamptz not null,
    revision integer not null,
    noted_at timestamptz not null,
    would_differ boolean,
    detail jsonb,
    primary key (account_label, run_id, window_size, source_partition, source_offset, kind)
  )`,
  `create trigger signal_notes_append_only before update or delete on signal_notes
    for each row execute function torghut_refuse_change()`,
];
