/** What arrives in another order, twice, or across a restart gives the same outputs. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type MarketEvent, settingsOf, TaEngine, type TaOutput } from '../../src/lib/ta/index.ts';
import {
  type Arrival,
  currentRows,
  expectWorth,
  inOrder,
  OPEN,
  randomMarket,
  runAll,
  sequences,
  shuffled,
  textOf,
} from './fixtures.ts';

const runs = process.env.TORGHUT_TEST_FULL ? 60 : 6;
const seeds = fc.integer({ min: 0, max: 2 ** 30 });

/** Share of events whose own second was over when they came (window final by then). */
function lateShare(events: readonly MarketEvent[]): number {
  let newest = Number.NEGATIVE_INFINITY;
  let late = 0;
  for (const event of events) {
    if (event.kind === 'bar') continue;
    const time = event.sec + event.nano / 1e9;
    if (event.sec + 1 < newest - 0.5) late += 1;
    newest = Math.max(newest, time);
  }
  return late / events.length;
}

const barRows = (outputs: readonly TaOutput[]) => outputs.filter((output) => output.kind === 'bar').length;

describe('disorder', () => {
  it('gives the same records for the same input', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const market = randomMarket(seed, 70, 6);
        const { outputs, engine } = runAll(inOrder(market));
        expectWorth(market, outputs);
        const again = runAll(inOrder(randomMarket(seed, 70, 6)));
        // Not only per key: the outputs of a whole partition stand in one order.
        expect(again.outputs.map(textOf)).toEqual(outputs.map(textOf));
        expect(again.engine.counters).toEqual(engine.counters);
      }),
      { numRuns: runs },
    );
  });

  it('gives the same records per key in any order within the out-of-orderness', () => {
    fc.assert(
      fc.property(seeds, seeds, (marketSeed, orderSeed) => {
        const market = randomMarket(marketSeed, 70, 6);
        const straight = runAll(inOrder(market)).outputs;
        const events = shuffled(market, 0.499, orderSeed);
        expect(events).not.toEqual(inOrder(market));
        expectWorth(market, straight);
        expect(sequences(runAll(events).outputs)).toEqual(sequences(straight));
      }),
      { numRuns: runs },
    );
  });

  it('gives the same current rows in any order within the lateness', () => {
    fc.assert(
      fc.property(seeds, seeds, (marketSeed, orderSeed) => {
        const market = randomMarket(marketSeed, 70, 6);
        const straight = runAll(inOrder(market)).outputs;
        // A correction comes up to 2 s after its trade, and the trade's window must not be final for over 15 s then.
        const events = shuffled(market, 13, orderSeed);
        expect(lateShare(events)).toBeGreaterThan(0.01);
        expectWorth(market, straight);
        const { outputs } = runAll(events);
        expect(outputs.some((output) => output.kind !== 'late' && output.revision > 0)).toBe(true);
        expect(outputs.filter((output) => output.kind === 'late')).toEqual([]);
        expect(currentRows(outputs)).toEqual(currentRows(straight));
      }),
      { numRuns: runs },
    );
  });

  it('changes nothing when events come twice', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const market = randomMarket(seed, 70, 6);
        const straight = sequences(runAll(inOrder(market)).outputs);
        const twice: Arrival[] = [];
        for (const [i, arrival] of market.entries()) {
          twice.push(arrival);
          if (i % 3 === 0) twice.push({ ...arrival, at: arrival.at + 5 });
        }
        twice.sort((a, b) => a.at - b.at);
        const { outputs, engine } = runAll(inOrder(twice));
        expect(engine.counters.duplicates).toBeGreaterThan(market.length * 0.1);
        expect(sequences(outputs)).toEqual(straight);

        expectWorth(market, outputs, settingsOf('default'), twice.length - market.length);
      }),
      { numRuns: runs },
    );
  });

  it.each(['default', 'compat'] as const)('goes on the same from a snapshot taken at every event (%s)', (profile) => {
    const settings = settingsOf(profile);
    for (let seed = 1; seed <= Math.max(2, runs / 6); seed++) {
      const market = randomMarket(seed, 130, 4);
      const events = shuffled(market, 8, seed + 7);
      const straight = runAll(events, settings).outputs;
      const outputs: TaOutput[] = [];
      const emit = (output: TaOutput) => void outputs.push(output);
      let engine = new TaEngine(settings);
      for (const event of events) {
        const next = new TaEngine(settings);
        const snapshots = [...engine.symbols.keys()].map((symbol) => ({
          symbol,
          bytes: engine.snapshot(symbol) as Uint8Array,
        }));
        next.restore(engine.newestEvent, snapshots, emit);
        engine = next;
        engine.process(event, emit);
      }
      engine.observe(OPEN + 1_000, 0, emit);
      if (profile === 'default') expectWorth(market, straight);
      expect(barRows(outputs)).toBeGreaterThan(150);
      expect(lateShare(events)).toBeGreaterThan(0.01);
      expect(sequences(outputs)).toEqual(sequences(straight));
    }
  });

  it('takes a snapshot that reads back as the same bytes', () => {
    const { engine } = runAll(shuffled(randomMarket(5, 70, 20), 8, 1), settingsOf('default'), 60);
    for (const symbol of engine.symbols.keys()) {
      const bytes = engine.snapshot(symbol) as Uint8Array;
      const other = new TaEngine(settingsOf('default'));
      const restore = (target: TaEngine, from: Uint8Array) =>
        target.restore(engine.newestEvent, [{ symbol, bytes: from }], () => undefined);
      restore(other, bytes);
      expect(other.snapshot(symbol)).toEqual(bytes);
      expect(() => restore(other, bytes.subarray(0, bytes.length - 3))).toThrow('snapshot');
      expect(() => restore(new TaEngine(settingsOf('compat')), bytes)).toThrow('profile');
      const newer = Uint8Array.from(bytes);
      newer[0] = 99;
      expect(() => restore(other, newer)).toThrow('version 99');
    }
  });
});
