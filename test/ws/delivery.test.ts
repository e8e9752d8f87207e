import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openJournal } from '../../src/daemons/ws/journal.ts';
import { Lane, quoteKey } from '../../src/daemons/ws/lane.ts';
import { decodeCounts, Publisher } from '../../src/daemons/ws/publisher.ts';
import { RecordMaker, Slots } from '../../src/daemons/ws/records.ts';
import { SpoolFifo } from '../../src/daemons/ws/spool-fifo.ts';
import { emptyMessage, scanMessage } from '../../src/lib/alpaca/frame-scanner.ts';
import type { LogWriter, NewRecord } from '../../src/lib/log/port.ts';
import { defaultTopics } from '../../src/lib/log/topics.ts';
import { createEnvelopeWriter } from '../../src/lib/market/envelope-text.ts';
import { readEventTime } from '../../src/lib/market/event-time.ts';
import type { Clock } from '../../src/lib/service/clock.ts';
import { fencedError, type TorghutError, unreachableError } from '../../src/lib/service/errors.ts';

let path = '';
beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), 'torghut-lane-'));
});
afterEach(() => rmSync(path, { recursive: true, force: true }));

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function setUp(options: { spoolBytes?: number; maxBytes?: number; commitRecords?: number } = {}) {
  const nowMs = Date.parse('2013-10-08T13:31:00Z');
  const clock: Clock = {
    kind: 'virtual',
    nowNs: () => BigInt(nowMs) * 1_000_000n,
    nowMs: () => nowMs,
    sleepUntil: async () => undefined,
  };
  const durable: NewRecord[] = [];
  const commits: number[] = [];
  let fatal: TorghutError | undefined;
  let gate: Promise<void> = Promise.resolve();
  const failures: Error[] = [];
  let running = 0;
  const writer: LogWriter = {
    owner: 'ws',
    commit: async ({ records }) => {
      running += 1;
      expect(running).toBe(1);
      await gate;
      await wait(1);
      running -= 1;
      const failure = failures.shift();
      if (failure) throw failure;
      durable.push(...records);
      commits.push(records.length);
      return { firstOffsets: [] };
    },
    close: async () => undefined,
  };
  const publisher = new Publisher({
    writer,
    headers: { producer: 'test' },
    commitMs: 5,
    commitRecords: options.commitRecords ?? 2_000,
    maxBytes: options.maxBytes ?? 1 << 26,
    random: () => 0.5,
    onCommit: () => undefined,
    onFatal: (error) => {
      fatal = error;
    },
  });
  const slots = new Slots(defaultTopics, 1);
  const records = new RecordMaker(slots, createEnvelopeWriter({ feed: 'sip', clock, lastSeq: 0 }), clock);
  const { journal } = openJournal(path, 'e');
  let spooled = 0;
  const fifo = new SpoolFifo({
    folder: path,
    name: 'm',
    memoryBytes: 1_000,
    mayGrow: (bytes, share) => spooled + bytes <= (options.spoolBytes ?? 1 << 30) * share,
    onDiskBytes: (bytes) => {
      spooled += bytes;
    },
  });
  const lane = new Lane({ partition: 0, fifo, publisher, records, journal, maxQueued: 100 });
  const give = (raw: string, journalId = 0) => {
    const message = emptyMessage();
    scanMessage(raw, 0, message);
    const time = readEventTime(message.time);
    if (!time) throw new Error('no time');
    lane.accept(message, time, journalId);
  };
  return {
    lane, publisher, records, slots, journal, durable, commits, failures, give,
    spooled: () => spooled,
    fatal: () => fatal,
    block: () => {
      let open: () => void = () => undefined;
      gate = new Promise((resolve) => {
        open = resolve;
      });
      return open;
    },
  }; // biome-ignore format: one list
}

const trade = (i: number, t = `2013-10-08T13:30:${String(i % 60).padStart(2, '0')}Z`) =>
  `{"T":"t","S":"A","i":${i},"x":"Q","p":10.50,"s":1,"c":["@"],"t":"${t}","z":"C"}`;
const quote = (bp: number, t: string) => `{"T":"q","S":"A","bp":${bp},"t":"${t}"}`;
const ids = (records: NewRecord[]) =>
  records
    .map(({ value }) => (JSON.parse(String(value)) as { payload: { i?: number; bp?: number } }).payload)
    .map(({ i, bp }) => i ?? bp);

