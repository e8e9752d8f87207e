/**
 * The session calendar of US equities, 2010 to 2030, and New York time: when the market is open, for what, and on which day.
 * Guarantees: pure functions of the instant (no clock, no time zone data of the machine); every daemon sees the same session.
 * Facts: NYSE holiday rules (rule 7.2), its published early closes, and the four unscheduled full closures of these years;
 * daylight saving by the Energy Policy Act of 2005 (second Sunday of March to first Sunday of November, 2:00 local).
 */
import { usageError } from '../service/errors.ts';
import { formatTimestampNs, parseTimestampNs } from './time.ts';

export type MarketSession = 'pre' | 'regular' | 'post' | 'overnight' | 'closed' | 'weekend' | 'holiday';

export interface TradingDay {
  /** New York date, YYYY-MM-DD. */
  date: string;
  /** 04:00 New York. */
  preOpenNs: bigint;
  /** 09:30 New York. */
  openNs: bigint;
  /** 16:00 New York, 13:00 on half days. */
  closeNs: bigint;
  /** 20:00 New York, 17:00 on half days. */
  postCloseNs: bigint;
  isHalfDay: boolean;
}

const MS_PER_HOUR = 3_600_000;
const MS_PER_DAY = 86_400_000;
const NS_PER_MS = 1_000_000n;

/** Full closures that no rule gives: hurricane Sandy, and the mourning days for Presidents Bush and Carter. */
const unscheduled: Record<string, string> = {
  '2012-10-29': 'Hurricane Sandy',
  '2012-10-30': 'Hurricane Sandy',
  '2018-12-05': 'National Day of Mourning (George H. W. Bush)',
  '2025-01-09': 'National Day of Mourning (Jimmy Carter)',
};

const dateText = (dayMs: number): string => new Date(dayMs).toISOString().slice(0, 10);
const dayMsOf = (date: string): number => Date.parse(`${date}T00:00:00Z`);
const weekday = (dayMs: number): number => new Date(dayMs).getUTCDay();

/** Day (UTC midnight ms) of the n-th given weekday (0 = Sunday) of a month (1 to 12); n = -1 is the last one. */
function nthWeekday(year: number, month: number, day: number, n: number): number {
  if (n < 0) {
    const last = Date.UTC(year, month, 0);
    return last - ((weekday(last) - day + 7) % 7) * MS_PER_DAY;
  }
  const first = Date.UTC(year, month - 1, 1);
  return first + (((day - weekday(first) + 7) % 7) + (n - 1) * 7) * MS_PER_DAY;
}

/** Easter Sunday by the anonymous Gregorian computus (Meeus). */
function easter(year: number): number {
  const a = year % 19;
  const b = Math.floor(year / 100);
  const c = year % 100;
  const d = Math.floor(b / 4);
  const e = b % 4;
  const g = Math.floor((8 * b + 13) / 25);
  const h = (19 * a + b - d - g + 15) % 30;
  const i = Math.floor(c / 4);
  const k = c % 4;
  const l = (32 + 2 * e + 2 * i - h - k) % 7;
  const m = Math.floor((a + 11 * h + 22 * l) / 451);
  const month = Math.floor((h + l - 7 * m + 114) / 31);
  return Date.UTC(year, month - 1, ((h + l - 7 * m + 114) % 31) + 1);
}

/** The day on which a fixed-date holiday is kept: Saturday moves to Friday, Sunday to Monday. */
function observed(dayMs: number): number {
  if (weekday(dayMs) === 6) return dayMs - MS_PER_DAY;
  return weekday(dayMs) === 0 ? dayMs + MS_PER_DAY : dayMs;
}

interface Year {
  holidays: Map<string, string>;
  halfDays: Set<string>;
}

const years = new Map<number, Year>();

