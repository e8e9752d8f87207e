/**
 * One market message as bytes: its kind, symbol and time are read without parsing the rest, and the rest is kept as it came.
 * Guarantee: number text of the source reaches the stream and the history unchanged; every kept line starts with
 * `{"T":"k","S":"SYM",`. Facts: alpaca-protocol 1 (kinds, `t` with up to nine digits).
 */
import { parseTimestampNs } from '../../lib/market/time.ts';
import type { TapeEventKind } from '../contract.ts';

/** Letters of `T` in the order of their kind codes. */
export const kindLetters = ['t', 'q', 'b', 'u', 'd', 's', 'l', 'c', 'x', 'i'] as const;
export type KindLetter = (typeof kindLetters)[number];

export const kindNames: Record<KindLetter, TapeEventKind> = {
  t: 'trade',
  q: 'quote',
  b: 'bar',
  u: 'updatedBar',
  d: 'dailyBar',
  s: 'status',
  l: 'luld',
  c: 'correction',
  x: 'cancel',
  i: 'imbalance',
};

const codeOfByte = new Map(kindLetters.map((letter, code) => [letter.charCodeAt(0), code]));

/** Kind code (index into kindLetters) of a letter. */
export function kindCode(letter: KindLetter): number {
  return kindLetters.indexOf(letter);
}

export interface LineHeader {
  code: number;
  symbol: string;
  eventNs: bigint;
}

/** Why a line is no message; `ignored` lines are control messages of a captured stream. */
export class LineError extends Error {}

export interface SplitLine extends LineHeader {
  /** Canonical bytes of the line, without a line break. May be a view of the input. */
  line: Buffer;
}

/** Bytes before the symbol: `{"T":"k","S":"`. */
const SYMBOL_AT = 14;
const timeKey = Buffer.from(',"t":"');
const symbolPattern = /^[\x21\x23-\x5b\x5d-\x7e]{1,32}$/;

/** Bytes of a canonical line to leave out before the first field that a history item keeps. */
export function itemOffset(symbol: string): number {
  return SYMBOL_AT + symbol.length + 2;
}

let lastDate = '';
let lastDayMs = 0;

/** Nanoseconds of a timestamp in bytes; the date of the last call is remembered, most lines share it. */
function timeOf(line: Buffer, start: number, end: number): bigint | undefined {
  const text = line.toString('latin1', start, end);
  const length = text.length;
  if (length < 20 || length > 30 || text.charCodeAt(length - 1) !== 90) return parseTimestampNs(text);
  const date = text.slice(0, 11);
  if (date !== lastDate) {
    const midnight = parseTimestampNs(`${text.slice(0, 10)}T00:00:00Z`);
    if (midnight === undefined || text.charCodeAt(10) !== 84) return parseTimestampNs(text);
    lastDate = date;
    lastDayMs = Number(midnight / 1_000_000n);
  }
  const two = (at: number) => (text.charCodeAt(at) - 48) * 10 + text.charCodeAt(at + 1) - 48;
  const hour = two(11);
  const minute = two(14);
  const second = two(17);
  let nanos = 0;
  for (let at = 20; at < length - 1; at++) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return undefined;
    nanos = nanos * 10 + digit;
  }
  for (let at = length === 20 ? 9 : length - 21; at < 9; at++) nanos *= 10;
  const regular = text.charCodeAt(13) === 58 && text.charCodeAt(16) === 58 && (length === 20 || text[19] === '.');
  if (!regular || !(hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0 && second < 60)) {
    return parseTimestampNs(text);
  }
  return BigInt(lastDayMs + hour * 3_600_000 + minute * 60_000 + second * 1_000) * 1_000_000n + BigInt(nanos);
}

/**
 * Splits a line that is known to be valid JSON (see checkLine), or was made by the simulator.
 * @returns undefined for control messages of a captured stream @throws LineError
 */
