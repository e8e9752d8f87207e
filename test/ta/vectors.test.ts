/** The worked examples of the specification and the sale-condition table, through the whole core. */
import { describe, expect, it } from 'vitest';
import { type BarOutput, type SignalOutput, settingsOf, type TaOutput } from '../../src/lib/ta/index.ts';
import { minuteBar, OPEN, quote, runAll, trade } from './fixtures.ts';

const bars = (outputs: readonly TaOutput[]) => outputs.filter((o): o is BarOutput => o.kind === 'bar');
const signals = (outputs: readonly TaOutput[]) => outputs.filter((o): o is SignalOutput => o.kind === 'signal');

/** One trade a second that closes at each price. */
const closing = (closes: readonly number[], sizes: (i: number) => number = () => 100) =>
  closes.map((close, i) => trade(i + 0.5, close, sizes(i)));

const spread = [0.2, -0.1, 0];
const closes = Array.from(
  { length: 60 },
  (_, i) => Math.round((100 + 0.05 * i + (spread[i % 3] as number)) * 100) / 100,
);

describe('worked examples', () => {
  it('1: three trades make one bar stamped with its end', () => {
    const { outputs } = runAll([trade(10.1, 100.1, 50), trade(10.4, 100.14, 20), trade(10.9, 100.06, 30)]);
    const [bar] = bars(outputs);
    expect(bars(outputs)).toHaveLength(1);
    expect(bar).toMatchObject({ end: OPEN + 11, open: 100.1, high: 100.14, low: 100.06, close: 100.06 });
    expect(bar).toMatchObject({ volume: 100, count: 3, unpriced: 0, revision: 0, isFlat: false });
    expect(bar?.vwap).toBeCloseTo(100.096, 12);
  });

  it.each([
    [0, { ema12: 100.2, ema26: 100.2, macd: 0, macdSignal: 0, macdHist: 0, rsi14: null, bollMid: null, volRealizedW60s: null }],
    [1, { ema12: 100.161538, ema26: 100.181481, macd: -0.019943, macdSignal: -0.003989, macdHist: -0.015954, rsi14: 0, volRealizedW60s: 0 }],
    [19, { ema12: 100.719796, ema26: 100.537256, macd: 0.18254, macdSignal: 0.137213, macdHist: 0.045327, rsi14: 57.441196,
      bollMid: 100.51, bollUpper: 101.123677, bollLower: 99.896323, volRealizedW60s: 0.002195 }],
    [29, { ema12: 101.201208, ema26: 100.937478, macd: 0.26373, macdSignal: 0.236316, macdHist: 0.027414, rsi14: 60.732858,
      bollMid: 101, bollUpper: 101.631664, bollLower: 100.368336, volRealizedW60s: 0.00214799, vwapSession: 100.908503 }],
  ] as const)('2: indicators of bar %i, profile compat', (at, expected) => {
    const events = closing(closes.slice(0, 30), (i) => 100 + 10 * i);
    const row = signals(runAll(events, settingsOf('compat')).outputs)[at]?.values as unknown as Record<string, number | null>;
    for (const [name, value] of Object.entries(expected)) {
      if (value === null) expect(row[name], name).toBeNull();
      else expect(row[name], name).toBeCloseTo(value, 6);
    }
  }); // biome-ignore format: the table of the specification

  it('2: the default profile has the same values once they are warm, and null before', () => {
    const events = closing(closes, (i) => 100 + 10 * i);
    const compat = signals(runAll(events, settingsOf('compat')).outputs);
    const own = signals(runAll(events).outputs);
    const warm = { ema12: 12, ema26: 26, macd: 35, macdSignal: 35, macdHist: 35, rsi14: 15, bollMid: 20, bollUpper: 20, bollLower: 20, volRealizedW60s: 3 };
    expect(own).toHaveLength(60);
    for (const [i, signal] of own.entries()) {
      for (const [name, from] of Object.entries(warm) as [keyof typeof warm, number][]) {
        if (i + 1 < from) expect(signal.values[name], `${name} ${i}`).toBeNull();
        else expect(signal.values[name], `${name} ${i}`).toBeCloseTo(compat[i]?.values[name] as number, 10);
      }
      expect(signal).toMatchObject({ isWarm: i >= 34, values: { bars: i + 1 } });
      expect(signal.quality).toBe(i < 34 ? 'limited_history' : 'no_quote');
    }
    expect(own[29]?.values.vwapSession).toBeCloseTo(100.908503, 6);
  }); // biome-ignore format: one table

  it.each(['default', 'compat'] as const)(
    '3: a bar that ends at the cut is out of the rolling VWAP (%s)',
    (profile) => {
      const events = [900, 20, 20, 20, 20, 20].map((close, i) => minuteBar(60 + i, close));
      const rows = signals(runAll(events, settingsOf(profile), 5_000).outputs);
      expect(rows.map((row) => row.values.vwapW5m)).toEqual([900, 460, 940 / 3 + 0, 240, 196, 20]);
      expect(rows.at(-1)).toMatchObject({ windowSeconds: 60, end: OPEN + 66 * 60 });
    },
  );

  it.each([
    [37.5, 2_500, true],
    [37.499, 2_500, false],
    [40.001, 2_500, false],
    [40.001, 0, false],
    [40, 2_500, true],
    [1, 0, true],
  ])('4: a quote at %d with limit %d: joined %s', (at, limit, isJoined) => {
    const settings = settingsOf('default', { quoteStaleAfterMs: limit });
    const events = [quote(at, 10, 10.02), trade(39.5, 10)].sort((a, b) => a.sec - b.sec || a.nano - b.nano);
    const [signal] = signals(runAll(events, settings).outputs);
    expect(signal?.end).toBe(OPEN + 40);
    expect(signal?.quote !== null).toBe(isJoined);
    if (isJoined) {
      expect(signal?.quote).toMatchObject({ bidPrice: 10, askPrice: 10.02, bidSize: 200, askSize: 300 });
      expect(signal?.quote?.spread).toBeCloseTo(0.02, 12);
    }
  });

  it('5: an older second does not split a bar', () => {
    const { outputs } = runAll([trade(5.9, 10), trade(4.8, 10.5), trade(5.95, 11)], settingsOf('compat'));
    expect(bars(outputs).map((bar) => [bar.end - OPEN, bar.open, bar.close, bar.count, bar.revision])).toEqual([
      [5, 10.5, 10.5, 1, 0],
      [6, 10, 11, 2, 0],
    ]);
  });
});

