/** The recorded session against an oracle made by other code, and the bounds of the state on it. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import {
  type BarOutput, decodeProviderMessage, formatSecond, type MarketEvent, settingsOf, TaEngine, type TaOutput,
} from '../../src/lib/ta/index.ts'; // biome-ignore format: one list
import { currentRows, seededRandom } from './fixtures.ts';

const data = process.env.TORGHUT_DATA;
const folder = join(data ?? '', 'us-equities-2013-10-08');

function lines(file: string): unknown[] {
  const path = join(folder, file);
  if (!existsSync(path)) throw new Error(`TORGHUT_DATA is set but ${file} is missing`);
  return gunzipSync(readFileSync(path)).toString().trimEnd().split('\n').map((line) => JSON.parse(line) as unknown);
} // biome-ignore format: one chain

function eventsOf(file: string, until = '9'): MarketEvent[] {
  const events: MarketEvent[] = [];
  for (const [i, message] of lines(file).entries()) {
    if ((message as { t: string }).t >= until) break;
    const event = decodeProviderMessage(message, i);
    if (typeof event === 'string' || event.kind === 'progress') throw new Error(`${file}:${i + 1} is ${String(event)}`);
    events.push(event);
  }
  return events;
}

interface ExpectedSecond {
  symbol: string; second: string; count: number; volume: number; unpriced: number;
  o: number; h: number; l: number; c: number; flat: boolean;
} // biome-ignore format: the file's columns

function run(events: readonly MarketEvent[]): { outputs: TaOutput[]; engine: TaEngine; largest: number } {
  const engine = new TaEngine(settingsOf('default'));
  const outputs: TaOutput[] = [];
  let largest = 0;
  let second = 0;
  for (const event of events) {
    engine.process(event, (output) => void outputs.push(output));
    if (event.sec === second) continue;
    second = event.sec;
    if (second % 60 === 0) {
      for (const symbol of engine.symbols.keys()) largest = Math.max(largest, engine.snapshot(symbol)?.length ?? 0);
    }
  }
  engine.observe((events.at(-1)?.sec ?? 0) + 100, 0, (output) => void outputs.push(output));
  return { outputs, engine, largest };
}

/** Bars by symbol and start of their second, as the oracle writes them. */
function figures(outputs: readonly TaOutput[], from: string, until: string): Map<string, ExpectedSecond> {
  const found = new Map<string, ExpectedSecond>();
  for (const bar of outputs.filter((output): output is BarOutput => output.kind === 'bar')) {
    const second = formatSecond(bar.end - 1).replace('.000', '');
    if (second < from || second >= until) continue;
    const { symbol, count, volume, unpriced, open: o, high: h, low: l, close: c, isFlat: flat } = bar;
    found.set(`${symbol} ${second}`, { symbol, second, count, volume, unpriced, o, h, l, c, flat });
  }
  return new Map([...found].sort());
}

const oracle = (until: string) =>
  new Map(
    (lines('expected-seconds.ndjson.gz') as ExpectedSecond[])
      .filter((row) => row.second < until)
      .map((row) => [`${row.symbol} ${row.second}`, row] as const)
      .sort(),
  );

describe.skipIf(!data)('the recorded session (TORGHUT_DATA)', () => {
  it('gives the expected second bars of the first 15 minutes', () => {
    const { outputs, engine, largest } = run(eventsOf('trades.ndjson.gz', '2013-10-08T13:45:00Z'));
    const expected = oracle('2013-10-08T13:45:00Z');
    expect(expected.size).toBe(2_264);
    expect(figures(outputs, '2013-10-08T13:30:00Z', '2013-10-08T13:45:00Z')).toEqual(expected);
    expect(engine.counters).toMatchObject({ revisions: 0, late: 0, duplicates: 0 });
    expect(largest).toBeGreaterThan(1_000);
    expect(largest).toBeLessThan(65_536);
  });

  it('gives the same from the smoke file, and the same current rows when it is disordered by 10 s', () => {
    const events = eventsOf('smoke.ndjson.gz');
    const { outputs } = run(events);
    const until = '2013-10-08T13:32:00Z';
    expect(figures(outputs, '2013-10-08T13:30:00Z', until)).toEqual(oracle(until));
    const random = seededRandom(3);
    const disordered = events
      .map((event) => ({ event, at: event.sec + event.nano / 1e9 + (random() < 0.2 ? random() * 10 : 0) }))
      .sort((a, b) => a.at - b.at)
      .map(({ event }) => event);
    const again = run(disordered);
    expect(again.engine.counters.revisions).toBeGreaterThan(100);
    expect(again.engine.counters.late).toBe(0);
    expect(currentRows(again.outputs)).toEqual(currentRows(outputs));
  });
});
