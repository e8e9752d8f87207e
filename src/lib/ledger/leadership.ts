/**
 * One trading loop per account (design 5): a Postgres session advisory lock, and a row with epoch, backend pid and lease.
 * Guarantees: the epoch rises with every leader; a leader that cannot renew its lease of 10 s (Postgres' clock) is replaced:
 * the standby ends its backend, which frees the lock; writes of the replaced one are refused because each transaction
 * checks the epoch under a row lock (`checkEpoch`). `isHeld` goes by machine time since the last renewal was SENT, so it is
 * false before the lease can be over at the server.
 */
import { hostname } from 'node:os';
import type { Transaction } from 'kysely';
import pg from 'pg';
import { crashPoint } from '../service/crash-point.ts';
import { describeError, TorghutError } from '../service/errors.ts';
import { machineMs, sleep } from '../service/machine.ts';
import { type ConnectionOptions, clientConfig, ledgerError } from './connection.ts';
import type { AcquireOptions, Leadership } from './contract.ts';
import type { LedgerTables } from './tables.ts';

export interface LeaseTiming {
  /** Machine ms (Postgres' clock). */
  leaseMs: number;
  renewMs: number;
  /** Wait between two tries of a standby. */
  retryMs: number;
}

export const defaultLease: LeaseTiming = { leaseMs: 10_000, renewMs: 2_000, retryMs: 500 };

export function leadershipLost(accountLabel: string, reason: string): TorghutError {
  return new TorghutError({
    code: 'leadership_lost',
    what: `this process no longer leads the account ${accountLabel}`,
    why: reason,
    next: 'let it end and start again: it then waits as standby until the present leader is gone',
    exitCode: 4,
  });
}

/**
 * First statement of every writing transaction: locks the leader's row against a new epoch until the commit.
 * @throws `leadership_lost`
 */
export async function checkEpoch(tx: Transaction<LedgerTables>, leadership: Leadership): Promise<void> {
  leadership.assertHeld();
  const found = await tx
    .selectFrom('trading_leader')
    .select('epoch')
    .where('account_label', '=', leadership.accountLabel)
    .where('epoch', '=', leadership.epoch.toString())
    .forKeyShare()
    .execute();
  if (found.length === 0) throw leadershipLost(leadership.accountLabel, 'another process raised the epoch');
}

/** Advisory lock key of an account; two different accounts never share one in practice (64-bit hash). */
const LOCK_KEY = `hashtextextended('torghut:trading-scheduler:' || $1::text, 0)`;

interface Holder {
  epoch: string | null;
  owner: string | null;
  expired: boolean | null;
  row_pid: number | null;
  lock_pid: number | null;
}

/** Who holds the lock, by Postgres' own list, and what the row says about it. */
async function readHolder(client: pg.Client, accountLabel: string): Promise<Holder> {
  const result = await client.query<Holder>(
    `with lock as (
       select l.pid from pg_locks l
       where l.locktype = 'advisory' and l.granted and l.objsubid = 1
         and l.database = (select oid from pg_database where datname = current_database())
         and ((l.classid::bigint << 32) | l.objid::bigint) = ${LOCK_KEY}
     )
     select r.epoch::text, r.owner, r.lease_expires_at < clock_timestamp() as expired, r.backend_pid as row_pid,
            (select pid from lock) as lock_pid
     from (select 1) one left join trading_leader r on r.account_label = $1::text`,
    [accountLabel],
  );
  return result.rows[0] ?? { epoch: null, owner: null, expired: null, row_pid: null, lock_pid: null };
}

/** Takes the lock if it is free and writes the row with the next epoch. Undefined when another holds it. */
async function tryAcquire(
  client: pg.Client,
  accountLabel: string,
  owner: string,
  lease: LeaseTiming,
): Promise<{ epoch: bigint; sentAt: number } | undefined> {
  const got = await client.query<{ ok: boolean }>(`select pg_try_advisory_lock(${LOCK_KEY}) as ok`, [accountLabel]);
  if (!got.rows[0]?.ok) return undefined;
  const row = await client.query<{ epoch: string }>(
    `insert into trading_leader (account_label, epoch, owner, backend_pid, acquired_at, lease_expires_at)
     values ($1, 1, $2, pg_backend_pid(), clock_timestamp(), clock_timestamp() + $3 * interval '1 millisecond')
     on conflict (account_label) do update set epoch = trading_leader.epoch + 1, owner = excluded.owner,
       backend_pid = excluded.backend_pid, acquired_at = excluded.acquired_at, lease_expires_at = excluded.lease_expires_at
     returning epoch::text`,
    [accountLabel, owner, lease.leaseMs],
  );
  const epoch = BigInt(row.rows[0]?.epoch ?? '0');
  // Raising the epoch may have waited for a transaction that a frozen predecessor left open: the lease begins only now.
  const sentAt = machineMs();
  await extendLease(client, accountLabel, owner, epoch, lease);
  return { epoch, sentAt };
}

/** False when the row belongs to another leader by now. */
async function extendLease(
  client: pg.Client,
  accountLabel: string,
  owner: string,
  epoch: bigint,
  lease: LeaseTiming,
): Promise<boolean> {
  const renewed = await client.query(
    `update trading_leader set lease_expires_at = clock_timestamp() + $4 * interval '1 millisecond'
     where account_label = $1 and epoch = $2 and owner = $3 and backend_pid = pg_backend_pid()`,
    [accountLabel, epoch.toString(), owner, lease.leaseMs],
  );
  return renewed.rowCount === 1;
}

