/** Symbols that fall silent are forgotten after seven market days: the state is bounded, and what comes out does not depend on when. */
import { describe, expect, it } from 'vitest';
import {
  type MarketEvent,
  type SymbolSnapshot,
  settingsOf,
  silentLimitSeconds,
  TaEngine,
  type TaOutput,
} from '../../src/lib/ta/index.ts';
import { minuteBar, OPEN, quote, seededRandom, sequences, trade } from './fixtures.ts';

const DAY = 86_400;
const settings = settingsOf('default');

function runEngine(events: readonly MarketEvent[]) {
  const evicted: string[] = [];
  const outputs: TaOutput[] = [];
  const engine = new TaEngine(settings, (symbol) => void evicted.push(symbol));
  for (const event of events) engine.process(event, (output) => void outputs.push(output));
  return { engine, outputs, evicted };
}

/** A minute of trades with a quote, so that there is something to forget. */
function burst(symbol: string, at: number, random: () => number): MarketEvent[] {
  const events: MarketEvent[] = [quote(at, 99, 101, { symbol })];
  for (let i = 0; i < 40; i++) {
    events.push(trade(at + i + random(), 100 + Math.floor(random() * 100) / 100, 100, { symbol }));
  }
  return events;
}

const barsOf = (outputs: readonly TaOutput[], symbol: string, from: number) =>
  outputs.flatMap((output) =>
    output.kind === 'signal' && output.symbol === symbol && output.end > OPEN + from ? [output.values.bars] : [],
  );

describe('a symbol without events', () => {
  it('begins anew after more than seven days, and goes on after less', () => {
    const random = seededRandom(1);
    const first = burst('QUIET', 0, random);
    const second = (gap: number) => [...burst('QUIET', gap, random), trade(gap + 60, 1, 1, { symbol: 'OTHER' })];
    const gone = runEngine([...first, trade(silentLimitSeconds - 100, 1), ...second(silentLimitSeconds + 100)]);
    expect(barsOf(gone.outputs, 'QUIET', silentLimitSeconds)[0]).toBe(1);
    const kept = runEngine([...first, trade(silentLimitSeconds - 100, 1), ...second(silentLimitSeconds - 10)]);
    expect(barsOf(kept.outputs, 'QUIET', silentLimitSeconds - 50)[0]).toBeGreaterThan(20);
    expect(kept.evicted).toEqual([]);
  });

  it('is what a new engine makes of its next events', () => {
    const random = seededRandom(2);
    const [first, again] = [burst('QUIET', 0, random), burst('QUIET', 9 * DAY, random)];
    const end = trade(9 * DAY + 100, 5, 5, { symbol: 'OTHER' });
    const later = (outputs: readonly TaOutput[]) =>
      sequences(outputs.filter((o) => o.kind !== 'late' && o.symbol === 'QUIET' && o.end > OPEN + 8 * DAY));
    const expected = later(runEngine([...again, end]).outputs);
    expect(expected.size).toBeGreaterThan(60);
    const tick = (day: number) => trade(day * DAY, 5, 5, { symbol: 'OTHER' });
    // Swept out days before, or met at its own next event.
    const swept = runEngine([...first, tick(3), tick(8), ...again, end]);
    expect(swept.evicted).toEqual(['QUIET']);
    expect(later(swept.outputs)).toEqual(expected);
    expect(later(runEngine([...first, tick(3), ...again, end]).outputs)).toEqual(expected);
  });

  it('is forgotten at the same point whatever was restored in between', () => {
    let begun = 0;
    for (let seed = 1; seed <= (process.env.TORGHUT_TEST_FULL ? 40 : 8); seed++) {
      const random = seededRandom(seed);
      const events: MarketEvent[] = [];
      let at = 0;
      for (let i = 0; i < 120; i++) {
        const symbol = ['A', 'B', 'C'][Math.floor(random() * 3)] as string;
        // Mostly near to one another, sometimes days apart, sometimes about the limit.
        const kind = random();
        at +=
          kind < 0.7 ? random() * 30 : kind < 0.85 ? random() * 4 * DAY : silentLimitSeconds + (random() - 0.5) * 40;
        const minute = Math.floor(at / 60);
        const what = random();
        if (what < 0.7) events.push(trade(at, 100 + i / 100, 10, { symbol }));
        else if (what < 0.85) events.push(quote(at, 99, 101, { symbol }));
        else events.push(minuteBar(minute - 1, 100, { symbol }));
      }
      const straight = runEngine(events);
      const outputs: TaOutput[] = [];
      const emit = (output: TaOutput) => void outputs.push(output);
      let engine = new TaEngine(settings);
      for (const event of events) {
        const next = new TaEngine(settings);
        const snapshots = [...engine.symbols.keys()].map(
          (symbol): SymbolSnapshot => ({ symbol, bytes: engine.snapshot(symbol) as Uint8Array }),
        );
        if (random() < 0.7) {
          next.restore(engine.newestEvent, snapshots, emit);
          engine = next;
        }
        engine.process(event, emit);
      }
      expect(sequences(outputs)).toEqual(sequences(straight.outputs));
      const bars = straight.outputs.flatMap((o) => (o.kind === 'signal' && o.revision === 0 ? [o.values.bars] : []));
      begun += bars.filter((count) => count === 1).length;
    }
    // Far more beginnings than the three symbols of each round.
    expect(begun).toBeGreaterThan(8 * 6);
  });

  it('keeps the state bounded while the universe changes', () => {
    const random = seededRandom(3);
    const evicted: string[] = [];
    const engine = new TaEngine(settings, (symbol) => void evicted.push(symbol));
    let most = 0;
    for (let i = 0; i < 500; i++) {
      for (const event of burst(`S${i}`, i * 0.2 * DAY, random)) engine.process(event, () => undefined);
      most = Math.max(most, engine.symbols.size);
    }
    // Five new ones a day, each held for seven days after its last event.
    expect(most).toBeLessThanOrEqual(37);
    expect(evicted.length).toBeGreaterThan(450);
    expect(new Set(evicted).size).toBe(evicted.length);
  });
});
