import { describe, expect, test } from 'vitest';
import { AgeWatch } from '../../src/daemons/ws/age-watch.ts';

function rig(limitMs = 30_000, speed = 1) {
  let nowMs = 0;
  const behind: number[] = [];
  const accepted: number[] = [];
  const watch = new AgeWatch({
    limitMs,
    nowMs: () => nowMs,
    onBehind: (ms) => behind.push(ms),
    onAccepted: (ms) => accepted.push(ms),
  });
  /** Ten messages a second for so many seconds. */
  const feed = (seconds: number, ageOf: (i: number) => number) => {
    for (let i = 0; i < seconds * 10; i++) {
      nowMs += 100;
      watch.observe(ageOf(i), nowMs * speed);
    }
  };
  return { watch, behind, accepted, feed };
}

describe('age watch', () => {
  test('a stream that falls minutes behind is given up once, with what it lies behind', () => {
    const { watch, behind, feed } = rig();
    feed(5, () => 20);
    feed(10, (i) => 20 + i * 1_000);
    expect(behind).toHaveLength(1);
    expect(behind[0]).toBeGreaterThan(30_000);
    expect(watch.behindMs).toBeGreaterThan(30_000);
    expect(watch.cap(100_000_000_000n)).toBeLessThan(70_000_000_000n);
  });

  test('late prints between fresh messages, a delayed feed and a constant skew are not behind', () => {
    for (const base of [20, 900_000, -4_000, 4_000]) {
      const { watch, behind, accepted, feed } = rig();
      feed(30, (i) => base + (i % 10 === 3 ? 120_000 : 0));
      expect([behind, accepted]).toEqual([[], []]);
      expect(watch.cap(5n)).toBe(5n);
    }
  });

  test('on a fast clock a moment of work is no buffer', () => {
    const { behind, feed } = rig(30_000, 60);
    feed(5, () => 500);
    feed(10, () => 60_000);
    expect(behind).toEqual([]);
    feed(10, () => 200_000);
    expect(behind).toHaveLength(1);
  });

  test('a stall of a moment is not behind, nor is a connection that begins fresh again', () => {
    const { watch, behind, feed } = rig();
    feed(5, () => 10);
    feed(0.5, () => 90_000);
    feed(5, () => 10);
    expect(behind).toEqual([]);
    feed(5, () => 90_000);
    expect(behind).toHaveLength(1);
    watch.begin();
    feed(5, () => 10);
    expect(behind).toHaveLength(1);
    expect(watch.behindMs).toBe(0);
  });

  test('an age that two new connections do not cure is a clock: it becomes the measure', () => {
    const { watch, behind, accepted, feed } = rig();
    feed(5, () => 10);
    for (let turn = 0; turn < 6; turn++) {
      watch.begin();
      feed(5, () => 60_010);
    }
    expect(behind).toHaveLength(2);
    expect(accepted).toEqual([60_010]);
    expect(watch.cap(5n)).toBe(5n);
  });
});
