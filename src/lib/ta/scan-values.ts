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

const letters = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code));

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

/** What stands at [from, to) of the source, as a literal. */
export function learnLiteral(bytes: Uint8Array, from: number, to: number): Literal {
  return literalOf(Array.from(bytes.subarray(from, to), (byte) => letters[byte] as string).join(''));
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

interface KnownText {
  /** Its bytes as words: the first eight letters, and all of them. */
  head: number;
  next: number;
  bytes: Uint8Array;
  text: string;
  /** The list that the text is; undefined when it is none. */
  list: readonly string[] | undefined;
}

// Symbols, exchanges, tapes and condition lists come again and again: the same text is one string, the same list one array.
const SLOTS = 4_096;
/** Each text has two places, so that two that share one do not drive each other out at every record. */
const known: (KnownText | undefined)[] = new Array(SLOTS).fill(undefined);

/** Up to four bytes from `from` as one number, nought behind `to`. */
function wordAt(bytes: Uint8Array, from: number, to: number): number {
  const left = to - from;
  if (left <= 0) return 0;
  let word = bytes[from] as number;
  if (left > 1) word |= (bytes[from + 1] as number) << 8;
  if (left > 2) word |= (bytes[from + 2] as number) << 16;
  if (left > 3) word |= (bytes[from + 3] as number) << 24;
  return word;
}

function isRestKnown(found: Uint8Array, bytes: Uint8Array, from: number, length: number): boolean {
  for (let i = 8; i < length; i++) if (found[i] !== bytes[from + i]) return false;
  return true;
}

/** What is known of plain ASCII text at [from, to), `to` behind the first byte. */
function knownAt(bytes: Uint8Array, from: number, to: number): KnownText {
  const length = to - from;
  const head = wordAt(bytes, from, to);
  const next = wordAt(bytes, from + 4, to);
  let hash = Math.imul(head, 0x9e3779b1) ^ Math.imul(next + length, 0x85ebca6b);
  hash ^= hash >>> 15;
  let place = hash & (SLOTS - 1);
  for (let tries = 0; tries < 2; tries++) {
    const found = known[place];
    if (found === undefined) break;
    const isSame = found.head === head && found.next === next && found.bytes.length === length;
    if (isSame && (length <= 8 || isRestKnown(found.bytes, bytes, from, length))) return found;
    if (tries === 0) place = (hash >>> 13) & (SLOTS - 1);
  }
  const fresh = knownText(bytes, from, to, head, next);
  known[place] = fresh;
  return fresh;
}

function knownText(bytes: Uint8Array, from: number, to: number, head: number, next: number): KnownText {
  let text = '';
  for (let i = from; i < to; i++) text += letters[bytes[i] as number];
  const isList = /^\[("[^"]*"(,"[^"]*")*)?\]$/.test(text);
  const list = isList ? (JSON.parse(text) as string[]) : undefined;
  return { head, next, bytes: bytes.slice(from, to), text, list };
}

/** Plain ASCII text. */
export function textAt(bytes: Uint8Array, from: number, to: number): string {
  if (to - from === 1) return letters[bytes[from] as number] as string;
  return to === from ? '' : knownAt(bytes, from, to).text;
}

/** A JSON list of strings, of plain ASCII; undefined for anything else. */
export function listAt(bytes: Uint8Array, from: number, to: number): readonly string[] | undefined {
  return knownAt(bytes, from, to).list;
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
    if (!parseInstant(textAt(bytes, from, to), into)) return false;
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
