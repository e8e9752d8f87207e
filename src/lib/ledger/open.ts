/**
 * Opens the ledger: one pool, the repositories on it, and the leader's transactions.
 * Guarantee: the only way to a write is `write` or `writeOrders`, whose first statement checks the leader's epoch.
 */
import { sql, type Transaction } from 'kysely';
import type { Clock } from '../service/clock.ts';
import { accountRepository } from './account.ts';
import { type ClaimRepository, claimRepository } from './claims.ts';
import { type ConnectionOptions, ledgerError, openConnection } from './connection.ts';
import type { DecisionStatus, Leadership, Ledger, LedgerReads, LedgerTransaction } from './contract.ts';
import { updateCosts } from './costs.ts';
import { cursorRepository } from './cursors.ts';
import { decisionRepository } from './decisions.ts';
import { type ExecutionRepository, executionRepository } from './executions.ts';
import { type FindingRepository, findingRepository } from './findings.ts';
import { flattenRepository } from './flatten.ts';
import { toJsonb } from './jsonb.ts';
import { acquireLeadership, checkEpoch, defaultLease, type LeaseTiming } from './leadership.ts';
import { checkSchema } from './migrator.ts';
import { type OrderEventRepository, orderEventRepository } from './order-events.ts';
import { newestRefusalAtMs, openCounts, orderReads } from './order-reads.ts';
import { type ProfitReads, profitReads } from './profit.ts';
import { strategyRepository } from './strategies.ts';
import type { LedgerDb, LedgerTables } from './tables.ts';
import { optionalTime, timeOf } from './values.ts';

/** What lib/orders may write; nobody else asks for it. */
export interface OrderTransaction extends LedgerTransaction {
  readonly claims: ClaimRepository;
  readonly executions: ExecutionRepository;
  readonly events: OrderEventRepository;
  readonly findings: FindingRepository;
  /** Status of a decision whose order the broker has: from planned or an order state, never from a refusal. */
  setOrderStatus(
    decisionId: string,
    change: { status: DecisionStatus; atMs: number; executedAtMs?: number; reasons?: readonly string[] },
  ): Promise<boolean>;
  updateCosts(executionId: string, atMs: number): Promise<void>;
}

/** Reads that lib/orders needs beyond the public ones. */
export interface OrderLedgerReads {
  readonly claims: Pick<ClaimRepository, 'byDecision' | 'open'>;
  readonly executions: Pick<ExecutionRepository, 'byIds' | 'unsettled' | 'fills'>;
  readonly events: Pick<OrderEventRepository, 'positions'>;
  readonly findings: Pick<FindingRepository, 'open' | 'lastPassAtMs'>;
  openCounts(accountLabel: string): Promise<{ open: number; unknownClaims: number }>;
  /** Market ms at which a decision was last refused for a reason; of those decided at or after `sinceMs`. */
  newestRefusalAtMs(accountLabel: string, reason: string, sinceMs: number): Promise<number | undefined>;
}

export interface OrderLedger extends Ledger {
  readonly orderRead: OrderLedgerReads;
  readonly profit: ProfitReads;
  writeOrders<T>(leadership: Leadership, work: (tx: OrderTransaction) => Promise<T>): Promise<T>;
  /** Connections of the pool that somebody is using now. */
  connectionsInUse(): number;
}

export interface OpenLedgerOptions {
  dsn: string;
  clock: Clock;
  /** Shown in pg_stat_activity (default `torghut`). */
  applicationName?: string;
  maxConnections?: number;
  lease?: LeaseTiming;
}

