/** Our produce request against kafkajs' own: the same bytes, whatever is sent. */
import fc from 'fast-check';
import type { ProduceArguments } from 'kafkajs/src/protocol/requests/index.js';
import kafkajsRequests from 'kafkajs/src/protocol/requests/index.js';
import { expect, test } from 'vitest';
import { encodeProduceInOnePiece, originalProduce } from '../../src/lib/log/kafka/produce-encoding.ts';

const { requests } = kafkajsRequests;
const text = fc.string({ unit: 'binary', maxLength: 40 });
const shared = { schema: 'torghut.envelope.v2', producer: 'torghut-ws', producer_epoch: '1773151200000' };
const message = fc.record({
  key: fc.oneof(text, fc.constant(null)),
  value: fc.oneof(
    fc.uint8Array({ maxLength: 20_000 }).map((bytes) => Buffer.from(bytes)),
    fc.constant(null),
  ),
  timestamp: fc.integer({ min: 1_000_000_000_000, max: 9_999_999_999_999 }).map(String),
  headers: fc.oneof(fc.constant(shared), fc.constant({}), fc.dictionary(text, text, { maxKeys: 4 })),
});
const given: fc.Arbitrary<ProduceArguments> = fc.record({
  acks: fc.constant(-1),
  timeout: fc.nat(60_000),
  transactionalId: fc.oneof(fc.constant(null), fc.constant('torghut-ws')),
  producerId: fc.oneof(fc.constant('0'), fc.bigInt({ min: 0n, max: 2n ** 62n }).map(String)),
  producerEpoch: fc.nat(32_767),
  compression: fc.constant(0),
  topicData: fc.array(
    fc.record({
      topic: fc.constantFrom('torghut.trades.v1', 'torghut.quotes.v1', 'x'),
      partitions: fc.array(
        fc.record({
          partition: fc.nat(100),
          firstSequence: fc.nat(2 ** 31 - 1),
          messages: fc.array(message, { minLength: 1, maxLength: 150 }),
        }),
        { maxLength: 3 },
      ),
    }),
    { maxLength: 3 },
  ),
});

test('the same bytes as kafkajs for every request without compression', async () => {
  encodeProduceInOnePiece();
  await fc.assert(
    fc.asyncProperty(given, fc.constantFrom(3, 5, 7), async (request, version) => {
      const theirs = await originalProduce.protocol({ version })(request).request.encode();
      const ours = await requests.Produce.protocol({ version })(request).request.encode();
      expect(ours.buffer.equals(theirs.buffer)).toBe(true);
    }),
    { numRuns: process.env.TORGHUT_TEST_FULL ? 1_000 : 150 },
  );
});

test('messages without a time, with headers of several values, and compressed ones stay with kafkajs', async () => {
  encodeProduceInOnePiece();
  const odd = [
    { key: 'A', value: 'x' },
    { key: 'A', value: 'x', timestamp: '1773151200000', headers: { h: ['a', 'b'] } },
  ];
  for (const one of odd) {
    const request: ProduceArguments = {
      acks: -1,
      timeout: 1,
      topicData: [{ topic: 't', partitions: [{ partition: 0, messages: [one] }] }],
    };
    const encoded = await requests.Produce.protocol({ version: 7 })(request).request.encode();
    expect(encoded.buffer.length).toBeGreaterThan(80);
  }
});
