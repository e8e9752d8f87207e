/**
 * The values of JSON text read straight from bytes, for the envelope scanner: literals, plain strings, plain numbers, instants.
 * Guarantees: a value that is given is the one that JSON.parse gives, number for number; anything unusual (an escape, a byte
 * outside printable ASCII, an exponent, more digits than a double holds exactly) is given up, and the general reader decides.
 * Positions count from the start of the underlying buffer, so one pair of views serves every record of a fetched batch. No
 * function reads at or behind `end`, the record's own end.
 */
import { type Instant, parseInstant } from './time.ts';

const QUOTE_MARK = 34;
const COMMA = 44;
const DOT = 46;
const ZERO = 48;
const BACKSLASH = 92;
const CLOSE = 125;

export const letters = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code));

/** The bytes that records lie in. */
export const source: { bytes: Uint8Array; view: DataView } = {
  bytes: new Uint8Array(0),
  view: new DataView(new ArrayBuffer(0)),
};
let viewed: ArrayBufferLike = source.bytes.buffer;

/** Looks at the buffer of a record. */
export function openSource(record: Uint8Array): void {
  const { buffer } = record;
  if (buffer === viewed) return;
  viewed = buffer;
  source.bytes = new Uint8Array(buffer);
  source.view = new DataView(buffer);
}

/** A fixed text, four bytes at a time; the last word overlaps the one before. */
export interface Literal {
  length: number;
  words: Int32Array;
}

/** @param text ASCII, at least four letters */
export function literalOf(text: string): Literal {
  const bytes = new DataView(Uint8Array.from(text, (letter) => letter.charCodeAt(0)).buffer);
  const words = new Int32Array(Math.ceil(text.length / 4));
  for (let i = 0; i < words.length; i++) words[i] = bytes.getInt32(Math.min(i * 4, text.length - 4), true);
  return { length: text.length, words };
}

/** The text at [from, to), all of it ASCII. */
export function asciiAt(bytes: Uint8Array, from: number, to: number): string {
  let text = '';
  for (let i = from; i < to; i++) text += letters[bytes[i] as number];
  return text;
}

/** What stands at [from, to) of the source, as a literal. */
export function learnLiteral(bytes: Uint8Array, from: number, to: number): Literal {
  return literalOf(asciiAt(bytes, from, to));
}

/** Behind the literal when it stands at `at`, else -1. */
export function expect(view: DataView, at: number, literal: Literal, end: number): number {
  const { length, words } = literal;
  if (at < 0 || at + length > end) return -1;
  const last = words.length - 1;
  for (let i = 0; i < last; i++) if (view.getInt32(at + i * 4, true) !== words[i]) return -1;
  return view.getInt32(at + length - 4, true) === words[last] ? at + length : -1;
}

/** 1 for the bytes that may stand in a plain string. */
const plain = new Uint8Array(256);
for (let byte = 32; byte < 127; byte++) plain[byte] = byte === QUOTE_MARK || byte === BACKSLASH ? 0 : 1;

/** Index of the quotation mark that ends a plain ASCII string, else -1. */
export function stringEnd(bytes: Uint8Array, from: number, end: number): number {
  if (from < 0) return -1;
  let i = from;
  while (i < end && plain[bytes[i] as number] === 1) i += 1;
  return i < end && bytes[i] === QUOTE_MARK ? i : -1;
}

/** Are two stretches of the same length equal? Both are followed by a mark, so a difference in length shows there. */
export function isSameText(bytes: Uint8Array, view: DataView, a: number, b: number, length: number): boolean {
  let i = 0;
  for (; i + 4 <= length; i += 4) if (view.getInt32(a + i, true) !== view.getInt32(b + i, true)) return false;
  for (; i < length; i++) if (bytes[a + i] !== bytes[b + i]) return false;
  return true;
}

/** The first 16 letters of a time as they were seen last; they were plain. */
export const newStamp = (): Int32Array => new Int32Array(4).fill(0x20202020);

/** As `stringEnd`, for times: neighbouring records share everything but the last letters. */
export function stampEnd(bytes: Uint8Array, view: DataView, from: number, end: number, stamp: Int32Array): number {
  if (from < 0 || from + 16 > end) return -1;
  const isSame =
    view.getInt32(from + 12, true) === stamp[3] &&
    view.getInt32(from + 8, true) === stamp[2] &&
    view.getInt32(from + 4, true) === stamp[1] &&
    view.getInt32(from, true) === stamp[0];
  if (isSame) return stringEnd(bytes, from + 16, end);
  const found = stringEnd(bytes, from, end);
  if (found >= from + 16) for (let i = 0; i < 4; i++) stamp[i] = view.getInt32(from + i * 4, true);
  return found;
}

const powers = Float64Array.from({ length: 16 }, (_, i) => Number(`1e${i}`));
/** The number that `numberAt` or `wholeAt` read last (a typed array: a variable would be a new object each time). */
export const read = new Float64Array(1);

/**
 * Reads a plain decimal of up to 15 digits: its digits and the power of ten are exact doubles, so one division rounds right.
 * A comma or brace must follow: exponents and anything else are for the general reader.
 * @returns the index behind it, -1 for any other number
 */
