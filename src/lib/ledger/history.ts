/**
 * What the history API reads of the ledger: strategies, and a day's decisions and executions in pages. Read-only transactions
 * with a strict time-out. Ascending by time and id; the pages of a day together hold every row once.
 */
import { sql } from 'kysely';
import { ledgerError, openConnection } from './connection.ts';
import { type EquityOver, profitReads, type StrategyFill } from './profit.ts';
import type { LedgerDb } from './tables.ts';
import { timeOf } from './values.ts';

export interface HistoryList {
  /** Market ms, [from, to). */
  fromMs: number;
  toMs: number;
  status: string | undefined;
  strategyId: string | undefined;
  limit: number;
  /** Where the page before ended. */
  after: { atMs: number; id: string } | undefined;
}

export interface HistoryRows {
  items: (Record<string, unknown> & { id: string; at: Date })[];
  next: { atMs: number; id: string } | null;
}

export interface LedgerHistory {
  strategies(): Promise<Record<string, unknown>[]>;
  decisions(list: HistoryList): Promise<HistoryRows>;
  executions(list: HistoryList): Promise<HistoryRows>;
  /** Every fill of all accounts before an instant. @param strategyId only those of its decisions */
  fillsBefore(untilMs: number, strategyId: string | undefined): Promise<StrategyFill[]>;
  equityOver(fromMs: number, toMs: number): Promise<EquityOver>;
  /** Decisions of a stretch that were refused, by reason, most frequent first. */
  refusals(fromMs: number, toMs: number, strategyId: string | undefined): Promise<{ reason: string; count: number }[]>;
  filled(fromMs: number, toMs: number, strategyId: string | undefined): Promise<number>;
  close(): Promise<void>;
}

const statementTimeoutMs = 5_000;

/** @param accountLabel whose history it is */
export function openLedgerHistory(dsn: string, accountLabel: string): LedgerHistory {
  const { db, close } = openConnection({
    dsn,
    applicationName: 'torghut-history',
    maxConnections: 2,
    statementTimeoutMs,
  });
  const reading = async <T>(work: (tx: LedgerDb) => Promise<T>): Promise<T> => {
    try {
      return await db.transaction().setAccessMode('read only').execute(work);
    } catch (error) {
      throw ledgerError(error);
    }
  };
  const paged = (rows: HistoryRows['items'], limit: number): HistoryRows => {
    const items = rows.slice(0, limit);
    const last = items.at(-1);
    return { items, next: rows.length > limit && last ? { atMs: last.at.getTime(), id: last.id } : null };
  };
  /** Fill time of the order, else when the broker or we last touched it (spec ta 9). */
  const executedAt = sql<Date>`coalesce(e.filled_at, e.broker_updated_at, e.last_update_at)`;

  return {
    strategies: () =>
      reading((tx) =>
        tx
          .selectFrom('strategies')
          .select(['id', 'name', 'enabled', 'base_timeframe', 'universe_symbols'])
          .orderBy('name')
          .execute(),
      ),
    decisions: ({ fromMs, toMs, status, strategyId, limit, after }) =>
      reading(async (tx) => {
        let query = tx
          .selectFrom('trade_decisions')
          .select([
            'id',
            'decided_at as at',
            'symbol',
            'action',
            'intent',
            'qty',
            'status',
            'strategy_name as strategy',
            'rationale',
            'reasons',
            sql<unknown>`decision_json -> 'review'`.as('review_verdict'),
          ])
          .where('alpaca_account_label', '=', accountLabel)
          .where('decided_at', '>=', timeOf(fromMs))
          .where('decided_at', '<', timeOf(toMs));
        if (status !== undefined) query = query.where(sql<boolean>`status = ${status}`);
        if (strategyId !== undefined) query = query.where('strategy_id', '=', strategyId);
        if (after) query = query.where(sql<boolean>`(decided_at, id) > (${timeOf(after.atMs)}, ${after.id}::uuid)`);
        return paged(
          await query
            .orderBy('decided_at')
            .orderBy('id')
            .limit(limit + 1)
            .execute(),
          limit,
        );
      }),
    executions: ({ fromMs, toMs, status, strategyId, limit, after }) =>
      reading(async (tx) => {
        let query = tx
          .selectFrom('executions as e')
          .leftJoin('trade_decisions as d', 'd.id', 'e.trade_decision_id')
          .select([
            'e.id',
            executedAt.as('at'),
            'e.symbol',
            'e.side',
            'e.filled_qty as qty',
            'e.avg_fill_price',
            'e.status',
            'e.trade_decision_id as decision_id',
            'd.strategy_name as strategy',
          ])
          .where('e.alpaca_account_label', '=', accountLabel)
          .where(executedAt, '>=', timeOf(fromMs))
          .where(executedAt, '<', timeOf(toMs));
        if (status !== undefined) query = query.where(sql<boolean>`e.status = ${status}`);
        if (strategyId !== undefined) query = query.where('d.strategy_id', '=', strategyId);
        if (after)
          query = query.where(sql<boolean>`(${executedAt}, e.id) > (${timeOf(after.atMs)}, ${after.id}::uuid)`);
        return paged(
          await query
            .orderBy(executedAt)
            .orderBy('e.id')
            .limit(limit + 1)
            .execute(),
          limit,
        );
      }),
    fillsBefore: (untilMs, strategyId) =>
      reading(async (tx) => {
        const fills = await profitReads(tx).fillsBefore(accountLabel, untilMs);
        if (strategyId === undefined) return fills;
        const found = await tx.selectFrom('strategies').select('name').where('id', '=', strategyId).executeTakeFirst();
        return fills.filter(({ strategy }) => strategy === found?.name);
      }),
    equityOver: (fromMs, toMs) => reading((tx) => profitReads(tx).equityOver(accountLabel, fromMs, toMs)),
    refusals: (fromMs, toMs, strategyId) =>
      reading(async (tx) => {
        const { rows } = await sql<{ reason: string; count: string }>`
          select reason, count(*) as count from trade_decisions, unnest(reasons) as reason
          where alpaca_account_label = ${accountLabel} and status in ('rejected', 'blocked')
            and decided_at >= ${timeOf(fromMs)} and decided_at < ${timeOf(toMs)}
            and (${strategyId ?? null}::uuid is null or strategy_id = ${strategyId ?? null}::uuid)
          group by reason order by count(*) desc, reason
        `.execute(tx);
        return rows.map(({ reason, count }) => ({ reason, count: Number(count) }));
      }),
    filled: (fromMs, toMs, strategyId) =>
      reading(async (tx) => {
        const { rows } = await sql<{ count: string }>`
          select count(*) as count from executions e left join trade_decisions d on d.id = e.trade_decision_id
          where e.alpaca_account_label = ${accountLabel} and e.status = 'filled'
            and ${executedAt} >= ${timeOf(fromMs)} and ${executedAt} < ${timeOf(toMs)}
            and (${strategyId ?? null}::uuid is null or d.strategy_id = ${strategyId ?? null}::uuid)
        `.execute(tx);
        return Number(rows[0]?.count ?? 0);
      }),
    close,
  };
}
