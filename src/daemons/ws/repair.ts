/**
 * Fills a gap of one lane from REST: from where its topics stop (less the time of late prints) to where the new connection
 * delivers, slice by slice in event time, comparing with the topic and with the waiting live messages (design 5).
 * Guarantees: nothing that is durable or waiting is published again; trades, quotes and bars of a slice go out merged by time;
 * live data wait `limitMs` machine ms at most, after that they flow and the rest goes to the repair topic. Until the rest is had
 * the mark of the partition stays before the gap, so that after a disconnect or a death it is asked for again, less what is there.
 */
import type { ScannedMessage } from '../../lib/alpaca/frame-scanner.ts';
import type { HistoryKind, MarketRest } from '../../lib/alpaca/market-rest.ts';
import { readEventTime } from '../../lib/market/event-time.ts';
import { barContent, CountedSet, tradeIdentity } from '../../lib/market/identity.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import type { Clock } from '../../lib/service/clock.ts';
import { codeOf } from '../../lib/service/errors.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { dueNs, type Lane, quoteKey } from './lane.ts';
import type { Publisher } from './publisher.ts';
import type { RecordMaker } from './records.ts';
import { BAR_LOOKBACK_NS, LATE_PRINT_NS, type LaneTail } from './tail.ts';

export interface RepairOptions {
  lane: Lane;
  /** Symbols of this lane. */
  symbols: readonly string[];
  batchSize: number;
  rest: MarketRest;
  records: RecordMaker;
  publisher: Publisher;
  clock: Clock;
  limitMs: number;
  readTail(): Promise<LaneTail>;
  /** Where the gap begins when the topics are empty; undefined: there is nothing to fill. */
  startNs: bigint | undefined;
}

export interface RepairedCount {
  channel: HistoryKind;
  symbol: string;
  count: number;
}

export interface RepairResult {
  fromNs: bigint | undefined;
  toNs: bigint;
  /** Published in time for the bars. */
  repaired: RepairedCount[];
  /** Published to the repair topic. */
  late: RepairedCount[];
  /** The rest could not be had at all. */
  failure: string | undefined;
}

const SECOND_NS = 1_000_000_000n;
const MINUTE_NS = 60n * SECOND_NS;
const FIRST_SLICE_NS = 30n * SECOND_NS;
const MAX_SLICE_NS = 3_600n * SECOND_NS;
const MIN_SLICE_NS = SECOND_NS;
/** Records in a slice that are comfortable to hold. */
const SLICE_RECORDS = 20_000;
/** The other side's clock may be ahead of ours; on a shared virtual clock it is not. */
const SKEW_NS = 5n * SECOND_NS;
/**
 * How far before the connection (as we saw it) a live message may be dated: what either side stalled, times the speed of the
 * clock. Too long costs a little memory for a few seconds, too short doubles a quote.
 */
const OWED_NS = 120n * SECOND_NS;
/** The stretch before the connection that is asked for once more where REST may lag behind the stream. */
const SETTLE_NS = 5n * SECOND_NS;

interface Missing {
  message: ScannedMessage;
  timeNs: bigint;
  publish: () => void;
}

