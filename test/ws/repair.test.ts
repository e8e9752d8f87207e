/** The repair of one lane against a scripted history: what is published, in which order, where, and how often. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openJournal } from '../../src/daemons/ws/journal.ts';
import { Lane } from '../../src/daemons/ws/lane.ts';
import { Publisher } from '../../src/daemons/ws/publisher.ts';
import { RecordMaker, Slots } from '../../src/daemons/ws/records.ts';
import { type RepairResult, repairLane } from '../../src/daemons/ws/repair.ts';
import { SpoolFifo } from '../../src/daemons/ws/spool-fifo.ts';
import type { LaneTail } from '../../src/daemons/ws/tail.ts';
import { emptyMessage, type ScannedMessage, scanMessage } from '../../src/lib/alpaca/frame-scanner.ts';
import type { HistoryQuery, MarketRest } from '../../src/lib/alpaca/market-rest.ts';
import type { NewRecord } from '../../src/lib/log/port.ts';
import { defaultTopics } from '../../src/lib/log/topics.ts';
import { createEnvelopeWriter } from '../../src/lib/market/envelope-text.ts';
import { readEventTime } from '../../src/lib/market/event-time.ts';
import { CountedSet, quoteIdentity, tradeIdentity } from '../../src/lib/market/identity.ts';
import type { Clock } from '../../src/lib/service/clock.ts';
import { TorghutError } from '../../src/lib/service/errors.ts';

let path = '';
beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), 'torghut-repair-'));
});
afterEach(() => rmSync(path, { recursive: true, force: true }));

const base = Date.parse('2013-10-08T13:40:00Z');
const at = (second: number) => new Date(base + second * 1_000).toISOString();
const ns = (second: number) => BigInt(base + second * 1_000) * 1_000_000n;
const trade = (i: number, second: number) =>
  `{"T":"t","S":"A","i":${i},"x":"Q","p":1,"s":1,"t":"${at(second)}","z":"C"}`;
const quote = (bp: number, second: number) => `{"T":"q","S":"A","bp":${bp},"t":"${at(second)}"}`;
const bar = (v: number, second: number, type = 'b') => `{"T":"${type}","S":"A","v":${v},"t":"${at(second)}"}`;

function scanned(raw: string): ScannedMessage {
  const message = emptyMessage();
  scanMessage(raw, 0, message);
  return message;
}

function rigAt(nowSecond: number, kind: Clock['kind'] = 'virtual') {
  const clock: Clock = {
    kind,
    nowNs: () => ns(nowSecond),
    nowMs: () => base + nowSecond * 1_000,
    sleepUntil: async () => undefined,
  };
  const written: NewRecord[] = [];
  const publisher = new Publisher({
    writer: {
      owner: 'ws',
      commit: async ({ records }) => {
        written.push(...records);
        return { firstOffsets: [] };
      },
      close: async () => undefined,
    },
    headers: {},
    commitMs: 1,
    commitRecords: 100,
    maxBytes: 1 << 26,
    random: () => 0,
    onCommit: () => undefined,
    onFatal: (error) => {
      throw error;
    },
  });
  const slots = new Slots(defaultTopics, 1);
  const records = new RecordMaker(slots, createEnvelopeWriter({ feed: 'sip', clock, lastSeq: 0 }), clock);
  const { journal } = openJournal(path, 'e');
  const fifo = new SpoolFifo({
    folder: path,
    name: 'm',
    memoryBytes: 1 << 20,
    mayGrow: () => true,
    onDiskBytes: () => undefined,
  });
  const lane = new Lane({ partition: 0, fifo, publisher, records, journal, maxQueued: 1_000 });
  const give = (raw: string) => {
    const message = scanned(raw);
    const time = readEventTime(message.time);
    if (time) lane.accept(message, time, 0);
  };
  const repair = (rest: MarketRest, tail: Partial<LaneTail>, options: { startNs?: bigint; limitMs?: number } = {}): Promise<RepairResult> =>
    repairLane(
      {
        lane, symbols: ['A'], batchSize: 10, rest, records, publisher, clock, limitMs: options.limitMs ?? 60_000,
        readTail: async () => ({ markNs: undefined, trades: [], quotes: new CountedSet(), bars: [], ...tail }),
        startNs: options.startNs,
      },
      new AbortController().signal,
    ); // biome-ignore format: one list
  const told = async (topic: keyof typeof defaultTopics) => {
    await publisher.flush();
    return written
      .filter((record) => record.topic === defaultTopics[topic])
      .map(
        (record) =>
          JSON.parse(String(record.value)) as { channel: string; source: string; payload: Record<string, unknown> },
      );
  };
  return { lane, give, repair, told, written, publisher };
}

/** A history that answers from a list, as it is when asked. */
const restOf = (items: () => string[], onQuery?: (query: HistoryQuery) => void | Promise<void>): MarketRest => ({
  history: async (query) => {
    await onQuery?.(query);
    const type = { trades: 't', quotes: 'q', bars: 'b' }[query.kind];
    return items()
      .map(scanned)
      .filter((message) => {
        const time = BigInt(Date.parse(message.time)) * 1_000_000n;
        return message.type === type && time >= query.fromNs && time <= query.toNs;
      });
  },
});

