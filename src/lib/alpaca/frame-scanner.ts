/**
 * Cuts the messages out of a frame without decoding them: the text of each message stays as the provider wrote it, so its
 * numbers reach the topic unchanged (design 5), and the few fields that route a message are read on the way.
 * Guarantees: one pass; a message is handed over only when it is a complete, valid JSON object; anything else in the frame is
 * reported with its place. Facts: frames are arrays of objects, discriminated by `T` (alpaca-protocol 1).
 */

/** One message with its raw text and the fields that route and identify it ('' where it has none). */
export interface ScannedMessage {
  raw: string;
  /** `T`: t, q, b, u, s, c, x, l, success, error, subscription … */
  type: string;
  symbol: string;
  /** Provider time as sent. */
  time: string;
  exchange: string;
  tape: string;
  /** Trade id as its number text. */
  id: string;
}

export interface FrameFault {
  /** Index into the text. */
  at: number;
  reason: string;
}

const QUOTE = 34;
const COMMA = 44;
const COLON = 58;
const OPEN_ARRAY = 91;
const BACKSLASH = 92;
const CLOSE_ARRAY = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;
const MAX_DEPTH = 64;

class ScanError extends Error {
  readonly at: number;
  constructor(at: number, reason: string) {
    super(reason);
    this.at = at;
  }
}

/** First index at or after `i` that is no JSON white space. */
export function skipSpace(text: string, i: number): number {
  let code = text.charCodeAt(i);
  while (code === 32 || code === 10 || code === 13 || code === 9) code = text.charCodeAt(++i);
  return i;
}

/** Index behind the string whose opening quote is at `i`. */
function skipString(text: string, i: number): number {
  for (let at = i + 1; ; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at + 1;
    if (code === BACKSLASH) {
      const next = text.charCodeAt(++at);
      if (next === 117) {
        if (!/^[0-9a-fA-F]{4}$/.test(text.slice(at + 1, at + 5))) throw new ScanError(at, 'bad escape');
        at += 4;
      } else if (!'"\\/bfnrt'.includes(text[at] ?? ' ')) {
        throw new ScanError(at, 'bad escape');
      }
    } else if (!(code >= 32)) {
      // Also NaN, which is the end of the text.
      throw new ScanError(at, at >= text.length ? 'text ends inside a string' : 'control character in a string');
    }
  }
}

const isDigit = (code: number) => code >= 48 && code <= 57;

function skipDigits(text: string, i: number): number {
  if (!isDigit(text.charCodeAt(i))) throw new ScanError(i, 'bad number');
  while (isDigit(text.charCodeAt(i))) i++;
  return i;
}

function skipNumber(text: string, i: number): number {
  if (text.charCodeAt(i) === 45) i++;
  i = text.charCodeAt(i) === 48 ? i + 1 : skipDigits(text, i);
  if (text.charCodeAt(i) === 46) i = skipDigits(text, i + 1);
  const exponent = text.charCodeAt(i);
  if (exponent === 101 || exponent === 69) {
    const sign = text.charCodeAt(++i);
    if (sign === 43 || sign === 45) i++;
    i = skipDigits(text, i);
  }
  return i;
}

/** Index behind the JSON value that starts at `i`. @throws when there is no valid value */
export function skipValue(text: string, i: number, depth = 0): number {
  const code = text.charCodeAt(i);
  if (code === QUOTE) return skipString(text, i);
  if (code === 45 || isDigit(code)) return skipNumber(text, i);
  if (code === OPEN_ARRAY) return skipArray(text, i, depth);
  if (code === OPEN_OBJECT) return scanObject(text, i, undefined, depth);
  if (text.startsWith('true', i) || text.startsWith('null', i)) return i + 4;
  if (text.startsWith('false', i)) return i + 5;
  throw new ScanError(i, i >= text.length ? 'text ends too early' : 'unexpected character');
}

function skipArray(text: string, i: number, depth: number): number {
  if (depth > MAX_DEPTH) throw new ScanError(i, 'nested too deeply');
  i = skipSpace(text, i + 1);
  if (text.charCodeAt(i) === CLOSE_ARRAY) return i + 1;
  for (;;) {
    i = skipSpace(text, skipValue(text, i, depth + 1));
    const code = text.charCodeAt(i);
    if (code === CLOSE_ARRAY) return i + 1;
    if (code !== COMMA) throw new ScanError(i, 'expected , or ]');
    i = skipSpace(text, i + 1);
  }
}

