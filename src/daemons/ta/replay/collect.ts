/**
 * The input of a replay that reaches beyond the log (spec ta M5): trades, quotes and minute bars of a window from the provider's
 * REST, slice by slice, as the ingest topics would hold them.
 * Guarantees: a slice and its end mark are one commit, so a crash goes on with the next slice; records are stamped with the time
 * at which they were due and told in that order; nothing live is read or written. REST knows no corrections and no cancels.
 */

import type { ScannedMessage } from '../../../lib/alpaca/frame-scanner.ts';
import { createMarketRest, type MarketRest } from '../../../lib/alpaca/market-rest.ts';
import { partitionOfKey } from '../../../lib/log/partition.ts';
import type { NewRecord } from '../../../lib/log/port.ts';
import { createEnvelopeWriter, type EnvelopeWriter, withMembers } from '../../../lib/market/envelope-text.ts';
import { readEventTime } from '../../../lib/market/event-time.ts';
import { loadConfig } from '../../../lib/service/config.ts';
import { crashPoint } from '../../../lib/service/crash-point.ts';
import { usageError } from '../../../lib/service/errors.ts';
import { registerSecret } from '../../../lib/service/logging.ts';
import { readLast } from '../../ws/tail.ts';
import { wsVariables } from '../../ws/variables.ts';
import { revisionReachMs } from '../recompute.ts';
import type { ReplayContext } from './context.ts';
import { leadOf } from './facts.ts';
import { inputSpecs, inputTopicRoles, replayNames } from './names.ts';
import { note } from './promote.ts';
import { interrupted, type ReplayRecord } from './record.ts';

const SLICE_MS = 60_000;
const MINUTE_MS = 60_000;
/** Records of one commit. */
const COMMIT_RECORDS = 5_000;

/** The symbols that are fetched: as given, else SYMBOLS. @throws `replay_symbols_missing` (exit 2) */
export function symbolsOf(context: ReplayContext, given: readonly string[]): string[] {
  const symbols = given.length > 0 ? [...given] : (context.env.SYMBOLS ?? '').split(',');
  const found = [...new Set(symbols.map((symbol) => symbol.trim()).filter((symbol) => symbol !== ''))].sort();
  if (found.length > 0) return found;
  throw usageError({
    code: 'replay_symbols_missing',
    what: 'there are no symbols to fetch',
    next: 'give --symbols SPY,IBM or set SYMBOLS',
  });
}

function restOf(context: ReplayContext): { rest: MarketRest; feed: string } {
  const { ALPACA_BASE_URL, ALPACA_FEED, ALPACA_KEY_ID, ALPACA_SECRET_KEY, APCA_API_KEY_ID, APCA_API_SECRET_KEY } =
    wsVariables;
  const table = {
    ALPACA_BASE_URL,
    ALPACA_FEED,
    ALPACA_KEY_ID,
    ALPACA_SECRET_KEY,
    APCA_API_KEY_ID,
    APCA_API_SECRET_KEY,
  };
  const known = Object.keys(context.env).filter((name) => !(name in table));
  const { values } = loadConfig(table, context.env, known);
  const key = values.ALPACA_KEY_ID ?? values.APCA_API_KEY_ID ?? '';
  const secret = values.ALPACA_SECRET_KEY ?? values.APCA_API_SECRET_KEY ?? '';
  registerSecret(secret);
  const rest = createMarketRest({
    baseUrl: values.ALPACA_BASE_URL,
    key,
    secret,
    feed: values.ALPACA_FEED,
    // Pauses between tries need no chance here: one process asks.
    random: () => 0.5,
    requestTimeoutMs: 15_000,
  });
  return { rest, feed: values.ALPACA_FEED };
}

const channelOf = { t: 'trades', q: 'quotes', b: 'bars' } as const;

interface Due {
  message: ScannedMessage;
  dueMs: number;
}

