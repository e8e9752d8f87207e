/**
 * The line of market messages of one partition number (trades, quotes and bars together, because ta reads them together).
 * It flows, or it waits: while a gap is open, while the log is stuck, or behind what waits already.
 * Guarantees: order of acceptance, except that a repaired stretch is merged in by event time; nothing is let through while a gap
 * is open.
 * Shedding, when spool and memory have no room: quotes may fill 70 % of the spool, minute bars 85 %, trades all of it;
 * corrections and cancels are never left out (nor are halts, LULD and order events, which do not come here). Of a kind that
 * was refused once everything is left out until the line is worked off, counted by channel and symbol, and repaired from REST
 * as one gap; what is let through meanwhile does not claim (`mark`) that its partition is complete.
 */
import { emptyMessage, type ScannedMessage, scanMessage } from '../../lib/alpaca/frame-scanner.ts';
import { type EventTime, readEventTime } from '../../lib/market/event-time.ts';
import { CountedSet, quoteIdentity } from '../../lib/market/identity.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import type { Journal } from './journal.ts';
import type { Publisher } from './publisher.ts';
import { channelOfType, counterOfChannel, type RecordMaker } from './records.ts';
import { LEAST_SHARE, PRECIOUS, type SpoolFifo } from './spool-fifo.ts';

export interface LaneOptions {
  partition: number;
  fifo: SpoolFifo;
  publisher: Publisher;
  records: RecordMaker;
  journal: Journal;
  /** Records waiting in the publisher beyond which a waiting line does not push more. */
  maxQueued: number;
  /** A message is left out. */
  onShed?(channel: string): void;
}

/** In which order kinds of messages are left out, and how much of the spool each may fill. */
const shedding: Readonly<Record<string, { level: number; share: number }>> = {
  q: { level: 1, share: LEAST_SHARE },
  b: { level: 2, share: 0.85 },
  u: { level: 2, share: 0.85 },
  t: { level: 3, share: 1 },
};
/** Messages that exist nowhere else once received. */
const never = { level: 4, share: PRECIOUS };

/** What was left out of one channel and symbol since the lane was cut. */
export interface Shed {
  channel: string;
  symbol: string;
  count: number;
  /** Event times, ms. */
  fromMs: number;
  toMs: number;
}

/** Identity of a quote's raw text. */
export const quoteKey = (raw: string): string => quoteIdentity(JSON.parse(raw) as Record<string, unknown>);

export class Lane {
  readonly partition: number;
  readonly #options: LaneOptions;
  #isHolding = true;
  /** Waiting messages from before the gap: they go out although the lane holds. */
  #beforeGap = 0;
  /** A stretch is still missing behind what flows: nothing proves completeness until it is had, by this process or the next. */
  isMarkHeld = false;
  /** Highest level that is left out now; 0 for none. */
  #cutLevel = 0;
  #shed = new Map<string, Shed>();
  /** Places in the line (by `pushed`) whose messages stand behind a cut and prove nothing: from, up to. */
  #unmarkedFrom = Number.POSITIVE_INFINITY;
  #unmarkedTo = 0;
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
    let count = 0;
    for (const shed of this.#shed.values()) count += shed.count;
    return count;
  }

  get isCut(): boolean {
    return this.#cutLevel > 0;
  }

  /** Nothing waits and nothing is missing: progress may be told. */
  get isClear(): boolean {
    return !this.#isHolding && this.#cutLevel === 0 && this.#options.fifo.length === 0;
  }

