import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatTimestampNs } from '../../src/lib/market/time.ts';
import { type BuiltBar, MinuteBarBuilder } from '../../src/simulator/market/minute-bars.ts';
import { at } from './market-data.ts';

const MINUTE = 60_000_000_000n;
const start = at('2026-03-10T14:30:00Z');
const far = start + 100n * MINUTE;

interface Print {
  second: number;
  p: number;
  s: number;
  c?: string[];
  i?: number;
  x?: string;
  z?: string;
  /** Seconds after the event until it is public. */
  late?: number;
}

function build(
  prints: readonly Print[],
  then: (builder: MinuteBarBuilder, bars: BuiltBar[]) => void = () => undefined,
): Record<string, unknown>[] {
  const builder = new MinuteBarBuilder();
  let bars: BuiltBar[] = [];
  const ordered = prints
    .map((print, index) => ({ i: index + 1, x: 'N', z: 'A', c: [' '], late: 0, ...print }))
    .sort((a, b) => a.second + a.late - (b.second + b.late));
  for (const { second, late, ...fields } of ordered) {
    const eventNs = start + BigInt(Math.round(second * 1e9));
    const releaseNs = eventNs + BigInt(Math.round(late * 1e9));
    bars = bars.concat(builder.advance(releaseNs));
    builder.apply('t', { T: 't', S: 'AAA', t: formatTimestampNs(eventNs), ...fields }, eventNs, releaseNs);
  }
  then(builder, bars);
  return bars.concat(builder.advance(far)).map((bar) => ({
    ...(JSON.parse(bar.line.toString()) as Record<string, unknown>),
    sentAt: Number((bar.releaseNs - start) / 1_000_000_000n),
  }));
}