function yearOf(year: number): Year {
  const known = years.get(year);
  if (known) return known;
  const holidays = new Map<string, string>();
  const add = (dayMs: number, name: string) => void holidays.set(dateText(dayMs), name);
  // A New Year's Day on a Saturday is not moved: the Friday before ends the old year's accounts.
  const newYear = Date.UTC(year, 0, 1);
  if (weekday(newYear) !== 6) add(observed(newYear), "New Year's Day");
  add(nthWeekday(year, 1, 1, 3), 'Martin Luther King Jr. Day');
  add(nthWeekday(year, 2, 1, 3), "Washington's Birthday");
  add(easter(year) - 2 * MS_PER_DAY, 'Good Friday');
  add(nthWeekday(year, 5, 1, -1), 'Memorial Day');
  if (year >= 2022) add(observed(Date.UTC(year, 5, 19)), 'Juneteenth');
  add(observed(Date.UTC(year, 6, 4)), 'Independence Day');
  add(nthWeekday(year, 9, 1, 1), 'Labor Day');
  const thanksgiving = nthWeekday(year, 11, 4, 4);
  add(thanksgiving, 'Thanksgiving Day');
  add(observed(Date.UTC(year, 11, 25)), 'Christmas Day');
  for (const [date, name] of Object.entries(unscheduled)) if (date.startsWith(`${year}-`)) holidays.set(date, name);
  const halfDays = new Set<string>();
  for (const dayMs of [Date.UTC(year, 6, 3), thanksgiving + MS_PER_DAY, Date.UTC(year, 11, 24)]) {
    const day = weekday(dayMs);
    if (day !== 0 && day !== 6 && !holidays.has(dateText(dayMs))) halfDays.add(dateText(dayMs));
  }
  const made = { holidays, halfDays };
  years.set(year, made);
  return made;
}

/** New York's offset from UTC in ms (negative) at a UTC instant in ms. */
export function newYorkOffsetMs(utcMs: number): number {
  const year = new Date(utcMs).getUTCFullYear();
  const starts = nthWeekday(year, 3, 0, 2) + 7 * MS_PER_HOUR;
  const ends = nthWeekday(year, 11, 0, 1) + 6 * MS_PER_HOUR;
  return (utcMs >= starts && utcMs < ends ? -4 : -5) * MS_PER_HOUR;
}

/** The New York wall clock at an instant: its date and the ms since its midnight. */
export function newYorkTime(ns: bigint): { date: string; msOfDay: number; offsetMs: number } {
  const utcMs = Number(ns / NS_PER_MS);
  const offsetMs = newYorkOffsetMs(utcMs);
  const local = utcMs + offsetMs;
  const dayMs = Math.floor(local / MS_PER_DAY) * MS_PER_DAY;
  return { date: dateText(dayMs), msOfDay: local - dayMs, offsetMs };
}

/** The instant (ns) of a New York wall-clock time; a time that daylight saving skips counts as an hour later. */
export function newYorkInstant(date: string, msOfDay: number): bigint {
  const local = dayMsOf(date) + msOfDay;
  // Try summer time first: in the doubled hour of autumn the first of the two instants is meant.
  for (const hours of [4, 5]) {
    const utcMs = local + hours * MS_PER_HOUR;
    if (newYorkOffsetMs(utcMs) === -hours * MS_PER_HOUR) return BigInt(utcMs) * NS_PER_MS;
  }
  return BigInt(local + 5 * MS_PER_HOUR) * NS_PER_MS;
}

/** RFC 3339 text in New York's offset, as Alpaca's clock writes it. */
export function formatNewYork(ns: bigint): string {
  const { offsetMs } = newYorkTime(ns);
  const local = formatTimestampNs(ns + BigInt(offsetMs) * NS_PER_MS).slice(0, -1);
  return `${local}-0${-offsetMs / MS_PER_HOUR}:00`;
}

/** Name of the holiday or closure on a New York date; undefined on other days (weekends included). */
export function holidayOn(date: string): string | undefined {
  return yearOf(Number(date.slice(0, 4))).holidays.get(date);
}

