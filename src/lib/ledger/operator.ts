/**
 * What an operator may write without leading the account: the trading controls and the audit trail (spec 10.2, 10.3).
 * Guarantees: a switch can be set whether a loop runs, hangs or is gone; each change is one transaction with its audit row,
 * under the lock of the controls' row; a release is made only if the controls still are what its plan rested on.
 */
import { sql } from 'kysely';
import { z } from 'zod';
import { refusedError } from '../service/errors.ts';
import { accountRepository, lockControls } from './account.ts';
import { ledgerError, openConnection } from './connection.ts';
import type { ControlsChange, TradingControls } from './contract.ts';
import { type FlattenReads, type FlattenRequest, flattenRepository } from './flatten.ts';
import type { Jsonb } from './jsonb.ts';

export interface ChangeReason {
  reason: string;
  actor: string;
  /** Market ms. */
  atMs: number;
}

export interface LeaderView {
  epoch: bigint;
  /** host:pid. */
  owner: string;
  /** It holds the account's lock, and its lease is not over (Postgres' clock). */
  isLive: boolean;
}

export interface StopRecord {
  actor: string;
  reason: string | null;
  atMs: number;
}

export interface OperatorLedger {
  /** @throws `controls_changed` (exit 4) when `expected` is given and no longer holds */
  changeControls(
    accountLabel: string,
    change: ControlsChange,
    why: ChangeReason,
    expected?: TradingControls,
  ): Promise<TradingControls>;
  audit(event: ChangeReason & { action: string; before?: Jsonb; after?: Jsonb }): Promise<void>;
  leader(accountLabel: string): Promise<LeaderView | undefined>;
  /** Asks the loop to close positions; the id, or undefined when a request is active already. */
  requestFlatten(request: Omit<FlattenRequest, 'id' | 'state'>): Promise<string | undefined>;
  flatten: FlattenReads;
  /** What the ledger shows of an account's time on paper. */
  paperRecord(accountLabel: string): Promise<{ sessions: number; doubledDecisions: number }>;
  /** The newest stop that the loop was seen to obey, with the machine seconds it took. */
  lastStopDrill(accountLabel: string): Promise<{ atMs: number; seconds: number } | undefined>;
  /** Who last armed live trading, and until when (market ms). */
  lastArming(accountLabel: string): Promise<(StopRecord & { untilMs: number }) | undefined>;
  /** Who last turned on the kill switch or latched the emergency stop. */
  lastStop(accountLabel: string): Promise<StopRecord | undefined>;
  close(): Promise<void>;
}

const armingSchema = z.object({ actor: z.string(), reason: z.string().nullable() });
const stopSchema = z.object({ actor: z.string(), reason: z.string().nullable(), at: z.date() });

export function openOperatorLedger(dsn: string): OperatorLedger {
  const { db, close } = openConnection({ dsn, applicationName: 'torghut-operator', maxConnections: 1 });
  const asOurs = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw ledgerError(error);
    }
  };
  return {
    changeControls: (accountLabel, change, why, expected) =>
      asOurs(
        db.transaction().execute(async (tx) => {
          const account = accountRepository(tx);
          if (expected) {
            await lockControls(tx, accountLabel, why);
            const now = await account.controls(accountLabel);
            const isSame =
              now.killSwitch === expected.killSwitch &&
              now.paused === expected.paused &&
              now.emergencyStopReason === expected.emergencyStopReason &&
              now.liveArmedUntilMs === expected.liveArmedUntilMs;
            if (!isSame) throw controlsChanged(accountLabel);
          }
          return account.setControls(accountLabel, change, why);
        }),
      ),
    audit: (event) => asOurs(accountRepository(db).audit(event)),
    leader: (accountLabel) =>
      asOurs(
        sql<{ epoch: string; owner: string; is_live: boolean }>`
          select epoch::text, owner, lease_expires_at > clock_timestamp() and exists (
            select 1 from pg_locks l
            where l.pid = backend_pid and l.locktype = 'advisory' and l.granted and l.objsubid = 1
              and l.database = (select oid from pg_database where datname = current_database())
              and ((l.classid::bigint << 32) | l.objid::bigint)
                = hashtextextended('torghut:trading-scheduler:' || account_label, 0)
          ) as is_live
          from trading_leader where account_label = ${accountLabel}
        `
          .execute(db)
          .then(({ rows: [row] }) => row && { epoch: BigInt(row.epoch), owner: row.owner, isLive: row.is_live }),
      ),
    lastStop: async (accountLabel) => {
      const found = await asOurs(
        sql<{ actor: string; reason: string | null; at: Date }>`
          select actor, reason, at from audit_events
          where action = 'trading_controls_changed' and after ->> 'accountLabel' = ${accountLabel}
            and ((after ->> 'killSwitch' = 'true' and before ->> 'killSwitch' = 'false')
              or (after ->> 'emergencyStopReason' is not null and before ->> 'emergencyStopReason' is null))
          order by id desc limit 1
        `.execute(db),
      );
      const row = found.rows[0] && stopSchema.parse(found.rows[0]);
      return row && { actor: row.actor, reason: row.reason, atMs: row.at.getTime() };
    },
    requestFlatten: (request) => asOurs(db.transaction().execute((tx) => flattenRepository(tx).request(request))),
    flatten: {
      active: (accountLabel) => asOurs(flattenRepository(db).active(accountLabel)),
      newest: (accountLabel) => asOurs(flattenRepository(db).newest(accountLabel)),
    },
    paperRecord: async (accountLabel) => {
      // A day on which orders were sent is a session; an order that took the place of another is no second one.
      const { rows } = await asOurs(
        sql<{ sessions: string; doubled: string }>`
          select (select count(distinct (submitted_at at time zone 'America/New_York')::date)
              from executions where alpaca_account_label = ${accountLabel}) as sessions,
            (select count(*) from (
              select trade_decision_id from executions
              where alpaca_account_label = ${accountLabel} and trade_decision_id is not null and status <> 'replaced'
              group by 1 having count(*) > 1) d) as doubled
        `.execute(db),
      );
      return { sessions: Number(rows[0]?.sessions ?? 0), doubledDecisions: Number(rows[0]?.doubled ?? 0) };
    },
    lastStopDrill: async (accountLabel) => {
      const { rows } = await asOurs(
        sql<{ at: Date; seconds: string }>`
          select at, after ->> 'seconds' as seconds from audit_events
          where action = 'stop_verified' and after ->> 'accountLabel' = ${accountLabel} order by id desc limit 1
        `.execute(db),
      );
      return rows[0] && { atMs: rows[0].at.getTime(), seconds: Number(rows[0].seconds) };
    },
    lastArming: async (accountLabel) => {
      const { rows } = await asOurs(
        sql<{ actor: string; reason: string | null; at: Date; until: string }>`
          select actor, reason, at, after ->> 'liveArmedUntilMs' as until from audit_events
          where action = 'trading_controls_changed' and after ->> 'accountLabel' = ${accountLabel}
            and after ->> 'liveArmedUntilMs' is not null
            and after ->> 'liveArmedUntilMs' is distinct from before ->> 'liveArmedUntilMs'
          order by id desc limit 1
        `.execute(db),
      );
      const [row] = rows;
      if (!row) return undefined;
      return { ...armingSchema.parse(row), atMs: row.at.getTime(), untilMs: Number(row.until) };
    },
    close,
  };
}

function controlsChanged(accountLabel: string) {
  return refusedError({
    code: 'controls_changed',
    what: `the trading controls of ${accountLabel} are not what the plan rested on`,
    why: 'another operator or the trading loop changed them meanwhile',
    next: 'read the plan again',
  });
}
