/**
 * Trade updates from the log into the ledger (spec 4.6). Offsets live in Postgres beside the events, so each update is
 * applied exactly once; what the broker sends twice is known by its fingerprint.
 * A record that cannot be read is counted, noted and passed: reconcile learns the same from the broker's REST.
 */
import type { EventLog, LogReader, LogRecord } from '../log/port.ts';
import { crashPoint } from '../service/crash-point.ts';
import type { DeskContext } from './context.ts';
import type { Finding } from './contract.ts';
import { recordOrder } from './order-book.ts';
import { noteFindings } from './settle.ts';
import { readTradeUpdate } from './trade-updates.ts';

export interface FeedOptions {
  eventLog: EventLog;
  topic: string;
  runId: string;
  /** Records of one transaction (default 200, TRADING_ORDER_FEED_BATCH_SIZE). */
  batchSize?: number;
}

export interface OrderFeed {
  /** Reads and applies what is there, waiting up to `waitMs` machine ms for the first record. Returns how many records. */
  step(waitMs: number, signal?: AbortSignal): Promise<number>;
  positions(): { partition: number; nextOffset: bigint }[];
  close(): Promise<void>;
}

/** Opens the feed at the stored offsets. */
export async function openOrderFeed(context: DeskContext, options: FeedOptions): Promise<OrderFeed> {
  const { eventLog, topic, runId, batchSize = 200 } = options;
  const { accountLabel } = context.settings;
  const key = { accountLabel, runId, topic };
  const description = (await eventLog.describeTopics([topic])).find((found) => found.name === topic);
  const stored = new Map<number, bigint>();
  for (const position of await context.ledger.orderRead.events.positions(key)) {
    stored.set(position.partition, position.nextOffset);
  }
  const partitions = (description?.partitions ?? []).map(({ partition, earliest }) => ({
    topic,
    partition,
    // Retention may have passed a position while nobody traded; reconcile covers what is gone.
    start: maxOf(stored.get(partition), earliest),
  }));
  const reader: LogReader | undefined = partitions.length > 0 ? await eventLog.openReader({ partitions }) : undefined;
  const next = new Map(partitions.map(({ partition, start }) => [partition, start]));

  const apply = async (records: readonly LogRecord[]): Promise<void> => {
    const findings: Finding[] = [];
    const ends = new Map<number, bigint>();
    const counts = { applied: 0, duplicate: 0, stale: 0 };
    crashPoint('feed.before');
    await context.write(async (tx) => {
      for (const record of records) {
        ends.set(record.partition, record.offset + 1n);
        const read = readTradeUpdate(record, { runId, accountLabel, topic });
        if (read.kind === 'ignored') continue;
        if (read.kind === 'unreadable') {
          context.log.error(
            { partition: record.partition, offset: String(record.offset), why: read.why },
            'unreadable trade update',
          );
          continue;
        }
        if (await tx.events.isKnown(accountLabel, read.row.fingerprint)) {
          counts.duplicate += 1;
          continue;
        }
        const { update } = read;
        const book = {
          accountLabel,
          epoch: context.leadership.epoch,
          nowMs: context.clock.nowMs(),
          wasLookedUp: false,
        };
        const result = await recordOrder(tx, book, update.order, update.fill ? [update.fill] : []);
        if (result.kind === 'foreign') {
          await tx.events.insert(read.row, {});
          findings.push({
            kind: 'foreign_order',
            subject: update.order.id,
            isPaging: false,
            detail: { client_order_id: update.order.clientOrderId, symbol: update.order.symbol },
          });
          continue;
        }
        findings.push(...result.findings);
        const { execution } = result;
        await tx.events.insert(read.row, {
          executionId: execution.id,
          ...(execution.decisionId === undefined ? {} : { decisionId: execution.decisionId }),
        });
        if (result.claimSettled) context.counters.submitted += 1;
        counts[result.isStale && result.fillsAdded === 0 ? 'stale' : 'applied'] += 1;
      }
      for (const [partition, to] of ends) {
        await tx.events.advance(key, partition, stored.get(partition), to, context.clock.nowMs());
      }
      crashPoint('feed.in_transaction');
    });
    crashPoint('feed.committed');
    for (const [partition, to] of ends) {
      stored.set(partition, to);
      next.set(partition, to);
    }
    context.counters.updatesApplied += counts.applied;
    context.counters.updatesDuplicate += counts.duplicate;
    context.counters.updatesStale += counts.stale;
    await noteFindings(context, findings);
  };

  return {
    step: async (waitMs, signal) => {
      if (!reader) return 0;
      const records = await reader.poll({ maxRecords: batchSize, waitMs, ...(signal ? { signal } : {}) });
      if (records.length === 0) return 0;
      try {
        await apply(records);
      } catch (error) {
        // Nothing was committed: read the same records again.
        for (const [partition, offset] of next) reader.seek({ topic, partition }, offset);
        throw error;
      }
      return records.length;
    },
    positions: () => [...next].map(([partition, nextOffset]) => ({ partition, nextOffset })),
    close: async () => reader?.close(),
  };
}

function maxOf(a: bigint | undefined, b: bigint): bigint {
  return a !== undefined && a > b ? a : b;
}
