/**
 * Turns provider messages into records for the log: topic, partition, envelope, and whether they are new.
 * Guarantees: a trade or bar that was given before makes no second record; the revision of a minute bar counts up per symbol and
 * minute, over restarts too (design 5, spec ingest 5). Quotes are never judged here.
 */
import type { ScannedMessage } from '../../lib/alpaca/frame-scanner.ts';
import { partitionOfKey } from '../../lib/log/partition.ts';
import type { TopicRole } from '../../lib/log/topics.ts';
import type { Channel } from '../../lib/market/envelope.ts';
import { type EnvelopeWriter, withMembers } from '../../lib/market/envelope-text.ts';
import type { EventTime } from '../../lib/market/event-time.ts';
import { barContent, RecentSet, tradeIdentity } from '../../lib/market/identity.ts';
import type { Clock } from '../../lib/service/clock.ts';
import type { Outgoing, Slot } from './publisher.ts';
import { createValueSlab } from './value-slab.ts';

/** Channel of each message type that is forwarded. */
export const channelOfType: Readonly<Record<string, Channel>> = {
  t: 'trades',
  q: 'quotes',
  b: 'bars',
  u: 'updatedBars',
  c: 'corrections',
  x: 'cancelErrors',
  s: 'status',
  l: 'lulds',
};

/** Names of the channels in counters and status. */
export const counterOfChannel: Readonly<Partial<Record<Channel, string>>> = {
  trades: 'trades',
  quotes: 'quotes',
  bars: 'bars',
  updatedBars: 'updated_bars',
  corrections: 'corrections',
  cancelErrors: 'cancels',
  status: 'statuses',
  lulds: 'lulds',
  trade_updates: 'trade_updates',
};

const roleOfChannel = (channel: Channel): TopicRole =>
  channel === 'quotes'
    ? 'quotes'
    : channel === 'bars' || channel === 'updatedBars'
      ? 'bars'
      : channel === 'status' || channel === 'lulds'
        ? 'status'
        : 'trades';

interface BarState {
  content: string;
  revision: number;
}

/** Minutes remembered per symbol would be few; this bounds all symbols together. */
const MAX_BARS = 20_000;
const SEEN_CAPACITY = 200_000;

export class Slots {
  readonly #slots = new Map<string, Slot[]>();
  readonly #names: Readonly<Partial<Record<TopicRole, string>>>;
  readonly partitions: number;
  readonly #partitionOf = new Map<string, number>();

  constructor(names: Readonly<Partial<Record<TopicRole, string>>>, partitions: number) {
    this.#names = names;
    this.partitions = partitions;
    for (const [role, topic] of Object.entries(names)) {
      const slots = Array.from({ length: partitions }, (_, partition) => ({
        topic,
        partition,
        counts: new Map<string, number>(),
        lastRecordMs: 0,
        markMs: 0,
        spoolNumber: 0,
      }));
      this.#slots.set(role, slots);
    }
  }

