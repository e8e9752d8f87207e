/**
 * Decisions and their append-only history (spec 1.8, 5.1).
 * Guarantees: one decision per (account, hash) for ever; only a planned decision can be refused, so a refusal never hides
 * an order; each change of status leaves an event.
 */

import type { Selectable } from 'kysely';
import { sql } from 'kysely';
import type { Decision, OrderType, TimeInForce } from '../risk/order.ts';
import type {
  DecisionCounts, DecisionFilter, DecisionRow, DecisionStatus, DecisionWrites, NewDecision, RejectOrigin,
} from './contract.ts'; // biome-ignore format: one list
import { columnsOf, insertMany, refuseMany } from './decision-batches.ts';
import { type Jsonb, toJsonb } from './jsonb.ts';
import type { LedgerDb, LedgerTables } from './tables.ts';
import { decimalOf, defined, optionalDecimal, optionalMs, timeOf } from './values.ts';

function rowOf(row: Selectable<LedgerTables['trade_decisions']>): DecisionRow {
  const decision: Decision = defined({
    id: row.id,
    accountLabel: row.alpaca_account_label,
    strategyId: row.strategy_id,
    strategyName: row.strategy_name,
    symbol: row.symbol,
    timeframe: row.timeframe,
    eventTsMs: row.event_ts.getTime(),
    action: row.action,
    intent: row.intent,
    quantity: decimalOf(row.qty),
    orderType: row.order_type as OrderType,
    timeInForce: row.time_in_force as TimeInForce,
    limitPrice: optionalDecimal(row.limit_price),
    stopPrice: optionalDecimal(row.stop_price),
    price: optionalDecimal(row.reference_price),
    priceAsOfMs: optionalMs(row.reference_price_as_of),
    rationale: row.rationale,
    signal: {
      runId: row.run_id,
      symbol: row.symbol,
      windowSize: row.window_size as 'PT1S' | 'PT1M',
      eventTsMs: row.event_ts.getTime(),
      revision: row.signal_revision,
      sourcePartition: row.source_partition,
      sourceOffset: BigInt(row.source_offset),
    },
    hash: row.decision_hash,
  });
  return defined({
    decision,
    status: row.status,
    decidedAtMs: row.decided_at.getTime(),
    executedAtMs: optionalMs(row.executed_at),
    reasons: row.reasons,
    rejectOrigin: row.reject_origin ?? undefined,
  });
}

/** @param epoch of the leader that writes; goes into the history */
export function decisionRepository(db: LedgerDb, epoch: bigint): DecisionWrites {
  const addEvent = async (id: string, event: { stage: string; atMs: number; detail: Jsonb }) => {
    await db
      .insertInto('decision_events')
      .values({ decision_id: id, stage: event.stage, at: timeOf(event.atMs), epoch, detail: event.detail })
      .execute();
  };

  const refuse = async (
    id: string,
    status: 'rejected' | 'blocked',
    refusal: { reasons: readonly string[]; origin?: RejectOrigin; atMs: number; detail?: Jsonb },
  ): Promise<boolean> => {
    const updated = await db
      .updateTable('trade_decisions')
      .set({
        status,
        reasons: [...refusal.reasons],
        reject_origin: refusal.origin ?? null,
        resolved_at: timeOf(refusal.atMs),
      })
      .where('id', '=', id)
      .where('status', '=', 'planned')
      .executeTakeFirst();
    if (updated.numUpdatedRows === 0n) return false;
    await addEvent(id, {
      stage: status,
      atMs: refusal.atMs,
      detail: refusal.detail ?? toJsonb({ reasons: refusal.reasons, origin: refusal.origin }),
    });
    return true;
  };

  return {
    byId: async (id) => {
      const row = await db.selectFrom('trade_decisions').selectAll().where('id', '=', id).executeTakeFirst();
      return row && rowOf(row);
    },
    byHash: async (accountLabel, hash) => {
      const row = await db
        .selectFrom('trade_decisions')
        .selectAll()
        .where('alpaca_account_label', '=', accountLabel)
        .where('decision_hash', '=', hash)
        .executeTakeFirst();
      return row && rowOf(row);
    },
    unresolved: async (accountLabel, limit = 500) => {
      const rows = await db
        .selectFrom('trade_decisions as d')
        .selectAll('d')
        .where('d.alpaca_account_label', '=', accountLabel)
        .where('d.status', '=', 'planned')
        .where(({ not, exists, selectFrom }) =>
          not(exists(selectFrom('order_claims as c').select('c.decision_id').whereRef('c.decision_id', '=', 'd.id'))),
        )
        .orderBy('d.decided_at')
        .orderBy('d.id')
        .limit(limit)
        .execute();
      return rows.map(rowOf);
    },
    list: (filter) => listDecisions(db, filter),
    counts: (accountLabel) => countDecisions(db, accountLabel),
    newestEntryAtMs: async ({ accountLabel, strategyId, symbol, exceptId }) => {
      let query = db
        .selectFrom('trade_decisions')
        .select('decided_at')
        .where('alpaca_account_label', '=', accountLabel)
        .where('strategy_id', '=', strategyId)
        .where('symbol', '=', symbol)
        .where('intent', '=', 'entry')
        .where('status', 'not in', ['rejected', 'blocked']);
      if (exceptId !== undefined) query = query.where('id', '!=', exceptId);
      const row = await query.orderBy('decided_at', 'desc').limit(1).executeTakeFirst();
      return row?.decided_at.getTime();
    },
    newestEntries: async (accountLabel) => {
      const rows = await db
        .selectFrom('trade_decisions')
        .select(['strategy_id', 'symbol', (eb) => eb.fn.max('decided_at').as('at')])
        .where('alpaca_account_label', '=', accountLabel)
        .where('intent', '=', 'entry')
        .where('status', 'not in', ['rejected', 'blocked'])
        .groupBy(['strategy_id', 'symbol'])
        .execute();
      return new Map(rows.map((row) => [`${row.strategy_id} ${row.symbol}`, row.at.getTime()]));
    },
    insert: (row) => insertDecision(db, row, addEvent),
    reject: (id, refusal) => refuse(id, 'rejected', refusal),
    block: (id, refusal) => refuse(id, 'blocked', refusal),
    insertMany: (rows) => insertMany(db, rows, epoch),
    refuseMany: (refusals) => refuseMany(db, refusals, epoch),
    addEvent,
  };
}

