import { truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { formatTimestampNs } from '../../src/lib/market/time.ts';
import { Market } from '../../src/simulator/market/market.ts';
import { chooseSource } from '../../src/simulator/sources/choose.ts';
import type { SourceEvent } from '../../src/simulator/sources/source.ts';
import { at, everyKind, standingClock, writeNdjson } from './market-data.ts';
import { removeTemporaryFolders, temporaryFolder, waitFor } from './simulator-process.ts';

afterAll(removeTemporaryFolders);

const day = at('2013-10-08T13:30:00Z');
const trade = (symbol: string, ms: number, i: number) =>
  `{"T":"t","S":"${symbol}","i":${i},"x":"N","p":10,"s":100,"c":[" "],"t":"${formatTimestampNs(day + BigInt(ms) * 1_000_000n)}","z":"A"}`;
const quote = (symbol: string, ms: number, n: number) =>
  `{"T":"q","S":"${symbol}","bx":"N","bp":${n},"bs":1,"ax":"N","ap":${n},"as":1,"c":["R"],"t":"${formatTimestampNs(day + BigInt(ms) * 1_000_000n)}","z":"A"}`;

async function readAll(given: Parameters<typeof chooseSource>[0]): Promise<SourceEvent[]> {
  const source = (await chooseSource(given)).open();
  const events: SourceEvent[] = [];
  for (;;) {
    const batch = await source.next();
    if (!batch) return events;
    events.push(...batch.events);
  }
}

const texts = (events: readonly SourceEvent[]) => events.map((event) => event.line.toString());

describe('recorded source', () => {
  it('merges files by time, trades before quotes at equal time, each file in its own order', async () => {
    const stamps = fc.array(fc.nat(40), { maxLength: 60 }).map((list) => list.sort((a, b) => a - b));
    await fc.assert(
      fc.asyncProperty(stamps, stamps, stamps, async (a, b, c) => {
        if (a.length + b.length + c.length === 0) return;
        const trades = a.map((ms, i) => trade('AAA', ms, i));
        const more = c.map((ms, i) => trade('BBB', ms, i));
        const quotes = b.map((ms, i) => quote('AAA', ms, i));
        const paths = [
          writeNdjson(quotes, 'q.ndjson.gz'),
          writeNdjson(trades, 't.ndjson'),
          writeNdjson(more, 'm.ndjson'),
        ];
        const events = await readAll({ data: paths });
        const key = (event: SourceEvent) => [event.eventNs, event.code === 0 ? 0 : 1] as const;
        for (let i = 1; i < events.length; i++) {
          const [before, here] = [key(events[i - 1] as SourceEvent), key(events[i] as SourceEvent)];
          expect(before[0] < here[0] || (before[0] === here[0] && before[1] <= here[1])).toBe(true);
        }
        const lines = texts(events);
        expect(lines.filter((line) => line.includes('"T":"q"'))).toEqual(quotes);
        expect(lines.filter((line) => line.includes('"T":"t","S":"AAA"'))).toEqual(trades);
        expect(lines.filter((line) => line.includes('"S":"BBB"'))).toEqual(more);
        expect(texts(await readAll({ data: paths }))).toEqual(lines);
      }),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 200 : 25 },
    );
  });

  it('from is included, to is not; both understand New York clock time of the day of the data; symbols filter', async () => {
    const path = writeNdjson([
      trade('AAA', -1, 1),
      trade('AAA', 0, 2),
      trade('BBB', 59_999, 3),
      trade('AAA', 60_000, 4),
    ]);
    const ids = async (given: object) =>
      texts(await readAll({ data: [path], ...given })).map((line) => JSON.parse(line).i);
    expect(await ids({})).toEqual([1, 2, 3, 4]);
    expect(await ids({ from: '09:30', to: '09:31' })).toEqual([2, 3]);
    expect(await ids({ from: '2013-10-08T13:30:00.001Z' })).toEqual([3, 4]);
    expect(await ids({ symbols: ['BBB'] })).toEqual([3]);
  });

  it('a line that is earlier than one before it came late: its own time stays, its place decides when it is public', async () => {
    const events = await readAll({
      data: [writeNdjson([trade('AAA', 5_000, 1), trade('AAA', 1_000, 2), trade('AAA', 6_000, 3)])],
    });
    expect(
      events.map(({ eventNs, releaseNs }) => [Number(eventNs - day) / 1e9, Number(releaseNs - day) / 1e9]),
    ).toEqual([
      [5, 5],
      [1, 5],
      [6, 6],
    ]);
  });

  it('every mistake names the file, and the line where there is one, before anything is served', async () => {
    const broken = writeNdjson([trade('AAA', 0, 1), '{"T":"t","S":"AAA",', trade('AAA', 1, 2)]);
    await expect(chooseSource({ data: [broken] })).rejects.toMatchObject({
      code: 'input_broken',
      exitCode: 2,
      what: expect.stringContaining(`line 2 of ${broken}`),
    });
    const noTime = writeNdjson([trade('AAA', 0, 1), '{"T":"t","S":"AAA","p":1,"s":1}'], 'x.ndjson.gz');
    await expect(chooseSource({ data: [noTime] })).rejects.toMatchObject({ what: expect.stringContaining('line 2') });
    const half = writeNdjson(
      Array.from({ length: 5_000 }, (_, i) => trade('AAA', i, i)),
      'half.ndjson.gz',
    );
    truncateSync(half, 9_000);
    await expect(chooseSource({ data: [half] })).rejects.toMatchObject({
      code: 'input_broken',
      why: expect.stringContaining('truncated'),
    });
    await expect(chooseSource({ data: [join(temporaryFolder(), 'absent.ndjson')] })).rejects.toMatchObject({
      code: 'input_broken',
      why: expect.stringContaining('no such file'),
    });
    await expect(chooseSource({ data: [temporaryFolder()] })).rejects.toMatchObject({
      why: expect.stringContaining('holds no'),
    });
    await expect(chooseSource({ data: [writeNdjson([''])] })).rejects.toMatchObject({ code: 'input_empty' });
    const good = writeNdjson([trade('AAA', 0, 1)]);
    await expect(chooseSource({ data: [good, good] })).rejects.toMatchObject({ code: 'input_twice' });
    await expect(chooseSource({ data: [good], symbols: ['AAB'] })).rejects.toMatchObject({
      code: 'symbol_unknown',
      next: 'did you mean AAA?',
    });
    await expect(chooseSource({ data: [good], from: '10:00', to: '09:00' })).rejects.toMatchObject({
      code: 'time_order',
    });
    await expect(chooseSource({ data: [good], from: '15:00' })).rejects.toMatchObject({ code: 'input_empty' });
    await expect(chooseSource({ data: [good], from: 'noon' })).rejects.toMatchObject({ code: 'time_invalid' });
    await expect(chooseSource({})).rejects.toMatchObject({ code: 'source_needed' });
    await expect(chooseSource({ data: [good], synthetic: 1 })).rejects.toMatchObject({ code: 'source_needed' });
    for (const error of [await chooseSource({ data: [broken] }).catch((failure: Error) => failure)]) {
      expect(String((error as Error).message)).not.toContain('    at ');
    }
  });

  it('a folder stands for its files by name; a checked file is not checked again until it changes', async () => {
    const path = writeNdjson([trade('AAA', 0, 1)], 'a.ndjson');
    const folder = dirname(path);
    writeFileSync(join(folder, 'README.md'), 'not data');
    writeFileSync(join(folder, 'b.ndjson'), `${trade('BBB', 1, 1)}\n`);
    const cache = join(temporaryFolder(), 'cache', 'checked.json');
    const first = await chooseSource({ data: [folder] }, cache);
    expect(first.symbols).toEqual(['AAA', 'BBB']);
    expect((await chooseSource({ data: [folder] }, cache)).identity).toBe(first.identity);
    writeFileSync(join(folder, 'b.ndjson'), 'broken now\n');
    await expect(chooseSource({ data: [folder] }, cache)).rejects.toMatchObject({ code: 'input_broken' });
  });
});

