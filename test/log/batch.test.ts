import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeBatch, encodeBatch, readBatchHead, recordBytes } from '../../src/lib/log/embedded/batch.ts';

const text = fc.string({ unit: 'binary', maxLength: 20 }).map((value) => value.toWellFormed());
const record = fc.record({
  step: fc.integer({ min: 1, max: 5 }),
  key: fc.option(text),
  value: fc.option(fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes))),
  timestampMs: fc.integer({ min: -1_000, max: 4_102_444_800_000 }),
  headers: fc.dictionary(text, text, { maxKeys: 3, noNullPrototype: true }),
});

test('a batch decodes to what was encoded, also with holes, from any offset', () => {
  fc.assert(
    fc.property(
      fc.array(record, { minLength: 1, maxLength: 20 }),
      fc.bigInt(0n, 2n ** 60n),
      fc.nat(30),
      (made, base, skip) => {
        let offset = base;
        const records = made.map(({ step, ...rest }) => {
          const stored = { ...rest, offset };
          offset += BigInt(step);
          return stored;
        });
        const head = { baseOffset: base, maxBefore: Number.NEGATIVE_INFINITY, maxAfter: 7 };
        const data = encodeBatch(head, records);
        expect(data.length).toBe(32 + records.reduce((sum, one) => sum + recordBytes(one), 0));
        expect(readBatchHead(data)).toEqual({ ...head, count: records.length });
        const from = base + BigInt(skip);
        expect(decodeBatch(data, { topic: 't', partition: 3 }, from)).toEqual(
          records.filter((one) => one.offset >= from).map((one) => ({ topic: 't', partition: 3, ...one })),
        );
      },
    ),
    { numRuns: 300 },
  );
});
