/**
 * 0004: versions of the strategy catalog, and the fences around what is never changed (spec 2.2, 5.1, 5.4).
 * A trigger per row does not see TRUNCATE, and a decision changes in its outcome alone. Never edit an applied migration.
 */
const appendOnly = [
  'decision_events',
  'signal_notes',
  'execution_fills',
  'execution_order_events',
  'audit_events',
  'strategy_catalogs',
  'trade_decisions',
] as const;

export const appendOnlyMigration: readonly string[] = [
  // One row per change of the catalog in force, with the whole text: a rollback writes an earlier one back.
  `create table strategy_catalogs (
    version bigint primary key check (version > 0),
    digest char(64) not null,
    content text not null,
    mode varchar(8) not null check (mode in ('merge', 'sync')),
    strategies jsonb not null,
    inserted integer not null,
    updated integer not null,
    disabled integer not null,
    cause varchar(16) not null check (cause in ('file', 'rollback')),
    -- The audit event of the rollback that asked for it; each is used once.
    audit_id bigint unique references audit_events (id) on delete restrict,
    reason text,
    actor varchar(128) not null,
    epoch bigint not null,
    applied_at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp(),
    check ((cause = 'rollback') = (audit_id is not null))
  )`,
  `create index strategy_catalogs_digest on strategy_catalogs (digest)`,
  `create trigger strategy_catalogs_append_only before update or delete on strategy_catalogs
    for each row execute function torghut_refuse_change()`,

  // What was decided, when, by whom and from what stays; only how it ended may be written, and a refusal is an end.
  `create function torghut_keep_decision() returns trigger language plpgsql as $$
    begin
      if (new.id, new.strategy_id, new.strategy_name, new.alpaca_account_label, new.symbol, new.timeframe, new.event_ts,
          new.action, new.intent, new.qty, new.order_type, new.time_in_force, new.limit_price, new.stop_price,
          new.reference_price, new.reference_price_as_of, new.rationale, new.run_id, new.window_size,
          new.signal_revision, new.source_partition, new.source_offset, new.decision_hash, new.decided_at, new.created_at)
        is distinct from
         (old.id, old.strategy_id, old.strategy_name, old.alpaca_account_label, old.symbol, old.timeframe, old.event_ts,
          old.action, old.intent, old.qty, old.order_type, old.time_in_force, old.limit_price, old.stop_price,
          old.reference_price, old.reference_price_as_of, old.rationale, old.run_id, old.window_size,
          old.signal_revision, old.source_partition, old.source_offset, old.decision_hash, old.decided_at, old.created_at)
        or new.decision_json is distinct from old.decision_json
        or (old.status in ('rejected', 'blocked') and new.status <> old.status) then
        raise exception 'a decision changes in its outcome alone' using errcode = 'restrict_violation';
      end if;
      return new;
    end
  $$`,
  `create trigger trade_decisions_keep before update on trade_decisions
    for each row execute function torghut_keep_decision()`,
  `create trigger trade_decisions_no_delete before delete on trade_decisions
    for each row execute function torghut_refuse_change()`,
  ...appendOnly.map(
    (table) =>
      `create trigger ${table}_no_truncate before truncate on ${table} for each statement execute function torghut_refuse_change()`,
  ),
];
