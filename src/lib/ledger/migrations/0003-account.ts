/**
 * 0003: account snapshots, controls, audit, reconcile (spec 4.6, 5.1). Never edit an applied migration.
 */
export const accountMigration: readonly string[] = [
  `create table position_snapshots (
    id uuid primary key,
    alpaca_account_label varchar(64) not null,
    as_of timestamptz not null,
    equity numeric(20,8) not null,
    cash numeric(20,8) not null,
    buying_power numeric(20,8) not null,
    positions jsonb not null,
    created_at timestamptz not null default clock_timestamp()
  )`,
  `create index position_snapshots_account on position_snapshots (alpaca_account_label, as_of desc)`,
  `create table trading_controls (
    account_label varchar(64) primary key,
    kill_switch boolean not null default false,
    paused boolean not null default false,
    emergency_stop_reason text,
    live_armed_until timestamptz,
    reason text not null,
    actor varchar(128) not null,
    updated_at timestamptz not null
  )`,
  `create table audit_events (
    id bigint generated always as identity primary key,
    actor varchar(128) not null,
    action varchar(128) not null,
    reason text,
    before jsonb,
    after jsonb,
    at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp()
  )`,
  `create trigger audit_events_append_only before update or delete on audit_events
    for each row execute function torghut_refuse_change()`,
  `create table reconcile_state (
    account_label varchar(64) primary key,
    reconciled_at timestamptz not null,
    passes bigint not null,
    last_changes integer not null
  )`,
  // One row per pass that changed something or failed; quiet passes only move reconcile_state.
  `create table reconcile_runs (
    id uuid primary key,
    account_label varchar(64) not null,
    at timestamptz not null,
    epoch bigint not null,
    changes integer not null,
    summary jsonb not null,
    error text,
    recorded_at timestamptz not null default clock_timestamp()
  )`,
  `create index reconcile_runs_account on reconcile_runs (account_label, at)`,
  `create table reconcile_findings (
    id uuid primary key,
    account_label varchar(64) not null,
    kind varchar(32) not null,
    subject varchar(160) not null,
    is_paging boolean not null,
    detail jsonb not null,
    passes_seen integer not null default 1,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    resolved_at timestamptz
  )`,
  `create unique index reconcile_findings_open on reconcile_findings (account_label, kind, subject) where resolved_at is null`,
];