/** Fills the gap. @param signal aborts when the connection is lost: the lane goes on holding and the next call starts anew */
export async function repairLane(options: RepairOptions, signal: AbortSignal): Promise<RepairResult> {
  const { lane, records, publisher, clock } = options;
  const connectedNs = clock.nowNs();
  const result: RepairResult = { fromNs: undefined, toNs: connectedNs, repaired: [], late: [], failure: undefined };

  // What was accepted before the gap has to be durable before the topics can be asked.
  while (lane.isDrainingOld && !signal.aborted) {
    lane.pump();
    await publisher.flush();
    if (lane.isDrainingOld) await sleep(5, signal);
  }
  await publisher.flush();
  if (signal.aborted) return result;
  const tail = await options.readTail();
  if (signal.aborted) return result;
  for (const identity of tail.trades) records.seenTrades.add(identity);
  for (const bar of tail.bars) {
    const known = records.barState(bar);
    if (!known || known.revision <= bar.revision) {
      records.noteBar(bar.symbol, bar.time, barContent(bar.payload), bar.revision);
    }
  }

  const known = new CountedSet();
  known.addAll(tail.quotes);
  known.addAll(lane.held);
  // Quotes dated near the connection that are accounted for, whether they were there or came from REST.
  const accounted = new CountedSet();
  let unmatched = known;
  lane.owed.clear();
  lane.onHeldQuote = (key) => unmatched.add(key);

  const beginNs = tail.markNs === undefined ? options.startNs : tail.markNs - LATE_PRINT_NS;
  if (beginNs === undefined || options.symbols.length === 0) {
    lane.release();
    return result;
  }
  result.fromNs = tail.markNs ?? beginNs;

  let isLate = false;
  const giveUpWaiting = () => {
    if (isLate || signal.aborted) return;
    isLate = true;
    lane.isMarkHeld = true;
    lane.release();
  };
  const limit = setTimeout(giveUpWaiting, options.limitMs);

  /** Judges what REST returned; what is missing is claimed at once, so that nothing can be published twice. */
  const claimMissing = (found: readonly ScannedMessage[], fromNs: bigint, endNs: bigint): Missing[] => {
    const missing: Missing[] = [];
    for (const message of found) {
      const eventNs = parseTimestampNs(message.time);
      const time = readEventTime(message.time);
      if (eventNs === undefined || time === undefined) continue;
      const timeNs = dueNs(message.type, eventNs);
      if (timeNs >= endNs || (message.type !== 'b' && timeNs < fromNs)) continue;
      if (!isMissing(message, eventNs)) continue;
      if (message.type === 'q' && !isLate && eventNs >= connectedNs - OWED_NS) lane.owed.add(quoteKey(message.raw));
      const role = isLate ? 'repair' : undefined;
      missing.push({
        message,
        timeNs,
        publish: () => publisher.enqueue(records.record(message, time, 'rest', role)),
      });
    }
    return missing.sort((a, b) => (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0));
  };

  const isMissing = (message: ScannedMessage, eventNs: bigint): boolean => {
    if (message.type === 't') return records.seenTrades.add(tradeIdentity(message));
    if (message.type === 'q') {
      const key = quoteKey(message.raw);
      if (eventNs >= connectedNs - SETTLE_NS && unmatched !== accounted) accounted.add(key);
      return !unmatched.take(key);
    }
    const content = barContent(JSON.parse(message.raw) as Record<string, unknown>);
    const state = records.barState(message);
    if (state?.content === content) return false;
    records.noteBar(message.symbol, message.time, content, state ? state.revision + 1 : 0);
    if (state) {
      message.type = 'u';
      message.raw = message.raw.replace('{"T":"b"', '{"T":"u"');
    }
    return true;
  };

  try {
    let fromNs = beginNs;
    let sliceNs = FIRST_SLICE_NS;
    const finalNs = () => connectedNs + (clock.kind === 'virtual' ? 1_000_000n : SKEW_NS);
    let isFirst = true;
    while (!signal.aborted) {
      const isFinal = fromNs + sliceNs >= finalNs();
      const endNs = isFinal ? finalNs() : fromNs + sliceNs;
      const found = await fetchSlice(options, fromNs, endNs, isFirst, signal);
      if (signal.aborted) break;
      const missing = claimMissing(found, fromNs, endNs);
      count(isLate ? result.late : result.repaired, missing);
      if (isLate) for (const item of missing) item.publish();
      else lane.publishStretch(missing, endNs);
      result.toNs = endNs;
      await keepPace(publisher);
      if (isFinal) break;
      if (found.length > SLICE_RECORDS && sliceNs > MIN_SLICE_NS) sliceNs /= 2n;
      else if (found.length < SLICE_RECORDS / 4 && sliceNs < MAX_SLICE_NS) sliceNs *= 2n;
      fromNs = endNs;
      isFirst = false;
    }
    if (clock.kind === 'system' && !signal.aborted) await settle();
    if (!signal.aborted) lane.isMarkHeld = false;
    if (!signal.aborted && !isLate) lane.release();
  } catch (error) {
    if (signal.aborted) return result;
    // No use to wait: live goes on, the gap stays on record.
    result.failure = codeOf(error) ?? 'unexpected';
    giveUpWaiting();
    // What the plan does not grant will not be granted later.
    if (result.failure === 'market_data_refused') lane.isMarkHeld = false;
    if (result.failure !== 'market_data_refused') throw error;
  } finally {
    clearTimeout(limit);
  }
  return result;

  /** REST may lag behind the stream by a moment: ask once more for the last seconds. */
  async function settle(): Promise<void> {
    await sleep(1_000, signal);
    accounted.addAll(unmatched);
    unmatched = accounted;
    const endNs = clock.nowNs() + SKEW_NS;
    const found = await fetchSlice(options, connectedNs - SETTLE_NS, endNs, false, signal);
    // What came since the connection is live: only what lies before it can be missing.
    const before = found.filter((message) => (parseTimestampNs(message.time) ?? 0n) < connectedNs);
    if (signal.aborted) return;
    const missing = claimMissing(before, connectedNs - SETTLE_NS, connectedNs);
    count(isLate ? result.late : result.repaired, missing);
    for (const item of missing) item.publish();
  }
}

/** Trades, quotes and complete bars that were due in [from, end). */
async function fetchSlice(
  options: RepairOptions,
  fromNs: bigint,
  endNs: bigint,
  isFirst: boolean,
  signal: AbortSignal,
): Promise<ScannedMessage[]> {
  const { symbols, batchSize, rest } = options;
  const found: ScannedMessage[] = [];
  for (let i = 0; i < symbols.length; i += batchSize) {
    const batch = symbols.slice(i, i + batchSize);
    const barsFromNs = fromNs - MINUTE_NS - (isFirst ? BAR_LOOKBACK_NS : 0n);
    const parts = await Promise.all([
      rest.history({ kind: 'trades', symbols: batch, fromNs, toNs: endNs }, signal),
      rest.history({ kind: 'quotes', symbols: batch, fromNs, toNs: endNs }, signal),
      rest.history({ kind: 'bars', symbols: batch, fromNs: barsFromNs, toNs: endNs - MINUTE_NS }, signal),
    ]);
    for (const part of parts) for (const message of part) found.push(message);
  }
  return found;
}

function count(into: RepairedCount[], missing: readonly Missing[]): void {
  for (const { message } of missing) {
    const channel = message.type === 't' ? 'trades' : message.type === 'q' ? 'quotes' : 'bars';
    const found = into.find((item) => item.channel === channel && item.symbol === message.symbol);
    if (found) found.count += 1;
    else into.push({ channel, symbol: message.symbol, count: 1 });
  }
}

/** A repair never outruns the log: it waits while much is queued. */
async function keepPace(publisher: Publisher): Promise<void> {
  const startMs = machineMs();
  while (publisher.queued > SLICE_RECORDS && machineMs() - startMs < 60_000) await sleep(5);
}
