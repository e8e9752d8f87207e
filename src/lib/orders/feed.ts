/**
 * Trade updates from the log into the ledger (spec 4.6). Offsets live in Postgres beside the events, so each update is
 * applied exactly once; what the broker sends twice is known by its fingerprint.
 * A record that cannot be read, or that the ledger cannot hold (a number beyond its columns), becomes a finding and is
 * passed, alone: its neighbours are applied, and reconcile learns the same from the broker's REST.
 */
import type { EventLog, LogReader, LogRecord } from '../log/port.ts';
import { crashPoint } from '../service/crash-point.ts';
import { describeError } from '../service/errors.ts';
import type { DeskContext } from './context.ts';
import type { Finding } from './contract.ts';
import { recordOrder } from './order-book.ts';
import { noteFindings } from './settle.ts';
import { readTradeUpdate } from './trade-updates.ts';
import { isUnstorable } from './unstorable.ts';

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

  const passed = (ends: ReadonlyMap<number, bigint>) => {
    for (const [partition, to] of ends) {
      stored.set(partition, to);
      next.set(partition, to);
    }
  };

  /** What the ledger cannot hold must not stop what it can: once more one by one, the poison alone is passed. */
  const applyAll = async (records: readonly LogRecord[]): Promise<void> => {
    try {
      await apply(records);
    } catch (error) {
      if (!isUnstorable(error)) throw error;
      const [record, ...others] = records;
      if (record && others.length === 0) await passOver(record, error);
      else for (const one of records) await applyAll([one]);
    }
  };

  const passOver = async (record: LogRecord, error: unknown): Promise<void> => {
    const to = record.offset + 1n;
    await context.write((tx) =>
      tx.events.advance(key, record.partition, stored.get(record.partition), to, context.clock.nowMs()),
    );
    passed(new Map([[record.partition, to]]));
    context.counters.feedRecords += 1;
    context.counters.feedUnreadable += 1;
    await noteFindings(context, [unreadable(topic, record, describeError(error))]);
  };

  const apply = async (records: readonly LogRecord[]): Promise<void> => {
    const findings: Finding[] = [];
    const ends = new Map<number, bigint>();
    const counts = { applied: 0, duplicate: 0, stale: 0, events: 0, unreadable: 0 };
    crashPoint('feed.before');
    await context.write(async (tx) => {
      for (const record of records) {
        ends.set(record.partition, record.offset + 1n);
        const read = readTradeUpdate(record, { runId, accountLabel, topic });
        if (read.kind === 'ignored') continue;
        if (read.kind === 'unreadable') {
          counts.unreadable += 1;
          findings.push(unreadable(topic, record, read.why));
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
          counts.events += 1;
          findings.push({
            kind: 'foreign_order',
            subject: update.order.id,
            isPaging: false,
            detail: { client_order_id: update.order.clientOrderId, symbol: update.order.symbol },
          });
          continue;
        }
        counts.events += 1;
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
    passed(ends);
    context.counters.updatesApplied += counts.applied;
    context.counters.updatesDuplicate += counts.duplicate;
    context.counters.updatesStale += counts.stale;
    context.counters.feedRecords += records.length;
    context.counters.feedEvents += counts.events;
    context.counters.feedUnreadable += counts.unreadable;
    await noteFindings(context, findings);
  };

  return {
    step: async (waitMs, signal) => {
      if (!reader) return 0;
      const records = await reader.poll({ maxRecords: batchSize, waitMs, ...(signal ? { signal } : {}) });
      if (records.length === 0) return 0;
      try {
        await applyAll(records);
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

/** Characters of a passed record that its finding keeps. */
const KEPT_CHARACTERS = 4_000;

function unreadable(topic: string, record: LogRecord, why: string): Finding {
  return {
    kind: 'unreadable_update',
    subject: `${topic} ${record.partition} ${record.offset}`,
    // Whatever it said of an order, the next pass hears from the broker and pages if it cannot be made equal.
    isPaging: false,
    detail: { why: why.slice(0, 500), record: record.value?.toString('utf8').slice(0, KEPT_CHARACTERS) ?? null },
  };
}

function maxOf(a: bigint | undefined, b: bigint): bigint {
  return a !== undefined && a > b ? a : b;
}
