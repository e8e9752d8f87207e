/**
 * Trade updates as they were read from the log, and the position reached in it (spec 4.6, 5.1).
 * Guarantees: the offset moves in the transaction that stores the events, so none is lost or applied twice; an event is
 * known by its fingerprint however often the broker sends it.
 */
import { randomUUID } from 'node:crypto';
import type { Decimal } from 'decimal.js';
import { TorghutError } from '../service/errors.ts';
import type { Jsonb } from './jsonb.ts';
import type { LedgerDb } from './tables.ts';
import { numericOf, optionalNumeric, timeOf } from './values.ts';

export interface OrderEvent {
  fingerprint: string;
  runId: string;
  topic: string;
  partition: number;
  offset: bigint;
  accountLabel: string;
  feedSeq?: bigint;
  eventTsMs: number;
  symbol: string;
  brokerOrderId: string;
  clientOrderId: string;
  eventType: string;
  status: string;
  quantity?: Decimal;
  price?: Decimal;
  filledQty: Decimal;
  avgFillPrice?: Decimal;
  brokerExecutionId?: string;
  raw: Jsonb;
}

export interface FeedKey {
  accountLabel: string;
  runId: string;
  topic: string;
}

export function orderEventRepository(db: LedgerDb) {
  return {
    /** Next offsets of the trade-update topic. */
    positions: async (key: FeedKey): Promise<{ partition: number; nextOffset: bigint }[]> => {
      const rows = await db
        .selectFrom('order_feed_cursor')
        .select(['source_partition', 'next_offset'])
        .where('account_label', '=', key.accountLabel)
        .where('run_id', '=', key.runId)
        .where('topic', '=', key.topic)
        .orderBy('source_partition')
        .execute();
      return rows.map((row) => ({ partition: row.source_partition, nextOffset: BigInt(row.next_offset) }));
    },

    /** @throws `cursor_moved` when the stored offset is not `from` */
    advance: async (
      key: FeedKey,
      partition: number,
      from: bigint | undefined,
      to: bigint,
      atMs: number,
    ): Promise<void> => {
      const position = { next_offset: to, cursor_at: timeOf(atMs) };
      const changed =
        from === undefined
          ? (
              await db
                .insertInto('order_feed_cursor')
                .values({
                  account_label: key.accountLabel,
                  run_id: key.runId,
                  topic: key.topic,
                  source_partition: partition,
                  ...position,
                })
                .onConflict((conflict) => conflict.doNothing())
                .executeTakeFirst()
            ).numInsertedOrUpdatedRows
          : (
              await db
                .updateTable('order_feed_cursor')
                .set(position)
                .where('account_label', '=', key.accountLabel)
                .where('run_id', '=', key.runId)
                .where('topic', '=', key.topic)
                .where('source_partition', '=', partition)
                .where('next_offset', '=', from.toString())
                .executeTakeFirst()
            ).numUpdatedRows;
      if (changed === 1n) return;
      throw new TorghutError({
        code: 'cursor_moved',
        what: `the trade-update cursor of partition ${partition} is not where this batch began`,
        why: 'another process moved it, or the batch was already stored',
        next: 'read the cursor anew',
        canRetry: true,
      });
    },

    /** The row's id, or undefined when the event is known. */
    insert: async (
      event: OrderEvent,
      link: { executionId?: string; decisionId?: string },
    ): Promise<string | undefined> => {
      const row = await db
        .insertInto('execution_order_events')
        .values({
          id: randomUUID(),
          event_fingerprint: event.fingerprint,
          run_id: event.runId,
          source_topic: event.topic,
          source_partition: event.partition,
          source_offset: event.offset,
          alpaca_account_label: event.accountLabel,
          feed_seq: event.feedSeq ?? null,
          event_ts: timeOf(event.eventTsMs),
          symbol: event.symbol,
          alpaca_order_id: event.brokerOrderId,
          client_order_id: event.clientOrderId,
          event_type: event.eventType,
          status: event.status,
          qty: optionalNumeric(event.quantity),
          price: optionalNumeric(event.price),
          filled_qty: numericOf(event.filledQty),
          avg_fill_price: optionalNumeric(event.avgFillPrice),
          broker_execution_id: event.brokerExecutionId ?? null,
          raw_event: event.raw,
          execution_id: link.executionId ?? null,
          trade_decision_id: link.decisionId ?? null,
        })
        .onConflict((conflict) => conflict.doNothing())
        .returning('id')
        .executeTakeFirst();
      return row?.id;
    },

    /** Was this event stored before, under whatever offset? */
    isKnown: async (accountLabel: string, fingerprint: string): Promise<boolean> => {
      const row = await db
        .selectFrom('execution_order_events')
        .select('id')
        .where('alpaca_account_label', '=', accountLabel)
        .where('event_fingerprint', '=', fingerprint)
        .executeTakeFirst();
      return row !== undefined;
    },
  };
}

export type OrderEventRepository = ReturnType<typeof orderEventRepository>;
