/**
 * Account snapshots, trading controls and the audit trail (spec 3.4, 4.6, 5.1).
 * Guarantee: every change of a control leaves an audit row with before and after in the same transaction.
 */
import { randomUUID } from 'node:crypto';
import { type Selectable, sql } from 'kysely';
import type { AccountSnapshot, AccountWrites, TradingControls } from './contract.ts';
import { toJsonb } from './jsonb.ts';
import type { LedgerDb, LedgerTables } from './tables.ts';
import { decimalOf, defined, numericOf, optionalMs, optionalTime, timeOf } from './values.ts';

/** Market ms during which an unchanged account is not written again. */
const QUIET_MS = 60_000;

function snapshotOf(row: Selectable<LedgerTables['position_snapshots']>): Omit<AccountSnapshot, 'positions'> {
  return {
    accountLabel: row.alpaca_account_label,
    asOfMs: row.as_of.getTime(),
    equity: decimalOf(row.equity),
    cash: decimalOf(row.cash),
    buyingPower: decimalOf(row.buying_power),
  };
}

/** Holds the account's controls until the end of the transaction; makes the row when there is none. @returns was it made? */
export async function lockControls(
  db: LedgerDb,
  accountLabel: string,
  why: { reason: string; actor: string; atMs: number },
): Promise<boolean> {
  const made = await db
    .insertInto('trading_controls')
    .values({
      account_label: accountLabel,
      kill_switch: false,
      paused: false,
      emergency_stop_reason: null,
      live_armed_until: null,
      reason: why.reason,
      actor: why.actor,
      updated_at: timeOf(why.atMs),
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  await db
    .selectFrom('trading_controls')
    .select('account_label')
    .where('account_label', '=', accountLabel)
    .forUpdate()
    .executeTakeFirstOrThrow();
  return made.numInsertedOrUpdatedRows === 1n;
}

export function accountRepository(db: LedgerDb): AccountWrites {
  const newest = (accountLabel: string) =>
    db
      .selectFrom('position_snapshots')
      .selectAll()
      .where('alpaca_account_label', '=', accountLabel)
      .orderBy('as_of', 'desc')
      .orderBy('created_at', 'desc')
      .limit(1)
      .executeTakeFirst();

  const controls = async (accountLabel: string): Promise<TradingControls> => {
    const row = await db
      .selectFrom('trading_controls')
      .selectAll()
      .where('account_label', '=', accountLabel)
      .executeTakeFirst();
    if (!row) return { accountLabel, killSwitch: false, paused: false };
    return defined({
      accountLabel,
      killSwitch: row.kill_switch,
      paused: row.paused,
      emergencyStopReason: row.emergency_stop_reason ?? undefined,
      liveArmedUntilMs: optionalMs(row.live_armed_until),
      reason: row.reason,
      actor: row.actor,
    });
  };

  const audit: AccountWrites['audit'] = async (event) => {
    await db
      .insertInto('audit_events')
      .values({
        actor: event.actor,
        action: event.action,
        reason: event.reason ?? null,
        before: event.before ?? null,
        after: event.after ?? null,
        at: timeOf(event.atMs),
      })
      .execute();
  };

  return {
    controls,
    audit,
    newestSnapshot: async (accountLabel) => {
      const row = await newest(accountLabel);
      return row && snapshotOf(row);
    },
    firstSnapshotSince: async (accountLabel, sinceMs) => {
      const row = await db
        .selectFrom('position_snapshots')
        .selectAll()
        .where('alpaca_account_label', '=', accountLabel)
        .where('as_of', '>=', timeOf(sinceMs))
        .orderBy('as_of')
        .limit(1)
        .executeTakeFirst();
      return row && snapshotOf(row);
    },
    highestEquitySince: async (accountLabel, sinceMs) => {
      const row = await db
        .selectFrom('position_snapshots')
        .select(sql<string | null>`max(equity)::text`.as('highest'))
        .where('alpaca_account_label', '=', accountLabel)
        .where('as_of', '>=', timeOf(sinceMs))
        .executeTakeFirst();
      return row?.highest == null ? undefined : decimalOf(row.highest);
    },
    stopMarks: async (accountLabel) => {
      const { rows } = await sql<{ latched_at: Date | null; released_at: Date | null }>`
        select max(at) filter (where after ->> 'emergencyStopReason' is not null) as latched_at,
          max(at) filter (where after ->> 'emergencyStopReason' is null) as released_at
        from audit_events
        where action = 'trading_controls_changed' and after ->> 'accountLabel' = ${accountLabel}
          and after ->> 'emergencyStopReason' is distinct from before ->> 'emergencyStopReason'
      `.execute(db);
      return defined({
        latchedAtMs: optionalMs(rows[0]?.latched_at ?? null),
        releasedAtMs: optionalMs(rows[0]?.released_at ?? null),
      });
    },
    saveSnapshot: async (snapshot) => {
      const last = await newest(snapshot.accountLabel);
      if (last && snapshot.asOfMs - last.as_of.getTime() < QUIET_MS) {
        // JSONB keeps no key order: Postgres compares, not we.
        const same = await sql<{ same: boolean }>`
          select positions = ${snapshot.positions}::jsonb and equity = ${numericOf(snapshot.equity)}
            and cash = ${numericOf(snapshot.cash)} and buying_power = ${numericOf(snapshot.buyingPower)} as same
          from position_snapshots where id = ${last.id}
        `.execute(db);
        if (same.rows[0]?.same) return false;
      }
      await db
        .insertInto('position_snapshots')
        .values({
          id: randomUUID(),
          alpaca_account_label: snapshot.accountLabel,
          as_of: timeOf(snapshot.asOfMs),
          equity: numericOf(snapshot.equity),
          cash: numericOf(snapshot.cash),
          buying_power: numericOf(snapshot.buyingPower),
          positions: snapshot.positions,
        })
        .execute();
      return true;
    },
    setControls: async (accountLabel, change, why) => {
      // The row is locked before it is read: the loop that latches a stop and an operator who sets a switch must not undo
      // each other.
      const isNew = await lockControls(db, accountLabel, why);
      const before = isNew ? { accountLabel, killSwitch: false, paused: false } : await controls(accountLabel);
      const after: TradingControls = defined({
        accountLabel,
        killSwitch: change.killSwitch ?? before.killSwitch,
        paused: change.paused ?? before.paused,
        emergencyStopReason:
          change.emergencyStopReason === undefined
            ? before.emergencyStopReason
            : (change.emergencyStopReason ?? undefined),
        liveArmedUntilMs:
          change.liveArmedUntilMs === undefined ? before.liveArmedUntilMs : (change.liveArmedUntilMs ?? undefined),
        reason: why.reason,
        actor: why.actor,
      });
      const columns = {
        kill_switch: after.killSwitch,
        paused: after.paused,
        emergency_stop_reason: after.emergencyStopReason ?? null,
        live_armed_until: optionalTime(after.liveArmedUntilMs),
        reason: why.reason,
        actor: why.actor,
        updated_at: timeOf(why.atMs),
      };
      await db
        .insertInto('trading_controls')
        .values({ account_label: accountLabel, ...columns })
        .onConflict((conflict) => conflict.column('account_label').doUpdateSet(columns))
        .execute();
      await audit({
        actor: why.actor,
        action: 'trading_controls_changed',
        reason: why.reason,
        before: toJsonb(before),
        after: toJsonb(after),
        atMs: why.atMs,
      });
      return after;
    },
  };
}
