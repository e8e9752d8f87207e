/**
 * Random commits by random writers in two processes against a model of a few arrays: what is acknowledged is what is read, from
 * any offset, whoever wrote it, and a replaced writer changes nothing.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { EventLog, NewRecord, TopicSpec } from '../../src/lib/log/port.ts';
import type { Peer, peerPool } from './children/driver.ts';

interface Parts {
  log: () => EventLog;
  pool: ReturnType<typeof peerPool>;
  isFull: boolean;
}

const PARTITIONS = 2;
let run = 0;

const step = fc.oneof(
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('open' as const), peer: fc.nat(1), owner: fc.nat(PARTITIONS - 1) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('commit' as const),
      peer: fc.nat(1),
      owner: fc.nat(PARTITIONS - 1),
      records: fc.array(
        fc.record({
          topic: fc.nat(1),
          key: fc.constantFrom('A', 'B', 'ключ'),
          size: fc.oneof(fc.nat(40), fc.constantFrom(20_000, 70_000)),
          timestampMs: fc.integer({ min: 1, max: 1_000 }),
        }),
        { maxLength: 30 },
      ),
    }),
  },
);

interface Modelled {
  key: string;
  size: number;
  timestampMs: number;
}

export function describeAgainstModel({ log, pool, isFull }: Parts): void {
  test('random commits by random writers read back as a simple model says', async () => {
    const peers = [await pool.start(), await pool.start()];
    const seed = Number(process.env.TORGHUT_TEST_SEED ?? Math.floor(performance.timeOrigin % 1e9));
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), fc.nat(100), async (steps, probe) => {
        run += 1;
        await check(log(), peers, `model-${process.pid}-${run}`, steps, probe);
      }),
      { numRuns: isFull ? 60 : 6, seed, verbose: 1 },
    );
  }, 900_000);
}

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function check(
  log: EventLog,
  peers: Peer[],
  prefix: string,
  steps: readonly Step[],
  probe: number,
): Promise<void> {
  const topics = [`${prefix}-a`, `${prefix}-b`];
  const spec = (name: string): TopicSpec => ({
    name,
    partitions: PARTITIONS,
    retentionMs: -1,
    cleanup: 'delete',
    owner: `${prefix}-{p}`,
  });
  await log.ensureTopics(topics.map(spec));
  const model = new Map<string, Modelled[]>();
  /** Which peer holds the live writer of an owner; a peer may also hold a replaced one. */
  const live = new Map<number, number>();
  const opened = new Set<string>();
  for (const one of steps) {
    const peer = peers[one.peer] as Peer;
    const owner = `${prefix}-${one.owner}`;
    if (one.kind === 'open') {
      await peer.call('openWriter', owner);
      live.set(one.owner, one.peer);
      opened.add(`${one.peer}/${one.owner}`);
      continue;
    }
    if (!opened.has(`${one.peer}/${one.owner}`)) continue;
    const records = one.records.map(
      ({ topic, key, size, timestampMs }): NewRecord => ({
        topic: topics[topic] as string,
        partition: one.owner,
        key,
        value: Buffer.alloc(size, size % 251),
        timestampMs,
      }),
    );
    if (records.length === 0) continue;
    if (live.get(one.owner) !== one.peer) {
      await expect(peer.call('commit', owner, { records })).rejects.toMatchObject({ code: 'fenced' });
      continue;
    }
    await peer.call('commit', owner, { records });
    for (const { topic, key, size, timestampMs } of one.records) {
      const id = `${topics[topic]}/${one.owner}`;
      model.set(id, [...(model.get(id) ?? []), { key, size, timestampMs }]);
    }
  }
  for (const topic of topics) {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      await compare(log, topic, partition, model.get(`${topic}/${partition}`) ?? [], probe);
    }
  }
  for (const id of opened) {
    const [peer, owner] = id.split('/').map(Number) as [number, number];
    await (peers[peer] as Peer).call('closeWriter', `${prefix}-${owner}`);
  }
}

async function compare(
  log: EventLog,
  topic: string,
  partition: number,
  expected: Modelled[],
  probe: number,
): Promise<void> {
  const reader = await log.openReader({ partitions: [{ topic, partition, start: 'earliest' }] });
  const offsets: bigint[] = [];
  const found: Modelled[] = [];
  while (found.length < expected.length) {
    const records = await reader.poll({ maxRecords: 1 + (probe % 13), waitMs: 10_000 });
    if (records.length === 0) break;
    for (const { offset, key, value, timestampMs } of records) {
      offsets.push(offset);
      const bytes = Buffer.from(value as Buffer);
      expect(bytes.every((byte) => byte === bytes.length % 251)).toBe(true);
      found.push({ key: key as string, size: bytes.length, timestampMs });
    }
  }
  expect(found).toEqual(expected);
  expect(await reader.poll({ maxRecords: 10, waitMs: 0 })).toEqual([]);
  if (expected.length > 0) {
    const from = probe % expected.length;
    reader.seek({ topic, partition }, offsets[from] as bigint);
    const [next] = await reader.poll({ maxRecords: 1, waitMs: 10_000 });
    expect(next?.offset).toBe(offsets[from]);
    const timestampMs = 1 + probe * 10;
    let maximum = 0;
    const at = expected.findIndex((one) => {
      maximum = Math.max(maximum, one.timestampMs);
      return maximum >= timestampMs;
    });
    const answer = await log.offsetForTime({ topic, partition }, timestampMs);
    if (at >= 0) expect(answer).toBe(offsets[at]);
    else expect(answer).toBeGreaterThan(offsets.at(-1) as bigint);
  }
  await reader.close();
}
