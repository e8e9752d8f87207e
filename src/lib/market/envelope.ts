/**
 * The envelope of every ingest record (spec ingest 5): snake_case JSON written, camelCase read too.
 */
import { z } from 'zod';

export type Channel =
  | 'trades'
  | 'quotes'
  | 'bars'
  | 'updatedBars'
  | 'status'
  | 'corrections'
  | 'cancelErrors'
  | 'lulds'
  | 'trade_updates'
  | 'progress';

export interface Envelope {
  ingest_ts: string;
  /** Provider time with its nanoseconds. */
  event_ts: string;
  feed: string;
  channel: Channel;
  symbol: string;
  seq: number;
  payload: Record<string, unknown>;
  account_label: string | null;
  is_final: boolean;
  source: 'ws' | 'rest';
  window: null;
  version: number;
  provider: string | null;
  market_session: string | null;
  delay_class: string | null;
  producer_epoch: number | null;
}

const camel: Record<string, string> = {
  ingestTs: 'ingest_ts',
  eventTs: 'event_ts',
  accountLabel: 'account_label',
  isFinal: 'is_final',
  marketSession: 'market_session',
  delayClass: 'delay_class',
  producerEpoch: 'producer_epoch',
};

/** The fields that every reader relies on; further fields pass through. */
export const envelopeSchema = z.preprocess(
  (value) => {
    if (typeof value !== 'object' || value === null) return value;
    const out: Record<string, unknown> = {};
    for (const [key, item] of Object.entries(value)) out[camel[key] ?? key] = item;
    return out;
  },
  z.looseObject({
    ingest_ts: z.string().optional(),
    event_ts: z.string(),
    feed: z.string().optional(),
    channel: z.string(),
    symbol: z.string(),
    seq: z.number().int(),
    payload: z.record(z.string(), z.unknown()),
    is_final: z.boolean().optional(),
    source: z.string().optional(),
  }),
);

/** Ingest topic of a channel (corrections and cancels travel with the trades, lulds and halts with the status). */
export function topicRoleOfChannel(channel: Channel): 'trades' | 'quotes' | 'bars' | 'status' | 'tradeUpdates' {
  switch (channel) {
    case 'trades':
    case 'corrections':
    case 'cancelErrors':
      return 'trades';
    case 'quotes':
      return 'quotes';
    case 'bars':
    case 'updatedBars':
      return 'bars';
    case 'trade_updates':
      return 'tradeUpdates';
    case 'status':
    case 'lulds':
      return 'status';
    case 'progress':
      throw new Error('progress records name their partition');
  }
}
