/** The numeric ground: logarithm, sums, times, sessions, and indicators over long runs. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DefaultBranch } from '../../src/lib/ta/branch.ts';
import type { IndicatorValues } from '../../src/lib/ta/index.ts';
import { formatInstant, formatSecond, type Instant, parseInstant, settingsOf } from '../../src/lib/ta/index.ts';
import { naturalLog } from '../../src/lib/ta/log.ts';
import { isRegularSession, sessionPeriodStart, tradingDayOf } from '../../src/lib/ta/session.ts';
import { seededRandom } from './fixtures.ts';

const utc = (text: string) => Date.parse(text) / 1_000;

describe('naturalLog', () => {
  it('agrees with Math.log to the last place or two, and exactly at its edges', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-300, max: 1e300, noNaN: true }), (x) => {
        expect(Math.abs(naturalLog(x) - Math.log(x))).toBeLessThanOrEqual(Math.abs(Math.log(x)) * 2.3e-16);
      }),
      { numRuns: 20_000 },
    );
    for (const [x, y] of [[1, 0], [0, -Infinity], [-1, NaN], [Infinity, Infinity], [NaN, NaN], [2, Math.LN2], [5e-324, Math.log(5e-324)]] as const) {
      expect(naturalLog(x)).toBe(y);
    }
  }); // biome-ignore format: one table
});

describe('times', () => {
  it('reads RFC 3339 as Date does, with its nanoseconds', () => {
    const into: Instant = { sec: 0, nano: 0 };
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4_102_444_800 }), fc.integer({ min: 0, max: 999_999_999 }), (sec, nano) => {
        const text = formatInstant(sec, nano);
        expect(text.slice(0, 19)).toBe(new Date(sec * 1_000).toISOString().slice(0, 19));
        expect(parseInstant(text, into)).toBe(true);
        expect(into).toEqual({ sec, nano });
        expect(formatSecond(sec)).toBe(new Date(sec * 1_000).toISOString());
      }),
    );
    expect(parseInstant('2013-10-08T09:30:00.5-04:00', into)).toBe(true);
    expect(into).toEqual({ sec: utc('2013-10-08T13:30:00Z'), nano: 500_000_000 });
  });

  it.each([
    '', '2013-10-08', '2013-02-30T00:00:00Z', '2013-13-01T00:00:00Z', '2013-10-08T24:00:00Z', '2013-10-08T13:60:00Z',
    '2013-10-08T13:30:61Z', '2013-10-08T13:30:00.Z', '2013-10-08T13:30:00X', '2013-10-08T13:30:00.1Zx', 'x013-10-08T13:30:00Z',
  ])('refuses %j', (text) => {
    expect(parseInstant(text, { sec: 0, nano: 0 })).toBe(false);
  }); // biome-ignore format: one list
});

describe('sessions', () => {
  it('knows the regular session in summer, in winter, on half days and at weekends', () => {
    const cases: [string, boolean][] = [
      ['2013-10-08T13:29:59Z', false], ['2013-10-08T13:30:00Z', true], ['2013-10-08T19:59:59Z', true], ['2013-10-08T20:00:00Z', false],
      ['2013-12-10T14:29:59Z', false], ['2013-12-10T14:30:00Z', true], ['2013-12-10T20:59:59Z', true],
      ['2013-11-29T17:59:59Z', true], ['2013-11-29T18:00:00Z', false], ['2013-07-03T17:00:00Z', false], ['2013-12-24T18:00:00Z', false],
      ['2013-10-12T15:00:00Z', false], ['2026-03-09T13:30:00Z', true], ['2026-03-06T14:30:00Z', true], ['2026-03-06T13:30:00Z', false],
      ['2026-11-02T14:30:00Z', true], ['2026-10-30T13:30:00Z', true],
    ];
    for (const [text, expected] of cases) expect(isRegularSession(utc(text)), text).toBe(expected);
  }); // biome-ignore format: one table

  it('agrees with the New York wall clock at every hour of twenty years', () => {
    const hour = new Intl.DateTimeFormat('en-US', { timeZone: 'America/New_York', hour: '2-digit', hourCycle: 'h23' });
    const step = process.env.TORGHUT_TEST_FULL ? 3_600 : 3_600 * 7;
    for (let sec = utc('2010-01-01T00:00:00Z'); sec < utc('2030-01-01T00:00:00Z'); sec += step) {
      const day = tradingDayOf(sec);
      expect(sec >= day.start && sec < day.end).toBe(true);
      const local = Number(hour.format(sec * 1_000));
      if (Math.floor((sec - day.start) / 3_600) !== (local + 20) % 24) {
        // Only the hours around 02:00 of the two change-over Sundays are counted from the old 04:00.
        expect(local, new Date(sec * 1_000).toISOString()).toBeLessThan(4);
      }
    }
    expect(sessionPeriodStart(utc('2013-10-08T13:29:59Z'))).toBe(utc('2013-10-08T08:00:00Z'));
    expect(sessionPeriodStart(utc('2013-10-09T07:59:59Z'))).toBe(utc('2013-10-08T13:30:00Z'));
  });
});

/** Figures of a bar computed anew from all bars before it. */
function naive(bars: { end: number; close: number; notional: number; volume: number }[]): Partial<IndicatorValues> {
  const last = bars.at(-1) as (typeof bars)[number];
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const deviation = (values: number[]) => Math.sqrt(mean(values.map((v) => (v - mean(values)) ** 2)));
  const closes = bars.slice(-20).map((bar) => bar.close);
  const recent = bars.filter((bar) => bar.end >= last.end - 60);
  const returns = recent.slice(1).map((bar, i) => Math.log(bar.close / (recent[i] as typeof bar).close));
  const window = bars.filter((bar) => bar.end > last.end - 300);
  const session = bars.filter((bar) => sessionPeriodStart(bar.end - 1) === sessionPeriodStart(last.end - 1));
  const vwap = (list: typeof bars) => {
    const volume = list.reduce((a, b) => a + b.volume, 0);
    return volume > 0 ? list.reduce((a, b) => a + b.notional, 0) / volume : null;
  };
  return {
    bollMid: bars.length >= 20 ? mean(closes) : null,
    bollUpper: bars.length >= 20 ? mean(closes) + 2 * deviation(closes) : null,
    volRealizedW60s: returns.length >= 2 ? deviation(returns) : null,
    vwapW5m: vwap(window),
    vwapSession: vwap(session),
    bars: bars.length,
  };
}

