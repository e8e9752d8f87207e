import { appendFileSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { openJournal } from '../../src/daemons/ws/journal.ts';
import { PRECIOUS, SpoolFifo } from '../../src/daemons/ws/spool-fifo.ts';

const folders: string[] = [];
const folder = () => {
  const made = mkdtempSync(join(tmpdir(), 'torghut-spool-'));
  folders.push(made);
  return made;
};
afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true });
});

const taken = (fifo: SpoolFifo) => {
  const message = fifo.shift();
  return message && { raw: message.raw, journalId: message.journalId };
};

describe('spool', () => {
  test('gives back what it was given, in order, whatever goes through memory or disk', () => {
    const step = fc.oneof(
      fc.record({ push: fc.string({ maxLength: 300 }), toDisk: fc.boolean(), id: fc.nat() }),
      fc.constant('shift' as const),
    );
    const path = folder();
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 0, max: 2_000 }), (steps, memoryBytes) => {
        let disk = 0;
        const fifo = new SpoolFifo({
          folder: path, name: 'a', memoryBytes, mayGrow: () => true, onDiskBytes: (bytes) => {
            disk += bytes;
          },
        }); // biome-ignore format: one list
        const model: { raw: string; journalId: number }[] = [];
        for (const one of steps) {
          if (one === 'shift') expect(taken(fifo)).toEqual(model.shift());
          else {
            expect(fifo.push({ raw: one.push, journalId: one.id }, one.toDisk, 1)).toBe(true);
            model.push({ raw: one.push, journalId: one.id });
          }
          expect(fifo.length).toBe(model.length);
        }
        while (model.length > 0) expect(taken(fifo)).toEqual(model.shift());
        expect(fifo.shift()).toBeUndefined();
        expect(disk).toBe(0);
        fifo.settle(Number.POSITIVE_INFINITY);
        fifo.close();
      }),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 2_000 : 100 },
    );
    expect(readdirSync(path)).toEqual([]);
  });

  test('many megabytes go through segments that are deleted when they are durable', () => {
    const path = folder();
    const fifo = new SpoolFifo({
      folder: path,
      name: 'b',
      memoryBytes: 0,
      mayGrow: () => true,
      onDiskBytes: () => undefined,
    });
    const body = 'x'.repeat(10_000);
    for (let i = 0; i < 4_000; i++) fifo.push({ raw: `${i} ${body}`, journalId: i }, true, 1);
    expect(readdirSync(path).length).toBeGreaterThan(1);
    for (let i = 0; i < 4_000; i++) {
      const message = fifo.shift();
      if (message?.journalId !== i || !message.raw.startsWith(`${i} `)) throw new Error(`wrong message at ${i}`);
    }
    expect(fifo.length).toBe(0);
    fifo.settle(1_000);
    expect(readdirSync(path).length).toBeGreaterThan(0);
    fifo.settle(4_000);
    expect(readdirSync(path)).toEqual([]);
  });

  test('what a dead process left is taken over behind what is durable, each message once, over several deaths', () => {
    const path = folder();
    const options = {
      folder: path,
      name: 'd',
      memoryBytes: 1 << 20,
      mayGrow: () => true,
      onDiskBytes: () => undefined,
    };
    const raw = (i: number) => `${i} ${'z'.repeat(1_000)}`;
    const first = new SpoolFifo(options);
    // A journalled one comes back from the journal.
    for (let i = 1; i <= 300; i++) first.push({ raw: raw(i), journalId: i === 150 ? 7 : 0 }, true, 1);
    const sent = Array.from({ length: 40 }, () => first.shift()?.number);
    expect(sent.at(-1)).toBe(40);
    // It dies here with the last part of the line unwritten; 30 were durable.
    const adopted: string[] = [];
    const second = new SpoolFifo({ ...options, durableNumber: 30, onAdopted: (text) => adopted.push(text) });
    const kept = adopted.map((text) => Number(text.split(' ')[0]));
    expect(kept.slice(0, 3)).toEqual([31, 32, 33]);
    expect(kept).not.toContain(150);
    const last = kept.at(-1) as number;
    expect(last).toBeGreaterThan(200);
    expect(second.length).toBe(kept.length);
    for (let i = 301; i <= 310; i++) second.push({ raw: raw(i), journalId: 0 }, false, 1);
    second.close();
    const third = new SpoolFifo({ ...options, durableNumber: 30 });
    const all: { raw: string; number: number }[] = [];
    for (let message = third.shift(); message; message = third.shift()) all.push(message);
    expect(all.map((message) => Number(message.raw.split(' ')[0]))).toEqual([...kept, ...Array.from({ length: 10 }, (_, i) => 301 + i)]); // biome-ignore format: one list
    const numbers = all.map(({ number }) => number);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    third.settle(numbers.at(-1) as number);
    third.close();
    expect(readdirSync(path)).toEqual([]);
  });

  test('a disk that refuses the very first write: the line goes on from memory, and on disk when there is room', () => {
    const path = folder();
    const fifo = new SpoolFifo({
      folder: path,
      name: 'f',
      memoryBytes: 1_000,
      mayGrow: () => true,
      onDiskBytes: () => undefined,
    });
    // What is written there fails as on a full disk (Linux); the line gives the file up after the first attempt.
    symlinkSync('/dev/full', join(path, 'f.1.spool'));
    const body = 'w'.repeat(1_000);
    let accepted = 0;
    while (accepted < 200 && fifo.push({ raw: `${accepted} ${body}`, journalId: 0 }, true, 0.7)) accepted += 1;
    expect([accepted > 50, accepted < 200]).toEqual([true, true]);
    expect(readdirSync(path)).toEqual([]);
    for (let i = 0; i < accepted; i++) expect(fifo.shift()?.raw.split(' ')[0]).toBe(String(i));
    expect(fifo.shift()).toBeUndefined();
    fifo.close();
  });

  test('refuses what the disk bound forbids, but never what exists nowhere else', () => {
    let disk = 0;
    const fifo = new SpoolFifo({
      folder: folder(), name: 'c', memoryBytes: 0, mayGrow: (bytes) => disk + bytes <= 100,
      onDiskBytes: (bytes) => {
            disk += bytes;
          },
    }); // biome-ignore format: one list
    expect(fifo.push({ raw: 'y'.repeat(60), journalId: 0 }, true, 1)).toBe(true);
    expect(fifo.push({ raw: 'y'.repeat(60), journalId: 0 }, true, 1)).toBe(false);
    expect(fifo.push({ raw: 'precious', journalId: 9 }, true, PRECIOUS)).toBe(true);
    expect([fifo.shift()?.raw.length, fifo.shift()?.raw, fifo.shift()]).toEqual([60, 'precious', undefined]);
    fifo.close();
  });
});

