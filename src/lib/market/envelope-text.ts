/**
 * Writes envelopes (spec ingest 5) around the provider's own text: the payload is spliced in, never decoded and encoded again,
 * so every number keeps its digits.
 * Guarantees: all fields present, nulls explicit, snake_case; `seq` grows without a break over restarts (design 5).
 */
import type { Clock } from '../service/clock.ts';
import type { Channel } from './envelope.ts';
import { isCryptoFeed } from './feeds.ts';
import { formatTimestampNs } from './time.ts';

/** How fresh a feed's data is by its contract; null where nothing is promised. */
export function delayClassOf(feed: string, channel: Channel): string | null {
  switch (feed) {
    case 'iex':
      return 'real_time_exchange_only';
    case 'sip':
      return 'real_time_consolidated';
    case 'delayed_sip':
      return 'delayed_15m_consolidated';
    case 'overnight':
      if (channel === 'quotes') return 'indicative_real_time';
      if (channel === 'trades') return 'delayed_15m_adjusted';
      return channel === 'bars' || channel === 'updatedBars' ? 'derived' : null;
    default:
      return null;
  }
}

/** Adds members to the text of a JSON object. @param members for example `"revision":0` */
export function withMembers(objectText: string, members: string): string {
  const end = objectText.lastIndexOf('}');
  const isEmpty = /^\{\s*$/.test(objectText.slice(0, end));
  return `${objectText.slice(0, end)}${isEmpty ? '' : ','}${members}}`;
}

export interface MarketRecordFields {
  channel: Channel;
  symbol: string;
  eventTs: string;
  session: string | null;
  /** Text of the payload object. */
  payload: string;
  source: 'ws' | 'rest';
  isFinal: boolean;
  /** Market ms of our receipt; now when absent. */
  nowMs?: number;
}

export interface EnvelopeWriter {
  readonly producerEpochMs: number;
  /** Takes the next number of the sequence. */
  nextSeq(): number;
  /** Trades, quotes, bars, halts, corrections, cancels, LULD, progress. */
  market(fields: MarketRecordFields): string;
  /** A status record of ours about a component, for example `ws:sip`. */
  status(component: string, payload: Record<string, unknown>): string;
  /** An order event; both topics carry the same `seq`. */
  orderEvent(fields: {
    version: 1 | 2;
    symbol: string;
    eventTs: string;
    payload: string;
    account: string | null;
    seq: number;
    source: 'ws' | 'rest';
  }): string;
}

/** @param lastSeq highest durable `seq` of an earlier process, 0 when there is none */
export function createEnvelopeWriter(options: { feed: string; clock: Clock; lastSeq: number }): EnvelopeWriter {
  const { feed, clock } = options;
  const producerEpochMs = clock.nowMs();
  let seq = Math.max(Math.floor(producerEpochMs / 1_000) * 1_000_000, options.lastSeq);
  const feedText = JSON.stringify(feed);
  const nextSeq = () => {
    seq += 1;
    return seq;
  };

  let nowMs = -1;
  let nowText = '';
  const ingestTs = (ms = clock.nowMs()) => {
    if (ms !== nowMs) {
      nowMs = ms;
      nowText = formatTimestampNs(BigInt(ms) * 1_000_000n);
    }
    return nowText;
  };
  const delayTexts = new Map<Channel, string>();
  const delayText = (channel: Channel) => {
    let found = delayTexts.get(channel);
    if (found === undefined) {
      found = JSON.stringify(delayClassOf(feed, channel));
      delayTexts.set(channel, found);
    }
    return found;
  };
  const symbolTexts = new Map<string, string>();
  const symbolText = (symbol: string) => {
    let found = symbolTexts.get(symbol);
    if (found === undefined) {
      found = JSON.stringify(symbol);
      if (symbolTexts.size > 20_000) symbolTexts.clear();
      symbolTexts.set(symbol, found);
    }
    return found;
  };
  const tail = `,"producer_epoch":${producerEpochMs}}`;

  // What stands between event time and sequence, and behind the payload, takes few values: long strings made of many parts
  // are what costs here.
  const middles = new Map<Channel, Map<string, string>>();
  const middleOf = (channel: Channel, symbol: string) => {
    let ofChannel = middles.get(channel);
    if (ofChannel === undefined) {
      ofChannel = new Map();
      middles.set(channel, ofChannel);
    }
    let found = ofChannel.get(symbol);
    if (found === undefined) {
      found = `","feed":${feedText},"channel":"${channel}","symbol":${symbolText(symbol)},"seq":`;
      if (ofChannel.size > 20_000) ofChannel.clear();
      ofChannel.set(symbol, found);
    }
    return found;
  };
  const ends: { fields: MarketRecordFields; text: string }[] = [];
  const endOf = (fields: MarketRecordFields) => {
    for (const { fields: known, text } of ends) {
      if (known.channel !== fields.channel || known.session !== fields.session) continue;
      if (known.isFinal === fields.isFinal && known.source === fields.source) return text;
    }
    // Sessions are those of the stock market.
    const session = fields.session === null || isCryptoFeed(feed) ? 'null' : `"${fields.session}"`;
    const text =
      `,"account_label":null,"is_final":${fields.isFinal},"source":"${fields.source}","window":null,"version":2,` +
      `"provider":"alpaca","market_session":${session},"delay_class":${delayText(fields.channel)}${tail}`;
    if (ends.length >= 32) ends.length = 0;
    ends.push({ fields: { ...fields, payload: '' }, text });
    return text;
  };

  const market = (fields: MarketRecordFields): string =>
    `{"ingest_ts":"${ingestTs(fields.nowMs)}","event_ts":"${fields.eventTs}${middleOf(fields.channel, fields.symbol)}` +
    `${nextSeq()},"payload":${fields.payload}${endOf(fields)}`;

  return {
    producerEpochMs,
    nextSeq,
    market,
    status: (component, payload) =>
      market({
        channel: 'status',
        symbol: component,
        eventTs: ingestTs(),
        session: null,
        payload: JSON.stringify(payload),
        source: 'ws',
        isFinal: true,
      }),
    orderEvent: (fields) =>
      `{"ingest_ts":"${ingestTs()}","event_ts":"${fields.eventTs}","feed":"alpaca","channel":"trade_updates",` +
      `"symbol":${symbolText(fields.symbol)},"seq":${fields.seq},"payload":${fields.payload},` +
      `"account_label":${JSON.stringify(fields.account)},"is_final":true,"source":"${fields.source}","window":null,` +
      `"version":${fields.version},"provider":null,"market_session":null,"delay_class":null${tail}`,
  };
}