describe('indicators', () => {
  it('equal figures computed anew from all bars, with gaps, through rewinds and a session change', () => {
    const random = seededRandom(11);
    const branch = new DefaultBranch(1, settingsOf('default'));
    const bars: { end: number; close: number; notional: number; volume: number }[] = [];
    let end = utc('2013-10-08T13:20:00Z');
    for (let i = 0; i < 1_500; i++) {
      end += random() < 0.9 ? 1 : Math.ceil(random() * 90);
      if (random() < 0.05 && bars.length > 12) {
        // Take up to 10 s back and go on from there.
        const from = (bars.at(-1)?.end as number) - Math.floor(random() * 10);
        branch.rewind(from);
        while ((bars.at(-1)?.end as number) >= from) bars.pop();
        end = from;
      }
      const close = Math.round(10_000 + random() * 500) / 100;
      const volume = random() < 0.05 ? 0 : Math.floor(random() * 1_000);
      bars.push({ end, close, notional: close * volume, volume });
      branch.rewindFloor = end - 15;
      const values = branch.push(end, close, close * volume, volume);
      for (const [name, expected] of Object.entries(naive(bars)) as [keyof IndicatorValues, number | null][]) {
        if (expected === null) expect(values[name], `${name} ${i}`).toBeNull();
        else expect(Math.abs((values[name] as number) - expected), `${name} ${i}`).toBeLessThan(1e-9);
      }
    }
  });

  it('give exactly zero on a flat stretch, after any history', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.0001, max: 1e6, noNaN: true }), fc.integer(), (price, seed) => {
        const random = seededRandom(seed);
        const branch = new DefaultBranch(1, settingsOf('default'));
        for (let i = 0; i < 40; i++) branch.push(i + 1, 1 + random() * 1e6, 1, 1);
        let values: IndicatorValues | undefined;
        for (let i = 0; i < 62; i++) values = branch.push(200 + i, price, price * 3, 3);
        expect(values?.volRealizedW60s).toBe(0);
        expect(values?.bollMid).toBe(price);
        expect(values?.bollUpper).toBe(values?.bollLower);
      }),
    );
  });

  it('do not drift over a month of bars', () => {
    // Huge sums first, then small ones in the window: a plain running sum would have lost them.
    const branch = new DefaultBranch(1, settingsOf('default'));
    const days = process.env.TORGHUT_TEST_FULL ? 22 : 2;
    let end = utc('2013-10-07T13:30:00Z');
    for (let day = 0; day < days; day++) {
      for (let i = 0; i < 23_400; i++)
        branch.push(++end, 150.01 + (i % 7) / 100, (150.01 + (i % 7) / 100) * 1e9 + 0.1, 1e9);
      end += 86_400 - 23_400;
      branch.rewindFloor = end;
    }
    let values: IndicatorValues | undefined;
    for (let i = 0; i < 400; i++) values = branch.push(++end, 10, 10 * 0.3, 0.3);
    expect(Math.abs((values?.vwapW5m as number) - 10)).toBeLessThan(1e-12);
    expect(Math.abs((values?.vwapSession as number) - 10)).toBeLessThan(1e-12);
  });
});
