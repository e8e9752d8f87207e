import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { formatTimestampNs } from '../../src/lib/market/time.ts';
import { Market } from '../../src/simulator/market/market.ts';
import { collectPage, pageBody } from '../../src/simulator/server/history-pages.ts';
import { encodeToken, historyParameters } from '../../src/simulator/server/history-query.ts';
import { bucketStartNs, parseTimeframe } from '../../src/simulator/server/timeframe.ts';
import { chooseSource } from '../../src/simulator/sources/choose.ts';
import { at, standingClock, writeNdjson } from './market-data.ts';
import { removeTemporaryFolders } from './simulator-process.ts';

afterAll(removeTemporaryFolders);

const day = at('2026-03-10T14:30:00Z');

async function marketOf(lines: readonly string[], now = day + 3_600_000_000_000n): Promise<Market> {
  const clock = standingClock(now);
  const market = new Market((await chooseSource({ data: [writeNdjson(lines)] })).open(), clock, (error) => {
    throw error;
  });
  await market.start();
  return market;
}

const trade = (symbol: string, tenths: number, i: number) =>
  `{"T":"t","S":"${symbol}","i":${i},"x":"N","p":10.10,"s":100,"c":[" "],"t":"${formatTimestampNs(day + BigInt(tenths) * 100_000_000n)}","z":"A"}`;

function parameters(market: Market, query: string) {
  return historyParameters(new URL(`http://x/?${query}`), undefined, market.nowNs(), 'new_york');
}

/** All pages of a query, as items per symbol in the order given. */
function walk(market: Market, query: string, visible = market.released): { items: [string, number][]; pages: number } {
  const items: [string, number][] = [];
  let token = '';
  for (let pages = 1; ; pages++) {
    const page = collectPage(market, 'trades', parameters(market, `${query}${token}`), visible);
    const body = JSON.parse(pageBody('trades', page, undefined).toString()) as {
      trades: Record<string, { i: number }[]>;
      next_page_token: string | null;
    };
    for (const [symbol, list] of Object.entries(body.trades)) for (const { i } of list) items.push([symbol, i]);
    if (body.next_page_token === null) return { items, pages };
    expect(body.next_page_token).toBe(encodeToken(page.next as NonNullable<typeof page.next>));
    token = `&page_token=${encodeURIComponent(body.next_page_token)}`;
  }
}