/** Waits until this process leads the account. @throws `leadership_wait_aborted`, `ledger_unreachable` */
export async function acquireLeadership(
  connection: ConnectionOptions,
  options: AcquireOptions,
  lease: LeaseTiming = defaultLease,
): Promise<Leadership> {
  const { accountLabel, signal } = options;
  const owner = `${hostname()}:${process.pid}`;
  const client = new pg.Client({
    ...clientConfig({ ...connection, applicationName: `torghut-leader-${accountLabel}` }),
  });
  let connectionError: string | undefined;
  client.on('error', (error) => {
    connectionError = describeError(error);
  });
  try {
    await client.connect();
    let reportedAt = -Infinity;
    /** A lock without a matching row is somebody between lock and row, or frozen there: give it one lease. */
    let strangerSince: { pid: number; at: number } | undefined;
    while (!signal?.aborted) {
      const acquired = await tryAcquire(client, accountLabel, owner, lease);
      if (acquired) {
        crashPoint('leader.acquired');
        return lead({ client, accountLabel, owner, lease, connectionError, ...acquired });
      }
      const holder = await readHolder(client, accountLabel);
      if (machineMs() - reportedAt >= 1_000) {
        reportedAt = machineMs();
        options.onWaiting?.({
          epoch: BigInt(holder.epoch ?? '0'),
          owner: holder.owner ?? 'unknown',
          leaseExpired: holder.expired ?? true,
        });
      }
      if (holder.lock_pid === null) {
        await sleep(10, signal);
        continue;
      }
      if (holder.lock_pid === holder.row_pid) {
        strangerSince = undefined;
        // Only the very backend whose lease ran out is ended, never one that has just taken the lock.
        if (holder.expired) await terminateBackend(client, accountLabel, holder.lock_pid);
      } else if (strangerSince?.pid !== holder.lock_pid) {
        strangerSince = { pid: holder.lock_pid, at: machineMs() };
      } else if (machineMs() - strangerSince.at > lease.leaseMs) {
        await terminateBackend(client, accountLabel, holder.lock_pid);
      }
      await sleep(lease.retryMs, signal);
    }
    throw new TorghutError({
      code: 'leadership_wait_aborted',
      what: `stopped waiting for the leadership of the account ${accountLabel}`,
    });
  } catch (error) {
    await client.end().catch(() => undefined);
    throw ledgerError(error);
  }
}

/** Ends the backend if it still holds this account's lock: the pid may belong to somebody else by now. */
async function terminateBackend(client: pg.Client, accountLabel: string, pid: number): Promise<void> {
  const holder = await readHolder(client, accountLabel);
  if (holder.lock_pid !== pid || (holder.row_pid === pid && !holder.expired)) return;
  await client.query('select pg_terminate_backend($1)', [pid]);
}

interface LeadInput {
  client: pg.Client;
  accountLabel: string;
  owner: string;
  epoch: bigint;
  lease: LeaseTiming;
  sentAt: number;
  connectionError: string | undefined;
}

function lead(input: LeadInput): Leadership {
  const { client, accountLabel, owner, epoch, lease } = input;
  let heldUntil = input.sentAt + lease.leaseMs;
  let lostBecause: string | undefined;
  const listeners: ((reason: string) => void)[] = [];
  const lose = (reason: string) => {
    if (lostBecause !== undefined) return;
    lostBecause = reason;
    clearInterval(timer);
    // Ending the connection frees the lock at once for the next one.
    void client.end().catch(() => undefined);
    for (const listener of listeners) listener(reason);
  };
  let isRenewing = false;
  const renew = async () => {
    const sentAt = machineMs();
    if (sentAt >= heldUntil) return lose('the lease ran out before it could be renewed');
    if (isRenewing) return;
    isRenewing = true;
    try {
      const isRenewed = await extendLease(client, accountLabel, owner, epoch, lease);
      if (!isRenewed) return lose('another process raised the epoch');
      heldUntil = sentAt + lease.leaseMs;
    } catch (error) {
      lose(`the lease could not be renewed: ${describeError(error)}`);
    } finally {
      isRenewing = false;
    }
  };
  const timer = setInterval(() => void renew(), lease.renewMs);
  timer.unref();
  client.on('error', (error) => lose(`the connection that holds the lock failed: ${describeError(error)}`));
  client.on('end', () => lose('the connection that holds the lock ended'));
  if (input.connectionError) lose(input.connectionError);

  const isHeld = () => {
    if (lostBecause === undefined && machineMs() >= heldUntil) lose('the lease ran out before it could be renewed');
    return lostBecause === undefined;
  };
  return {
    accountLabel,
    epoch,
    isHeld,
    assertHeld: () => {
      if (!isHeld()) throw leadershipLost(accountLabel, lostBecause ?? 'unknown');
    },
    onLost: (listener) => {
      if (lostBecause === undefined) listeners.push(listener);
      else listener(lostBecause);
    },
    release: async () => {
      if (lostBecause !== undefined) return;
      listeners.length = 0;
      lostBecause = 'released';
      clearInterval(timer);
      await client.end().catch(() => undefined);
    },
  };
}