async function insertDecision(
  db: LedgerDb,
  { decision, decidedAtMs, detail }: NewDecision,
  addEvent: DecisionWrites['addEvent'],
): Promise<{ inserted: boolean; id: string; status: DecisionStatus }> {
  const inserted = await db
    .insertInto('trade_decisions')
    .values(columnsOf({ decision, decidedAtMs, detail }))
    .onConflict((conflict) => conflict.columns(['alpaca_account_label', 'decision_hash']).doNothing())
    .returning('id')
    .executeTakeFirst();
  if (inserted) {
    await addEvent(decision.id, {
      stage: 'planned',
      atMs: decidedAtMs,
      detail: toJsonb({ quantity: decision.quantity }),
    });
    return { inserted: true, id: decision.id, status: 'planned' };
  }
  const existing = await db
    .selectFrom('trade_decisions')
    .select(['id', 'status'])
    .where('alpaca_account_label', '=', decision.accountLabel)
    .where('decision_hash', '=', decision.hash)
    .executeTakeFirstOrThrow();
  return { inserted: false, id: existing.id, status: existing.status };
}

async function listDecisions(db: LedgerDb, filter: DecisionFilter): Promise<DecisionRow[]> {
  let query = db.selectFrom('trade_decisions').selectAll();
  if (filter.accountLabel !== undefined) query = query.where('alpaca_account_label', '=', filter.accountLabel);
  if (filter.symbol !== undefined) query = query.where('symbol', '=', filter.symbol);
  if (filter.strategyName !== undefined) query = query.where('strategy_name', '=', filter.strategyName);
  if (filter.status !== undefined) query = query.where(sql<boolean>`status = ${filter.status}`);
  if (filter.sinceMs !== undefined) query = query.where('decided_at', '>=', timeOf(filter.sinceMs));
  if (filter.after !== undefined) {
    const { atMs, id } = filter.after;
    query = query.where(sql<boolean>`(decided_at, id) < (${timeOf(atMs)}, ${id}::uuid)`);
  }
  const rows = await query.orderBy('decided_at', 'desc').orderBy('id', 'desc').limit(filter.limit).execute();
  return rows.map(rowOf);
}

async function countDecisions(db: LedgerDb, accountLabel: string): Promise<DecisionCounts> {
  const byStatus = await db
    .selectFrom('trade_decisions')
    .select(['status', (eb) => eb.fn.countAll<string>().as('count')])
    .where('alpaca_account_label', '=', accountLabel)
    .groupBy('status')
    .execute();
  const reasons = await sql<{ status: string; reason: string; count: string }>`
    select status, reason, count(*) as count
    from trade_decisions, unnest(reasons) as reason
    where alpaca_account_label = ${accountLabel} and status in ('rejected', 'blocked')
    group by status, reason order by status, reason
  `.execute(db);
  const submitted = await db
    .selectFrom('order_claims')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .where('account_label', '=', accountLabel)
    .where('state', '=', 'submitted')
    .executeTakeFirstOrThrow();
  const reasonsOf = (status: string) =>
    Object.fromEntries(
      reasons.rows.filter((row) => row.status === status).map((row) => [row.reason, Number(row.count)]),
    );
  const counts = Object.fromEntries(byStatus.map((row) => [row.status, Number(row.count)]));
  return {
    total: byStatus.reduce((sum, row) => sum + Number(row.count), 0),
    byStatus: counts,
    rejectReasons: reasonsOf('rejected'),
    blockReasons: reasonsOf('blocked'),
    submitted: Number(submitted.count),
  };
}