/** The trading day of a New York date; undefined when the market does not open on it. */
export function tradingDay(date: string): TradingDay | undefined {
  const dayMs = dayMsOf(date);
  if (!Number.isFinite(dayMs)) return undefined;
  const day = weekday(dayMs);
  if (day === 0 || day === 6 || holidayOn(date) !== undefined) return undefined;
  const isHalfDay = yearOf(Number(date.slice(0, 4))).halfDays.has(date);
  return {
    date,
    preOpenNs: newYorkInstant(date, 4 * MS_PER_HOUR),
    openNs: newYorkInstant(date, 9.5 * MS_PER_HOUR),
    closeNs: newYorkInstant(date, (isHalfDay ? 13 : 16) * MS_PER_HOUR),
    postCloseNs: newYorkInstant(date, (isHalfDay ? 17 : 20) * MS_PER_HOUR),
    isHalfDay,
  };
}

const dateAfter = (date: string): string => dateText(dayMsOf(date) + MS_PER_DAY);

/** The trading days from one New York date to another, both included. */
export function tradingDays(from: string, to: string): TradingDay[] {
  const days: TradingDay[] = [];
  for (let dayMs = dayMsOf(from); dayMs <= dayMsOf(to); dayMs += MS_PER_DAY) {
    const day = tradingDay(dateText(dayMs));
    if (day) days.push(day);
  }
  return days;
}

/**
 * The session at an instant. `overnight` runs from 20:00 to 04:00 before a trading day (so it begins on Sunday evening);
 * `closed` is the rest of a trading day, for example after 17:00 on a half day.
 */
export function sessionOf(ns: bigint): MarketSession {
  const { date, msOfDay } = newYorkTime(ns);
  const day = tradingDay(date);
  if (msOfDay >= 20 * MS_PER_HOUR && tradingDay(dateAfter(date))) return 'overnight';
  if (!day) {
    const weekend = weekday(dayMsOf(date));
    return weekend === 0 || weekend === 6 ? 'weekend' : 'holiday';
  }
  if (ns < day.preOpenNs) return 'overnight';
  if (ns < day.openNs) return 'pre';
  if (ns < day.closeNs) return 'regular';
  return ns < day.postCloseNs ? 'post' : 'closed';
}

function nextBell(ns: bigint, bell: 'openNs' | 'closeNs'): bigint {
  let { date } = newYorkTime(ns);
  for (;;) {
    const day = tradingDay(date);
    if (day && day[bell] > ns) return day[bell];
    date = dateAfter(date);
  }
}

/** The first opening bell after an instant. */
export function nextOpenNs(ns: bigint): bigint {
  return nextBell(ns, 'openNs');
}

/** The first closing bell after an instant. */
export function nextCloseNs(ns: bigint): bigint {
  return nextBell(ns, 'closeNs');
}

/**
 * A point of market time as a person writes it: RFC 3339, or HH:MM[:SS] in New York.
 * @param dateHint New York date (YYYY-MM-DD) that HH:MM belongs to; without it only RFC 3339 is understood
 * @throws `time_invalid` (exit 2)
 */
export function parseMarketTime(text: string, dateHint: string | undefined): bigint {
  const clock = /^([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?$/.exec(text.trim());
  if (clock && dateHint !== undefined) {
    const [, hours, minutes, seconds] = clock;
    return newYorkInstant(
      dateHint,
      Number(hours) * MS_PER_HOUR + Number(minutes) * 60_000 + Number(seconds ?? 0) * 1_000,
    );
  }
  const ns = parseTimestampNs(text.trim());
  if (ns !== undefined) return ns;
  throw usageError({
    code: 'time_invalid',
    what: `${JSON.stringify(text)} is no point of time`,
    next: `write RFC 3339 such as 2013-10-08T13:30:00Z${dateHint === undefined ? '' : ', or HH:MM in New York on the day of the data'}`,
  });
}
