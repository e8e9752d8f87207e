import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatTimestampNs, parseTimestampNs } from '../../src/lib/market/time.ts';

test.each([
  ['2013-10-08T13:30:00.2Z', 1_381_239_000_200_000_000n],
  ['2013-10-08T13:30:00.208Z', 1_381_239_000_208_000_000n],
  ['2013-10-08T13:30:00Z', 1_381_239_000_000_000_000n],
  ['2013-10-08T13:30:00.123456789Z', 1_381_239_000_123_456_789n],
  ['2013-10-08T09:30:00-04:00', 1_381_239_000_000_000_000n],
  ['2013-10-08 13:30:00+0000', 1_381_239_000_000_000_000n],
  ['2013-10-08T13:30:00', 1_381_239_000_000_000_000n],
])('%s is read to the nanosecond', (text, expected) => {
  expect(parseTimestampNs(text)).toBe(expected);
});

test.each(['', 'soon', '2013-02-30T00:00:00Z', '2013-10-08', '2013-10-08T24:00:00Z', '2013-13-08T00:00:00Z'])(
  '%s is no timestamp',
  (text) => {
    expect(parseTimestampNs(text)).toBeUndefined();
  },
);

test('text and nanoseconds are two forms of one value', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 4_102_444_800_000_000_000n }), (ns) => {
      const text = formatTimestampNs(ns);
      expect(parseTimestampNs(text)).toBe(ns);
      expect(text).not.toMatch(/\.\d*0Z$/);
    }),
  );
});
