/**
 * Reads the provider time of a message at stream speed: milliseconds, market session and a check in one go.
 * Guarantees: the same instants as market/time.ts accepts; a text it cannot read is never given a time. Most messages fall into
 * a minute seen before, so a minute is parsed once and only seconds and fraction are read for each message.
 */
import { type MarketSession, sessionOf } from './calendar.ts';
import { formatTimestampNs, parseTimestampNs } from './time.ts';

export interface EventTime {
  /** Milliseconds since the epoch, rounded down. */
  ms: number;
  session: MarketSession;
  /** UTC text with all its digits. */
  text: string;
}

interface Minute {
  ms: number;
  session: MarketSession;
}

/** More than a day has: a repair reads far apart from the stream. */
const MAX_MINUTES = 2_048;
const minutes = new Map<string, Minute | undefined>();

let lastPrefix = '';
let lastMinute: Minute | undefined;

/** The minute of a text that begins with `YYYY-MM-DDTHH:MM`; sessions begin and end on whole minutes. */
function minuteOf(text: string): Minute | undefined {
  if (lastPrefix !== '' && text.startsWith(lastPrefix)) return lastMinute;
  lastPrefix = text.slice(0, 16);
  lastMinute = knownMinute(lastPrefix);
  return lastMinute;
}

function knownMinute(prefix: string): Minute | undefined {
  if (minutes.has(prefix)) return minutes.get(prefix);
  const ns = parseTimestampNs(`${prefix}:00Z`);
  const minute = ns === undefined ? undefined : { ms: Number(ns / 1_000_000n), session: sessionOf(ns) };
  if (minutes.size >= MAX_MINUTES) minutes.clear();
  minutes.set(prefix, minute);
  return minute;
}

/** @returns undefined when the text is no point of time (or before the epoch) */
export function readEventTime(text: string): EventTime | undefined {
  // Fast path: YYYY-MM-DDTHH:MM:SS[.fraction]Z
  const length = text.length;
  if (length >= 20 && length <= 30 && text.charCodeAt(10) === 84 && text.charCodeAt(length - 1) === 90) {
    const tens = text.charCodeAt(17) - 48;
    const ones = text.charCodeAt(18) - 48;
    if (text.charCodeAt(16) === 58 && tens >= 0 && tens <= 5 && ones >= 0 && ones <= 9) {
      let millis = length === 20 ? 0 : text.charCodeAt(19) === 46 && length > 21 ? fractionMs(text, length) : -1;
      if (millis >= 0) {
        const minute = minuteOf(text);
        if (minute === undefined || minute.ms < 0) return undefined;
        millis += (tens * 10 + ones) * 1_000;
        return { ms: minute.ms + millis, session: minute.session, text };
      }
    }
  }
  const ns = parseTimestampNs(text);
  if (ns === undefined || ns < 0n) return undefined;
  return { ms: Number(ns / 1_000_000n), session: sessionOf(ns), text: formatTimestampNs(ns) };
}

/** Milliseconds of the fraction digits from index 20 to the final Z; -1 when one is no digit. */
function fractionMs(text: string, length: number): number {
  let ms = 0;
  let weight = 100;
  for (let i = 20; i < length - 1; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    ms += digit * weight;
    weight = weight > 1 ? weight / 10 : 0;
  }
  return ms;
}