/** Fetches what is missing and gives the record its inputs. */
export async function collectInput(context: ReplayContext, record: ReplayRecord): Promise<ReplayRecord> {
  const { log, clock, signal, tell } = context;
  const names = replayNames(record.replay_id);
  const topics = inputTopicRoles.map((role) => names.inputs[role]);
  await log.ensureTopics(inputSpecs(names, record.partitions, clock.kind));
  const { rest, feed } = restOf(context);
  const envelopes = createEnvelopeWriter({ feed, clock, lastSeq: 0 });
  const endMs = (record.to_ms ?? 0) + revisionReachMs;
  const beginMs = record.from_ms - leadOf(record.from_ms);
  let fromMs = Math.max(beginMs, await reachedMs(context, topics[0] as string));
  const writer = await log.openWriter({ owner: names.inputOwner });
  try {
    while (fromMs < endMs && !signal.aborted) {
      const toMs = Math.min(fromMs + SLICE_MS, endMs);
      const found = await fetchSlice(rest, record.symbols, fromMs, toMs, signal);
      const records = recordsOf(found, names.inputs, record.partitions, envelopes);
      for (let at = 0; at + COMMIT_RECORDS < records.length; at += COMMIT_RECORDS) {
        // A slice is one commit unless it is too large for one; its parts come again after a crash and count once.
        await writer.commit({ records: records.splice(0, COMMIT_RECORDS) });
      }
      await writer.commit({ records: [...records, ...marks(topics, record.partitions, toMs)] });
      crashPoint('replay.collecting');
      fromMs = toMs;
      const share = (100 * (toMs - beginMs)) / (endMs - beginMs);
      tell(
        `fetched to ${new Date(toMs).toISOString()} (${share.toFixed(1)} %), ${found.length} records in the last minute`,
      );
    }
  } finally {
    await writer.close();
  }
  if (signal.aborted) throw interrupted(record.replay_id);
  const described = await log.describeTopics(topics);
  const inputs = topics.flatMap((topic) =>
    (described.find(({ name }) => name === topic)?.partitions ?? []).map(({ partition, earliest, latest }) => ({
      topic,
      partition,
      start: earliest,
      end: latest,
    })),
  );
  return note(context, { ...record, step: 'collected', inputs });
}

/** The end mark of the last whole slice; 0 when there is none. */
async function reachedMs(context: ReplayContext, topic: string): Promise<number> {
  const tail = await readLast(context.log, { topic, partition: 0 }, 1);
  return Math.max(0, ...tail.filter(({ record }) => record.key === null).map(({ record }) => record.timestampMs));
}

async function fetchSlice(
  rest: MarketRest,
  symbols: readonly string[],
  fromMs: number,
  toMs: number,
  signal: AbortSignal,
): Promise<Due[]> {
  const ns = (ms: number) => BigInt(ms) * 1_000_000n;
  const [trades, quotes, bars] = await Promise.all([
    rest.history({ kind: 'trades', symbols, fromNs: ns(fromMs), toNs: ns(toMs) - 1n }, signal),
    rest.history({ kind: 'quotes', symbols, fromNs: ns(fromMs), toNs: ns(toMs) - 1n }, signal),
    // A bar is due at the end of its minute.
    rest.history({ kind: 'bars', symbols, fromNs: ns(fromMs - MINUTE_MS), toNs: ns(toMs - MINUTE_MS) - 1n }, signal),
  ]);
  const due = (messages: readonly ScannedMessage[], laterMs: number): Due[] =>
    messages.flatMap((message) => {
      const time = readEventTime(message.time);
      return time === undefined ? [] : [{ message, dueMs: time.ms + laterMs }];
    });
  return [...due(trades, 0), ...due(quotes, 0), ...due(bars, MINUTE_MS)].sort((a, b) => a.dueMs - b.dueMs);
}

function recordsOf(
  found: readonly Due[],
  topics: { trades: string; quotes: string; bars: string },
  partitions: number,
  envelopes: EnvelopeWriter,
): NewRecord[] {
  return found.flatMap(({ message, dueMs }): NewRecord[] => {
    const channel = channelOf[message.type as keyof typeof channelOf];
    const time = readEventTime(message.time);
    if (channel === undefined || time === undefined) return [];
    const payload = channel === 'bars' ? withMembers(message.raw, '"revision":0') : message.raw;
    const text = envelopes.market({
      channel,
      symbol: message.symbol,
      eventTs: time.text,
      session: time.session,
      payload,
      source: 'rest',
      isFinal: true,
    });
    const { symbol: key } = message;
    const partition = partitionOfKey(key, partitions);
    return [{ topic: topics[channel], partition, key, value: Buffer.from(text), timestampMs: dueMs }];
  });
}

/** Everything before the time has been told, in every partition of every input. */
function marks(topics: readonly string[], partitions: number, atMs: number): NewRecord[] {
  const event_ts = new Date(atMs).toISOString();
  const value = Buffer.from(JSON.stringify({ event_ts, channel: 'progress', symbol: '', seq: 0, payload: {} }));
  return topics.flatMap((topic) =>
    Array.from({ length: partitions }, (_, partition) => ({
      topic,
      partition,
      key: null,
      value,
      timestampMs: atMs,
      headers: { shard: '0/1' },
    })),
  );
}
