/**
 * 0005: requests to close every position of an account (spec 3.3, 10.2): the loop that leads it works them off, whoever asked.
 * Never edit an applied migration.
 */
export const flattenMigration: readonly string[] = [
  `create table flatten_requests (
    id uuid primary key,
    account_label varchar(64) not null,
    cause varchar(16) not null check (cause in ('operator', 'stop', 'closeout')),
    state varchar(16) not null check (state in ('requested', 'running', 'done', 'expired', 'cancelled')),
    -- [{symbol, qty}] as held when it was asked for: nothing else is closed.
    plan jsonb not null,
    reason text not null,
    actor varchar(128) not null,
    requested_at timestamptz not null,
    expires_at timestamptz not null,
    ended_at timestamptz,
    recorded_at timestamptz not null default clock_timestamp(),
    check (expires_at > requested_at),
    check ((state in ('done', 'expired', 'cancelled')) = (ended_at is not null))
  )`,
  `create unique index flatten_requests_active on flatten_requests (account_label) where ended_at is null`,
];