/** Text of a string value that lies from `from` to `to`, quotes included. */
export function stringAt(text: string, from: number, to: number): string {
  const inner = text.slice(from + 1, to - 1);
  return inner.includes('\\') ? (JSON.parse(text.slice(from, to)) as string) : inner;
}

/** Scans the object at `i`; one-letter keys that route a message are kept in `into`. */
function scanObject(text: string, i: number, into: ScannedMessage | undefined, depth: number): number {
  if (depth > MAX_DEPTH) throw new ScanError(i, 'nested too deeply');
  i = skipSpace(text, i + 1);
  if (text.charCodeAt(i) === CLOSE_OBJECT) return i + 1;
  for (;;) {
    if (text.charCodeAt(i) !== QUOTE) throw new ScanError(i, 'expected a key');
    const keyEnd = skipString(text, i);
    const keyCode = into && keyEnd - i === 3 ? text.charCodeAt(i + 1) : 0;
    i = skipSpace(text, keyEnd);
    if (text.charCodeAt(i) !== COLON) throw new ScanError(i, 'expected :');
    const from = skipSpace(text, i + 1);
    i = skipValue(text, from, depth + 1);
    if (keyCode !== 0) keepField(into as ScannedMessage, keyCode, text, from, i);
    i = skipSpace(text, i);
    const code = text.charCodeAt(i);
    if (code === CLOSE_OBJECT) return i + 1;
    if (code !== COMMA) throw new ScanError(i, 'expected , or }');
    i = skipSpace(text, i + 1);
  }
}

function keepField(into: ScannedMessage, key: number, text: string, from: number, to: number): void {
  // `i` is a number on trades; on LULD messages it is the indicator, a string, and identifies nothing.
  if (key === 105) {
    if (text.charCodeAt(from) !== QUOTE) into.id = text.slice(from, to);
    return;
  }
  if (text.charCodeAt(from) !== QUOTE) return;
  if (key === 84) into.type = stringAt(text, from, to);
  else if (key === 83) into.symbol = stringAt(text, from, to);
  else if (key === 116) into.time = stringAt(text, from, to);
  else if (key === 120) into.exchange = stringAt(text, from, to);
  else if (key === 122) into.tape = stringAt(text, from, to);
}

/** Scans the message object at `i` and returns the index behind it. */
export function scanMessage(text: string, i: number, into: ScannedMessage): number {
  if (text.charCodeAt(i) !== OPEN_OBJECT) throw new ScanError(i, 'expected an object');
  const end = scanObject(text, i, into, 0);
  into.raw = text.slice(i, end);
  return end;
}

export const emptyMessage = (): ScannedMessage => ({
  raw: '',
  type: '',
  symbol: '',
  time: '',
  exchange: '',
  tape: '',
  id: '',
});

/**
 * Scans an array of messages (or a single one) starting at `i`, calling back for each.
 * @returns the index behind the array, or the fault that ended the scan; messages before the fault have been handed over
 */
export function scanMessages(
  text: string,
  i: number,
  onMessage: (message: ScannedMessage) => void,
): number | FrameFault {
  try {
    i = skipSpace(text, i);
    const isArray = text.charCodeAt(i) === OPEN_ARRAY;
    if (isArray) i = skipSpace(text, i + 1);
    if (isArray && text.charCodeAt(i) === CLOSE_ARRAY) return i + 1;
    for (;;) {
      const message = emptyMessage();
      i = scanMessage(text, i, message);
      onMessage(message);
      if (!isArray) return i;
      i = skipSpace(text, i);
      const code = text.charCodeAt(i);
      if (code === CLOSE_ARRAY) return i + 1;
      if (code !== COMMA) throw new ScanError(i, 'expected , or ]');
      i = skipSpace(text, i + 1);
    }
  } catch (error) {
    if (error instanceof ScanError) return { at: error.at, reason: error.message };
    throw error;
  }
}

/** Scans a whole frame. @returns undefined, or the fault when the frame is no array of objects and nothing else */
export function scanFrame(text: string, onMessage: (message: ScannedMessage) => void): FrameFault | undefined {
  const end = scanMessages(text, 0, onMessage);
  if (typeof end !== 'number') return end;
  const rest = skipSpace(text, end);
  return rest === text.length ? undefined : { at: rest, reason: 'text after the frame' };
}