describe('journal', () => {
  test('keeps what was not settled over a death, and is empty when all is', () => {
    const path = folder();
    const first = openJournal(path, 'e1');
    expect(first.left).toEqual([]);
    const a = first.journal.append('market', '{"T":"s"}', 5);
    const b = first.journal.append('order', '{"event":"fill"}', 6);
    first.journal.settle(a);
    // The process dies here: nothing is closed.
    const second = openJournal(path, 'e2');
    // The file is emptied as a whole, so a settled one may still be there: the log tells that it is durable.
    expect(second.left.map(({ id }) => id)).toEqual(['e1-1', 'e1-2']);
    const adopted = second.journal.adopt(second.left[1] as (typeof second.left)[number]);
    expect(second.journal.idOf(adopted)).toBe(first.journal.idOf(b));
    second.journal.append('market', '{"T":"x"}', 7);
    expect(openJournal(path, 'e3').left).toHaveLength(3);
    second.journal.settle(adopted);
    second.journal.settle(2);
    expect(second.journal.pending).toBe(0);
    expect(openJournal(path, 'e4').left).toEqual([]);
  });

  test('a torn last line is left out and does not spoil the next one', () => {
    const path = folder();
    openJournal(path, 'e1').journal.append('market', '{"T":"s"}', 5);
    appendFileSync(join(path, 'journal.ndjson'), '{"id":"e1-2","at":6,"ki');
    const second = openJournal(path, 'e2');
    expect(second.left.map(({ id }) => id)).toEqual(['e1-1']);
    second.journal.append('order', '{}', 7);
    expect(openJournal(path, 'e3').left.map(({ id }) => id)).toEqual(['e1-1', 'e2-1']);
  });

  test('a disk that refuses costs the guard, never the message or the process', () => {
    const { journal } = openJournal(folder(), 'e1');
    const kept = journal.append('market', '{"T":"s"}', 5);
    journal.close();
    expect(journal.append('market', '{"T":"s"}', 5)).toBe(0);
    expect(journal.append('order', '{}', 5)).toBe(0);
    expect(journal.pending).toBe(1);
    expect(journal.idOf(kept)).toBe('e1-1');
  });
});
