/**
 * The gapless signal cursor (design 5: trade): per run, window size and partition the source offset reached, and per symbol
 * and window size the last evaluated event time.
 * Guarantees: a cursor moves only from the offset that its reader knew (compare and set); evaluated times never go back.
 */
import { sql } from 'kysely';
import { TorghutError } from '../service/errors.ts';
import type { CursorKey, CursorWrites } from './contract.ts';
import type { LedgerDb } from './tables.ts';
import { timeOf } from './values.ts';

export function cursorRepository(db: LedgerDb): CursorWrites {
  const moved = (key: CursorKey, from: bigint | undefined) =>
    new TorghutError({
      code: 'cursor_moved',
      what: `the signal cursor ${key.runId}/${key.windowSize}/${key.partition} is not where this batch began`,
      why: `expected ${from ?? 'no cursor'}, found another offset`,
      next: 'read the cursor anew and take the batch from there',
      canRetry: true,
    });
  return {
    positions: async (accountLabel, runId) => {
      const rows = await db
        .selectFrom('trade_cursor')
        .selectAll()
        .where('account_label', '=', accountLabel)
        .where('run_id', '=', runId)
        .execute();
      return rows.map((row) => ({
        accountLabel,
        runId,
        windowSize: row.window_size as CursorKey['windowSize'],
        partition: row.source_partition,
        nextOffset: BigInt(row.next_offset),
      }));
    },
    lastEvaluated: async (accountLabel, runId) => {
      const rows = await db
        .selectFrom('trade_cursor_symbols')
        .selectAll()
        .where('account_label', '=', accountLabel)
        .where('run_id', '=', runId)
        .execute();
      return new Map(rows.map((row) => [`${row.symbol} ${row.window_size}`, row.last_event_ts.getTime()]));
    },
    advance: async (key, from, to, atMs) => {
      if (from !== undefined && to < from) throw moved(key, from);
      const position = { next_offset: to, cursor_at: timeOf(atMs) };
      if (from === undefined) {
        const inserted = await db
          .insertInto('trade_cursor')
          .values({
            account_label: key.accountLabel,
            run_id: key.runId,
            window_size: key.windowSize,
            source_partition: key.partition,
            ...position,
          })
          .onConflict((conflict) => conflict.doNothing())
          .executeTakeFirst();
        if (inserted.numInsertedOrUpdatedRows !== 1n) throw moved(key, from);
        return;
      }
      const updated = await db
        .updateTable('trade_cursor')
        .set(position)
        .where('account_label', '=', key.accountLabel)
        .where('run_id', '=', key.runId)
        .where('window_size', '=', key.windowSize)
        .where('source_partition', '=', key.partition)
        .where('next_offset', '=', from.toString())
        .executeTakeFirst();
      if (updated.numUpdatedRows !== 1n) throw moved(key, from);
    },
    setEvaluated: async (accountLabel, runId, rows) => {
      // One row per key: an upsert must not meet the same key twice in one statement.
      const newest = new Map<string, (typeof rows)[number]>();
      for (const row of rows) {
        const key = `${row.symbol} ${row.windowSize}`;
        const known = newest.get(key);
        if (!known || row.eventTsMs > known.eventTsMs) newest.set(key, row);
      }
      if (newest.size === 0) return;
      await db
        .insertInto('trade_cursor_symbols')
        .values(
          [...newest.values()].map((row) => ({
            account_label: accountLabel,
            run_id: runId,
            symbol: row.symbol,
            window_size: row.windowSize,
            last_event_ts: timeOf(row.eventTsMs),
          })),
        )
        .onConflict((conflict) =>
          conflict.columns(['account_label', 'run_id', 'symbol', 'window_size']).doUpdateSet({
            last_event_ts: sql<Date>`greatest(trade_cursor_symbols.last_event_ts, excluded.last_event_ts)`,
          }),
        )
        .execute();
    },
    recordSignals: async (rows) => {
      // A statement takes at most 65,535 parameters.
      for (let start = 0; start < rows.length; start += 1_000) {
        await db
          .insertInto('signal_notes')
          .values(
            rows.slice(start, start + 1_000).map((row) => ({
              account_label: row.accountLabel,
              run_id: row.runId,
              window_size: row.windowSize,
              source_partition: row.partition,
              source_offset: row.sourceOffset,
              kind: row.kind,
              symbol: row.symbol,
              event_ts: timeOf(row.eventTsMs),
              revision: row.revision,
              noted_at: timeOf(row.atMs),
              would_differ: row.wouldDiffer ?? null,
              detail: row.detail ?? null,
            })),
          )
          .onConflict((conflict) => conflict.doNothing())
          .execute();
      }
    },
  };
}