/** A print at 100, then one with the conditions at 105, then a regular one at 101, all in one second. */
function effects(conditions: string[], tape: string, at = 0): string {
  const events = [trade(at + 0.1, 100), trade(at + 0.2, 105, 10, { conditions, tape }), trade(at + 0.3, 101)];
  const bar = bars(runAll(events, settingsOf('default'), at + 1_000).outputs)[0] as BarOutput;
  const alone = [trade(at + 0.1, 100), trade(at + 1.2, 105, 10, { conditions, tape })];
  const single = bars(runAll(alone, settingsOf('default'), at + 1_000).outputs)[1];
  expect(bar.count).toBe(3);
  expect(bar).toMatchObject({ open: 100, close: 101, low: 100 });
  return [bar.high === 105 ? 'high' : '', single?.close === 105 ? 'last' : '', bar.volume === 210 ? 'volume' : '']
    .filter(Boolean)
    .join(' ');
}

const all = 'high last volume';

describe('sale conditions', () => {
  it.each([
    ...['@', ' ', 'E', 'F', 'K', 'O', '5', '6', 'X', '1', 'L'].map((letter) => [letter, 'A', all]),
    ...['A', 'D', 'S', 'Y'].map((letter) => [letter, 'C', all]),
    ...['C', 'N', 'R', 'H', 'I', 'U', 'V', '7'].map((letter) => [letter, 'B', 'volume']),
    ['W', 'C', 'volume'],
    ...['G', 'P', 'Z', '4'].map((letter) => [letter, 'C', 'high volume']),
    ...['M', 'Q', '8', '9'].map((letter) => [letter, 'A', '']),
    ['B', 'A', 'volume'],
    ['B', 'B', 'volume'],
    ['B', 'C', all],
    ['T', 'A', 'volume'],
    ['?', 'A', 'volume'],
  ] as [string, string, string][])('letter %j on tape %s sets: %s', (letter, tape, expected) => {
    expect(effects([' ', letter], tape)).toBe(expected);
  });

  it('lets a trade set a field only if all of its letters allow it', () => {
    expect(effects(['F', 'I'], 'C')).toBe('volume');
    expect(effects(['Z', 'F'], 'C')).toBe('high volume');
    expect(effects(['I', 'M'], 'C')).toBe('');
    expect(effects([], 'C')).toBe(all);
  });

  it('counts form T outside the regular session, by the time of the event', () => {
    expect(effects(['@', 'T'], 'C', -600)).toBe(all);
    expect(effects(['@', 'T'], 'C', 6.5 * 3_600 - 5)).toBe('volume');
    expect(effects(['@', 'T'], 'C', 6.5 * 3_600 + 5)).toBe(all);
  });

  it('names unknown letters', () => {
    const { engine } = runAll([trade(1, 10, 1, { conditions: ['?', '@'] }), trade(2, 10, 1, { conditions: ['?'] })]);
    expect([...engine.counters.unknownConditions]).toEqual([['?', 2]]);
  });

  it('lets a sold-last print set the open only when it is in order', () => {
    const late = [trade(1.5, 10, 1, { id: 5 }), trade(1.2, 11, 1, { id: 6, conditions: ['L'] })];
    expect(bars(runAll(late).outputs)[0]).toMatchObject({ open: 10, close: 10, high: 11 });
    const inOrder = [trade(1.5, 10, 1, { id: 5 }), trade(1.2, 11, 1, { id: 4, conditions: ['L'] })];
    expect(bars(runAll(inOrder).outputs)[0]).toMatchObject({ open: 11, close: 10, high: 11 });
    const last = [trade(1.5, 10, 1, { id: 5 }), trade(1.7, 11, 1, { id: 9, conditions: ['L'] })];
    expect(bars(runAll(last).outputs)[0]).toMatchObject({ open: 10, close: 11 });
  });

  it('opens and closes at the last price when nothing sets them, and widens the extremes', () => {
    const events = [trade(0.5, 10), trade(1.5, 12, 5, { conditions: ['4'] }), trade(2.5, 9, 5, { conditions: ['Z'] })];
    expect(bars(runAll(events).outputs).slice(1)).toMatchObject([
      { open: 10, high: 12, low: 10, close: 10, isFlat: false },
      { open: 10, high: 10, low: 9, close: 10, isFlat: false },
    ]);
    const first = [trade(0.5, 12, 5, { conditions: ['4'] }), trade(0.6, 9, 5, { conditions: ['4'] })];
    expect(bars(runAll(first).outputs)).toMatchObject([{ open: 9, high: 12, low: 9, close: 9 }]);
  });

  it('does not filter in profile compat', () => {
    const events = [trade(0.5, 10), trade(0.6, 12, 5, { conditions: ['M'] })];
    expect(bars(runAll(events, settingsOf('compat')).outputs)).toMatchObject([{ close: 12, volume: 105, unpriced: 0 }]);
  });
});
