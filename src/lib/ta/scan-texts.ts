/**
 * Short texts that come again and again in envelopes (symbols, exchanges, tapes, condition lists): the same bytes are the same
 * string and the same array, found without making either.
 */
import { asciiAt, type Literal, letters, literalOf } from './scan-values.ts';

export interface KnownText {
  /** Its bytes as words: the first eight letters, and all of them. */
  head: number;
  next: number;
  bytes: Uint8Array;
  text: string;
  /** The list that the text is; undefined when it is none. */
  list: readonly string[] | undefined;
  /** How the payload of a trade and of a quote of this symbol begins; undefined until it is asked for. */
  tradeOpening: Literal | undefined;
  quoteOpening: Literal | undefined;
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
  const text = asciiAt(bytes, from, to);
  const isList = /^\[("[^"]*"(,"[^"]*")*)?\]$/.test(text);
  const list = isList ? (JSON.parse(text) as string[]) : undefined;
  return { head, next, bytes: bytes.slice(from, to), text, list, tradeOpening: undefined, quoteOpening: undefined };
}

/** The symbol at [from, to), with what comes of it again and again. */
export function symbolAt(bytes: Uint8Array, from: number, to: number): KnownText {
  return knownAt(bytes, from, to);
}

/** The beginning of a payload with the symbol's own letters, as providers write it. */
export function openingOf(symbol: KnownText, isTrade: boolean): Literal {
  const found = isTrade ? symbol.tradeOpening : symbol.quoteOpening;
  if (found !== undefined) return found;
  const opening = literalOf(`,"payload":{"T":"${isTrade ? 't' : 'q'}","S":"${symbol.text}",`);
  if (isTrade) symbol.tradeOpening = opening;
  else symbol.quoteOpening = opening;
  return opening;
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
