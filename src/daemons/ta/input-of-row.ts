/**
 * The input behind one bar or signal, for people who look at a difference: the trades (with their corrections and cancels) of
 * its second, or the provider's bars of its minute; from the event log or from a file.
 */

import { partitionOfKey } from '../../lib/log/partition.ts';
import type { EventLog } from '../../lib/log/port.ts';
import { decodeRecord, formatInstant, type MarketEvent } from '../../lib/ta/index.ts';
import { FileEvents } from './file-events.ts';
import { linesOf } from './lines.ts';

export interface RowPlace {
  symbol: string;
  windowSize: string;
  /** End of the window, epoch ms. */
  eventMs: number;
}

/** One input event as it is shown, with its place (offset in the log, line in the file). */
export interface InputRow extends Record<string, unknown> {
  kind: string;
  event_ts: string;
  place: string;
}

export interface RowInputs {
  /** The first ones, at most `limit`. */
  rows: InputRow[];
  total: number;
}

const limit = 50;
/** Market ms after the window's end in which its input may still have arrived. */
const arrivalMs = 90_000;

function isBehind(event: MarketEvent, place: RowPlace): boolean {
  const windowSeconds = place.windowSize === 'PT1S' ? 1 : 60;
  const start = place.eventMs / 1_000 - windowSeconds;
  if (event.symbol !== place.symbol) return false;
  if (windowSeconds === 60) return event.kind === 'bar' && event.sec === start;
  // A correction names a trade of an earlier time: it may have changed this second.
  if (event.kind === 'correction' || event.kind === 'cancel') return event.sec >= start && event.sec <= start + 30;
  return event.kind === 'trade' && event.sec === start;
}

function shown(event: MarketEvent, place: string): InputRow {
  const { kind, symbol: _symbol, sec, nano, ...rest } = event;
  return { kind, event_ts: formatInstant(sec, nano), place, ...rest };
}

class Found {
  readonly rows: InputRow[] = [];
  total = 0;

  add(event: MarketEvent, place: string): void {
    this.total += 1;
    if (this.rows.length < limit) this.rows.push(shown(event, place));
  }
}

/** @param topics names of the topics of trades and of minute bars */
export async function inputFromLog(
  log: EventLog,
  topics: { trades: string; bars: string },
  place: RowPlace,
): Promise<RowInputs> {
  const topic = place.windowSize === 'PT1S' ? topics.trades : topics.bars;
  const [description] = await log.describeTopics([topic]);
  const partition = partitionOfKey(place.symbol, description?.partitions.length ?? 1);
  const end = description?.partitions.find((one) => one.partition === partition)?.latest ?? 0n;
  const start = { timestampMs: place.eventMs - 61_000 };
  const reader = await log.openReader({ partitions: [{ topic, partition, start }] });
  const found = new Found();
  try {
    for (let silent = 0; silent < 2 && (reader.positions()[0]?.offset ?? end) < end; ) {
      const records = await reader.poll({ maxRecords: 5_000, waitMs: 500 });
      silent = records.length > 0 ? 0 : silent + 1;
      for (const record of records) {
        if (record.key !== place.symbol || record.value === null) continue;
        const event = decodeRecord(record.value, (bytes) => Buffer.from(bytes).toString('utf8'));
        if (typeof event === 'string' || event.kind === 'progress' || !isBehind(event, place)) continue;
        found.add(event, `${topic}/${partition}@${record.offset}`);
      }
      if ((records.at(-1)?.timestampMs ?? 0) > place.eventMs + arrivalMs) break;
    }
  } finally {
    await reader.close();
  }
  return found;
}

/** From a file of envelopes or provider messages, as `ta compute` reads it. */
export async function inputFromFile(file: string, place: RowPlace): Promise<RowInputs> {
  const found = new Found();
  const source = new FileEvents();
  let number = 0;
  for await (const line of linesOf(file)) {
    number += 1;
    // Most lines are of other symbols: only those that name this one are parsed.
    if (!line.includes(`"${place.symbol}"`)) continue;
    for (const event of source.ofLine(line)) {
      if (event.kind !== 'progress' && isBehind(event, place)) found.add(event, `${file}:${number}`);
    }
  }
  return found;
}