  /** Takes a live message whose time has been read. */
  accept(message: ScannedMessage, time: EventTime, journalId: number): void {
    const { fifo, publisher, records } = this.#options;
    const { level, share } = shedding[message.type] ?? never;
    if (level <= this.#cutLevel) {
      this.#leaveOut(message, time);
      return;
    }
    if (!records.isNew(message)) return;
    if (message.type === 'q' && this.owed.size > 0 && this.owed.take(quoteKey(message.raw))) return;
    if (!this.#isHolding && fifo.length === 0 && !publisher.isStuck) {
      this.#forward(message, time, journalId);
      return;
    }
    if (!fifo.push({ raw: message.raw, journalId }, publisher.isStuck, share)) {
      // From here on the stretch is incomplete: leave all of this kind out, so that it can be repaired as one gap.
      if (this.#cutLevel === 0) {
        this.#unmarkedFrom = Math.min(this.#unmarkedFrom, fifo.pushed);
        this.#unmarkedTo = Number.POSITIVE_INFINITY;
      }
      this.#cutLevel = level;
      records.forget(message);
      this.#leaveOut(message, time);
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
    this.#options.fifo.push({ raw, journalId }, false, PRECIOUS);
  }

  /** Takes over a message of a dead process that goes on waiting in the line: REST need not give it. */
  adopt(raw: string): void {
    const message = scanned(raw);
    this.#options.records.isNew(message);
    if (message.type === 'q') this.held.add(quoteKey(raw));
  }

  /** A gap opens: what waits now still goes out, what comes from now on waits for the repair. */
  hold(): void {
    if (this.#isHolding) return;
    this.#isHolding = true;
    this.#beforeGap = this.#options.fifo.length;
    this.owed.clear();
  }

  /** A new connection delivers completely again: a cut ends here, the repair fills it. */
  uncut(): Shed[] {
    const shed = [...this.#shed.values()];
    if (this.#cutLevel > 0) this.#unmarkedTo = this.#options.fifo.pushed;
    this.#cutLevel = 0;
    this.#shed = new Map();
    return shed;
  }

  #leaveOut(message: ScannedMessage, time: EventTime): void {
    const channel = channelOfType[message.type] as keyof typeof counterOfChannel;
    const key = `${channel}|${message.symbol}`;
    const known = this.#shed.get(key);
    if (known) {
      known.count += 1;
      known.fromMs = Math.min(known.fromMs, time.ms);
      known.toMs = Math.max(known.toMs, time.ms);
    } else {
      const shown = counterOfChannel[channel] ?? channel;
      this.#shed.set(key, { channel: shown, symbol: message.symbol, count: 1, fromMs: time.ms, toMs: time.ms });
    }
    this.#options.onShed?.(counterOfChannel[channel] ?? channel);
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
      // On disk it outlives this process; in the queue of a log that does not answer it would not.
      if (publisher.isStuck) return;
      const next = this.#take();
      if (next === undefined) return;
      if (this.#isHolding) this.#beforeGap -= 1;
      this.#forwardRaw(next.raw, next.journalId, next);
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
      const taken = this.#take();
      if (scanned(head.raw).type === 'q') this.held.take(quoteKey(head.raw));
      this.#forwardRaw(head.raw, head.journalId, taken);
    }
  }

  /** The next of the line, and whether it proves that everything before it was accepted. */
  #take(): { raw: string; journalId: number; number: number; isProof: boolean } | undefined {
    const { fifo } = this.#options;
    const place = fifo.taken;
    const next = fifo.shift();
    return next && { ...next, isProof: place < this.#unmarkedFrom || place >= this.#unmarkedTo };
  }

  #forwardRaw(raw: string, journalId: number, place?: { number: number; isProof: boolean }): void {
    const message = scanned(raw);
    const time = readEventTime(message.time);
    // It was read when it was accepted.
    if (time === undefined) throw new Error('a waiting message has lost its time');
    this.#forward(message, time, journalId, place);
  }

  #forward(
    message: ScannedMessage,
    time: EventTime,
    journalId: number,
    place = { number: 0, isProof: this.#cutLevel === 0 },
  ): void {
    const { publisher, records, journal } = this.#options;
    const record = records.record(message, time, 'ws');
    if (!place.isProof || this.isMarkHeld) record.markMs = undefined;
    if (place.number > 0) record.spoolNumber = place.number;
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