  partitionOf(key: string): number {
    let partition = this.#partitionOf.get(key);
    if (partition === undefined) {
      partition = partitionOfKey(key, this.partitions);
      if (this.#partitionOf.size > 50_000) this.#partitionOf.clear();
      this.#partitionOf.set(key, partition);
    }
    return partition;
  }

  of(role: TopicRole, partition: number): Slot {
    const slot = this.#slots.get(role)?.[partition];
    if (!slot) throw new Error(`no slot ${role}/${partition} (${this.#names[role] ?? 'unknown topic'})`);
    return slot;
  }

  all(): Slot[] {
    return [...this.#slots.values()].flat();
  }
}

export class RecordMaker {
  readonly seenTrades = new RecentSet(SEEN_CAPACITY);
  /** Messages that were given before, by the counter's name of their channel. */
  readonly duplicates: Record<string, number> = {};
  readonly #bars = new Map<string, BarState>();
  readonly #slots: Slots;
  readonly #envelopes: EnvelopeWriter;
  readonly #clock: Clock;
  readonly #valueOf = createValueSlab();

  constructor(slots: Slots, envelopes: EnvelopeWriter, clock: Clock) {
    this.#slots = slots;
    this.#envelopes = envelopes;
    this.#clock = clock;
  }

  /**
   * Is this trade or bar one that was not given before? Marks it as given. Quotes and everything else are always new.
   * Asked once per message, when it is accepted.
   */
  isNew(message: ScannedMessage): boolean {
    const isNew = this.#isNew(message);
    if (!isNew) {
      const channel = counterOfChannel[channelOfType[message.type] as Channel] as string;
      this.duplicates[channel] = (this.duplicates[channel] ?? 0) + 1;
    }
    return isNew;
  }

  #isNew(message: ScannedMessage): boolean {
    // Without an id nothing tells a trade from its like: it is never left out.
    if (message.type === 't') return message.id === '' || this.seenTrades.add(tradeIdentity(message));
    if (message.type !== 'b' && message.type !== 'u') return true;
    const content = barContent(JSON.parse(message.raw) as Record<string, unknown>);
    const known = this.barState(message);
    // A first bar that comes again after its update is old news too.
    if (known && (known.content === content || message.type === 'b')) return false;
    this.noteBar(message.symbol, message.time, content, known ? known.revision + 1 : message.type === 'u' ? 1 : 0);
    return true;
  }

  /** Takes back what `isNew` noted of a message that was not accepted after all. */
  forget(message: ScannedMessage): void {
    if (message.type === 't') this.seenTrades.delete(tradeIdentity(message));
    if (message.type === 'b' || message.type === 'u') this.#bars.delete(`${message.symbol}|${message.time}`);
  }

  barState(message: { symbol: string; time: string }): BarState | undefined {
    return this.#bars.get(`${message.symbol}|${message.time}`);
  }

  /** A message may have waited while a newer update of its bar was accepted: its own content decides. */
  #revisionOf(message: ScannedMessage): number {
    const state = this.barState(message);
    if (message.type === 'b' || state === undefined) return message.type === 'b' ? 0 : 1;
    const isNewest = state.content === barContent(JSON.parse(message.raw) as Record<string, unknown>);
    return Math.max(1, isNewest ? state.revision : state.revision - 1);
  }

  noteBar(symbol: string, time: string, content: string, revision: number): void {
    const key = `${symbol}|${time}`;
    this.#bars.delete(key);
    this.#bars.set(key, { content, revision });
    if (this.#bars.size > MAX_BARS) this.#bars.delete(this.#bars.keys().next().value as string);
  }

  /** The record of a market message. @param role another topic than the channel's own (repair) */
  record(message: ScannedMessage, time: EventTime, source: 'ws' | 'rest', role?: TopicRole): Outgoing {
    const channel = channelOfType[message.type];
    if (channel === undefined) throw new Error(`message type ${message.type} is not forwarded`);
    let payload = message.raw;
    if (channel === 'bars' || channel === 'updatedBars') {
      payload = withMembers(payload, `"revision":${this.#revisionOf(message)}`);
    } else if (channel === 'status') {
      payload = withMembers(payload, '"component":"market_status"');
    }
    const partition = this.#slots.partitionOf(message.symbol);
    const nowMs = this.#clock.nowMs();
    return {
      slot: this.#slots.of(role ?? roleOfChannel(channel), partition),
      key: message.symbol,
      value: this.#valueOf(
        this.#envelopes.market({
          channel,
          symbol: message.symbol,
          eventTs: time.text,
          session: time.session,
          payload,
          source,
          isFinal: channel !== 'updatedBars',
          nowMs,
        }),
      ),
      timestampMs: nowMs,
      // Only what the provider sends in order proves that the rest was read: not bars, corrections or cancels.
      markMs: role === undefined && (channel === 'trades' || channel === 'quotes') ? time.ms : undefined,
      counted: counterOfChannel[channel],
    };
  }
}