describe('minute bars that the simulator builds', () => {
  it('first, highest, lowest and last of the regular trades, the volume of all, at the end of the minute', () => {
    expect(
      build([
        { second: 1, p: 10, s: 100 },
        { second: 2, p: 10.5, s: 50 },
        { second: 3, p: 9.75, s: 200, c: [' ', 'F'] },
        { second: 59.9, p: 10.25, s: 10, c: [' ', 'I'] },
        { second: 60, p: 11, s: 1 },
      ]),
    ).toMatchObject([
      { T: 'b', S: 'AAA', o: 10, h: 10.5, l: 9.75, c: 9.75, v: 360, n: 4, t: '2026-03-10T14:30:00Z', sentAt: 60 },
      { T: 'b', o: 11, h: 11, l: 11, c: 11, v: 1, t: '2026-03-10T14:31:00Z', sentAt: 120 },
    ]);
  });

  it('each condition letter counts for what the table allows', () => {
    const alone = (c: string[], z = 'A') =>
      build([
        { second: 1, p: 10, s: 100 },
        { second: 2, p: 12, s: 5, c, z },
      ])[0];
    for (const letter of ['C', 'N', 'R', 'H', 'I', 'U', 'V', '7', 'W', 'T', '?']) {
      expect([letter, alone([' ', letter])]).toMatchObject([letter, { h: 10, c: 10, v: 105, n: 2 }]);
    }
    for (const letter of ['M', 'Q', '8', '9'])
      expect([letter, alone([' ', letter])]).toMatchObject([letter, { h: 10, c: 10, v: 100, n: 1 }]);
    for (const letter of ['G', 'P', 'Z', '4'])
      expect([letter, alone([' ', letter])]).toMatchObject([letter, { h: 12, c: 10, v: 105 }]);
    for (const letter of ['E', 'F', 'K', 'O', '5', '6', 'X', '1', 'L'])
      expect([letter, alone([' ', letter])]).toMatchObject([letter, { h: 12, c: 12, v: 105 }]);
    expect([alone([' ', 'B']), alone(['@', 'B'], 'C')]).toMatchObject([
      { h: 10, v: 105 },
      { h: 12, c: 12, v: 105 },
    ]);
    // Two letters: only what both allow.
    expect(alone([' ', 'F', 'I'])).toMatchObject({ h: 10, c: 10, v: 105 });
  });

  it('a minute whose trades set no price has no bar; high-only trades borrow the last price', () => {
    expect(build([{ second: 1, p: 10, s: 3, c: [' ', 'I'] }])).toEqual([]);
    const borrowed = build([
      { second: 1, p: 10, s: 100 },
      { second: 61, p: 12, s: 5, c: [' ', 'Z'] },
    ]);
    expect(borrowed[1]).toMatchObject({ o: 10, c: 10, h: 12, l: 10, v: 5 });
  });

  it('a late print, a correction and a cancel make one update half a minute later; nothing after that', () => {
    expect(
      build([
        { second: 1, p: 10, s: 100 },
        { second: 58, p: 11, s: 100, late: 5 },
      ]),
    ).toMatchObject([
      { T: 'b', h: 10, v: 100, sentAt: 60 },
      { T: 'u', h: 11, c: 11, v: 200, sentAt: 90 },
    ]);
    expect(build([{ second: 58, p: 11, s: 100, late: 5 }])).toMatchObject([{ T: 'u', v: 100, sentAt: 90 }]);
    const change = (letter: string, fields: Record<string, unknown>, second: number) =>
      build(
        [
          { second: 50, p: 10, s: 100, i: 1 },
          { second: 55, p: 12, s: 300, i: 2 },
        ],
        (builder, bars) => {
          const ns = start + BigInt(second) * 1_000_000_000n;
          bars.push(...builder.advance(ns));
          builder.apply(letter, { S: 'AAA', x: 'N', ...fields }, ns, ns);
        },
      ).map(({ T, h, v, sentAt }) => [T, h, v, sentAt]);
    expect(change('x', { i: 2 }, 70)).toContainEqual(['u', 10, 100, 90]);
    expect(change('c', { oi: 2, ci: 3, cp: 11, cs: 200, cc: [' '] }, 70)).toContainEqual(['u', 11, 300, 90]);
    expect(change('x', { i: 2 }, 95).filter(([letter]) => letter === 'u')).toEqual([]);
    expect(change('x', { i: 2, x: 'Q' }, 70).filter(([letter]) => letter === 'u')).toEqual([]);
  });

  it('low ≤ open, close ≤ high, volume is the sum, whatever the prints; equal times go by id', () => {
    const print = fc.record({
      second: fc.integer({ min: 0, max: 599 }).map((tenth) => tenth / 10),
      p: fc.integer({ min: 900, max: 1_100 }).map((cents) => cents / 100),
      s: fc.integer({ min: 1, max: 500 }),
      c: fc.constantFrom<string[]>([' '], [' ', 'I'], [' ', 'Z'], [' ', 'F'], [' ', 'M'], [' ', '4']),
    });
    fc.assert(
      fc.property(fc.array(print, { minLength: 1, maxLength: 40 }), (prints) => {
        const bars = build(prints);
        const eligible = prints.filter(({ c }) => !c.includes('M'));
        const priced = eligible.filter(({ c }) => !c.includes('I'));
        expect(bars.length).toBe(priced.length > 0 ? 1 : 0);
        if (bars.length === 0) return;
        const { o, h, l, c, v, n } = bars[0] as Record<'o' | 'h' | 'l' | 'c' | 'v' | 'n', number>;
        expect(l <= Math.min(o, c) && h >= Math.max(o, c)).toBe(true);
        expect(v).toBe(eligible.reduce((sum, { s }) => sum + s, 0));
        expect(n).toBe(eligible.length);
        expect(h).toBe(Math.max(...priced.map(({ p }) => p)));
        expect(l).toBe(Math.min(...priced.map(({ p }) => p)));
        // Regardless of arrival order of equal times.
        expect(build([...prints].map((item, i) => ({ ...item, i: i + 1 })).reverse())).toEqual(bars);
      }),
    );
  });
});