/** Opens the ledger; connects at the first use. Call `check()` before relying on the schema. */
export function openLedger(options: OpenLedgerOptions): OrderLedger {
  const settings: ConnectionOptions = {
    dsn: options.dsn,
    applicationName: options.applicationName ?? 'torghut',
    ...(options.maxConnections === undefined ? {} : { maxConnections: options.maxConnections }),
  };
  const connection = openConnection(settings);
  const { db } = connection;
  const { clock } = options;

  const transactionOf = (tx: LedgerDb, epoch: bigint): OrderTransaction => {
    const account = accountRepository(tx);
    return {
      account,
      decisions: decisionRepository(tx, epoch),
      cursors: cursorRepository(tx),
      strategies: strategyRepository(tx, {
        epoch,
        nowMs: () => clock.nowMs(),
        audit: (actor, action, after) => account.audit({ actor, action, after: toJsonb(after), atMs: clock.nowMs() }),
      }),
      orders: orderReads(tx),
      flatten: flattenRepository(tx),
      claims: claimRepository(tx),
      executions: executionRepository(tx),
      events: orderEventRepository(tx),
      findings: findingRepository(tx),
      setOrderStatus: (decisionId, change) => setOrderStatus(tx, decisionId, change),
      updateCosts: (executionId, atMs) => updateCosts(tx, executionId, atMs),
    };
  };

  const writeOrders: OrderLedger['writeOrders'] = async (leadership, work) => {
    leadership.assertHeld();
    try {
      return await db.transaction().execute(async (tx: Transaction<LedgerTables>) => {
        await checkEpoch(tx, leadership);
        return work(transactionOf(tx, leadership.epoch));
      });
    } catch (error) {
      throw ledgerError(error);
    }
  };

  const reads = transactionOf(db, 0n);
  const read: LedgerReads = {
    decisions: readsOf(reads.decisions, [
      'byId',
      'byHash',
      'unresolved',
      'list',
      'counts',
      'newestEntryAtMs',
      'newestEntries',
    ]),
    cursors: readsOf(reads.cursors, ['positions', 'lastEvaluated']),
    strategies: readsOf(reads.strategies, ['all', 'versions', 'version']),
    orders: readsOf(reads.orders, ['openOrders', 'executions', 'fills', 'positions', 'counts']),
    account: readsOf(reads.account, [
      'controls',
      'newestSnapshot',
      'firstSnapshotSince',
      'highestEquitySince',
      'stopMarks',
    ]),
    flatten: readsOf(reads.flatten, ['active', 'newest']),
  };
  const orderRead: OrderLedgerReads = {
    claims: readsOf(reads.claims, ['byDecision', 'open']),
    executions: readsOf(reads.executions, ['byIds', 'unsettled', 'fills']),
    events: readsOf(reads.events, ['positions']),
    findings: readsOf(reads.findings, ['open', 'lastPassAtMs']),
    ...readsOf(
      {
        openCounts: (accountLabel: string) => openCounts(db, accountLabel),
        newestRefusalAtMs: (accountLabel: string, reason: string, sinceMs: number) =>
          newestRefusalAtMs(db, accountLabel, reason, sinceMs),
      },
      ['openCounts', 'newestRefusalAtMs'],
    ),
  };

  return {
    read,
    orderRead,
    profit: readsOf(profitReads(db), ['fillsBefore', 'equityOver']),
    write: (leadership, work) => writeOrders(leadership, work),
    writeOrders,
    acquireLeadership: (acquire) => acquireLeadership(settings, acquire, options.lease ?? defaultLease),
    check: () => checkSchema(db),
    connectionsInUse: () => connection.pool.totalCount - connection.pool.idleCount,
    close: () => connection.close(),
  };
}

/** The named reads alone; they run outside transactions, so their driver errors become ours here. */
function readsOf<T extends object, K extends keyof T & string>(repository: T, names: readonly K[]): Pick<T, K> {
  const picked: Partial<Pick<T, K>> = {};
  for (const name of names) {
    const call = repository[name] as (...args: unknown[]) => Promise<unknown>;
    const guarded = async (...args: unknown[]) => {
      try {
        return await call(...args);
      } catch (error) {
        throw ledgerError(error);
      }
    };
    picked[name] = guarded as T[K];
  }
  return picked as Pick<T, K>;
}

async function setOrderStatus(
  db: LedgerDb,
  decisionId: string,
  change: { status: DecisionStatus; atMs: number; executedAtMs?: number; reasons?: readonly string[] },
): Promise<boolean> {
  const updated = await db
    .updateTable('trade_decisions')
    .set({
      status: change.status,
      resolved_at: sql<Date>`coalesce(resolved_at, ${timeOf(change.atMs)})`,
      executed_at: sql<Date | null>`coalesce(executed_at, ${optionalTime(change.executedAtMs)}::timestamptz)`,
      ...(change.status === 'rejected'
        ? { reject_origin: 'broker' as const, reasons: [...(change.reasons ?? ['broker_rejected'])] }
        : {}),
    })
    .where('id', '=', decisionId)
    .where('status', 'not in', ['rejected', 'blocked'])
    .where('status', '!=', change.status)
    .executeTakeFirst();
  return updated.numUpdatedRows === 1n;
}
