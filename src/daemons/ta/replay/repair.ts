/**
 * What was repaired too late for the live bars, and where it belongs: the records of the repair topic that the ingest topics
 * do not have, each with the offset of the ingest partition before which its event time lies.
 * Guarantees: compared as a multiset (design 5), so nothing counts twice: trades, corrections, cancels and bars by identity,
 * quotes by their whole content as often as they come. The answer depends on the two topics and the offsets alone, so a replay
 * that is begun again gets the same one.
 */
import { z } from 'zod';
import type { EventLog, LogRecord, TopicPartition } from '../../../lib/log/port.ts';
import { barContent, CountedSet, quoteIdentity, tradeIdentity } from '../../../lib/market/identity.ts';
import { parseTimestampNs } from '../../../lib/market/time.ts';
import { readToEnd } from '../../ws/tail.ts';
import { inputRoles } from '../merge.ts';

/** Records of the repair topic that are held in memory at most. */
export const repairLimit = 1_000_000;

/** A record that has to be read before the one at `before`, the first that tells of a later time. */
export interface Insertion {
  before: bigint;
  /** Stamp by which it is merged, market ms: that of the records before it, and never before its own time. */
  timestampMs: number;
  key: string;
  value: Buffer;
}

export interface Stretch extends TopicPartition {
  start: bigint;
  /** Exclusive. */
  end: bigint;
}

const envelopeSchema = z.object({
  event_ts: z.string(),
  channel: z.string(),
  payload: z.record(z.string(), z.unknown()),
});

const inputOf: Readonly<Record<string, number>> = {
  trades: 0,
  corrections: 0,
  cancelErrors: 0,
  quotes: 1,
  bars: 2,
  updatedBars: 2,
};
/** Market ms after its time stamp at which the provider tells a bar, and its update. */
const toldAfterMs: Readonly<Record<string, number>> = { bars: 60_000, updatedBars: 90_000 };

interface Parsed {
  /** Undefined for progress, which only tells the time. */
  input: number | undefined;
  identity: string;
  /** One identity is one thing, however often it is told. */
  isUnique: boolean;
  dueMs: number;
}

function parse(record: LogRecord): Parsed | undefined {
  if (record.value === null) return undefined;
  let value: z.output<typeof envelopeSchema>;
  try {
    value = envelopeSchema.parse(JSON.parse(record.value.toString('utf8')));
  } catch {
    // What no reader can use takes no part in the comparison.
    return undefined;
  }
  const { channel, payload } = value;
  const input = inputOf[channel];
  const ns = parseTimestampNs(value.event_ts);
  if (ns === undefined) return undefined;
  const dueMs = Number(ns / 1_000_000n) + (toldAfterMs[channel] ?? 0);
  return {
    input,
    identity: `${channel}|${identityOf(record.key ?? '', channel, payload)}`,
    isUnique: channel !== 'quotes',
    dueMs,
  };
}

function identityOf(symbol: string, channel: string, payload: Record<string, unknown>): string {
  const text = (name: string) => String(payload[name] ?? '');
  if (channel === 'trades') {
    return tradeIdentity({ symbol, exchange: text('x'), tape: text('z'), id: text('i'), time: text('t') });
  }
  if (channel === 'quotes') return quoteIdentity(payload);
  if (channel === 'bars' || channel === 'updatedBars') return `${symbol}|${text('t')}|${barContent(payload)}`;
  return `${symbol}|${JSON.stringify(Object.entries(payload).sort(([a], [b]) => (a < b ? -1 : 1)))}`;
}

/**
 * @param inputs the stretches of trades, quotes and bars of one partition that are replayed
 * @param window insertions due within it count, epoch ms
 * @returns for each input its insertions, by due time; and how many repaired records were there already
 */
export async function missingRecords(
  log: EventLog,
  repair: Stretch,
  inputs: readonly Stretch[],
  window: { fromMs: number; toMs: number },
): Promise<{ insertions: Insertion[][]; known: number }> {
  const found: (Insertion & Parsed)[] = [];
  const seen = new Set<string>();
  let known = 0;
  await readToEnd(log, repair, repair.start, repair.end, (record) => {
    const parsed = parse(record);
    if (!parsed || record.key === null || parsed.input === undefined) return;
    if (parsed.dueMs < window.fromMs || parsed.dueMs > window.toMs) return;
    if (parsed.isUnique && seen.has(parsed.identity)) {
      known += 1;
      return;
    }
    seen.add(parsed.identity);
    found.push({
      ...parsed,
      before: 0n,
      timestampMs: parsed.dueMs,
      key: record.key as string,
      value: record.value as Buffer,
    });
  });
  const insertions: Insertion[][] = inputRoles.map(() => []);
  for (const [input, stretch] of inputs.entries()) {
    const mine = found.filter((item) => item.input === input).sort((a, b) => a.dueMs - b.dueMs);
    if (mine.length === 0) continue;
    const symbols = new Set(mine.map(({ key }) => key));
    const present = new CountedSet();
    /** Newest time that was told, and newest stamp, before a record. */
    let [toldMs, stampMs] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
    let next = 0;
    const place = (before: bigint, isDue: (item: Parsed) => boolean) => {
      for (let item = mine[next]; item && isDue(item); item = mine[++next]) {
        item.before = before;
        item.timestampMs = Math.max(stampMs, item.dueMs);
      }
    };
    await readToEnd(log, stretch, stretch.start, stretch.end, (record) => {
      const parsed = parse(record);
      toldMs = Math.max(toldMs, parsed?.dueMs ?? Number.NEGATIVE_INFINITY);
      place(record.offset, ({ dueMs }) => dueMs < toldMs);
      stampMs = Math.max(stampMs, record.timestampMs);
      if (parsed && record.key !== null && symbols.has(record.key) && seen.has(parsed.identity))
        present.add(parsed.identity);
    });
    place(stretch.end, () => true);
    for (const item of mine) {
      if (present.take(item.identity)) known += 1;
      else {
        const { before, timestampMs, key, value } = item;
        (insertions[input] as Insertion[]).push({ before, timestampMs, key, value });
      }
    }
  }
  return { insertions, known };
}
