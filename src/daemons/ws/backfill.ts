/**
 * `torghut ws backfill`: what REST knows of a stretch of market time and the topics do not hold goes to the repair topic, which
 * `ta replay` alone reads; live bars do not change (design 5).
 * Guarantees: compared as a multiset with trades, quotes, bars and the repair topic itself, so a second run writes nothing twice
 * and an interrupted one is taken up by the same command; every page is read; an answer other than 2xx is a failure. Holds the
 * identities of one partition's stretch in memory.
 */
import type { ScannedMessage } from '../../lib/alpaca/frame-scanner.ts';
import type { HistoryKind, MarketRest } from '../../lib/alpaca/market-rest.ts';
import type { EventLog } from '../../lib/log/port.ts';
import { readEventTime } from '../../lib/market/event-time.ts';
import { barContent, CountedSet, quoteIdentity, tradeIdentity } from '../../lib/market/identity.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import { planIdOf } from '../../lib/runbook/plan.ts';
import { NS_PER_MS } from '../../lib/service/clock.ts';
import type { Outgoing } from './publisher.ts';
import type { RecordMaker, Slots } from './records.ts';
import { readToEnd, readValue } from './tail.ts';
import type { IngestTopics } from './topics.ts';

export const backfillChannels = ['trades', 'quotes', 'bars'] as const satisfies readonly HistoryKind[];

export interface BackfillQuestion {
  fromNs: bigint;
  /** Exclusive. */
  toNs: bigint;
  symbols: readonly string[];
  channels: readonly HistoryKind[];
}

export interface BackfillContext {
  log: EventLog;
  names: IngestTopics;
  slots: Slots;
  rest: MarketRest;
  batchSize: number;
  signal: AbortSignal;
  /** One line about how far it is. */
  tell(line: string): void;
}

export interface BackfillRow extends Record<string, unknown> {
  channel: HistoryKind;
  symbol: string;
  /** What REST gave, what the topics hold of it, what is missing. */
  known: number;
  present: number;
  missing: number;
}

const SECOND_NS = 1_000_000_000n;
const MINUTE_NS = 60n * SECOND_NS;
/** One question to REST covers so much market time: pages are followed within it. */
const SLICE_NS = 30n * MINUTE_NS;
/** Our stamps may lie so far before the event's. */
const SKEW_NS = 5n * SECOND_NS;

const text = (value: unknown): string => (value === undefined || value === null ? '' : String(value));

/** Identity of a provider message within its channel. */
function identityOf(channel: HistoryKind, payload: Record<string, unknown>): string {
  if (channel === 'quotes') return quoteIdentity(payload);
  if (channel === 'bars') return `${text(payload.S)}|${text(payload.t)}|${barContent(payload)}`;
  return tradeIdentity({
    symbol: text(payload.S),
    exchange: text(payload.x),
    tape: text(payload.z),
    id: text(payload.i),
    time: text(payload.t),
  });
}

const channelOfEnvelope: Readonly<Record<string, HistoryKind>> = {
  trades: 'trades',
  quotes: 'quotes',
  bars: 'bars',
  updatedBars: 'bars',
};

/** What the topics of one partition hold of the stretch. */
async function heldBy(context: BackfillContext, question: BackfillQuestion, partition: number): Promise<CountedSet> {
  const { log, names } = context;
  const held = new CountedSet();
  for (const topic of [...question.channels.map((channel) => names[channel]), names.repair]) {
    const [described] = await log.describeTopics([topic]);
    const end = described?.partitions.find((item) => item.partition === partition)?.latest ?? 0n;
    // A repaired record is stamped when it was repaired: everything from the stretch's begin on may belong to it.
    const start = await log.offsetForTime({ topic, partition }, Number((question.fromNs - SKEW_NS) / NS_PER_MS));
    await readToEnd(log, { topic, partition }, start, end, (record) => {
      const { value, eventNs } = readValue(record);
      const channel = value === undefined ? undefined : channelOfEnvelope[value.channel];
      if (value === undefined || channel === undefined || eventNs === undefined) return;
      if (eventNs < question.fromNs || eventNs >= question.toNs) return;
      held.add(`${channel} ${identityOf(channel, value.payload)}`);
    });
  }
  return held;
}

/**
 * Walks the stretch partition by partition and slice by slice.
 * @param onMissing gets what is missing of each slice, in event time
 */
export async function compareStretch(
  context: BackfillContext,
  question: BackfillQuestion,
  onMissing: (missing: ScannedMessage[]) => Promise<void>,
): Promise<BackfillRow[]> {
  const rows = new Map<string, BackfillRow>();
  const rowOf = (channel: HistoryKind, symbol: string) => {
    const key = `${symbol} ${channel}`;
    let row = rows.get(key);
    if (row === undefined) {
      row = { channel, symbol, known: 0, present: 0, missing: 0 };
      rows.set(key, row);
    }
    return row;
  };
  for (const symbol of question.symbols) for (const channel of question.channels) rowOf(channel, symbol);
  for (let partition = 0; partition < context.slots.partitions; partition++) {
    const symbols = question.symbols.filter((symbol) => context.slots.partitionOf(symbol) === partition);
    if (symbols.length === 0) continue;
    const held = await heldBy(context, question, partition);
    for (let fromNs = question.fromNs; fromNs < question.toNs; fromNs += SLICE_NS) {
      const endNs = fromNs + SLICE_NS < question.toNs ? fromNs + SLICE_NS : question.toNs;
      const missing: { message: ScannedMessage; ns: bigint }[] = [];
      for (let i = 0; i < symbols.length; i += context.batchSize) {
        const batch = symbols.slice(i, i + context.batchSize);
        for (const channel of question.channels) {
          // REST takes both ends in; the next slice begins where this one ends.
          const query = { kind: channel, symbols: batch, fromNs, toNs: endNs - 1n };
          for (const message of await context.rest.history(query, context.signal)) {
            const ns = parseTimestampNs(message.time);
            if (ns === undefined || ns < fromNs || ns >= endNs) continue;
            const row = rowOf(channel, message.symbol);
            row.known += 1;
            if (held.take(`${channel} ${identityOf(channel, JSON.parse(message.raw) as Record<string, unknown>)}`)) {
              row.present += 1;
            } else {
              row.missing += 1;
              missing.push({ message, ns });
            }
          }
        }
      }
      missing.sort((a, b) => (a.ns < b.ns ? -1 : a.ns > b.ns ? 1 : 0));
      await onMissing(missing.map(({ message }) => message));
      context.signal.throwIfAborted();
    }
    context.tell(`partition ${partition}: ${symbols.length} symbols compared`);
  }
  return [...rows.values()].sort((a, b) => (a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : 0));
}

/** Names the stretch and what is missing of it. */
export function backfillPlanId(question: BackfillQuestion, rows: readonly BackfillRow[]): string {
  return planIdOf({
    from: question.fromNs.toString(),
    to: question.toNs.toString(),
    rows: rows.map(({ channel, symbol, missing }) => `${channel} ${symbol} ${missing}`),
  });
}

/** The records of the repair topic for what is missing. */
export function repairRecords(records: RecordMaker, missing: readonly ScannedMessage[]): Outgoing[] {
  return missing.flatMap((message) => {
    const time = readEventTime(message.time);
    return time === undefined ? [] : [records.record(message, time, 'rest', 'repair')];
  });
}
