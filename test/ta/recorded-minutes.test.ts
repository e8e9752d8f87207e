/**
 * The recorded session against the data vendor's own minute bars, which were not made from these trades: the volume of every
 * minute of the regular session, by the core's rule. Where it differs, minute-exceptions.json names the very prints.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { decodeProviderMessage, formatSecond, settingsOf, TaEngine, type TaOutput } from '../../src/lib/ta/index.ts';
import exceptions from './minute-exceptions.json' with { type: 'json' };

const data = process.env.TORGHUT_DATA;
const sessionStart = '2013-10-08T13:30:00Z';
const sessionEnd = '2013-10-08T20:00:00Z';

interface Message {
  S: string;
  t: string;
  i: number;
  s: number;
  v: number;
  c: string[];
}

function messages(file: string): Message[] {
  const path = join(data ?? '', 'us-equities-2013-10-08', file);
  if (!existsSync(path)) throw new Error(`TORGHUT_DATA is set but ${file} is missing`);
  return gunzipSync(readFileSync(path)).toString().trimEnd().split('\n').map((line) => JSON.parse(line) as Message);
} // biome-ignore format: one chain

const minuteOf = (t: string) => `${t.slice(0, 16)}:00Z`;

/** Volume by symbol and minute, summed over the core's second bars. */
function volumesByMinute(trades: readonly Message[]): Map<string, number> {
  const engine = new TaEngine(settingsOf('default'));
  const volumes = new Map<string, number>();
  const take = (output: TaOutput) => {
    if (output.kind !== 'bar') return;
    const key = `${output.symbol} ${minuteOf(formatSecond(output.end - 1))}`;
    volumes.set(key, (volumes.get(key) ?? 0) + output.volume);
  };
  let last = 0;
  for (const [i, message] of trades.entries()) {
    const event = decodeProviderMessage(message, i);
    if (typeof event === 'string' || event.kind === 'progress') throw new Error(`trade ${i} is ${String(event)}`);
    engine.process(event, take);
    last = event.sec;
  }
  engine.observe(last + 100, 0, take);
  return volumes;
}

/** Minutes of the session where the bar's volume is not that of the trades, with bar less trades. */
function differences(bars: readonly Message[], volumes: ReadonlyMap<string, number>): Map<string, number> {
  const session = bars.filter(({ t }) => t >= sessionStart && t < sessionEnd);
  const found = new Map<string, number>();
  const seen = new Set<string>();
  for (const bar of session) {
    const key = `${bar.S} ${minuteOf(bar.t)}`;
    seen.add(key);
    const difference = bar.v - (volumes.get(key) ?? 0);
    if (difference !== 0) found.set(key, difference);
  }
  const symbols = new Set(session.map(({ S }) => S));
  for (const [key, volume] of volumes) {
    const [symbol, minute] = key.split(' ') as [string, string];
    const isOfSession = symbols.has(symbol) && minute >= sessionStart && minute < sessionEnd;
    if (isOfSession && volume !== 0 && !seen.has(key)) found.set(key, -volume);
  }
  return found;
}

const explained = new Map(exceptions.map((row) => [`${row.symbol} ${row.minute}`, row.bar_minus_trades]));

describe.skipIf(!data)('volume by minute of the recorded session (TORGHUT_DATA)', () => {
  it("is that of the vendor's independent minute bars, but for the explained minutes", () => {
    const trades = messages('trades.ndjson.gz');
    const bars = messages('bars.ndjson.gz');
    const session = bars.filter(({ t }) => t >= sessionStart && t < sessionEnd);
    expect(session).toHaveLength(4 * 390);
    const volumes = volumesByMinute(trades);
    expect(differences(bars, volumes)).toEqual(explained);
    // Each explanation is as exact as the figures: the named prints make the difference, to the share.
    for (const { symbol, minute, bar_minus_trades, prints } of exceptions) {
      const named = trades.filter(
        ({ S, i, t, c }) =>
          S === symbol &&
          i >= prints.first_id &&
          i <= prints.last_id &&
          minuteOf(t) === prints.minute &&
          c.includes(prints.condition),
      );
      expect(named, `${symbol} ${minute}`).toHaveLength(prints.count);
      const shares = named.reduce((sum, { s }) => sum + s, 0);
      expect(shares, `${symbol} ${minute}`).toBe(Math.abs(bar_minus_trades));
      // A print that the vendor counts in another minute is missing there.
      if (prints.minute === minute) continue;
      const there = bars.find(({ S, t }) => S === symbol && minuteOf(t) === prints.minute);
      expect((there?.v ?? 0) - (volumes.get(`${symbol} ${prints.minute}`) ?? 0)).toBe(-shares);
    }
  });

  it('tells one changed trade', () => {
    const trades = messages('trades.ndjson.gz').filter(({ S }) => S === 'IBM');
    const bars = messages('bars.ndjson.gz').filter(({ S }) => S === 'IBM');
    const changed = trades.find(({ t }) => t >= '2013-10-08T15:00:00Z') as Message;
    changed.s += 1;
    const own = [...explained].filter(([key]) => key.startsWith('IBM'));
    const expected = new Map([...own, [`IBM ${minuteOf(changed.t)}`, -1] as const]);
    expect(differences(bars, volumesByMinute(trades))).toEqual(expected);
  });
});
