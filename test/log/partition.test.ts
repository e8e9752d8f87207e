import { createRequire } from 'node:module';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { murmur2, partitionOfKey } from '../../src/lib/log/partition.ts';

// kafkajs carries its own reading of the same Java function.
const require = createRequire(import.meta.url);
const theirs = require('kafkajs/src/producer/partitioners/default/murmur2.js') as (key: string) => number;

test('the hash agrees with another reading of the same function, for any key', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (key) => {
      expect(murmur2(Buffer.from(key)) | 0).toBe(theirs(key) | 0);
    }),
    { numRuns: 500 },
  );
});

test('the symbols of the recorded day spread over three partitions', () => {
  const partitions = ['AIG', 'BAC', 'IBM', 'SPY'].map((symbol) => partitionOfKey(symbol, 3));
  expect(new Set(partitions).size).toBeGreaterThan(1);
  for (const partition of partitions) expect(partition).toBeLessThan(3);
});
