/**
 * The line of market messages of one partition number (trades, quotes and bars together, because ta reads them together).
 * It flows, or it waits: while a gap is open, while the log is stuck, or behind what waits already.
 * Guarantees: order of acceptance, except that a repaired stretch is merged in by event time; nothing is let through while a gap
 * is open; when there is no room the lane is cut at one place, what comes after is counted, and the cut becomes a gap.
 */
import { emptyMessage, type ScannedMessage, scanMessage } from '../../lib/alpaca/frame-scanner.ts';
import { type EventTime, readEventTime } from '../../lib/market/event-time.ts';
import { CountedSet, quoteIdentity } from '../../lib/market/identity.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import type { Journal } from './journal.ts';
import type { Publisher } from './publisher.ts';
import type { RecordMaker } from './records.ts';
import type { SpoolFifo } from './spool-fifo.ts';

export interface LaneOptions {
  partition: number;
  fifo: SpoolFifo;
  publisher: Publisher;
  records: RecordMaker;
  journal: Journal;
  /** Records waiting in the publisher beyond which a waiting line does not push more. */
  maxQueued: number;
}

/** Messages that exist nowhere else once received. */
const isPrecious = (type: string) => type === 'c' || type === 'x';

/** Identity of a quote's raw text. */
export const quoteKey = (raw: string): string => quoteIdentity(JSON.parse(raw) as Record<string, unknown>);

export class Lane {
  readonly partition: number;
  readonly #options: LaneOptions;
  #isHolding = true;
  /** Waiting messages from before the gap: they go out although the lane holds. */
  #beforeGap = 0;
  #isCut = false;
  #cutCount = 0;
  /** Quotes that wait, as a multiset: what REST also returns is not missing. */
  readonly held = new CountedSet();
  /** Quotes that REST gave and the stream may still bring. */
  readonly owed = new CountedSet();
  /** Called for each quote that starts to wait while a repair runs. */
  onHeldQuote: ((key: string) => void) | undefined;

  constructor(options: LaneOptions) {
    this.#options = options;
    this.partition = options.partition;
  }

  get isHolding(): boolean {
    return this.#isHolding;
  }

  get waiting(): number {
    return this.#options.fifo.length;
  }

  /** Messages left out since the lane was cut. */
  get cutCount(): number {
    return this.#cutCount;
  }

  get isCut(): boolean {
    return this.#isCut;
  }

  /** Nothing waits and nothing is missing: progress may be told. */
  get isClear(): boolean {
    return !this.#isHolding && !this.#isCut && this.#options.fifo.length === 0;
  }

  /** Takes a live message whose time has been read. */
  accept(message: ScannedMessage, time: EventTime, journalId: number): void {
    const { fifo, publisher, records } = this.#options;
    const precious = isPrecious(message.type);
    if (this.#isCut && !precious) {
      this.#cutCount += 1;
      return;
    }
    if (!records.isNew(message)) return;
    if (message.type === 'q' && this.owed.size > 0 && this.owed.take(quoteKey(message.raw))) return;
    if (!this.#isHolding && fifo.length === 0 && !publisher.isStuck) {
      this.#forward(message, time, journalId);
      return;
    }
    if (!fifo.push({ raw: message.raw, journalId }, publisher.isStuck, precious)) {
      // From here on the stretch is incomplete: leave all of it out, so that it can be repaired as one gap.
      this.#isCut = true;
      this.#cutCount += 1;
      records.forget(message);
      return;
    }
    if (this.#isHolding && message.type === 'q') {
      const key = quoteKey(message.raw);
      this.held.add(key);
      this.onHeldQuote?.(key);
    }
  }

  /** Puts an already journalled message of an earlier process in front of the repair. */
  restore(raw: string, journalId: number): void {
    this.#options.fifo.push({ raw, journalId }, false, true);
  }

  /** A gap opens: what waits now still goes out, what comes from now on waits for the repair. */
  hold(): void {
    if (this.#isHolding) return;
    this.#isHolding = true;
    this.#beforeGap = this.#options.fifo.length;
    this.owed.clear();
  }

  /** A new connection delivers completely again: a cut ends here, the repair fills it. */
  uncut(): number {
    const count = this.#cutCount;
    this.#isCut = false;
    this.#cutCount = 0;
    return count;
  }

  /** The gap is closed (or given up): the line flows. */
  release(): void {
    this.#isHolding = false;
    this.#beforeGap = 0;
    this.held.clear();
    this.onHeldQuote = undefined;
    this.pump();
  }

  /** Sends on what may go, as far as the publisher has room. */
  pump(): void {
    const { fifo, publisher, maxQueued } = this.#options;
    while (fifo.length > 0 && publisher.queued < maxQueued && (!this.#isHolding || this.#beforeGap > 0)) {
      const next = fifo.shift();
      if (next === undefined) return;
      if (this.#isHolding) this.#beforeGap -= 1;
      this.#forwardRaw(next.raw, next.journalId);
    }
  }

  /** Does anything from before the gap still wait? */
  get isDrainingOld(): boolean {
    return this.#isHolding && this.#beforeGap > 0;
  }

  /**
   * Publishes a repaired stretch together with the waiting messages that belong before its end, by event time; of equal times
   * the repaired ones come first, because the stream began after them.
   * @param missing sorted by time
   */
  publishStretch(missing: readonly { timeNs: bigint; publish: () => void }[], endNs: bigint): void {
    const { fifo } = this.#options;
    let next = 0;
    for (;;) {
      const head = fifo.peek();
      const headNs = head === undefined ? undefined : waitingNs(head.raw);
      const isHeadIn = headNs !== undefined && headNs < endNs;
      while (next < missing.length && (!isHeadIn || (missing[next] as { timeNs: bigint }).timeNs <= headNs)) {
        (missing[next] as { publish: () => void }).publish();
        next += 1;
      }
      if (!isHeadIn || head === undefined) return;
      fifo.shift();
      if (scanned(head.raw).type === 'q') this.held.take(quoteKey(head.raw));
      this.#forwardRaw(head.raw, head.journalId);
    }
  }

  #forwardRaw(raw: string, journalId: number): void {
    const message = scanned(raw);
    const time = readEventTime(message.time);
    // It was read when it was accepted.
    if (time === undefined) throw new Error('a waiting message has lost its time');
    this.#forward(message, time, journalId);
  }

  #forward(message: ScannedMessage, time: EventTime, journalId: number): void {
    const { publisher, records, journal } = this.#options;
    const record = records.record(message, time, 'ws');
    if (journalId !== 0) {
      record.headers = { spool_id: journal.idOf(journalId) };
      record.onDurable = () => journal.settle(journalId);
    }
    publisher.enqueue(record);
  }
}

function scanned(raw: string): ScannedMessage {
  const message = emptyMessage();
  scanMessage(raw, 0, message);
  return message;
}

/** When a message was due on the stream: a minute bar carries its start and comes a minute later. */
export function dueNs(type: string, timeNs: bigint): bigint {
  return type === 'b' ? timeNs + 60_000_000_000n : type === 'u' ? timeNs + 90_000_000_000n : timeNs;
}

function waitingNs(raw: string): bigint {
  const message = scanned(raw);
  return dueNs(message.type, parseTimestampNs(message.time) ?? 0n);
}
