/**
 * New York sessions as far as the core needs them: when session sums restart and whether a form-T print falls into the
 * regular session. Everything by rule, no table and no Intl, so that every engine agrees.
 * Facts: United States daylight saving since 2007 runs from the second Sunday of March to the first Sunday of November,
 * 02:00 local; half days (13:00) are the day after Thanksgiving, 24 December and 3 July when those fall on Monday to
 * Thursday (Friday after Thanksgiving always). On exchange holidays nothing prints, so they need no rule here.
 */
import { civilFromDays, daysFromCivil } from './time.ts';

const DAY = 86_400;
const HOUR = 3_600;

/** 0 Sunday … 6 Saturday of a day number (1970-01-01 was a Thursday). */
function weekday(day: number): number {
  return (((day + 4) % 7) + 7) % 7;
}

/** Day number of the nth Sunday (1-based) of a month. */
function nthWeekday(year: number, month: number, wanted: number, n: number): number {
  const first = daysFromCivil(year, month, 1);
  return first + ((wanted - weekday(first) + 7) % 7) + (n - 1) * 7;
}

/** Seconds to add to New York wall time for UTC, on a New York date (as it is from 03:00 local on). */
function utcOffsetOn(day: number): number {
  const { year } = civilFromDays(day);
  const isSummer = day >= nthWeekday(year, 3, 0, 2) && day < nthWeekday(year, 11, 0, 1);
  return (isSummer ? 4 : 5) * HOUR;
}

function isHalfDay(day: number): boolean {
  const { year, month, day: dayOfMonth } = civilFromDays(day);
  const isMondayToThursday = weekday(day) >= 1 && weekday(day) <= 4;
  if (month === 11) return day === nthWeekday(year, 11, 4, 4) + 1;
  return isMondayToThursday && ((month === 12 && dayOfMonth === 24) || (month === 7 && dayOfMonth === 3));
}

/** One trading day of New York, from 04:00 local to the next 04:00; all bounds in epoch seconds. */
export interface TradingDay {
  /** 04:00 local: the pre-market begins, session sums and the last price restart. */
  start: number;
  /** 09:30 local: session sums restart. On a weekend equal to regularEnd. */
  regularStart: number;
  regularEnd: number;
  end: number;
}

function tradingDay(day: number): TradingDay {
  const midnight = day * DAY + utcOffsetOn(day);
  const isWeekend = weekday(day) === 0 || weekday(day) === 6;
  const regularStart = midnight + 9.5 * HOUR;
  return {
    start: midnight + 4 * HOUR,
    regularStart,
    regularEnd: isWeekend ? regularStart : midnight + (isHalfDay(day) ? 13 : 16) * HOUR,
    end: (day + 1) * DAY + utcOffsetOn(day + 1) + 4 * HOUR,
  };
}

let cached: TradingDay = tradingDay(0);

/** The trading day that holds an epoch second. */
export function tradingDayOf(sec: number): TradingDay {
  if (sec >= cached.start && sec < cached.end) return cached;
  // 04:00 New York is 08:00 or 09:00 UTC.
  let day = Math.floor((sec - 8 * HOUR) / DAY);
  let found = tradingDay(day);
  if (sec < found.start) {
    day -= 1;
    found = tradingDay(day);
  }
  cached = found;
  return found;
}

/** Does the second [sec, sec+1) belong to the regular session? */
export function isRegularSession(sec: number): boolean {
  const day = tradingDayOf(sec);
  return sec >= day.regularStart && sec < day.regularEnd;
}

/**
 * Start of the accumulation period of a second: 04:00 for the pre-market, 09:30 from the regular open to the end of the
 * trading day (design: session VWAP restarts at both).
 */
export function sessionPeriodStart(sec: number): number {
  const day = tradingDayOf(sec);
  return sec >= day.regularStart ? day.regularStart : day.start;
}
