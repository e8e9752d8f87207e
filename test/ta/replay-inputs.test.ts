/** What a replay reads: the log up to its end, with the missing repaired records where their event time lies. */
import { rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ReplayInputs, ReplaySource } from '../../src/daemons/ta/replay/inputs.ts';
import { Pace } from '../../src/daemons/ta/replay/pace.ts';
import { missingRecords, type Stretch } from '../../src/daemons/ta/replay/repair.ts';
import { defaultTopics, topicSpec } from '../../src/lib/log/topics.ts';
import type { MarketEvent } from '../../src/lib/ta/index.ts';
import { envelopeOf, type Feed, openFeed } from './feed.ts';
import { OPEN, quote, trade } from './fixtures.ts';

let feed: Feed;

beforeEach(async () => {
  feed = await openFeed();
  await feed.log.ensureTopics([topicSpec('repair', { clock: 'virtual' })]);
});
afterEach(async () => {
  await feed.close();
  rmSync(feed.home, { recursive: true, force: true });
});

const record = (topic: string, event: MarketEvent, atMs = event.sec * 1_000 + event.nano / 1e6) => ({
  topic,
  partition: 0,
  key: event.symbol,
  value: Buffer.from(envelopeOf(event).text),
  timestampMs: Math.floor(atMs),
});
const inputs = [defaultTopics.trades, defaultTopics.quotes, defaultTopics.bars];

async function stretches(): Promise<{ repair: Stretch; inputs: Stretch[] }> {
  const described = await feed.log.describeTopics([...inputs, defaultTopics.repair]);
  const [repair, ...rest] = [defaultTopics.repair, ...inputs].map((name) => {
    const latest = described.find((topic) => topic.name === name)?.partitions[0]?.latest ?? 0n;
    return { topic: name, partition: 0, start: 0n, end: latest };
  });
  return { repair: repair as Stretch, inputs: rest };
}

const everything = { fromMs: 0, toMs: Number.MAX_SAFE_INTEGER };
const t = (seconds: number, id: number) => trade(seconds, 20 + id / 100, 100, { symbol: 'MU', id, seq: id });

/** A day of trades at whole seconds, of which some are only in the repair topic. */
async function withGap() {
  const late = (OPEN + 500) * 1_000;
  const [trades, repair] = [defaultTopics.trades, defaultTopics.repair];
  await feed.writer.commit({ records: [0, 1, 2, 6, 7, 8].map((s) => record(trades, t(s, s))) });
  // 3 to 5 are missing; 2 was repaired although it is there, 4 came twice.
  await feed.writer.commit({ records: [5, 2, 3, 4, 4].map((s) => record(repair, t(s, s), late)) });
  const place = await stretches();
  return { place, found: await missingRecords(feed.log, place.repair, place.inputs, everything) };
}

describe('the repaired records of a replay', () => {
  it('are those that the topic has not, once, each before the first record of a later time', async () => {
    const { found } = await withGap();
    expect(found.known).toBe(2);
    const [trades = [], quotes = [], bars = []] = found.insertions;
    expect(trades.map(({ before, timestampMs }) => [before, timestampMs / 1_000 - OPEN])).toEqual([
      [3n, 3],
      [3n, 4],
      [3n, 5],
    ]);
    expect([quotes, bars]).toEqual([[], []]);
  });

  it('compare quotes as a multiset: two equal ones of which one is there leave one', async () => {
    const q = (seconds: number) => quote(seconds, 10, 11, { symbol: 'MU', seq: 1 });
    await feed.writer.commit({ records: [record(defaultTopics.quotes, q(1)), record(defaultTopics.quotes, q(9))] });
    await feed.writer.commit({ records: [q(1), q(1), q(2)].map((event) => record(defaultTopics.repair, event)) });
    const place = await stretches();
    const { insertions, known } = await missingRecords(feed.log, place.repair, place.inputs, everything);
    expect(known).toBe(1);
    expect(insertions[1]?.map(({ before, timestampMs }) => [before, timestampMs / 1_000 - OPEN])).toEqual([
      [1n, 1],
      [1n, 2],
    ]);
  });

  it('outside the window are left out', async () => {
    const { place } = await withGap();
    const window = { fromMs: (OPEN + 4) * 1_000, toMs: (OPEN + 4) * 1_000 };
    const { insertions } = await missingRecords(feed.log, place.repair, place.inputs, window);
    expect(insertions[0]).toHaveLength(1);
  });
});

describe('the log of a replay', () => {
  async function read(sources: ReplaySource[], start: bigint, maxRecords: number) {
    const pace = new Pace({ home: feed.home, log: feed.log, outputs: [] });
    const replay = new ReplayInputs(sources);
    const log = replay.wrap(feed.log, pace);
    const reader = await log.openReader({ partitions: [{ topic: defaultTopics.trades, partition: 0, start }] });
    const found: { own: bigint; second: number }[] = [];
    while (!replay.isExhausted(0)) {
      for (const { offset, timestampMs } of await reader.poll({ maxRecords, waitMs: 100 }))
        found.push({ own: offset, second: timestampMs / 1_000 - OPEN });
    }
    await reader.close();
    return found;
  }

  it('gives the inserted records between the others, with offsets without a gap, and ends where the plan ends', async () => {
    const { place, found } = await withGap();
    const stretch = { ...(place.inputs[0] as Stretch), end: 5n };
    const source = new ReplaySource(stretch, found.insertions[0] ?? []);
    expect(source.end).toBe(8n);
    const all = await read([source], 0n, 100);
    expect(all).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((second) => ({ own: BigInt(second), second })));
    expect(all.map(({ own }) => source.realOffset(own))).toEqual([0n, 1n, 2n, 3n, 3n, 3n, 3n, 4n]);
  });

  it('goes on from every own offset with the same sequence, whatever is read at once', async () => {
    const { place, found } = await withGap();
    const all = await read([new ReplaySource(place.inputs[0] as Stretch, found.insertions[0] ?? [])], 0n, 100);
    expect(all).toHaveLength(9);
    for (let from = 0; from <= all.length; from++) {
      for (const atOnce of [1, 2, 100]) {
        const source = new ReplaySource(place.inputs[0] as Stretch, found.insertions[0] ?? []);
        expect(await read([source], BigInt(from), atOnce)).toEqual(all.slice(from));
      }
    }
  });

  it('commits the offsets of the real topics', async () => {
    const { place, found } = await withGap();
    const source = new ReplaySource(place.inputs[0] as Stretch, found.insertions[0] ?? []);
    const log = new ReplayInputs([source]).wrap(feed.log, new Pace({ home: feed.home, log: feed.log, outputs: [] }));
    const writer = await log.openWriter({ owner: 'ta-replay-x-0' });
    const at = { topic: defaultTopics.trades, partition: 0 };
    await writer.commit({ records: [], groupOffsets: { groupId: 'g', offsets: [{ ...at, offset: 7n }] } });
    await writer.close();
    expect(await feed.log.groupOffsets('g', [defaultTopics.trades])).toEqual([{ ...at, offset: 4n }]);
  });
});
