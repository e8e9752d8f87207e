/**
 * From a parsed envelope (one JSON object of the ingest topics) to an event of the core.
 * Guarantees: an event that comes out is complete and finite; everything else comes back as a reason. snake_case as written
 * by torghut, camelCase as read from older producers.
 */
import type { MarketEvent } from './events.ts';
import { type Instant, parseInstant } from './time.ts';

/** Why a record cannot be used. */
export type RejectReason = 'schema' | 'invalid_event_ts' | 'time_mismatch' | 'invalid_value';

/** A channel that the core has no use for. */
export const IGNORED = 'ignored';

export interface ProgressEvent {
  kind: 'progress';
  sec: number;
  nano: number;
}

export type Decoded = MarketEvent | ProgressEvent | RejectReason | typeof IGNORED;

type Fields = Record<string, unknown>;

const at: Instant = { sec: 0, nano: 0 };
const payloadAt: Instant = { sec: 0, nano: 0 };
const noConditions: readonly string[] = [];

const isPositive = (value: unknown): value is number =>
  typeof value === 'number' && value > 0 && value < Number.POSITIVE_INFINITY;
const isSize = (value: unknown): value is number =>
  typeof value === 'number' && value >= 0 && value < Number.POSITIVE_INFINITY;

/** A trade id: a whole number, or -1 when there is none. */
function idOf(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : -1;
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

function conditionsOf(value: unknown): readonly string[] {
  if (!Array.isArray(value)) return typeof value === 'string' ? [value] : noConditions;
  for (const item of value) if (typeof item !== 'string') return noConditions;
  return value as string[];
}

/** A trade of checked fields. @param time copied */
export function tradeOf(
  symbol: string,
  time: Instant,
  seq: number,
  price: unknown,
  size: unknown,
  id: number,
  exchange: string,
  conditions: readonly string[],
  tape: string,
): Decoded {
  if (!isPositive(price) || !isSize(size)) return 'invalid_value';
  const { sec, nano } = time;
  return { kind: 'trade', symbol, sec, nano, price, size, id, exchange, conditions, tape, seq };
}

/** A quote of checked fields; a side of price 0 is a side without a quote. @param time copied */
export function quoteOf(
  symbol: string,
  time: Instant,
  seq: number,
  bidPrice: unknown,
  bidSize: unknown,
  askPrice: unknown,
  askSize: unknown,
): Decoded {
  if (!isSize(bidPrice) || !isSize(bidSize) || !isSize(askPrice) || !isSize(askSize)) return 'invalid_value';
  const { sec, nano } = time;
  return { kind: 'quote', symbol, sec, nano, bidPrice, bidSize, askPrice, askSize, seq };
}

/** @param value the parsed JSON of one record */
export function decodeEnvelope(value: unknown): Decoded {
  if (typeof value !== 'object' || value === null) return 'schema';
  const envelope = value as Fields;
  const eventTs = envelope.event_ts ?? envelope.eventTs;
  const { channel, symbol, payload } = envelope;
  const seq = envelope.seq;
  if (typeof eventTs !== 'string' || typeof channel !== 'string') return 'schema';
  if (!parseInstant(eventTs, at)) return 'invalid_event_ts';
  if (channel === 'progress') return { kind: 'progress', sec: at.sec, nano: at.nano };
  if (typeof symbol !== 'string' || symbol === '' || typeof payload !== 'object' || payload === null) return 'schema';
  if (typeof seq !== 'number' || !Number.isSafeInteger(seq) || seq < 0) return 'schema';
  const fields = payload as Fields;
  const { t } = fields;
  if (t !== eventTs) {
    // Equal instants may be written differently; anything else would put a trade into a window of its own choice.
    if (typeof t !== 'string' || !parseInstant(t, payloadAt)) return 'invalid_event_ts';
    if (payloadAt.sec !== at.sec || payloadAt.nano !== at.nano) return 'time_mismatch';
  }
  return decodePayload(channel, symbol, seq, fields);
}

/** The payload of one channel; `at` holds its time. */
function decodePayload(channel: string, symbol: string, seq: number, fields: Fields): Decoded {
  const { sec, nano } = at;
  switch (channel) {
    case 'trades': {
      const { p, s, i, x, c, z } = fields;
      return tradeOf(symbol, at, seq, p, s, idOf(i), textOf(x), conditionsOf(c), textOf(z));
    }
    case 'quotes': {
      const { bp, bs, ap, as } = fields;
      return quoteOf(symbol, at, seq, bp, bs, ap, as);
    }
    case 'bars':
    case 'updatedBars':
      return decodeBar(channel === 'updatedBars', symbol, seq, fields);
    case 'corrections': {
      const { cp: price, cs: size } = fields;
      const [id, newId] = [idOf(fields.oi), idOf(fields.ci ?? fields.oi)];
      if (id < 0 || newId < 0 || !isPositive(price) || !isSize(size)) return 'invalid_value';
      const exchange = textOf(fields.x);
      const [conditions, tape] = [conditionsOf(fields.cc), textOf(fields.z)];
      return { kind: 'correction', symbol, sec, nano, exchange, id, newId, price, size, conditions, tape, seq };
    }
    case 'cancelErrors': {
      const id = idOf(fields.i);
      return id < 0 ? 'invalid_value' : { kind: 'cancel', symbol, sec, nano, exchange: textOf(fields.x), id, seq };
    }
    default:
      return IGNORED;
  }
}

function decodeBar(isUpdate: boolean, symbol: string, seq: number, fields: Fields): Decoded {
  const { o: open, h: high, l: low, c: close, v: volume, vw, revision } = fields;
  const { sec, nano } = at;
  if (!isPositive(open) || !isPositive(high) || !isPositive(low) || !isPositive(close) || !isSize(volume)) {
    return 'invalid_value';
  }
  if (high < Math.max(open, close) || low > Math.min(open, close) || nano !== 0 || sec % 60 !== 0)
    return 'invalid_value';
  return {
    kind: 'bar',
    symbol,
    sec,
    nano,
    open,
    high,
    low,
    close,
    volume,
    vwap: isPositive(vw) ? vw : null,
    isUpdate,
    revision: typeof revision === 'number' && Number.isSafeInteger(revision) && revision >= 0 ? revision : 0,
    seq,
  };
}

const channels: Record<string, string> = {
  t: 'trades',
  q: 'quotes',
  b: 'bars',
  u: 'updatedBars',
  c: 'corrections',
  x: 'cancelErrors',
};

/**
 * An event from a provider message as it stands in recorded files (`{"T":"t","S":"SPY",…}`).
 * @param seq number of the message in its file: the last tie-breaker of equal times
 */
export function decodeProviderMessage(value: unknown, seq: number): Decoded {
  if (typeof value !== 'object' || value === null) return 'schema';
  const fields = value as Fields;
  const channel = channels[textOf(fields.T)];
  if (channel === undefined) return typeof fields.T === 'string' ? IGNORED : 'schema';
  if (typeof fields.S !== 'string' || fields.S === '') return 'schema';
  if (typeof fields.t !== 'string' || !parseInstant(fields.t, at)) return 'invalid_event_ts';
  return decodePayload(channel, fields.S, seq, fields);
}