export function splitLine(line: Buffer): SplitLine | undefined {
  const isCanonical =
    line.length > SYMBOL_AT &&
    line[1] === 34 && line[2] === 84 && line[4] === 58 && line[8] === 44 && line[10] === 83 && line[12] === 58; // biome-ignore format: one test
  if (isCanonical) {
    const code = codeOfByte.get(line[6] as number);
    const quote = line.indexOf(34, SYMBOL_AT);
    const time = line.indexOf(timeKey, quote + 1);
    if (code !== undefined && quote > 0 && line[quote + 1] === 44 && time > 0) {
      const symbol = line.toString('latin1', SYMBOL_AT, quote);
      const from = time + timeKey.length;
      const eventNs = timeOf(line, from, line.indexOf(34, from));
      if (eventNs !== undefined && symbolPattern.test(symbol)) return { code, symbol, eventNs, line };
    }
  }
  return splitAnyLine(line.toString('utf8'));
}

const controlTypes = new Set(['success', 'error', 'subscription']);

function splitAnyLine(text: string): SplitLine | undefined {
  const message: unknown = JSON.parse(text);
  if (typeof message !== 'object' || message === null || Array.isArray(message)) throw new LineError('not an object');
  const { T, S, t } = message as Record<string, unknown>;
  if (typeof T === 'string' && controlTypes.has(T)) return undefined;
  const code = typeof T === 'string' && T.length === 1 ? codeOfByte.get(T.charCodeAt(0)) : undefined;
  if (code === undefined) throw new LineError(T === undefined ? 'it has no field T' : `unknown T ${JSON.stringify(T)}`);
  if (typeof S !== 'string' || !symbolPattern.test(S)) throw new LineError('field S is no symbol');
  const eventNs = typeof t === 'string' ? parseTimestampNs(t) : undefined;
  if (eventNs === undefined) throw new LineError('field t is no RFC 3339 time');
  const rest = rawMembers(text).filter(({ key }) => key !== 'T' && key !== 'S');
  const fields = [`"T":"${T}"`, `"S":"${S}"`, ...rest.map(({ key, raw }) => `${JSON.stringify(key)}:${raw}`)];
  return { code, symbol: S, eventNs, line: Buffer.from(`{${fields.join(',')}}`) };
}

/** The members of a JSON object (valid JSON) with the text of their values as written. */
export function rawMembers(text: string): { key: string; raw: string }[] {
  const members: { key: string; raw: string }[] = [];
  let depth = 0;
  let from = text.indexOf('{') + 1;
  let colon = -1;
  for (let at = from - 1; at < text.length; at++) {
    const char = text[at];
    if (char === '"') {
      at += 1;
      while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
    } else if (char === '{' || char === '[') depth += 1;
    else if (char === ':' && depth === 1 && colon < 0) colon = at;
    if (char === '}' || char === ']') depth -= 1;
    if ((char === ',' && depth === 1) || (char === '}' && depth === 0)) {
      if (colon > 0)
        members.push({ key: JSON.parse(text.slice(from, colon)) as string, raw: text.slice(colon + 1, at).trim() });
      from = at + 1;
      colon = -1;
      if (depth === 0) break;
    }
  }
  return members;
}

const numberFields: Record<string, readonly string[]> = {
  t: ['p', 's'],
  q: ['bp', 'bs', 'ap', 'as'],
  b: ['o', 'h', 'l', 'c', 'v'],
  u: ['o', 'h', 'l', 'c', 'v'],
  c: ['op', 'os', 'cp', 'cs'],
};

/** Full check of one line of a file, before it is trusted to splitLine. @throws LineError, SyntaxError */
export function checkLine(line: Buffer): SplitLine | undefined {
  const message: unknown = JSON.parse(line.toString('utf8'));
  const split = splitLine(line);
  if (!split) return undefined;
  const letter = kindLetters[split.code] as KindLetter;
  for (const field of numberFields[letter] ?? []) {
    if (typeof (message as Record<string, unknown>)[field] !== 'number') {
      throw new LineError(`field ${field} is no number`);
    }
  }
  return split;
}