export function numberAt(bytes: Uint8Array, from: number): number {
  let i = from;
  let whole = 0;
  let digit = (bytes[i] as number) - ZERO;
  if (digit === 0 && ((bytes[i + 1] as number) - ZERO) >>> 0 <= 9) return -1;
  while (digit >>> 0 <= 9) {
    whole = (Math.imul(whole, 10) + digit) | 0;
    i += 1;
    digit = (bytes[i] as number) - ZERO;
  }
  let digits = i - from;
  if (digits === 0) return -1;
  let fraction = 0;
  if (bytes[i] === DOT) {
    const point = i;
    i += 1;
    digit = (bytes[i] as number) - ZERO;
    while (digit >>> 0 <= 9) {
      whole = (Math.imul(whole, 10) + digit) | 0;
      i += 1;
      digit = (bytes[i] as number) - ZERO;
    }
    fraction = i - point - 1;
    if (fraction === 0) return -1;
    digits += fraction;
  }
  if (digits > 15 || (bytes[i] !== COMMA && bytes[i] !== CLOSE)) return -1;
  // Up to nine digits are exact in 32 bits.
  const number = digits <= 9 ? whole : digitsAt(bytes, from, i);
  read[0] = fraction === 0 ? number : number / (powers[fraction] as number);
  return i;
}

/** The digits of [from, to) as one whole number; a point is passed over. */
function digitsAt(bytes: Uint8Array, from: number, to: number): number {
  let whole = 0;
  for (let i = from; i < to; i++) if (bytes[i] !== DOT) whole = whole * 10 + ((bytes[i] as number) - ZERO);
  return whole;
}

/** A whole number up to 2^53 (sequence numbers have 16 digits). @returns the index behind it, or -1 */
export function wholeAt(bytes: Uint8Array, from: number): number {
  if (from < 0) return -1;
  let i = from;
  let high = 0;
  let low = 0;
  let digit = (bytes[i] as number) - ZERO;
  if (digit === 0 && bytes[i + 1] !== COMMA && bytes[i + 1] !== CLOSE) return -1;
  const split = from + 8;
  while (digit >>> 0 <= 9 && i < split) {
    low = (Math.imul(low, 10) + digit) | 0;
    i += 1;
    digit = (bytes[i] as number) - ZERO;
  }
  if (i === split && digit >>> 0 <= 9) {
    high = low;
    low = 0;
    while (digit >>> 0 <= 9 && i < from + 17) {
      low = (Math.imul(low, 10) + digit) | 0;
      i += 1;
      digit = (bytes[i] as number) - ZERO;
    }
  }
  const digits = i - from;
  if (digits === 0 || digits > 16) return -1;
  const whole = digits <= 8 ? low : high * (powers[digits - 8] as number) + low;
  read[0] = whole;
  return whole <= Number.MAX_SAFE_INTEGER && (bytes[i] === COMMA || bytes[i] === CLOSE) ? i : -1;
}

// Sequence numbers grow by ones: the first eight digits of the last one, as words and as a number.
const lastSeq = { first: 0, second: 0, high: -1 };

/** As `wholeAt`, for sequence numbers, whose first eight digits seldom change. */
export function seqAt(bytes: Uint8Array, view: DataView, from: number, end: number): number {
  if (from < 0 || from + 18 > end) return wholeAt(bytes, from);
  const isSame = view.getInt32(from, true) === lastSeq.first && view.getInt32(from + 4, true) === lastSeq.second;
  if (!isSame || lastSeq.high < 0) {
    const behind = wholeAt(bytes, from);
    if (behind - from === 16) {
      lastSeq.first = view.getInt32(from, true);
      lastSeq.second = view.getInt32(from + 4, true);
      lastSeq.high = Math.floor((read[0] as number) / 1e8);
    }
    return behind;
  }
  let low = 0;
  for (let i = from + 8; i < from + 16; i++) {
    const digit = (bytes[i] as number) - ZERO;
    if (digit >>> 0 > 9) return wholeAt(bytes, from);
    low = (Math.imul(low, 10) + digit) | 0;
  }
  const whole = lastSeq.high * 1e8 + low;
  const behind = bytes[from + 16];
  if ((behind !== COMMA && behind !== CLOSE) || whole > Number.MAX_SAFE_INTEGER) return wholeAt(bytes, from);
  read[0] = whole;
  return from + 16;
}

// Neighbouring events share their minute: `YYYY-MM-DDTHH:MM:` of the last one, as words and one byte.
const minute = { known: false, words: new Int32Array(4), last: 0, sec: 0 };

/** `YYYY-MM-DDTHH:MM:SS[.fraction]Z` of plain ASCII. @returns whether it is one */
export function instantAt(bytes: Uint8Array, view: DataView, from: number, to: number, into: Instant): boolean {
  const length = to - from;
  if (length < 20 || length > 30 || bytes[to - 1] !== 90) return false;
  const { words } = minute;
  const isSame =
    view.getInt32(from + 12, true) === words[3] &&
    view.getInt32(from + 8, true) === words[2] &&
    view.getInt32(from + 4, true) === words[1] &&
    view.getInt32(from, true) === words[0];
  if (!isSame || bytes[from + 16] !== minute.last || !minute.known) {
    if (!parseInstant(asciiAt(bytes, from, to), into)) return false;
    minute.sec = into.sec - (((bytes[from + 17] as number) - ZERO) * 10 + ((bytes[from + 18] as number) - ZERO));
    for (let i = 0; i < 4; i++) words[i] = view.getInt32(from + i * 4, true);
    minute.last = bytes[from + 16] as number;
    minute.known = true;
    return true;
  }
  const tens = (bytes[from + 17] as number) - ZERO;
  const ones = (bytes[from + 18] as number) - ZERO;
  if (tens >>> 0 > 5 || ones >>> 0 > 9) return false;
  let nano = 0;
  if (length > 20) {
    if (bytes[from + 19] !== DOT || length === 21) return false;
    const last = to - 1;
    for (let i = from + 20; i < last; i++) {
      const digit = (bytes[i] as number) - ZERO;
      if (digit >>> 0 > 9) return false;
      nano = (Math.imul(nano, 10) + digit) | 0;
    }
    nano *= powers[30 - length] as number;
  }
  into.sec = minute.sec + tens * 10 + ones;
  into.nano = nano;
  return true;
}
