/**
 * The disk line on a disk that is really full: it goes on from memory, gives everything back in order, and what the next process
 * takes over is each message once, wherever a write stopped short.
 */
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { SpoolFifo } from '../../src/daemons/ws/spool-fifo.ts';
import { smallDisk } from '../support/small-disk.ts';

const kib = 1024;
let disk: ReturnType<typeof smallDisk>;
beforeAll(() => {
  disk = smallDisk('192k');
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterAll(() => {
  vi.useRealTimers();
  disk.remove();
});
afterEach(() => {
  for (const file of readdirSync(disk.path)) rmSync(join(disk.path, file));
});

const open = (durableNumber = 0) =>
  new SpoolFifo({
    folder: disk.path,
    name: 'm',
    memoryBytes: 64 * kib,
    mayGrow: () => true,
    onDiskBytes: () => undefined,
    durableNumber,
  });

/** A text that bears its number. */
const text = (id: number, bytes: number) => `${id} ${'x'.repeat(bytes)}`;
const idOf = (raw: string) => Number(raw.split(' ')[0]);

describe('a full disk', () => {
  test('everything that was taken in comes out in order, and a successor takes over each message once', () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ push: fc.integer({ min: 100, max: 40 * kib }) }) },
      { weight: 3, arbitrary: fc.record({ shift: fc.integer({ min: 1, max: 12 }) }) },
      { weight: 1, arbitrary: fc.constant('a second passes' as const) },
      { weight: 1, arbitrary: fc.constant('durable' as const) },
    );
    let refused = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 80 }), (steps) => {
        const fifo = open();
        const waiting: number[] = [];
        const numbers = new Map<number, number>();
        let id = 0;
        let newest = 0;
        let durable = 0;
        for (const one of steps) {
          if (one === 'a second passes') vi.advanceTimersByTime(1_001);
          else if (one === 'durable') {
            durable = newest;
            fifo.settle(durable);
          } else if ('push' in one) {
            id += 1;
            if (fifo.push({ raw: text(id, one.push), journalId: 0 }, true, 1)) waiting.push(id);
            else refused += 1;
          } else {
            for (let i = 0; i < one.shift; i++) {
              const message = fifo.shift();
              expect(message && idOf(message.raw)).toBe(waiting.shift());
              if (message === undefined) break;
              newest = message.number;
              numbers.set(newest, idOf(message.raw));
            }
          }
        }
        // It dies here, without a word; the disk has room again.
        const next = open(durable);
        const taken: { id: number; number: number }[] = [];
        for (let message = next.shift(); message; message = next.shift()) {
          taken.push({ id: idOf(message.raw), number: message.number });
        }
        const ids = taken.map((message) => message.id);
        expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b));
        // A number is a message for good: what is durable is never taken over again.
        for (const message of taken) {
          expect(message.number).toBeGreaterThan(durable);
          expect(numbers.get(message.number) ?? message.id).toBe(message.id);
        }
        next.settle(Number.POSITIVE_INFINITY);
        next.close();
        fifo.close();
        for (const file of readdirSync(disk.path)) rmSync(join(disk.path, file));
      }),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 1_000 : 150 },
    );
    expect(refused).toBeGreaterThan(0);
  });

  test('a write that stopped short leaves nothing behind: its messages go into the next file and are taken over once', () => {
    const filler = join(disk.path, 'filler');
    writeFileSync(filler, Buffer.alloc(96 * kib));
    const fifo = open();
    let id = 0;
    const push = () => fifo.push({ raw: text(++id, kib), journalId: 0 }, true, 1);
    // One buffer goes to disk, the next one half.
    while (id < 140) expect(push()).toBe(true);
    // The file is read to its end; then there is room, and what waits in the buffer begins a file of its own.
    const first = fifo.shift();
    rmSync(filler);
    vi.advanceTimersByTime(1_001);
    while (id < 170) expect(push()).toBe(true);
    expect(readdirSync(disk.path)).toHaveLength(2);
    const next = open(first?.number);
    const ids: number[] = [];
    for (let message = next.shift(); message; message = next.shift()) ids.push(idOf(message.raw));
    expect(ids).toEqual(Array.from(ids, (_, index) => index + 2));
    expect(ids.length).toBeGreaterThan(120);
    next.close();
    fifo.close();
  });
});
