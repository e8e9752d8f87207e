/**
 * Reads trades and quotes straight from the bytes of their envelopes, in the layout that ws writes; several times as fast as
 * JSON.parse, which makes objects of everything.
 * Guarantees: what it gives is what the general reader (envelope.ts) gives of the same record, number for number; at anything
 * unusual (another key, an escape, an exponent, another channel, unequal times) it gives up and the general reader decides.
 * The members behind the payload are not read: no output depends on them.
 */
import { type Decoded, decodeEnvelope, quoteOf, tradeOf } from './envelope.ts';
import { listAt, openingOf, symbolAt, textAt } from './scan-texts.ts';
import {
  expect,
  instantAt,
  isSameText,
  type Literal,
  learnLiteral,
  literalOf,
  newStamp,
  numberAt,
  openSource,
  read,
  seqAt,
  source,
  stampEnd,
  stringEnd,
  wholeAt,
} from './scan-values.ts';
import type { Instant } from './time.ts';

const HEAD = literalOf('{"ingest_ts":"');
const EVENT_TS = literalOf('","event_ts":"');
const FEED = literalOf('","feed":"');
const CHANNEL = literalOf('","channel":"');
const TRADES = literalOf('trades","symbol":"');
const QUOTES = literalOf('quotes","symbol":"');
const SEQ = literalOf('","seq":');
const PAYLOAD = literalOf(',"payload":{');
const ACCOUNT = literalOf('},"account_label":');

const QUOTE_MARK = 34;
const COMMA = 44;
const COLON = 58;
const OPEN_LIST = 91;
const BACKSLASH = 92;
const CLOSE_LIST = 93;
const CLOSE = 125;

const at: Instant = { sec: 0, nano: 0 };
const lastIngest = newStamp();
const lastEvent = newStamp();
const NONE: readonly string[] = [];
/** Numbers of the payload being read, by the place of their bit. */
const numbers = new Float64Array(8);
const texts = { exchange: '', tape: '', conditions: NONE };

/** Bits of the fields that a channel must have; each may stand once. Those of numbers are at 1 << their place. */
const TIME = 1;
const [P, S, BP, BS, AP, AS, I] = [1, 2, 3, 4, 5, 6, 7] as const;
const TRADE_FIELDS = TIME | (1 << P) | (1 << S);
const QUOTE_FIELDS = TIME | (1 << BP) | (1 << BS) | (1 << AP) | (1 << AS);

/** Keys of one or two letters, as they stand in a little-endian word. */
const keyOf = (name: string): number => name.charCodeAt(0) | (name.length > 1 ? name.charCodeAt(1) << 8 : 0);
/** What stands under each key: the place of a number, or one of the kinds below. */
const SKIPPED = 16;
const TIME_TEXT = 17;
const EXCHANGE = 18;
const TAPE = 19;
const CONDITIONS = 20;
const kinds = new Uint8Array(65_536);
for (const [name, kind] of [
  ['p', P], ['s', S], ['bp', BP], ['bs', BS], ['ap', AP], ['as', AS], ['i', I], ['t', TIME_TEXT], ['x', EXCHANGE],
  ['z', TAPE], ['c', CONDITIONS], ['T', SKIPPED], ['S', SKIPPED], ['bx', SKIPPED], ['ax', SKIPPED],
] as const) kinds[keyOf(name)] = kind; // biome-ignore format: one table

/** Behind the list that begins at `from`, -1 when it holds anything unusual. */
function listEnd(bytes: Uint8Array, from: number, end: number): number {
  let i = from;
  for (; i < end && bytes[i] !== CLOSE_LIST; i++) {
    const byte = bytes[i] as number;
    if (byte === BACKSLASH || byte < 32 || byte > 126) return -1;
  }
  return i < end ? i + 1 : -1;
}

