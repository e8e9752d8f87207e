/**
 * The one way in which the broker's state changes: append to the journal, apply, then tell.
 * Guarantee: nobody hears of an event that a restart would not know; market time in the journal never goes back.
 */
import { formatTimestampNs } from '../../lib/market/time.ts';
import type { BrokerState, FillRecord } from './broker-state.ts';
import { seededUuid } from './identity.ts';
import type { Journal, JournalEntry } from './journal.ts';
import { withStatus } from './order-changes.ts';
import { type OrderRecord, type OrderStatus, wireOrder } from './order-record.ts';

/** Every event that the trade_updates stream of this broker can send. */
export const streamEvents = [
  'accepted',
  'pending_new',
  'new',
  'partial_fill',
  'fill',
  'pending_cancel',
  'canceled',
  'pending_replace',
  'replaced',
  'order_replace_rejected',
  'expired',
  'rejected',
] as const;

export type StreamEvent = (typeof streamEvents)[number];

/** One event as the trade_updates stream sends it. */
export interface BrokerUpdate {
  /** Sequence in the journal. */
  seq: number;
  /** Market time, RFC 3339. */
  at: string;
  event: StreamEvent;
  /** null on pending events. */
  executionId: string | null;
  order: ReturnType<typeof wireOrder>;
  fill?: FillRecord;
}

export class OrderLog {
  readonly state: BrokerState;
  readonly #journal: Journal;
  readonly #listeners = new Set<(update: BrokerUpdate) => void>();

  constructor(state: BrokerState, journal: Journal) {
    this.state = state;
    this.#journal = journal;
  }

  /** Returns the removal. */
  subscribe(listener: (update: BrokerUpdate) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** An instant as the journal may stamp it: not before its newest entry. */
  notBefore(nowNs: bigint): bigint {
    return nowNs > this.state.lastNs ? nowNs : this.state.lastNs;
  }

  append(kind: string, nowNs: bigint, fields: Record<string, unknown>): JournalEntry {
    const entry = this.#journal.append({ at: formatTimestampNs(this.notBefore(nowNs)), kind, ...fields });
    this.state.apply(entry);
    return entry;
  }

  /** @param event name on the stream; null for what clients are not told (a stop's election, a new water mark) */
  commit(
    kind: string,
    order: OrderRecord,
    nowNs: bigint,
    event: StreamEvent | null,
    fill?: FillRecord,
    fields: Record<string, unknown> = {},
  ): void {
    const entry = this.append(kind, nowNs, { ...fields, order, ...(fill ? { fill } : {}) });
    if (event === null) return;
    const executionId = event.startsWith('pending_')
      ? null
      : (fill?.execution_id ?? seededUuid(this.state.start.seed, `event ${entry.seq}`));
    const update: BrokerUpdate = { seq: entry.seq, at: entry.at, event, executionId, order: wireOrder(order) };
    for (const listener of this.#listeners) listener(fill ? { ...update, fill } : update);
  }

  /** Moves an order to another status; kind and event are named like it. */
  setStatus(order: OrderRecord, status: OrderStatus, nowNs: bigint, change: Partial<OrderRecord> = {}): OrderRecord {
    const next = { ...withStatus(order, status, this.notBefore(nowNs)), ...change };
    this.commit(status, next, nowNs, eventOf(status));
    return next;
  }
}

/** The event of a status, where it is not named like it. */
function eventOf(status: OrderStatus): StreamEvent {
  if (status === 'filled') return 'fill';
  return status === 'partially_filled' ? 'partial_fill' : status;
}
