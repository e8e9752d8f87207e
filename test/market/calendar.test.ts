import { DateTime } from 'luxon';
import { describe, expect, it } from 'vitest';
import {
  formatNewYork,
  holidayOn,
  newYorkInstant,
  newYorkTime,
  nextCloseNs,
  nextOpenNs,
  parseMarketTime,
  sessionOf,
  tradingDay,
  tradingDays,
} from '../../src/lib/market/calendar.ts';
import { formatTimestampNs, parseTimestampNs } from '../../src/lib/market/time.ts';

const at = (text: string): bigint => parseTimestampNs(text) as bigint;

describe('session calendar', () => {
  it('New York time agrees with the time zone database on every hour of 2010 to 2030 near midnight, 2:00 and the bells', () => {
    let checked = 0;
    for (let ms = Date.UTC(2010, 0, 1); ms < Date.UTC(2031, 0, 1); ms += 86_400_000) {
      for (const hour of [4, 5, 6, 7, 13, 14, 20, 21]) {
        const utc = ms + hour * 3_600_000;
        const local = DateTime.fromMillis(utc, { zone: 'America/New_York' });
        const ours = newYorkTime(BigInt(utc) * 1_000_000n);
        if (ours.date !== local.toISODate() || ours.offsetMs !== local.offset * 60_000) {
          expect([utc, ours.date, ours.offsetMs]).toEqual([utc, local.toISODate(), local.offset * 60_000]);
        }
        checked += 1;
      }
    }
    expect(checked).toBe(7670 * 8);
  });

  it('the number of trading days per year is the one the exchange published', () => {
    const days = (year: number) => tradingDays(`${year}-01-01`, `${year}-12-31`).length;
    expect(
      [2010, 2011, 2012, 2013, 2014, 2015, 2016, 2017, 2018, 2019, 2020, 2021, 2022, 2023, 2024, 2025].map(days),
    ).toEqual([252, 252, 250, 252, 252, 252, 252, 251, 251, 252, 253, 252, 251, 250, 252, 250]);
  });

  it('unscheduled closures, moved holidays and Juneteenth from 2022 on are closed', () => {
    for (const date of [
      '2012-10-29',
      '2012-10-30',
      '2018-12-05',
      '2025-01-09',
      '2015-07-03',
      '2021-12-24',
      '2022-06-20',
      '2027-06-18',
      '2013-03-29',
      '2026-04-03',
      '2017-01-02',
    ]) {
      expect([date, tradingDay(date)]).toEqual([date, undefined]);
      expect(holidayOn(date)).toBeTruthy();
    }
    for (const date of ['2010-12-31', '2021-12-31', '2021-06-18', '2013-10-08', '2020-06-19']) {
      expect([date, tradingDay(date)?.isHalfDay]).toEqual([date, false]);
    }
  });

  it('half days close at 13:00 and their post session ends at 17:00', () => {
    for (const date of ['2013-07-03', '2013-11-29', '2013-12-24', '2017-07-03', '2024-12-24', '2025-07-03']) {
      const day = tradingDay(date);
      expect([date, day?.isHalfDay]).toEqual([date, true]);
      expect(formatNewYork(day?.closeNs ?? 0n).slice(11, 19)).toBe('13:00:00');
    }
    expect(tradingDay('2010-07-02')?.isHalfDay).toBe(false);
    expect(tradingDay('2011-12-23')?.isHalfDay).toBe(false);
    expect(sessionOf(at('2013-11-29T17:59:59Z'))).toBe('regular');
    expect(sessionOf(at('2013-11-29T18:00:00Z'))).toBe('post');
    expect(sessionOf(at('2013-11-29T22:00:00Z'))).toBe('closed');
  });

  it('each instant of a day has its session, to the nanosecond at the bells', () => {
    expect(sessionOf(at('2013-10-08T07:59:59.999999999Z'))).toBe('overnight');
    expect(sessionOf(at('2013-10-08T08:00:00Z'))).toBe('pre');
    expect(sessionOf(at('2013-10-08T13:29:59.999999999Z'))).toBe('pre');
    expect(sessionOf(at('2013-10-08T13:30:00Z'))).toBe('regular');
    expect(sessionOf(at('2013-10-08T19:59:59.999999999Z'))).toBe('regular');
    expect(sessionOf(at('2013-10-08T20:00:00Z'))).toBe('post');
    expect(sessionOf(at('2013-10-09T00:00:00Z'))).toBe('overnight');
    expect(sessionOf(at('2013-10-12T15:00:00Z'))).toBe('weekend');
    expect(sessionOf(at('2013-10-14T00:30:00Z'))).toBe('overnight');
    expect(sessionOf(at('2013-10-12T01:00:00Z'))).toBe('closed');
    expect(sessionOf(at('2013-11-28T15:00:00Z'))).toBe('holiday');
  });

  it('the next bells skip weekends and follow daylight saving', () => {
    expect(formatTimestampNs(nextOpenNs(at('2026-03-06T22:00:00Z')))).toBe('2026-03-09T13:30:00Z');
    expect(formatTimestampNs(nextOpenNs(at('2013-10-08T13:30:00Z')))).toBe('2013-10-09T13:30:00Z');
    expect(formatTimestampNs(nextCloseNs(at('2013-10-08T13:30:00Z')))).toBe('2013-10-08T20:00:00Z');
    expect(formatNewYork(at('2013-10-08T13:30:00.25Z'))).toBe('2013-10-08T09:30:00.25-04:00');
    expect(formatNewYork(at('2026-01-05T14:30:00Z'))).toBe('2026-01-05T09:30:00-05:00');
  });

  it('a point of time is RFC 3339 or New York HH:MM on the given day; anything else is a usage error', () => {
    expect(parseMarketTime('09:30', '2013-10-08')).toBe(at('2013-10-08T13:30:00Z'));
    expect(parseMarketTime('9:45:30', '2026-01-05')).toBe(at('2026-01-05T14:45:30Z'));
    expect(parseMarketTime('2013-10-08T13:30:00.000000001Z', undefined)).toBe(at('2013-10-08T13:30:00Z') + 1n);
    expect(newYorkInstant('2026-03-08', 2.5 * 3_600_000)).toBe(at('2026-03-08T07:30:00Z'));
    for (const text of ['25:00', 'noon', '09:60', '2013-02-30T00:00:00Z']) {
      expect(() => parseMarketTime(text, '2013-10-08')).toThrow(/no point of time/);
    }
  });
});
