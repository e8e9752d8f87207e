/** The pure parts of the Kafka adapter: who gets which number, what of a fetch is committed, what may be written. */
import fc from 'fast-check';
import type { FetchedMessage } from 'kafkajs/src/broker/index.js';
import { expect, test } from 'vitest';
import {
  assignedNumbers,
  assignNumbers,
  decodeClaim,
  encodeAssignment,
  encodeClaim,
} from '../../src/lib/log/kafka/assignment.ts';
import { committedPart } from '../../src/lib/log/kafka/committed.ts';
import { placeRecords } from '../../src/lib/log/kafka/records.ts';

test('a number that another member holds is given to nobody else, and after a few rounds all are shared evenly', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.array(fc.array(fc.nat(11), { maxLength: 12 }), { minLength: 1, maxLength: 5 }),
      (partitions, helds) => {
        const members = helds.map((held, i) => ({
          memberId: `m${i}`,
          held: [...new Set(held)].filter((p) => p < partitions),
        }));
        for (let round = 0; round < 4; round++) {
          const given = assignNumbers(members, partitions);
          for (const member of members) {
            for (const p of given.get(member.memberId) ?? []) {
              const others = members.filter((other) => other !== member && other.held.includes(p));
              expect(others, `number ${p}`).toEqual([]);
            }
          }
          // Everybody stops what it lost and takes what it got.
          for (const member of members) member.held = given.get(member.memberId) ?? [];
        }
        expect(members.flatMap(({ held }) => held).sort((a, b) => a - b)).toEqual(
          Array.from({ length: partitions }, (_, p) => p),
        );
        const counts = members.map(({ held }) => held.length);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      },
    ),
    { numRuns: 500 },
  );
});

test('claims and assignments survive their bytes; what is neither is no number', () => {
  expect(decodeClaim('m', encodeClaim(['a', 'b'], [2, 0]))).toEqual({ memberId: 'm', held: [2, 0] });
  const partitionsOf = new Map([
    ['a', 3],
    ['b', 1],
  ]);
  expect(assignedNumbers(encodeAssignment([0, 2], partitionsOf))).toEqual([0, 2]);
  expect(assignedNumbers(Buffer.alloc(0))).toEqual([]);
  expect(assignedNumbers(Buffer.from([0, 1, 0, 0, 0, 9]))).toEqual([]);
});

interface Written {
  producer: number;
  count: number;
  /** Of the records of this batch, how many compaction took from its end. */
  removed: number;
}

/** A partition as the broker stores it: batches of open transactions in any mix, each transaction with its end. */
function partitionOf(steps: readonly (Written | { producer: number; isCommit: boolean })[]) {
  const messages: FetchedMessage[] = [];
  const open = new Map<number, { first: bigint; offsets: string[] }>();
  const aborted: { producerId: string; firstOffset: string; last: bigint }[] = [];
  const committed = new Set<string>();
  let offset = 0n;
  const push = (producer: number, count: number, removed: number, key: Buffer | null) => {
    const first = offset;
    offset += BigInt(count);
    const batchContext = {
      firstOffset: String(first),
      lastOffsetDelta: count - 1,
      producerId: String(producer),
      inTransaction: true,
    };
    for (let i = 0; i < count - removed; i++) {
      messages.push({
        offset: String(first + BigInt(i)),
        timestamp: '0',
        key,
        value: null,
        headers: {},
        isControlRecord: key !== null,
        batchContext,
      });
    }
    return first;
  };
  for (const step of steps) {
    const transaction = open.get(step.producer);
    if ('count' in step) {
      const first = push(step.producer, step.count, Math.min(step.removed, step.count - 1), null);
      const kept = messages.filter((one) => BigInt(one.offset) >= first).map((one) => one.offset);
      if (transaction) transaction.offsets.push(...kept);
      else open.set(step.producer, { first, offsets: kept });
    } else if (transaction) {
      open.delete(step.producer);
      push(step.producer, 1, 0, Buffer.from([0, 0, 0, step.isCommit ? 1 : 0]));
      if (step.isCommit) for (const one of transaction.offsets) committed.add(one);
      else aborted.push({ producerId: String(step.producer), firstOffset: String(transaction.first), last: offset });
    }
  }
  const stable = [...open.values()].reduce((least, { first }) => (first < least ? first : least), offset);
  return { messages: messages.filter((one) => BigInt(one.offset) < stable), aborted, committed, stable };
}

