import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { sessionOf } from '../../src/lib/market/calendar.ts';
import { kindLetters } from '../../src/simulator/market/message-line.ts';
import type { EventSource, SourceEvent } from '../../src/simulator/sources/source.ts';
import { cryptoSource, syntheticSource } from '../../src/simulator/sources/synthetic.ts';
import { syntheticSymbols } from '../../src/simulator/sources/synthetic-profiles.ts';
import { at } from './market-data.ts';

async function read(source: EventSource, untilNs?: bigint): Promise<SourceEvent[]> {
  const events: SourceEvent[] = [];
  for (;;) {
    const batch = await source.next();
    if (!batch) return events;
    events.push(...batch.events);
    if (untilNs !== undefined && batch.completeNs >= untilNs) return events;
  }
}

const hash = (events: readonly SourceEvent[]): string => {
  const digest = createHash('sha256');
  for (const event of events) digest.update(event.line).update(`${event.releaseNs}\n`);
  return digest.digest('hex');
};

const open = (seed: number, symbols: readonly string[] = syntheticSymbols, toNs = at('2026-03-10T13:45:00Z')) =>
  syntheticSource({ seed, symbols, toNs });

describe('synthetic market', () => {
  it('the same seed gives the same bytes, another seed others; a symbol does not depend on its company', async () => {
    const first = await read(open(7));
    expect(hash(await read(open(7)))).toBe(hash(first));
    expect(hash(await read(open(8)))).not.toBe(hash(first));
    // Pinned: a change of the generator changes every run that names a seed, and has to be meant.
    expect(`${first.length} ${hash(first)}`).toMatchInlineSnapshot(
      `"36218 0cc1041ae1b2eb166489021c0f60f4e967453a6d84d9da4b8aa9ab8d16f2cfef"`,
    );
    const alone = await read(open(7, ['IBM']));
    expect(hash(alone)).toBe(hash(first.filter((event) => event.symbol === 'IBM')));
  });

  it('begins half a minute before the bell on its date and ends five minutes after the close', async () => {
    const source = syntheticSource({ seed: 1, symbols: ['BAC'] });
    expect(source.startNs).toBe(at('2026-03-10T13:29:30Z'));
    const events = await read(source);
    const last = events.at(-1) as SourceEvent;
    expect(last.eventNs > at('2026-03-10T20:03:00Z') && last.eventNs < at('2026-03-10T20:05:00Z')).toBe(true);
    const letters = new Set(events.map((event) => kindLetters[event.code]));
    expect([...letters].sort().join('')).toBe('cilqstx');
    const conditions = new Set(
      events.flatMap((event) => (event.code === 0 ? (JSON.parse(event.line.toString()) as { c: string[] }).c : [])),
    );
    for (const letter of ['O', 'Q', '6', 'M', 'F', 'I', 'T', 'Z', '5'])
      expect([letter, conditions.has(letter)]).toEqual([letter, true]);
  });

  it('reads in time order; only late prints wait, at most ten seconds; ids are unique; sessions are honoured', async () => {
    for (const seed of [1, 2, 3]) {
      const events = await read(open(seed));
      let previous = 0n;
      let late = 0;
      const ids = new Set<string>();
      for (const { eventNs, readNs, releaseNs, symbol, code, line } of events) {
        if (!(readNs >= previous && readNs === eventNs && releaseNs >= readNs))
          expect([previous, eventNs, readNs, releaseNs]).toEqual([]);
        previous = readNs;
        if (releaseNs > readNs) {
          late += 1;
          expect(kindLetters[code]).toBe('t');
          expect(releaseNs - eventNs).toBeLessThanOrEqual(10_000_000_000n);
        }
        if (kindLetters[code] !== 't') continue;
        const { i } = JSON.parse(line.toString()) as { i: number };
        if (ids.has(`${symbol} ${i}`)) expect(`${symbol} ${i}`).toBe('unique');
        ids.add(`${symbol} ${i}`);
      }
      expect(late).toBeGreaterThan(10);
    }
  });

  it('nothing trades in a symbol between its halt and its resumption', async () => {
    const events = await read(open(7, syntheticSymbols, at('2026-03-10T15:00:00Z')));
    const halted = new Set<string>();
    let halts = 0;
    for (const { code, symbol, eventNs, releaseNs, line } of events) {
      const letter = kindLetters[code];
      const message = JSON.parse(line.toString()) as { sc?: string };
      if (letter === 's') {
        if (message.sc === 'H' || message.sc === 'P') {
          halted.add(symbol);
          halts += 1;
        }
        if (message.sc === 'T') halted.delete(symbol);
      }
      if (letter === 't' && releaseNs === eventNs && halted.has(symbol)) expect([symbol, eventNs]).toBe('halted');
    }
    expect(halts).toBeGreaterThan(2);
  });

  it('skips nights, weekends and holidays, and goes on with the next pre-market', async () => {
    const events = await read(
      syntheticSource({
        seed: 4,
        symbols: ['SPY'],
        fromNs: at('2026-04-02T23:30:00Z'),
        toNs: at('2026-04-06T08:20:00Z'),
      }),
    );
    const sessions = new Set(events.map((event) => sessionOf(event.eventNs)));
    expect([...sessions].sort()).toEqual(['post', 'pre']);
    expect(events.some((event) => event.eventNs > at('2026-04-06T08:00:00Z'))).toBe(true);
  });

  it('the price moves enough for a strategy to trade, and stays within some percent', async () => {
    const trades = (await read(open(7, ['NVDA'], at('2026-03-10T14:30:00Z')))).filter((event) => event.code === 0);
    const prices = trades.map((event) => (JSON.parse(event.line.toString()) as { p: number }).p);
    const [low, high] = [Math.min(...prices), Math.max(...prices)];
    expect((high - low) / low).toBeGreaterThan(0.003);
    expect((high - low) / low).toBeLessThan(0.1);
    let turns = 0;
    let rising = false;
    for (let i = 30; i < prices.length; i += 30) {
      const isRising = (prices[i] as number) > (prices[i - 30] as number);
      if (isRising !== rising) turns += 1;
      rising = isRising;
    }
    expect(turns).toBeGreaterThan(20);
  });

  it('crypto trades around the clock', async () => {
    const start = at('2026-03-14T03:00:00Z');
    const events = await read(cryptoSource(1, start), start + 60_000_000_000n);
    expect(new Set(events.map((event) => event.symbol))).toEqual(new Set(['BTC/USD', 'ETH/USD']));
    expect(events.length).toBeGreaterThan(50);
  });
});