describe('market', () => {
  it('never shows what market now has not reached, and shows each message once in order', async () => {
    const clock = standingClock(at('2026-03-10T14:30:00Z'));
    const market = new Market((await chooseSource({ data: [writeNdjson(everyKind)] })).open(), clock, (error) => {
      throw error;
    });
    const seen: string[] = [];
    market.onEvent((event) => {
      expect(event.releaseNs <= clock.nowNs()).toBe(true);
      seen.push(event.kind);
      if (event.kind === 'quote')
        expect(market.lastQuote('AAA')).toMatchObject({ bidPrice: 10, askPrice: 10.1, askSize: 200 });
    });
    await market.start();
    expect([market.lastQuote('AAA'), market.lastTrade('AAA')]).toEqual([undefined, undefined]);
    clock.set(at('2026-03-10T14:30:02Z'));
    expect(market.lastQuote('AAA')?.bidSize).toBe(300);
    expect(market.lastTrade('AAA')).toBeUndefined();
    clock.set(at('2026-03-10T14:30:20Z'));
    expect([market.lastTrade('AAA')?.id, market.isHalted('AAA'), market.isHalted('BBB')]).toEqual([
      52983525034326,
      true,
      false,
    ]);
    clock.set(at('2026-03-10T14:30:59.999999999Z'));
    expect([market.isHalted('AAA'), seen.includes('bar')]).toEqual([false, false]);
    clock.set(at('2026-03-10T14:31:00Z'));
    market.pump();
    expect(seen.at(-2)).toBe('bar');
    clock.set(at('2026-03-10T14:31:59Z'));
    expect(market.end()).toMatchObject({ hasEnded: false });
    clock.set(at('2026-03-10T14:32:00Z'));
    await waitFor(() => market.end().hasEnded);
    expect(market.end()).toMatchObject({ hasEnded: true, pending: 0, lastEventNs: at('2026-03-10T14:32:00Z') });
    expect(seen).toEqual([
      'quote',
      'trade',
      'trade',
      'status',
      'luld',
      'correction',
      'cancel',
      'imbalance',
      'status',
      'bar',
      'dailyBar',
      'updatedBar',
      'dailyBar',
      'trade',
    ]);
    await market.close();
  });

  it('a market opened later is at once where one that ran through is', async () => {
    const source = async () => (await chooseSource({ synthetic: 9, to: '09:40' })).open();
    const fail = (error: unknown) => {
      throw error;
    };
    const clock = standingClock(at('2026-03-10T13:29:30Z'));
    const ran = new Market(await source(), clock, fail);
    await ran.start();
    const end = at('2026-03-10T13:36:17.123Z');
    for (let now = clock.nowNs(); now < end; now += 7_000_000_000n) {
      clock.set(now);
      while (ran.reachedNs() < now) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    clock.set(end);
    while (ran.reachedNs() < end) await new Promise((resolve) => setTimeout(resolve, 1));
    const late = new Market(await source(), clock, fail);
    let delivered = 0;
    late.onEvent(() => {
      delivered += 1;
    });
    await late.start();
    expect(late.counts).toEqual(ran.counts);
    expect(late.released).toBe(ran.released);
    for (let index = 0; index < ran.released; index += 1) {
      if (!late.store.line(index).equals(ran.store.line(index)))
        expect(late.store.line(index).toString()).toBe(ran.store.line(index).toString());
    }
    expect(delivered).toBe(late.released);
    await Promise.all([ran.close(), late.close()]);
  });
});