describe('publisher', () => {
  test('tries a failed commit again with the same records, in order, and counts each once', async () => {
    const rig = setUp();
    rig.lane.release();
    rig.failures.push(unreachableError({ code: 'log_unreachable', what: 'gone' }));
    for (let i = 0; i < 10; i++) rig.give(trade(i));
    await rig.publisher.flush();
    expect(ids(rig.durable)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(rig.publisher.failures).toBe(0);
    const last = rig.durable.at(-1)?.headers ?? {};
    expect(decodeCounts(last.counts ?? '')).toEqual(new Map([['trades', 10]]));
    expect(last.mark).toBe(String(Date.parse('2013-10-08T13:30:09Z')));
    expect(rig.durable.slice(0, -1).some(({ headers }) => headers?.counts !== undefined)).toBe(false);
  });

  test('commits at most the given number at once, one at a time', async () => {
    const rig = setUp({ commitRecords: 7 });
    rig.lane.release();
    for (let i = 0; i < 30; i++) rig.give(trade(i));
    await rig.publisher.flush();
    expect(rig.commits.reduce((sum, n) => sum + n, 0)).toBe(30);
    expect(Math.max(...rig.commits)).toBe(7);
  });

  test('a fenced writer is the end: nothing more is written', async () => {
    const rig = setUp();
    rig.lane.release();
    rig.failures.push(fencedError('ws'));
    rig.give(trade(1));
    await rig.publisher.flush();
    rig.give(trade(2));
    await wait(20);
    expect(rig.fatal()?.code).toBe('fenced');
    expect(rig.durable).toEqual([]);
  });
});

describe('lane', () => {
  test('a trade or bar that comes twice makes one record, equal quotes make two, an update counts up', async () => {
    const rig = setUp();
    rig.lane.release();
    const bar = '{"T":"b","S":"A","o":1,"h":2,"l":1,"c":2,"v":9,"t":"2013-10-08T13:29:00Z"}';
    const update = bar.replace('"T":"b"', '"T":"u"').replace('"v":9', '"v":10');
    for (const raw of [trade(1), trade(1), bar, bar, update, update, update.replace('10', '11'), bar]) rig.give(raw);
    for (let i = 0; i < 2; i++) rig.give(quote(5, '2013-10-08T13:30:00Z'));
    await rig.publisher.flush();
    const told = rig.durable.map(
      ({ value }) =>
        JSON.parse(String(value)) as { channel: string; is_final: boolean; payload: { revision?: number } },
    );
    expect(told.map(({ channel, payload }) => [channel, payload.revision])).toEqual([
      ['trades', undefined], ['bars', 0], ['updatedBars', 1], ['updatedBars', 2], ['quotes', undefined], ['quotes', undefined],
    ]); // biome-ignore format: one list
    expect(told.map(({ is_final }) => is_final)).toEqual([true, true, false, false, true, true]);
  });

  test('while the log is stuck, messages wait on disk and then go out in order before the new ones', async () => {
    const rig = setUp();
    rig.lane.release();
    const open = rig.block();
    rig.give(trade(0));
    await wait(1_100);
    expect(rig.publisher.isStuck).toBe(true);
    for (let i = 1; i < 500; i++) rig.give(trade(i));
    expect(rig.lane.waiting).toBe(499);
    expect(rig.spooled()).toBeGreaterThan(10_000);
    expect(rig.lane.isClear).toBe(false);
    open();
    while (rig.lane.waiting > 0) {
      rig.lane.pump();
      await wait(2);
    }
    rig.give(trade(2_000));
    await rig.publisher.flush();
    expect(ids(rig.durable).filter((id) => (id ?? 0) < 500)).toEqual(Array.from({ length: 500 }, (_, i) => i));
    expect(ids(rig.durable).at(-1)).toBe(2_000);
    expect(rig.lane.isClear).toBe(true);
  });

  test('a full spool cuts the lane in one place; corrections pass, the cut can be repaired', async () => {
    const rig = setUp({ spoolBytes: 2_000 });
    rig.lane.release();
    const open = rig.block();
    rig.give(trade(0));
    await wait(1_100);
    for (let i = 1; i < 100; i++) rig.give(trade(i));
    expect(rig.lane.isCut).toBe(true);
    const correction = '{"T":"c","S":"A","oi":1,"t":"2013-10-08T13:30:59Z"}';
    rig.give(correction, rig.journal.append('market', correction, 1));
    const kept = rig.lane.waiting;
    expect(kept + rig.lane.cutCount).toBe(100);
    open();
    while (rig.lane.waiting > 0) {
      rig.lane.pump();
      await wait(2);
    }
    await rig.publisher.flush();
    expect(ids(rig.durable).slice(0, -1)).toEqual(Array.from({ length: kept }, (_, i) => i));
    expect(rig.journal.pending).toBe(0);
    // What was left out is new when REST brings it; what went out is not.
    const seen = (i: number) =>
      rig.records.seenTrades.has(`A|Q|C|${i}|2013-10-08T13:30:${String(i % 60).padStart(2, '0')}Z`);
    expect([seen(0), seen(kept - 1), seen(kept), seen(99)]).toEqual([true, true, false, false]);
    expect(rig.lane.uncut()).toMatchObject([{ channel: 'trades', symbol: 'A', count: 100 - kept }]);
  });

  test('a repaired stretch is merged with what waits by event time; later ones go on waiting', async () => {
    const rig = setUp();
    for (const [bp, second] of [[2, '02'], [4, '04'], [9, '09']] as const) rig.give(quote(bp, `2013-10-08T13:30:${second}Z`)); // biome-ignore format: one list
    const missing = [1, 3, 4.5].map((bp) => {
      const raw = quote(bp, new Date(Date.parse('2013-10-08T13:30:00Z') + bp * 1_000).toISOString());
      const message = emptyMessage();
      scanMessage(raw, 0, message);
      const time = readEventTime(message.time);
      if (!time) throw new Error('no time');
      const publish = () => rig.publisher.enqueue(rig.records.record(message, time, 'rest'));
      return { timeNs: BigInt(time.ms) * 1_000_000n, publish };
    });
    rig.lane.publishStretch(missing, BigInt(Date.parse('2013-10-08T13:30:05Z')) * 1_000_000n);
    await rig.publisher.flush();
    expect(ids(rig.durable)).toEqual([1, 2, 3, 4, 4.5]);
    expect(rig.lane.waiting).toBe(1);
    expect(rig.lane.held.size).toBe(1);
    rig.lane.release();
    await rig.publisher.flush();
    expect(ids(rig.durable).at(-1)).toBe(9);
  });

  test('a quote that REST gave already is not told again when the stream brings it', async () => {
    const rig = setUp();
    rig.lane.owed.add(quoteKey(quote(5, '2013-10-08T13:30:00Z')));
    rig.lane.release();
    for (let i = 0; i < 2; i++) rig.give(quote(5, '2013-10-08T13:30:00Z'));
    await rig.publisher.flush();
    expect(rig.durable).toHaveLength(1);
  });
});
