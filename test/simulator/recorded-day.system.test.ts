import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { Market } from '../../src/simulator/market/market.ts';
import { chooseSource } from '../../src/simulator/sources/choose.ts';
import { at, standingClock, writeNdjson } from './market-data.ts';
import { removeTemporaryFolders, runToEnd, StreamClient, startSimulator, waitFor } from './simulator-process.ts';

const root = process.env.TORGHUT_DATA;
const folder = join(root ?? '', 'us-equities-2013-10-08');
const lines = (name: string) =>
  gunzipSync(readFileSync(join(folder, name)))
    .toString()
    .trimEnd()
    .split('\n');

afterAll(removeTemporaryFolders);

describe.skipIf(!root)('recorded session of 2013-10-08 (TORGHUT_DATA)', () => {
  it('the data folder is there', () => {
    expect(existsSync(folder)).toBe(true);
  });

  it('the stream of the opening two minutes is the file, line by line, across a kill -9 with the gap in the history', async () => {
    const path = join(folder, 'smoke.ndjson.gz');
    const args = ['--data', path, '--speed', '20', '--home', join(writeNdjson(['']), '..', 'home')];
    const got = new Map<string, number>();
    const all = { trades: ['*'], quotes: ['*'], bars: ['*'] };
    let simulator = await startSimulator(args);
    const collect = async () => {
      const client = await new StreamClient(simulator, '/v2/sip').authenticate();
      client.socket.on('message', (data) => {
        for (const line of data
          .toString()
          .slice(1, -1)
          .split(/,(?=\{"T")/))
          got.set(line, (got.get(line) ?? 0) + 1);
      });
      await client.subscribe(all);
      return client;
    };
    await collect();
    await waitFor(async () => ((await simulator.status()).input.trades ?? 0) > 1_000, 30_000);
    await simulator.end('SIGKILL');
    const streamed = got.size;
    simulator = await startSimulator(args);
    await collect();
    await waitFor(async () => (await simulator.status()).end_of_input || undefined, 60_000);
    await waitFor(() => got.size > streamed || undefined);
    // What the stream did not bring is in the history, and nothing else is. A quote may be repeated in the file itself.
    const missing = new Map<string, number>();
    for (const line of lines('smoke.ndjson.gz')) missing.set(line, (missing.get(line) ?? 0) + 1);
    for (const [line, count] of got) {
      if (!/^\{"T":"[tq]"/.test(line)) continue;
      const left = (missing.get(line) ?? 0) - count;
      expect(left, line).toBeGreaterThanOrEqual(0);
      missing.set(line, left);
    }
    const history = new Map<string, number>();
    for (const [channel, letter] of [
      ['trades', 't'],
      ['quotes', 'q'],
    ] as const) {
      let token = '';
      do {
        const answer = await simulator.get(
          `/v2/stocks/${channel}?symbols=AIG,BAC,IBM,SPY&limit=1000&start=2013-10-08T13:30:00Z${token}`,
        );
        const body = JSON.parse(answer.body) as { next_page_token: string | null } & Record<
          string,
          Record<string, unknown[]>
        >;
        for (const [symbol, items] of Object.entries(body[channel] ?? {})) {
          for (const item of items) {
            const line = JSON.stringify({ T: letter, S: symbol, ...(item as object) });
            history.set(line, (history.get(line) ?? 0) + 1);
          }
        }
        token = body.next_page_token === null ? '' : `&page_token=${encodeURIComponent(body.next_page_token)}`;
      } while (token !== '');
    }
    expect([...history.values()].reduce((sum, count) => sum + count, 0)).toBe(5_779);
    for (const [line, left] of missing) expect(history.get(line) ?? 0, line).toBeGreaterThanOrEqual(Math.max(1, left));
    expect([...missing.values()].some((left) => left > 0)).toBe(true);
    expect((await simulator.status()).input).toMatchObject({ trades: 4_056, quotes: 1_723 });
    await simulator.end();
  });

  it('minute bars built from the trades have the volume of the vendor’s own bars', async () => {
    const full = process.env.TORGHUT_TEST_FULL;
    const [from, to, end] = full
      ? ['09:30', '16:00', '2013-10-08T20:05:00Z']
      : ['09:30', '10:00', '2013-10-08T14:05:00Z'];
    const clock = standingClock(at(end as string));
    const chosen = await chooseSource({ data: [join(folder, 'trades.ndjson.gz')], from, to });
    const market = new Market(chosen.open(), clock, (error) => {
      throw error;
    });
    await market.start();
    const vendor = new Map<string, number>();
    for (const line of lines('bars.ndjson.gz')) {
      const { S, t, v } = JSON.parse(line) as { S: string; t: string; v: number };
      if (at(t) >= chosen.startNs && at(t) < (chosen.toNs as bigint)) vendor.set(`${S} ${t}`, v);
    }
    // By hand: shares of all trades of the minute but the official prints.
    const summed = new Map<string, number>();
    for (const line of lines('trades.ndjson.gz')) {
      const { S, t, s, c } = JSON.parse(line) as { S: string; t: string; s: number; c: string[] };
      if (at(t) < chosen.startNs || at(t) >= (chosen.toNs as bigint) || c.includes('M') || c.includes('Q')) continue;
      const minute = `${S} ${t.slice(0, 16)}:00Z`;
      summed.set(minute, (summed.get(minute) ?? 0) + s);
    }
    const built = new Map<string, number>();
    for (let index = 0; index < market.released; index++) {
      if (market.store.letter(index) !== 'b') continue;
      const { S, t, v } = market.store.parse(index) as { S: string; t: string; v: number };
      built.set(`${S} ${t}`, v);
    }
    expect([...built].sort()).toEqual([...summed].sort());
    // The notes of the data count eleven minutes of the day in which the vendor's volume is another.
    const different = [...vendor].filter(([minute, volume]) => built.get(minute) !== volume);
    expect(built.size).toBe(vendor.size);
    expect(different.length, JSON.stringify(different)).toBeLessThanOrEqual(11);
    await market.close();
  });

  it('bars of the source are passed on a minute after their start, none are built', async () => {
    const clock = standingClock(at('2013-10-08T13:35:30Z'));
    const data = ['trades', 'bars'].map((name) => join(folder, `${name}.ndjson.gz`));
    const market = new Market((await chooseSource({ data, from: '09:30', to: '09:40' })).open(), clock, (error) => {
      throw error;
    });
    await market.start();
    const bars: string[] = [];
    for (let index = 0; index < market.released; index++) {
      if (market.store.letter(index) === 'b') bars.push(market.store.line(index).toString());
    }
    const expected = lines('bars.ndjson.gz').filter((line) => /"t":"2013-10-08T13:3[0-4]:00Z"/.test(line));
    expect([...bars].sort()).toEqual(expected.sort());
    await market.close();
  });
});

describe('torghut simulator refuses what it cannot use', () => {
  it('a mistake is told with what, why and what to do, without a stack, and ends with exit code 2', async () => {
    const broken = writeNdjson([
      '{"T":"t","S":"AAA","i":1,"x":"N","p":1,"s":1,"t":"2026-03-10T14:30:00Z"}',
      'half a li',
    ]);
    const cases: [string[], RegExp][] = [
      [['--data', broken], /line 2 of .*data\.ndjson cannot be used[\s\S]*next: .*[\s\S]*code: input_broken/],
      [['--data', '/nowhere/to/be/found.ndjson'], /there is no such file/],
      [[], /code: source_needed/],
      [['--synthetic', '1', '--symbols', 'AAPLE'], /did you mean AAPL/],
      [['--synthetic', '1', '--speed', 'fast'], /--speed fast is not valid/],
      [['--synthetic', '1', '--from', '15:00', '--to', '14:00'], /code: time_order/],
      [['--synthetic', '1', '--key', 'only'], /code: key_pair/],
    ];
    for (const [args, text] of cases) {
      const { code, stderr, stdout } = await runToEnd(args);
      expect([args, code, stdout]).toEqual([args, 2, '']);
      expect(stderr).toMatch(text);
      expect(stderr).not.toMatch(/\n\s+at /);
    }
  });

  it('a port in use, a home of other data and a home that cannot be written are refused', async () => {
    const home = join(writeNdjson(['']), '..', 'home');
    const simulator = await startSimulator(['--synthetic', '1', '--home', home]);
    const taken = await runToEnd(['--synthetic', '1', '--port', String(simulator.port)]);
    expect([taken.code, taken.stderr]).toEqual([2, expect.stringContaining('port_in_use')]);
    const second = await runToEnd(['--synthetic', '1', '--home', home]);
    expect([second.code, second.stderr]).toEqual([4, expect.stringContaining('home_in_use')]);
    await simulator.end('SIGKILL');
    const other = await runToEnd(['--synthetic', '2', '--home', home]);
    expect([other.code, other.stderr]).toEqual([4, expect.stringContaining('home_other_source')]);
    const blocked = await runToEnd(['--synthetic', '1', '--home', join(writeNdjson(['']), 'below-a-file')]);
    expect([blocked.code, blocked.stderr]).toEqual([3, expect.stringContaining('home_unwritable')]);
    const fresh = await startSimulator(['--synthetic', '2', '--home', home, '--fresh']);
    await fresh.end();
  });
});
