import { ExtData, encode } from '@msgpack/msgpack';
import { expect, test } from 'vitest';
import { msgpackFrameToJson } from '../../src/lib/alpaca/msgpack-frame.ts';

const stamp = (bytes: number[]) => new ExtData(-1, Uint8Array.from(bytes));

test('times of 4, 8 and 12 bytes become RFC 3339 with all their digits, large ids keep theirs', () => {
  const eight = Buffer.alloc(8);
  eight.writeBigUInt64BE((123_456_789n << 34n) | 1_893_596_400n);
  const twelve = Buffer.alloc(12);
  twelve.writeUInt32BE(500_000_000, 0);
  twelve.writeBigInt64BE(1_893_596_400n, 4);
  const frame = encode(
    [
      { T: 't', S: 'A', i: 52_983_525_034_326_001n, p: 10.25, t: stamp([0x70, 0xdd, 0xe8, 0x00 + 0xf0]) },
      { T: 't', t: stamp([...eight]) },
      { T: 'q', t: stamp([...twelve]), c: ['R'], n: null },
    ],
    { useBigInt64: true },
  );
  const text = msgpackFrameToJson(frame);
  expect(text).toContain('"i":52983525034326001,"p":10.25');
  const [first, second, third] = JSON.parse(text) as { t: string }[];
  expect(Date.parse(first?.t ?? '')).toBe(0x70dde8f0 * 1000);
  expect(second?.t).toBe('2030-01-02T15:00:00.123456789Z');
  expect(third).toEqual({ T: 'q', t: '2030-01-02T15:00:00.5Z', c: ['R'], n: null });
});

test('bytes that are no MessagePack are refused', () => {
  expect(() => msgpackFrameToJson(Uint8Array.from([0xc1]))).toThrow();
  expect(() => msgpackFrameToJson(encode({ t: stamp([1, 2]) }))).toThrow('unknown length');
});