describe('repair', () => {
  test('publishes exactly what the topic and the waiting messages lack, whatever was where', async () => {
    const event = fc.record({
      second: fc.integer({ min: 0, max: 90 }),
      // Few distinct quotes at equal times: A, B, A within an instant is real.
      bp: fc.integer({ min: 1, max: 2 }),
      isTrade: fc.boolean(),
      where: fc.constantFrom('topic', 'nowhere', 'live', 'afterwards'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 40 }), async (events) => {
        const rig = rigAt(90);
        // What is in the topic lies before what was missed; what is live is the newest: as a stream is cut.
        const order = { topic: 0, nowhere: 1, live: 2, afterwards: 3 };
        const wheres = events.map(({ where }) => where).sort((a, b) => order[a] - order[b]);
        const sorted = events
          .sort((a, b) => a.second - b.second)
          .map((one, i) => ({
            ...one,
            where: wheres[i],
            raw: one.isTrade ? trade(i, one.second) : quote(one.bp, one.second),
          }));
        const of = (where: string) => sorted.filter((one) => one.where === where);
        const topic = of('topic');
        const quotes = new CountedSet();
        for (const { raw, isTrade } of topic) if (!isTrade) quotes.add(quoteIdentity(JSON.parse(raw)));
        const mark = topic.at(-1)?.second;
        const tail = {
          markNs: mark === undefined ? undefined : ns(mark),
          trades: topic.filter(({ isTrade }) => isTrade).map(({ raw }) => tradeIdentity(scanned(raw))),
          quotes,
        };
        // The tail that ws reads reaches 15 s before the mark; older ones must not be asked for.
        for (const { raw } of of('live')) rig.give(raw);
        const rest = restOf(() => sorted.map(({ raw }) => raw));
        await rig.repair(rest, tail, { startNs: ns(0) });
        for (const { raw } of of('afterwards')) rig.give(raw);
        const got = [...(await rig.told('trades')), ...(await rig.told('quotes'))].map(({ payload }) =>
          JSON.stringify(payload),
        );
        const want = [...of('nowhere'), ...of('live'), ...of('afterwards')].map(({ raw }) => raw);
        expect(got.sort()).toEqual(want.sort());
        expect(rig.lane.isClear).toBe(true);
        rmSync(path, { recursive: true, force: true });
      }),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 2_000 : 60 },
    );
  });

  test('goes out by event time over trades, quotes and due bars, before and among what waits', async () => {
    const rig = rigAt(100);
    rig.give(quote(9, 99));
    const history = [
      trade(1, 5),
      quote(2, 4),
      bar(7, -60),
      trade(3, 61),
      bar(8, 0),
      bar(9, 60),
      quote(9, 99),
      trade(4, 99),
    ];
    await rig.repair(
      restOf(() => history),
      {},
      { startNs: ns(-1) },
    );
    await rig.publisher.flush();
    const order = rig.written.map(
      ({ value }) => JSON.parse(String(value)) as { event_ts: string; channel: string; source: string },
    );
    expect(order.map(({ channel, event_ts, source }) => `${channel} ${(Date.parse(event_ts) - base) / 1_000} ${source}`)).toEqual([
      'bars -60 rest', 'quotes 4 rest', 'trades 5 rest', 'bars 0 rest', 'trades 61 rest', 'trades 99 rest', 'quotes 99 ws',
    ]); // biome-ignore format: one list
  });

  test('a bar that changed while nobody listened becomes an update; one that is known does not come again', async () => {
    const rig = rigAt(600);
    const bars = [
      { symbol: 'A', time: at(0), payload: JSON.parse(bar(1, 0)) as Record<string, unknown>, revision: 0 },
      { symbol: 'A', time: at(60), payload: JSON.parse(bar(2, 60)) as Record<string, unknown>, revision: 0 },
    ];
    await rig.repair(
      restOf(() => [bar(1, 0), bar(3, 60), bar(4, 120), bar(5, 600)]),
      { markNs: ns(150), bars },
    );
    expect(
      (await rig.told('bars')).map(({ channel, payload }) => [channel, payload.T, payload.v, payload.revision]),
    ).toEqual([
      ['updatedBars', 'u', 3, 1],
      ['bars', 'b', 4, 0],
    ]);
  });

  test('live waits no longer than the limit; the rest goes to the repair topic', async () => {
    const rig = rigAt(100);
    rig.give(trade(9, 99));
    let isSlow = true;
    const rest = restOf(
      () => [trade(1, 5), quote(2, 60), trade(9, 99)],
      async () => {
        if (isSlow) await new Promise((resolve) => setTimeout(resolve, 150));
        isSlow = false;
      },
    );
    const running = rig.repair(rest, {}, { startNs: ns(0), limitMs: 50 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect((await rig.told('trades')).map(({ payload }) => payload.i)).toEqual([9]);
    // Until the rest is had nothing claims that the partition is whole: the next process would ask from before the gap.
    const marks = () => rig.written.map(({ headers }) => headers?.mark).filter((mark) => mark !== undefined);
    expect(marks()).toEqual([]);
    const result = await running;
    rig.give(trade(10, 99));
    await rig.told('trades');
    expect(marks().at(-1)).toBe(String(base + 99_000));
    expect((await rig.told('repair')).map(({ payload }) => payload.i ?? payload.bp)).toEqual([1, 2]);
    expect(await rig.told('quotes')).toEqual([]);
    expect(result.late.reduce((sum, { count }) => sum + count, 0)).toBe(2);
    expect(result.failure).toBeUndefined();
  });

  test('where REST refuses, live goes on at once and the gap stays on record', async () => {
    const rig = rigAt(100);
    rig.give(trade(9, 99));
    const rest: MarketRest = {
      history: async () => {
        throw new TorghutError({
          code: 'market_data_refused',
          what: 'subscription does not permit querying recent SIP data',
        });
      },
    };
    const result = await rig.repair(rest, { markNs: ns(10) });
    expect(result.failure).toBe('market_data_refused');
    expect((await rig.told('trades')).map(({ payload }) => payload.i)).toEqual([9]);
    expect(rig.lane.isHolding).toBe(false);
  });

  test('on the real clock REST is asked once more for what it lagged behind, and nothing comes twice', async () => {
    const rig = rigAt(100, 'system');
    rig.give(quote(7, 100));
    const history = [quote(5, 98), quote(5, 98), trade(1, 97)];
    const running = rig.repair(
      restOf(() => history),
      {},
      { startNs: ns(90) },
    );
    await new Promise((resolve) => setTimeout(resolve, 300));
    history.push(quote(6, 99), trade(2, 99), quote(7, 100));
    await running;
    expect((await rig.told('quotes')).map(({ payload }) => payload.bp).sort()).toEqual([5, 5, 6, 7]);
    expect((await rig.told('trades')).map(({ payload }) => payload.i)).toEqual([1, 2]);
  });
});
