/**
 * What a starting ws learns from its own topics: the next `seq`, the counters of the run, order events told lately, and which
 * entries of the journal never reached the log.
 */
import type { EventLog } from '../../lib/log/port.ts';
import type { JournalEntry } from './journal.ts';
import { decodeCounts } from './publisher.ts';
import type { Slots } from './records.ts';
import { readLast, readToEnd } from './tail.ts';

export interface Recovered {
  lastSeq: number;
  /** Order events that are in the log, the provider's data. */
  orderEvents: Record<string, unknown>[];
  /** Market ns of the newest of them. */
  newestOrderNs: bigint | undefined;
  /** Journal entries to publish, with the topics that lack them (empty for market messages: their own topic lacks them). */
  lost: { entry: JournalEntry; missingIn: string[] }[];
}

/** Order events read per partition: more than a provider repeats. */
const ORDER_EVENTS = 1_000;

/** Reads the tails and fills the counters of the slots. */
export async function recover(
  log: EventLog,
  slots: Slots,
  topics: { trades: string; status: string; tradeUpdates: string; tradeUpdatesV2: string },
  left: readonly JournalEntry[],
  shard?: string,
): Promise<Recovered> {
  let lastSeq = 0;
  const orderEvents: Record<string, unknown>[] = [];
  let newestOrderNs: bigint | undefined;
  for (const slot of slots.all()) {
    const isOrders = slot.topic === topics.tradeUpdatesV2;
    // The last record of a commit carries the counters, and the last record of a partition is the last of its commit.
    const found = await readLast(log, slot, isOrders ? ORDER_EVENTS : 1, isOrders ? undefined : shard);
    for (const { record, value, eventNs } of found) {
      if (isOrders && eventNs !== undefined && eventNs > (newestOrderNs ?? 0n)) newestOrderNs = eventNs;
      if (value !== undefined && value.seq > lastSeq) lastSeq = value.seq;
      if (record.headers.counts !== undefined) {
        slot.counts.clear();
        for (const [channel, count] of decodeCounts(record.headers.counts)) slot.counts.set(channel, count);
        slot.markMs = Number(record.headers.mark ?? 0);
        slot.spoolNumber = Number(record.headers.spool ?? 0);
      }
      if (isOrders && value !== undefined) orderEvents.push(value.payload);
    }
  }
  return { lastSeq, orderEvents, newestOrderNs, lost: await lostEntries(log, slots, topics, left) };
}

async function lostEntries(
  log: EventLog,
  slots: Slots,
  topics: { trades: string; status: string; tradeUpdates: string; tradeUpdatesV2: string },
  left: readonly JournalEntry[],
): Promise<Recovered['lost']> {
  if (left.length === 0) return [];
  const fromMs = left.reduce((earliest, entry) => Math.min(earliest, entry.at), Number.MAX_SAFE_INTEGER);
  const found = new Map<string, Set<string>>();
  for (const topic of Object.values(topics)) {
    const ids = new Set<string>();
    for (let partition = 0; partition < slots.partitions; partition++) {
      const start = await log.offsetForTime({ topic, partition }, fromMs);
      const [described] = await log.describeTopics([topic]);
      const end = described?.partitions.find((item) => item.partition === partition)?.latest ?? 0n;
      await readToEnd(log, { topic, partition }, start, end, (record) => {
        const id = record.headers.spool_id;
        if (id !== undefined) ids.add(id);
      });
    }
    found.set(topic, ids);
  }
  const isIn = (topic: string, entry: JournalEntry) => found.get(topic)?.has(entry.id) === true;
  const lost: Recovered['lost'] = [];
  for (const entry of left) {
    if (entry.kind === 'order') {
      const missingIn = [topics.tradeUpdates, topics.tradeUpdatesV2].filter((topic) => !isIn(topic, entry));
      if (missingIn.length > 0) lost.push({ entry, missingIn });
    } else if (!isIn(topics.trades, entry) && !isIn(topics.status, entry)) {
      lost.push({ entry, missingIn: [] });
    }
  }
  return lost;
}
