/**
 * Event times in the core: whole epoch seconds and nanoseconds of the second as two integers, so that nanoseconds are kept
 * and the hot path needs neither bigint nor Date. Text is RFC 3339 as the provider writes it (fraction of 0 to 9 digits).
 */

export interface Instant {
  /** Whole seconds since the Unix epoch, rounded down. */
  sec: number;
  /** 0 to 999,999,999. */
  nano: number;
}

const NANOS = 1_000_000_000;

/** Negative, zero or positive as the first instant is before, at or after the second. */
export function compareInstants(aSec: number, aNano: number, bSec: number, bNano: number): number {
  return aSec - bSec || aNano - bNano;
}

/** The instant some milliseconds (whole) before. */
export function minusMs(sec: number, nano: number, ms: number): Instant {
  let s = sec - Math.floor(ms / 1000);
  let n = nano - (ms % 1000) * 1_000_000;
  if (n < 0) {
    n += NANOS;
    s -= 1;
  }
  return { sec: s, nano: n };
}

/** Greatest whole second strictly before the instant: what a watermark at the instant has passed. */
export function lastSecondBefore(sec: number, nano: number): number {
  return nano > 0 ? sec : sec - 1;
}

/** Days since the epoch of a civil date (proleptic Gregorian; Howard Hinnant's days_from_civil). */
export function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

/** Year, month (1-12) and day of a day number. */
export function civilFromDays(days: number): { year: number; month: number; day: number } {
  const z = days + 719_468;
  const era = Math.floor(z / 146_097);
  const dayOfEra = z - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const mp = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * mp + 2) / 5) + 1;
  const month = mp < 10 ? mp + 3 : mp - 9;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}

const ZERO = 48;

/** Digits of text[from, to) as a number; NaN when one is none. */
function digits(text: string, from: number, to: number): number {
  let value = 0;
  for (let i = from; i < to; i++) {
    const d = text.charCodeAt(i) - ZERO;
    if (d < 0 || d > 9) return Number.NaN;
    value = value * 10 + d;
  }
  return value;
}

// Neighbouring events share their minute: remember its last text and value.
let minuteText = '';
let minuteSec = 0;

const daysInMonth = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

function parseMinute(text: string): number {
  const year = digits(text, 0, 4);
  const month = digits(text, 5, 7);
  const day = digits(text, 8, 10);
  const hour = digits(text, 11, 13);
  const minute = digits(text, 14, 16);
  const separators = text[4] === '-' && text[7] === '-' && (text[10] === 'T' || text[10] === ' ');
  if (!separators || text[13] !== ':' || text[16] !== ':' || !(hour <= 23) || !(minute <= 59)) return Number.NaN;
  if (!(month >= 1 && month <= 12 && day >= 1)) return Number.NaN;
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  if (day > (month === 2 && isLeap ? 29 : (daysInMonth[month - 1] as number))) return Number.NaN;
  return daysFromCivil(year, month, day) * 86_400 + hour * 3_600 + minute * 60;
}

/**
 * Reads RFC 3339 text into `into`; digits after the ninth are dropped. No zone means UTC.
 * @returns false when the text is no timestamp (then `into` is unchanged)
 */
export function parseInstant(text: string, into: Instant): boolean {
  if (text.length < 19) return false;
  if (!text.startsWith(minuteText) || minuteText === '') {
    const parsed = parseMinute(text);
    if (Number.isNaN(parsed)) return false;
    minuteText = text.slice(0, 17);
    minuteSec = parsed;
  }
  const second = digits(text, 17, 19);
  if (!(second <= 59)) return false;
  let at = 19;
  let nano = 0;
  if (text.charCodeAt(at) === 46) {
    at += 1;
    let scale = NANOS;
    const first = at;
    for (; at < text.length; at++) {
      const d = text.charCodeAt(at) - ZERO;
      if (d < 0 || d > 9) break;
      if (scale > 1) {
        scale /= 10;
        nano += d * scale;
      }
    }
    if (at === first) return false;
  }
  let offset = 0;
  const zone = text.charCodeAt(at);
  if (zone === 43 || zone === 45) {
    const hasColon = text[at + 3] === ':';
    const hours = digits(text, at + 1, at + 3);
    const minutes = digits(text, at + (hasColon ? 4 : 3), at + (hasColon ? 6 : 5));
    if (Number.isNaN(hours) || Number.isNaN(minutes) || text.length !== at + (hasColon ? 6 : 5)) return false;
    offset = (hours * 3_600 + minutes * 60) * (zone === 43 ? -1 : 1);
  } else if (at < text.length && !((zone === 90 || zone === 122) && text.length === at + 1)) {
    return false;
  }
  into.sec = minuteSec + second + offset;
  into.nano = nano;
  return true;
}

const pad2 = (value: number): string => (value < 10 ? `0${value}` : String(value));
let dateDay = Number.NaN;
let dateText = '';

/** `2013-10-08T13:30:01.000Z` of whole epoch seconds: the form of every output timestamp. */
export function formatSecond(sec: number): string {
  const day = Math.floor(sec / 86_400);
  if (day !== dateDay) {
    const { year, month, day: dayOfMonth } = civilFromDays(day);
    dateDay = day;
    dateText = `${String(year).padStart(4, '0')}-${pad2(month)}-${pad2(dayOfMonth)}T`;
  }
  const rest = sec - day * 86_400;
  const hour = Math.floor(rest / 3_600);
  const minute = Math.floor((rest - hour * 3_600) / 60);
  return `${dateText}${pad2(hour)}:${pad2(minute)}:${pad2(rest % 60)}.000Z`;
}

/** RFC 3339 text of an instant, trailing zeros of the fraction cut as the provider does. */
export function formatInstant(sec: number, nano: number): string {
  const whole = formatSecond(sec).slice(0, 19);
  return nano === 0 ? `${whole}Z` : `${whole}.${String(nano).padStart(9, '0').replace(/0+$/, '')}Z`;
}
