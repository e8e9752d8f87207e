/** A feed of envelopes into a real event log, as ws writes them: for the tests of the ta engine. */
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEventLog } from '../../src/lib/log/open.ts';
import { partitionOfKey } from '../../src/lib/log/partition.ts';
import type { EventLog, LogWriter, NewRecord } from '../../src/lib/log/port.ts';
import { defaultTopics, topicSpec } from '../../src/lib/log/topics.ts';
import { ownClockFile, virtualClock } from '../../src/lib/service/clock.ts';
import { homePaths } from '../../src/lib/service/home.ts';
import { formatInstant, type MarketEvent } from '../../src/lib/ta/index.ts';
import { type Arrival, OPEN, seededRandom } from './fixtures.ts';

export const partitions = 3;
const inputs = ['trades', 'quotes', 'bars'] as const;

/** The provider's message of an event, in its envelope. */
export function envelopeOf(event: MarketEvent): { channel: string; text: string } {
  const t = formatInstant(event.sec, event.nano);
  const common = { S: event.symbol, t };
  const [channel, payload] = ((): [string, Record<string, unknown>] => {
    switch (event.kind) {
      case 'trade':
        return ['trades', { T: 't', ...common, i: event.id, x: event.exchange, p: event.price, s: event.size, c: event.conditions, z: event.tape }];
      case 'quote':
        return ['quotes', { T: 'q', ...common, bx: 'Q', bp: event.bidPrice, bs: event.bidSize, ax: 'N', ap: event.askPrice, as: event.askSize, c: ['R'], z: 'A' }];
      case 'bar':
        return [event.isUpdate ? 'updatedBars' : 'bars', { T: event.isUpdate ? 'u' : 'b', ...common, o: event.open, h: event.high, l: event.low, c: event.close, v: event.volume, revision: event.revision }];
      case 'correction':
        return ['corrections', { T: 'c', ...common, x: event.exchange, oi: event.id, op: 1, os: 1, oc: [], ci: event.newId, cp: event.price, cs: event.size, cc: event.conditions, z: event.tape }];
      case 'cancel':
        return ['cancelErrors', { T: 'x', ...common, x: event.exchange, i: event.id, p: 1, s: 1, a: 'C', z: 'A' }];
    }
  })(); // biome-ignore format: one line per channel
  const text = JSON.stringify({
    ingest_ts: t, event_ts: t, feed: 'sip', channel, symbol: event.symbol, seq: event.seq, payload, account_label: null,
    is_final: true, source: 'ws', window: null, version: 2, provider: 'alpaca', market_session: 'regular', delay_class: null,
    producer_epoch: 1,
  }); // biome-ignore format: as ws writes it
  return { channel, text };
}

const roleOf = (event: MarketEvent) => (event.kind === 'quote' ? 'quotes' : event.kind === 'bar' ? 'bars' : 'trades');

export interface FeedRecord {
  atMs: number;
  record: NewRecord;
}

export function progressRecords(atMs: number): FeedRecord[] {
  const eventTs = new Date(atMs).toISOString();
  const value = Buffer.from(
    JSON.stringify({ event_ts: eventTs, channel: 'progress', symbol: '', seq: 0, payload: {} }),
  );
  return inputs.flatMap((role) =>
    Array.from({ length: partitions }, (_, partition) => ({
      atMs,
      record: { topic: defaultTopics[role], partition, key: null, value, timestampMs: atMs, headers: { shard: '0/1' } },
    })),
  );
}

/** Records by arrival, with progress in every partition each 250 ms and until 100 s after the last. */
export function feedRecords(arrivals: readonly Arrival[], seed: number): FeedRecord[] {
  const random = seededRandom(seed);
  const records: FeedRecord[] = [];
  for (const { event, at } of arrivals) {
    // Most come within the out-of-orderness, some late, some twice.
    const delays = [random() < 0.05 ? random() * 12 : random() * 0.4];
    if (random() < 0.04) delays.push((delays[0] as number) + random() * 5);
    for (const delay of delays) {
      const atMs = Math.floor((OPEN + at + delay) * 1_000);
      const value = Buffer.from(envelopeOf(event).text);
      records.push({
        atMs,
        record: { topic: defaultTopics[roleOf(event)], key: event.symbol, value, timestampMs: atMs },
      });
    }
  }
  const lastMs = Math.max(...records.map(({ atMs }) => atMs));
  for (let ms = OPEN * 1_000; ms < lastMs + 1_000; ms += 250) records.push(...progressRecords(ms));
  for (const after of [30_000, 60_000, 100_000]) records.push(...progressRecords(lastMs + after));
  return records.sort((a, b) => a.atMs - b.atMs);
}

export interface Feed {
  home: string;
  log: EventLog;
  writer: LogWriter;
  env: NodeJS.ProcessEnv;
  close(): Promise<void>;
}

/** A new home with a standing virtual clock, the ingest topics, and their writer. */
export async function openFeed(): Promise<Feed> {
  const home = mkdtempSync(join(tmpdir(), 'torghut-ta-'));
  mkdirSync(homePaths.log(home), { recursive: true });
  const owner = ownClockFile(homePaths.clock(home), BigInt(OPEN + 600) * 1_000_000_000n, 0);
  owner.close();
  const clock = virtualClock(homePaths.clock(home));
  const log = await openEventLog({ home, env: {}, clock });
  await log.ensureTopics(inputs.map((role) => topicSpec(role, { partitions, clock: 'virtual' })));
  const writer = await log.openWriter({ owner: 'ws' });
  const env = {
    ...process.env,
    TORGHUT_CLOCK: homePaths.clock(home),
    TORGHUT_RUN_ID: 'test',
    TA_COMMIT_INTERVAL_MS: '10',
    TA_COMMIT_RECORDS: '200',
    TA_GROUP_SESSION_MS: '1500',
    LOG_LEVEL: 'warn',
    KAFKA_BOOTSTRAP: '',
  };
  return { home, log, writer, env, close: () => log.close() };
}

/** Everything in a topic, per key the values in order, without `ingest_ts`. */
export async function readOutputs(log: EventLog, topic: string): Promise<Map<string, string[]>> {
  const [description] = await log.describeTopics([topic]);
  const byKey = new Map<string, string[]>();
  for (const { partition, latest } of description?.partitions ?? []) {
    const reader = await log.openReader({ partitions: [{ topic, partition, start: 'earliest' }] });
    while ((reader.positions()[0]?.offset ?? 0n) < latest) {
      for (const record of await reader.poll({ maxRecords: 5_000, waitMs: 200 })) {
        const value = JSON.parse(record.value?.toString() ?? 'null') as Record<string, unknown>;
        if (partitionOfKey(record.key ?? '', partitions) !== partition)
          throw new Error(`${record.key} in ${partition}`);
        delete value.ingest_ts;
        const key = `${record.key} ${String(value.window_size ?? value.reason)} ${String(value.event_ts)}`;
        byKey.set(key, [...(byKey.get(key) ?? []), JSON.stringify(value)]);
      }
    }
    await reader.close();
  }
  return new Map([...byKey].sort(([a], [b]) => (a < b ? -1 : 1)));
}
