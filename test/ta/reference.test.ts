/** The core's indicators against the same formulas with 50 digits, from the first bar to the last. */
import { describe, expect, it } from 'vitest';
import { OPEN } from './fixtures.ts';
import { type ReferenceRow, reference } from './reference.ts';
import { minutesMonth, type Series, secondsWalk, signalsOf } from './series.ts';

const seed = Number(process.env.TORGHUT_TEST_SEED ?? 20_131_008);
const full = Boolean(process.env.TORGHUT_TEST_FULL);

/** Differences that count as equal: 1e-9 of the price; of a percentage 1e-9 of its range; of a return 1e-9. */
function toleranceOf(name: string, price: number): number {
  if (name === 'rsi14') return 1e-9 * 100;
  return name === 'volRealizedW60s' ? 1e-9 : 1e-9 * price;
}

/** @returns the largest difference of each indicator, in tolerances, and how often each was compared as a value */
function compare(series: Series, sessionOf: (end: number) => number) {
  const signals = signalsOf(series);
  const worst: Record<string, number> = {};
  const compared: Record<string, number> = {};
  for (const [i, row] of reference(series.bars, sessionOf).entries()) {
    const values = signals[i]?.values as unknown as Record<string, number | null>;
    const price = series.bars[i]?.close as number;
    for (const [name, expected] of Object.entries(row) as [keyof ReferenceRow, ReferenceRow[keyof ReferenceRow]][]) {
      const given = values[name];
      if (expected === null || given === null || given === undefined) {
        if (expected !== given) throw new Error(`${series.name}: ${name} of bar ${i} is ${given}, wanted ${expected}`);
        continue;
      }
      const difference = expected.minus(given).abs().toNumber() / toleranceOf(name, price);
      compared[name] = (compared[name] ?? 0) + 1;
      if (!(difference <= (worst[name] ?? 0))) worst[name] = difference;
    }
  }
  return { worst, compared, signals };
}

/** Pre-market until the open, then the regular session. Ends within one trading day. */
const periodOfDay = (end: number) => (end - 1 < OPEN ? 0 : 1);
const dayOf = (end: number) => Math.floor((end - 1) / 86_400);

const walks: Series[] = [
  secondsWalk('walk of cents', { seed, bars: full ? 23_400 : 2_000, price: 48.5 }),
  secondsWalk('walk with gaps, over the open', { seed: seed + 1, bars: 1_200, price: 48.5, from: -900, gaps: 0.05 }),
  secondsWalk('walk of a very high price', { seed: seed + 2, bars: 800, price: 650_000, tick: 0.5 }),
  secondsWalk('walk of a very low price', { seed: seed + 3, bars: 800, price: 0.02, tick: 0.0001 }),
];

describe(`indicators against 50 digits (seed ${seed})`, () => {
  it.each(walks)('$name: within 1e-9 of the price at every bar', (series) => {
    const { worst, compared } = compare(series, periodOfDay);
    expect(compared.vwapSession).toBe(series.bars.length);
    expect(compared.macd).toBe(series.bars.length - 34);
    expect(compared.volRealizedW60s).toBeGreaterThan(series.bars.length / 2);
    for (const [name, difference] of Object.entries(worst)) expect(difference, name).toBeLessThanOrEqual(1);
  });

  it('a month of minute bars with a flat session: no drift to the last bar', () => {
    const flat = [3_900, 4_290] as const;
    const series = minutesMonth('month', seed + 4, flat);
    expect(series.bars).toHaveLength(8_190);
    const { worst, compared, signals } = compare(series, dayOf);
    for (const { values } of signals.slice(flat[0] + 20, flat[1])) {
      expect(values.bollUpper).toBe(values.bollMid);
      expect(values.bollLower).toBe(values.bollMid);
    }
    expect(compared).toMatchObject({ ema12: 8_179, rsi14: 8_176, bollMid: 8_171, vwapSession: 8_190, vwapW5m: 8_190 });
    for (const [name, difference] of Object.entries(worst)) expect(difference, name).toBeLessThanOrEqual(1);
  });

  it('a flat stretch, however long: within 1e-9, deviations exactly zero, and right again after it', () => {
    const flat = [300, 12_300] as const;
    const series = secondsWalk('flat stretch', { seed: seed + 5, bars: 12_600, price: 48.51, flat });
    const { worst, signals } = compare(series, periodOfDay);
    for (const [name, difference] of Object.entries(worst)) expect(difference, name).toBeLessThanOrEqual(1);
    for (let i = flat[0] + 61; i < flat[1]; i++) {
      const { values } = signals[i] as (typeof signals)[number];
      expect(values.volRealizedW60s).toBe(0);
      expect(values.bollMid).toBe(series.bars[i]?.close);
      expect(values.bollUpper).toBe(values.bollMid);
      expect(values.bollLower).toBe(values.bollMid);
    }
    expect((signals.at(-1) as (typeof signals)[number]).values.volRealizedW60s).toBeGreaterThan(0);
  });

  it('sees a formula that is off by a hair: the comparison can fail', () => {
    const series = secondsWalk('changed', { seed, bars: 60, price: 48.5 });
    const last = series.bars.at(-1) as (typeof series.bars)[number];
    last.close += 1e-4;
    const { worst } = compare(series, periodOfDay);
    expect(worst.ema12).toBeGreaterThan(1);
    expect(worst.bollMid).toBeGreaterThan(1);
    expect(worst.vwapSession).toBeLessThanOrEqual(1);
  });
});
