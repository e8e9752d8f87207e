/**
 * Reads the ends of our own topics: where the market data of each partition stopped, what the last stretch holds, the highest
 * `seq`, the counters of the run, and which journal entries are durable (design 5).
 * Guarantees: reads only a bounded stretch of market time. Why one mark per partition is enough: a socket delivers in order and
 * a commit is all or nothing, so whatever was sent before the newest durable record of a partition is durable as well.
 */
import { z } from 'zod';
import type { EventLog, LogRecord, TopicPartition } from '../../lib/log/port.ts';
import { CountedSet, quoteIdentity, tradeIdentity } from '../../lib/market/identity.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import { NS_PER_MS } from '../../lib/service/clock.ts';

/** Late prints may reach the tape this long after their time; the comparison begins so far before the mark. */
export const LATE_PRINT_NS = 15_000_000_000n;
/** A minute bar is sent a minute after its start and updated half a minute later; this covers both, with room. */
export const BAR_LOOKBACK_NS = 300_000_000_000n;
/** Our stamps are the Clock's now; events may be stamped a little ahead of it by a skewed provider. */
const SKEW_MS = 5_000;
const FIRST_WINDOW = 16n;

const valueSchema = z.object({
  event_ts: z.string(),
  channel: z.string(),
  symbol: z.string(),
  seq: z.number(),
  payload: z.record(z.string(), z.unknown()),
});

export type TailValue = z.infer<typeof valueSchema>;

export interface TailRecord {
  record: LogRecord;
  /** undefined when the value is none of ours. */
  value: TailValue | undefined;
  eventNs: bigint | undefined;
}

export function readValue(record: LogRecord): TailRecord {
  let value: TailValue | undefined;
  try {
    value = record.value === null ? undefined : valueSchema.parse(JSON.parse(record.value.toString('utf8')));
  } catch {
    // A foreign record in the topic says nothing about ours.
  }
  return { record, value, eventNs: value === undefined ? undefined : parseTimestampNs(value.event_ts) };
}

/** Reads a partition from an offset to where it ends now, handing over each record. */
export async function readToEnd(
  log: EventLog,
  partition: TopicPartition,
  from: bigint,
  end: bigint,
  onRecord: (record: LogRecord) => void,
): Promise<void> {
  if (from >= end) return;
  const reader = await log.openReader({ partitions: [{ ...partition, start: from }] });
  try {
    let emptyPolls = 0;
    // Transaction markers take offsets too: an end may be reached without a record on it.
    while (emptyPolls < 3) {
      const records = await reader.poll({ maxRecords: 5_000, waitMs: 200 });
      for (const record of records) if (record.offset < end) onRecord(record);
      const position = reader.positions()[0]?.offset ?? end;
      if (position >= end) return;
      emptyPolls = records.length === 0 ? emptyPolls + 1 : 0;
    }
  } finally {
    await reader.close();
  }
}

/**
 * The newest records of a partition, at least `atLeast` where there are so many.
 * @param shard `i/n`: only what this one of several forwarders wrote
 */
export async function readLast(
  log: EventLog,
  partition: TopicPartition,
  atLeast: number,
  shard?: string,
): Promise<TailRecord[]> {
  const ends = await partitionEnds(log, partition);
  let window = BigInt(Math.max(atLeast, Number(FIRST_WINDOW)));
  for (;;) {
    const from = ends.latest - window > ends.earliest ? ends.latest - window : ends.earliest;
    const found: LogRecord[] = [];
    await readToEnd(log, partition, from, ends.latest, (record) => {
      if (shard === undefined || record.headers.shard === shard) found.push(record);
    });
    if (found.length >= atLeast || from === ends.earliest) return found.map(readValue);
    window *= 4n;
  }
}

async function partitionEnds(log: EventLog, partition: TopicPartition): Promise<{ earliest: bigint; latest: bigint }> {
  const [topic] = await log.describeTopics([partition.topic]);
  const found = topic?.partitions.find((item) => item.partition === partition.partition);
  return found ?? { earliest: 0n, latest: 0n };
}

export interface LaneTail {
  /** Market time up to which the partition is complete; undefined when its topics are empty. */
  markNs: bigint | undefined;
  /** Identities of the trades from the mark less the late-print time. */
  trades: string[];
  quotes: CountedSet;
  bars: { symbol: string; time: string; payload: Record<string, unknown>; revision: number }[];
}

/** The tail of partition p of trades, quotes and bars, with what the repair topic already holds of the same stretch. */
export async function readLaneTail(
  log: EventLog,
  topics: { trades: string; quotes: string; bars: string; repair?: string },
  partition: number,
  shard?: string,
): Promise<LaneTail> {
  const tail: LaneTail = { markNs: undefined, trades: [], quotes: new CountedSet(), bars: [] };
  for (const topic of [topics.trades, topics.quotes, topics.bars]) {
    const last = (await readLast(log, { topic, partition }, 1, shard)).at(-1);
    // Not the newest event time: progress goes on while a mute socket brings nothing.
    const markMs = last?.record.headers.mark;
    if (markMs === undefined || !/^\d{1,16}$/.test(markMs)) continue;
    const mark = BigInt(markMs) * NS_PER_MS;
    if (tail.markNs === undefined || mark > tail.markNs) tail.markNs = mark;
  }
  const { markNs } = tail;
  if (markNs === undefined) return tail;
  const stretch = async (topic: string, fromNs: bigint, onRecord: (tail: TailRecord) => void) => {
    const ends = await partitionEnds(log, { topic, partition });
    const fromMs = Number(fromNs / NS_PER_MS) - SKEW_MS;
    const start = await log.offsetForTime({ topic, partition }, fromMs);
    await readToEnd(log, { topic, partition }, start, ends.latest, (record) => {
      const read = readValue(record);
      if (read.value !== undefined && read.eventNs !== undefined && read.eventNs >= fromNs) onRecord(read);
    });
  };
  const fromNs = markNs - LATE_PRINT_NS;
  const repair = topics.repair === undefined ? [] : [topics.repair];
  for (const topic of [topics.trades, ...repair]) {
    await stretch(topic, fromNs, ({ value }) => {
      if (value?.channel === 'trades') tail.trades.push(tradeIdentityOf(value.payload));
    });
  }
  for (const topic of [topics.quotes, ...repair]) {
    await stretch(topic, fromNs, ({ value }) => {
      if (value?.channel === 'quotes') tail.quotes.add(quoteIdentity(value.payload));
    });
  }
  for (const topic of [topics.bars, ...repair]) {
    await stretch(topic, fromNs - BAR_LOOKBACK_NS, ({ value }) => {
      if (value?.channel !== 'bars' && value?.channel !== 'updatedBars') return;
      const { payload } = value;
      const revision = typeof payload.revision === 'number' ? payload.revision : 0;
      tail.bars.push({ symbol: value.symbol, time: String(payload.t), payload, revision });
    });
  }
  return tail;
}

function tradeIdentityOf(payload: Record<string, unknown>): string {
  const text = (value: unknown) => (value === undefined || value === null ? '' : String(value));
  return tradeIdentity({
    symbol: text(payload.S),
    exchange: text(payload.x),
    tape: text(payload.z),
    id: text(payload.i),
    time: text(payload.t),
  });
}