describe('history pages', () => {
  it('pages follow each other without gap or repetition, symbol by symbol, in time order, for any limit, late prints included', async () => {
    const prints = fc.array(fc.tuple(fc.constantFrom('AAA', 'BBB', 'CCC'), fc.nat(30), fc.nat(20)), {
      minLength: 1,
      maxLength: 80,
    });
    await fc.assert(
      fc.asyncProperty(
        prints,
        fc.integer({ min: 1, max: 30 }),
        fc.boolean(),
        fc.nat(30),
        fc.nat(30),
        async (list, limit, isDescending, a, b) => {
          // Public at the place in the file; some carry an earlier time.
          const ordered = list.map(([symbol, place, late], index) => ({
            symbol,
            place,
            tenths: late > 15 ? Math.max(0, place - 5) : place,
            i: index + 1,
          }));
          ordered.sort((x, y) => x.place - y.place);
          const market = await marketOf(ordered.map(({ symbol, tenths, i }) => trade(symbol, tenths, i)));
          const [from, to] = a < b ? [a, b] : [b, a];
          const time = (tenths: number) => formatTimestampNs(day + BigInt(tenths) * 100_000_000n);
          const query = `symbols=BBB,AAA,CCC&start=${time(from)}&end=${time(to)}&limit=${limit}&sort=${isDescending ? 'desc' : 'asc'}`;
          const inside = ordered
            .map((item, place) => ({ ...item, place }))
            .filter(({ tenths }) => tenths >= from && tenths <= to)
            .sort((x, y) => (isDescending ? -1 : 1) * (x.tenths - y.tenths || x.place - y.place));
          const expected = ['AAA', 'BBB', 'CCC'].flatMap((symbol) =>
            inside.filter((item) => item.symbol === symbol).map(({ i }) => [symbol, i]),
          );
          const walked = walk(market, query);
          expect(walked.items).toEqual(expected);
          expect(walked.pages).toBe(Math.max(1, Math.ceil(expected.length / limit)));
          await market.close();
        },
      ),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 300 : 40 },
    );
  });

  it('items are the source lines without T and S, number text unchanged; nothing beyond what is visible', async () => {
    const market = await marketOf([trade('AAA', 1, 1), trade('AAA', 2, 2), trade('AAA', 3, 3)]);
    const page = collectPage(market, 'trades', parameters(market, 'symbols=AAA'), 2);
    expect(pageBody('trades', page, undefined).toString()).toBe(
      `{"trades":{"AAA":[${[1, 2].map((n) => trade('AAA', n, n).replace('"T":"t","S":"AAA",', '')).join(',')}]},"next_page_token":null}`,
    );
    expect(pageBody('trades', page, 'AAA').toString()).toMatch(
      /^\{"trades":\[\{"i":1,.*"p":10\.10.*\],"symbol":"AAA","next_page_token":null\}$/,
    );
    await market.close();
  });

  it('an updated bar takes the place of the bar; longer time frames add up their minutes', async () => {
    const bar = (letter: string, minute: number, c: number, v: number) =>
      `{"T":"${letter}","S":"AAA","o":10,"h":12,"l":9,"c":${c},"v":${v},"n":2,"vw":10.5,"t":"${formatTimestampNs(day + BigInt(minute) * 60_000_000_000n)}"}`;
    const lines = [0, 1, 2, 3, 4, 5, 6].map((minute) => bar('b', minute, 10 + minute / 10, 100));
    lines.splice(2, 0, bar('u', 0, 11.5, 150));
    const market = await marketOf(lines);
    const bars = (query: string, frame?: string) => {
      const aggregate = frame ? { frame: parseTimeframe(frame), zone: 'new_york' as const } : undefined;
      const page = collectPage(market, 'bars', parameters(market, `symbols=AAA&${query}`), market.released, aggregate);
      return (page.items.get('AAA') ?? []).map((item) => JSON.parse(item.toString()) as Record<string, unknown>);
    };
    expect(bars('').map(({ c, v }) => [c, v])).toEqual([
      [11.5, 150],
      [10.1, 100],
      [10.2, 100],
      [10.3, 100],
      [10.4, 100],
      [10.5, 100],
      [10.6, 100],
    ]);
    expect(bars('', '5Min')).toEqual([
      { o: 10, h: 12, l: 9, c: 10.4, v: 550, n: 10, vw: 10.5, t: '2026-03-10T14:30:00Z' },
      { o: 10, h: 12, l: 9, c: 10.6, v: 200, n: 4, vw: 10.5, t: '2026-03-10T14:35:00Z' },
    ]);
    expect(bars('sort=desc&limit=1', '5Min').map(({ t }) => t)).toEqual(['2026-03-10T14:35:00Z']);
    expect(bars('', '1Day')).toMatchObject([{ v: 750, t: '2026-03-10T04:00:00Z' }]);
    await market.close();
  });

  it('buckets begin at New York marks, also where daylight saving changes', () => {
    const start = (frame: string, text: string, zone: 'new_york' | 'utc' = 'new_york') =>
      formatTimestampNs(bucketStartNs(parseTimeframe(frame), at(text), zone));
    expect(start('1Day', '2026-03-09T03:59:59Z')).toBe('2026-03-08T05:00:00Z');
    expect(start('1Day', '2026-03-09T04:00:00Z')).toBe('2026-03-09T04:00:00Z');
    expect(start('1Week', '2026-03-10T12:00:00Z')).toBe('2026-03-09T04:00:00Z');
    expect(start('3Month', '2026-03-10T12:00:00Z')).toBe('2026-01-01T05:00:00Z');
    expect(start('4Hour', '2026-03-10T14:30:00Z')).toBe('2026-03-10T12:00:00Z');
    expect(start('1Day', '2026-03-10T02:00:00Z', 'utc')).toBe('2026-03-10T00:00:00Z');
    for (const bad of ['', '0Min', '60Min', '24Hour', '2Day', '5Month', 'Min', '1min'])
      expect(() => parseTimeframe(bad), bad).toThrow();
  });

  it('wrong parameters are refused with what is wrong', async () => {
    const market = await marketOf([trade('AAA', 1, 1)]);
    const refused: [string, RegExp][] = [
      ['', /symbols is required/],
      ['symbols=AAA&limit=0', /limit/],
      ['symbols=AAA&limit=10001', /limit/],
      ['symbols=AAA&sort=up', /sort/],
      ['symbols=AAA&start=yesterday', /start/],
      ['symbols=AAA&start=2026-03-10T15:00:00Z&end=2026-03-10T14:00:00Z', /end should not be before start/],
      ['symbols=AAA&page_token=zzz', /page_token/],
    ];
    for (const [query, why] of refused) expect(() => parameters(market, query), query).toThrow(why);
    await market.close();
  });
});