test('a fetch from anywhere gives the committed records and no other, and ends behind its last batch', () => {
  const write = fc.record({ producer: fc.nat(2), count: fc.integer({ min: 1, max: 4 }), removed: fc.nat(2) });
  const end = fc.record({ producer: fc.nat(2), isCommit: fc.boolean() });
  fc.assert(
    fc.property(fc.array(fc.oneof(write, end), { maxLength: 40 }), fc.nat(100), (steps, where) => {
      const { messages, aborted, committed, stable } = partitionOf(steps);
      const fetched = stable === 0n ? 0n : BigInt(where) % stable;
      // A broker answers with whole batches from the one that holds the offset, and the aborted transactions that reach it.
      const from = messages.filter(
        ({ batchContext }) => BigInt(batchContext.firstOffset) + BigInt(batchContext.lastOffsetDelta) >= fetched,
      );
      const part = committedPart(
        {
          partition: 0,
          errorCode: 0,
          highWatermark: String(stable),
          abortedTransactions: aborted.filter(({ last }) => last > fetched),
          messages: from,
        },
        fetched,
      );
      const expected = [...committed].filter((one) => BigInt(one) >= fetched && BigInt(one) < stable);
      expect(part.messages.map(({ offset }) => offset)).toEqual(
        expected.sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1)),
      );
      expect(part.next).toBe(from.length === 0 ? fetched : stable);
    }),
    { numRuns: 1_000 },
  );
});

test('a record that a broker would refuse is refused before anything is sent', async () => {
  const facts = async () => ({ partitions: 3, isCompacted: true, maxBytes: 1_000 });
  const maxRequestBytes = 10_000;
  const good = { topic: 't', partition: 0, key: 'k', value: Buffer.from('x'), timestampMs: 1 };
  const bad = [
    { partition: 3 },
    { partition: -1 },
    { partition: 0.5 },
    { timestampMs: -1 },
    { timestampMs: 1.5 },
    { timestampMs: Number.NaN },
    { key: null },
    { value: Buffer.alloc(1_000) },
    { headers: { much: 'x'.repeat(1_000) } },
  ];
  for (const change of bad) {
    const placed = placeRecords({ records: [good, { ...good, ...change }] }, { factsOf: facts, maxRequestBytes });
    await expect(placed, JSON.stringify(change)).rejects.toMatchObject({ code: 'record_invalid' });
  }
  const { partition: _, ...keyed } = good;
  const [request] = await placeRecords({ records: [keyed] }, { factsOf: facts, maxRequestBytes });
  const [partitions] = [...(request?.topics.values() ?? [])];
  expect([...(partitions?.values() ?? [])]).toEqual([[keyed]]);
});

test('a commit is cut into requests of bounded size, every record once and in order', async () => {
  const record = fc.record({
    topic: fc.constantFrom('a', 'b'),
    partition: fc.nat(2),
    key: fc.constantFrom('k', 'long key'),
    value: fc.nat(800).map((size) => Buffer.alloc(size)),
    timestampMs: fc.nat(),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(record, { maxLength: 60 }),
      fc.integer({ min: 1_000, max: 5_000 }),
      async (records, most) => {
        const factsOf = async () => ({ partitions: 3, isCompacted: false, maxBytes: 4_000 });
        const requests = await placeRecords({ records }, { factsOf, maxRequestBytes: most });
        for (const topic of ['a', 'b']) {
          for (const partition of [0, 1, 2]) {
            const placed = requests.flatMap(({ topics }) => topics.get(topic)?.get(partition) ?? []);
            expect(placed).toEqual(records.filter((one) => one.topic === topic && one.partition === partition));
          }
        }
        for (const { topics, bytes } of requests) {
          const all = [...topics.values()].flatMap((partitions) => [...partitions.values()].flat());
          expect(all.length).toBeGreaterThan(0);
          expect(bytes).toBeGreaterThan(all.reduce((sum, { value }) => sum + (value?.length ?? 0), 0));
          expect(bytes).toBeLessThanOrEqual(Math.min(most, 4_000));
        }
      },
    ),
  );
});
