/**
 * The recorded day as ws would have written it to the log, with the disorder of a real feed on top: most records come within
 * the out-of-orderness, some late, some twice, some trades are cancelled. The same seed gives the same records.
 */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { partitionOfKey } from '../../src/lib/log/partition.ts';
import type { EventLog, NewRecord } from '../../src/lib/log/port.ts';
import { defaultTopics, topicSpec } from '../../src/lib/log/topics.ts';
import type { Channel } from '../../src/lib/market/envelope.ts';
import { createEnvelopeWriter, type EnvelopeWriter } from '../../src/lib/market/envelope-text.ts';
import type { Clock } from '../../src/lib/service/clock.ts';
import { seededRandom } from '../ta/fixtures.ts';

export const partitions = 3;
const inputs = ['trades', 'quotes', 'bars'] as const;
/** Market ms between two progress records of a partition. */
const PROGRESS_MS = 10_000;

export interface FeedOptions {
  data: string;
  seed: number;
  /** Event times, RFC 3339, from (included) and to (excluded). */
  from: string;
  to: string;
}

export interface FeedCounts {
  records: number;
  trades: number;
  quotes: number;
  bars: number;
  late: number;
  twice: number;
  cancelled: number;
}

interface Message {
  role: (typeof inputs)[number];
  channel: Channel;
  symbol: string;
  t: string;
  ms: number;
  raw: string;
}

async function* messagesOf(options: FeedOptions, role: Message['role']): AsyncGenerator<Message> {
  const file = join(options.data, 'us-equities-2013-10-08', `${role}.ndjson.gz`);
  for await (const raw of createInterface({ input: createReadStream(file).pipe(createGunzip()) })) {
    const { S, t } = JSON.parse(raw) as { S: string; t: string };
    if (t < options.from || t >= options.to) continue;
    // A minute bar is sent when its minute is over.
    const ms = Date.parse(t) + (role === 'bars' ? 61_000 : 0);
    yield { role, channel: role, symbol: S, t, ms, raw };
  }
}

/** All messages by time; each file is in order already. */
async function* merged(options: FeedOptions): AsyncGenerator<Message> {
  const streams = inputs.map((role) => messagesOf(options, role));
  const heads = await Promise.all(streams.map(async (stream) => (await stream.next()).value as Message | undefined));
  for (;;) {
    let best = -1;
    for (const [i, head] of heads.entries()) {
      if (head && (best < 0 || head.ms < (heads[best] as Message).ms)) best = i;
    }
    if (best < 0) return;
    yield heads[best] as Message;
    heads[best] = (await streams[best]?.next())?.value as Message | undefined;
  }
}

interface Arrival {
  atMs: number;
  message: Message;
}

/** Messages by the second of their arrival. */
class ArrivalQueue {
  readonly #seconds = new Map<number, Arrival[]>();

  add(atMs: number, message: Message): void {
    const second = Math.floor(atMs / 1_000);
    const list = this.#seconds.get(second);
    if (list) list.push({ atMs, message });
    else this.#seconds.set(second, [{ atMs, message }]);
  }

  /** Everything that arrives before a second, in order. */
  take(before: number): Arrival[] {
    const due = [...this.#seconds.keys()].filter((second) => second < before).sort((a, b) => a - b);
    return due.flatMap((second) => {
      const list = this.#seconds.get(second) as Arrival[];
      this.#seconds.delete(second);
      return list.sort((a, b) => a.atMs - b.atMs);
    });
  }
}

function recordOf(writer: EnvelopeWriter, { atMs, message }: Arrival): NewRecord {
  const { role, channel, symbol, t, raw } = message;
  const fields = { channel, symbol, eventTs: t, payload: raw, nowMs: atMs } as const;
  const value = Buffer.from(writer.market({ ...fields, session: 'regular', source: 'ws', isFinal: true }));
  return { topic: defaultTopics[role], key: symbol, value, timestampMs: atMs };
}

function progressRecord(role: Message['role'], partition: number, atMs: number): NewRecord {
  const body = { event_ts: new Date(atMs).toISOString(), channel: 'progress', symbol: '', seq: 0, payload: {} };
  const value = Buffer.from(JSON.stringify(body));
  return { topic: defaultTopics[role], partition, key: null, value, timestampMs: atMs, headers: { shard: '0/1' } };
}

/** Writes the day into the ingest topics, which are made. @returns what was written */
export async function feedRecordedDay(log: EventLog, clock: Clock, options: FeedOptions): Promise<FeedCounts> {
  await log.ensureTopics(inputs.map((role) => topicSpec(role, { partitions, clock: 'virtual' })));
  const writer = await log.openWriter({ owner: 'feed' });
  const envelopes = createEnvelopeWriter({ feed: 'sip', clock, lastSeq: 0 });
  const random = seededRandom(options.seed);
  const counts: FeedCounts = { records: 0, trades: 0, quotes: 0, bars: 0, late: 0, twice: 0, cancelled: 0 };
  const queue = new ArrivalQueue();
  const lastAt = new Map<string, number>();
  let batch: NewRecord[] = [];
  let lastMs = 0;

  const put = async (record: NewRecord) => {
    batch.push(record);
    if (record.key !== null) counts.records += 1;
    if (batch.length < 5_000) return;
    await writer.commit({ records: batch });
    batch = [];
  };
  /** Progress of partitions that had nothing for a while, up to a time. */
  const advance = async (atMs: number) => {
    for (const role of inputs) {
      for (let partition = 0; partition < partitions; partition++) {
        const place = `${role} ${partition}`;
        if (atMs - (lastAt.get(place) ?? 0) < PROGRESS_MS) continue;
        lastAt.set(place, atMs);
        await put(progressRecord(role, partition, atMs));
      }
    }
  };
  const flush = async (before: number) => {
    for (const arrival of queue.take(before)) {
      await advance(arrival.atMs);
      lastMs = Math.max(lastMs, arrival.atMs);
      await put(recordOf(envelopes, arrival));
      const { role, symbol } = arrival.message;
      lastAt.set(`${role} ${partitionOfKey(symbol, partitions)}`, arrival.atMs);
    }
  };

  let second = 0;
  for await (const message of merged(options)) {
    const { role, ms, raw } = message;
    if (Math.floor(ms / 1_000) > second) {
      second = Math.floor(ms / 1_000);
      await flush(second);
    }
    counts[role] += 1;
    const isLate = random() < 0.02;
    const delay = isLate ? 1_000 + random() * 10_000 : random() * 300;
    if (isLate) counts.late += 1;
    queue.add(Math.floor(ms + delay), message);
    if (random() < 0.01) {
      counts.twice += 1;
      queue.add(Math.floor(ms + delay + random() * 3_000), message);
    }
    if (role !== 'trades' || random() >= 0.002) continue;
    counts.cancelled += 1;
    const { i, x, S, z } = JSON.parse(raw) as { i: number; x: string; S: string; z: string };
    const t = new Date(ms + Math.floor(random() * 4_000)).toISOString();
    const cancel = JSON.stringify({ T: 'x', S, i, x, p: 1, s: 1, a: 'C', t, z });
    queue.add(Date.parse(t), { ...message, channel: 'cancelErrors', t, raw: cancel });
  }
  await flush(Number.POSITIVE_INFINITY);
  for (const after of [30_000, 60_000, 100_000]) await advance(lastMs + after);
  if (batch.length > 0) await writer.commit({ records: batch });
  await writer.close();
  return counts;
}