/** The bits of the fields read; -1 when the payload is not a plain one. Its end is left in `read`. */
function payload(bytes: Uint8Array, view: DataView, from: number, end: number, tsFrom: number, tsTo: number): number {
  let k = from;
  let seen = 0;
  for (;;) {
    // `"k":` or `"kk"` as one word; the literal that must follow the payload keeps this inside the record.
    if (k + ACCOUNT.length > end) return -1;
    const word = view.getInt32(k, true);
    if ((word & 255) !== QUOTE_MARK) return -1;
    let key = (word >>> 8) & 65_535;
    if (key >>> 8 === QUOTE_MARK) {
      if (word >>> 24 !== COLON) return -1;
      key &= 255;
      k += 4;
    } else {
      if (word >>> 24 !== QUOTE_MARK || bytes[k + 4] !== COLON) return -1;
      k += 5;
    }
    const kind = kinds[key] as number;
    if (kind === 0) return -1;
    if (kind < SKIPPED) {
      k = kind === I ? wholeAt(bytes, k) : numberAt(bytes, k);
      const bit = 1 << kind;
      if (k < 0 || (seen & bit) !== 0) return -1;
      seen |= bit;
      numbers[kind] = read[0] as number;
    } else if (kind === CONDITIONS) {
      if (bytes[k] !== OPEN_LIST) return -1;
      const behind = listEnd(bytes, k, end);
      if (behind < 0) return -1;
      const list = listAt(bytes, k, behind);
      if (list === undefined) return -1;
      texts.conditions = list;
      k = behind;
    } else {
      if (bytes[k] !== QUOTE_MARK) return -1;
      const first = k + 1;
      if (kind === TIME_TEXT) {
        // Equal text is plain text: the envelope's own was looked at.
        k = first + tsTo - tsFrom;
        if ((seen & TIME) !== 0 || k >= end || bytes[k] !== QUOTE_MARK) return -1;
        if (!isSameText(bytes, view, first, tsFrom, tsTo - tsFrom)) return -1;
        seen |= TIME;
      } else {
        k = stringEnd(bytes, first, end);
        if (k < 0) return -1;
        if (kind === EXCHANGE) texts.exchange = textAt(bytes, first, k);
        else if (kind === TAPE) texts.tape = textAt(bytes, first, k);
      }
      k += 1;
    }
    if (bytes[k] !== COMMA) break;
    k += 1;
  }
  read[0] = k;
  return seen;
}

/** Everything between time and symbol, as it stood in the last trade and quote: the same for a whole feed. */
const middles: { trades: Literal; quotes: Literal } = { trades: HEAD, quotes: HEAD };
let isTradeMiddle = false;

/** Behind feed and channel of another feed than before; -1 when the channel is neither. */
function newMiddle(bytes: Uint8Array, view: DataView, from: number, end: number): number {
  const channel = expect(view, stringEnd(bytes, expect(view, from, FEED, end), end), CHANNEL, end);
  const behindTrades = expect(view, channel, TRADES, end);
  isTradeMiddle = behindTrades > 0;
  const behind = isTradeMiddle ? behindTrades : expect(view, channel, QUOTES, end);
  if (behind > 0) middles[isTradeMiddle ? 'trades' : 'quotes'] = learnLiteral(bytes, from, behind);
  return behind;
}

/** The event of a trade's or quote's bytes; undefined when the general reader has to look. */
export function scanEnvelope(record: Uint8Array): Decoded | undefined {
  const { length } = record;
  if (record[length - 1] !== CLOSE) return undefined;
  openSource(record);
  const { bytes, view } = source;
  const start = record.byteOffset;
  const end = start + length;
  const tsFrom = expect(view, stampEnd(bytes, view, expect(view, start, HEAD, end), end, lastIngest), EVENT_TS, end);
  const tsTo = stampEnd(bytes, view, tsFrom, end, lastEvent);
  let isTrade = true;
  let symbolFrom = expect(view, tsTo, middles.trades, end);
  if (symbolFrom < 0) {
    symbolFrom = expect(view, tsTo, middles.quotes, end);
    isTrade = false;
  }
  if (symbolFrom < 0) {
    symbolFrom = newMiddle(bytes, view, tsTo, end);
    isTrade = isTradeMiddle;
  }
  const symbolTo = stringEnd(bytes, symbolFrom, end);
  const seqTo = seqAt(bytes, view, expect(view, symbolTo, SEQ, end), end);
  if (seqTo < 0 || symbolTo === symbolFrom) return undefined;
  const seq = read[0] as number;
  const known = symbolAt(bytes, symbolFrom, symbolTo);
  let members = expect(view, seqTo, openingOf(known, isTrade), end);
  if (members < 0) members = expect(view, seqTo, PAYLOAD, end);
  if (members < 0) return undefined;
  texts.exchange = '';
  texts.tape = '';
  texts.conditions = NONE;
  numbers[I] = -1;
  const seen = payload(bytes, view, members, end, tsFrom, tsTo);
  const needed = isTrade ? TRADE_FIELDS : QUOTE_FIELDS;
  if (seen < 0 || (seen & needed) !== needed || expect(view, read[0] as number, ACCOUNT, end) < 0) return undefined;
  if (!instantAt(bytes, view, tsFrom, tsTo, at)) return undefined;
  const symbol = known.text;
  if (!isTrade) {
    return quoteOf(symbol, at, seq, numbers[BP], numbers[BS], numbers[AP], numbers[AS]);
  }
  const { exchange, conditions, tape } = texts;
  return tradeOf(symbol, at, seq, numbers[P], numbers[S], numbers[I] as number, exchange, conditions, tape);
}

/**
 * The event of one record's bytes.
 * @param textOfBytes UTF-8 to text, as the host does it
 */
export function decodeRecord(bytes: Uint8Array, textOfBytes: (bytes: Uint8Array) => string): Decoded {
  const scanned = scanEnvelope(bytes);
  if (scanned !== undefined) return scanned;
  try {
    return decodeEnvelope(JSON.parse(textOfBytes(bytes)));
  } catch {
    return 'schema';
  }
}
