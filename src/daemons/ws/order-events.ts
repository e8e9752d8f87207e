/**
 * Order events on their way from the stream to both topics: journalled first, told once, numbered once.
 * Guarantees: an event that the provider sends again makes no second record; version 1 carries the provider's `data`
 * unchanged, version 2 adds the account (spec ingest 5).
 */
import type { TopicRole } from '../../lib/log/topics.ts';
import { type EnvelopeWriter, withMembers } from '../../lib/market/envelope-text.ts';
import { orderEventIdentity, RecentSet } from '../../lib/market/identity.ts';
import { formatTimestampNs, parseTimestampNs } from '../../lib/market/time.ts';
import type { Clock } from '../../lib/service/clock.ts';
import type { Journal } from './journal.ts';
import type { Publisher } from './publisher.ts';
import type { Slots } from './records.ts';

export const orderRoles = ['tradeUpdates', 'tradeUpdatesV2'] as const satisfies readonly TopicRole[];

export interface OrderEvents {
  readonly seen: RecentSet;
  /** Takes an event from the stream. @returns false when it was told before */
  receive(raw: string): boolean;
  /** Publishes a journalled event of an earlier process into the topics where it is missing. */
  restore(raw: string, journalId: number, roles: readonly (typeof orderRoles)[number][]): void;
}

const SEEN_CAPACITY = 10_000;

export function createOrderEvents(options: {
  account: string | undefined;
  clock: Clock;
  slots: Slots;
  envelopes: EnvelopeWriter;
  publisher: Publisher;
  journal: Journal;
}): OrderEvents {
  const { clock, slots, envelopes, publisher, journal } = options;
  const account = options.account ?? null;
  const seen = new RecentSet(SEEN_CAPACITY);

  const publish = (raw: string, journalId: number, roles: readonly (typeof orderRoles)[number][]) => {
    const data = JSON.parse(raw) as Record<string, unknown>;
    const order = (typeof data.order === 'object' && data.order !== null ? data.order : {}) as Record<string, unknown>;
    const symbol = typeof order.symbol === 'string' && order.symbol !== '' ? order.symbol : 'UNKNOWN';
    const nowNs = clock.nowNs();
    const eventNs =
      [data.timestamp, data.t, order.submitted_at]
        .map((value) => (typeof value === 'string' ? parseTimestampNs(value) : undefined))
        .find((value) => value !== undefined) ?? nowNs;
    const seq = envelopes.nextSeq();
    const partition = slots.partitionOf(symbol);
    const guard = journalId === 0 ? {} : { headers: { spool_id: journal.idOf(journalId) } };
    roles.forEach((role, index) => {
      const isV2 = role === 'tradeUpdatesV2';
      const text = envelopes.orderEvent({
        version: isV2 ? 2 : 1,
        symbol,
        eventTs: formatTimestampNs(eventNs),
        payload: isV2 ? withMembers(raw, `"account_label":${JSON.stringify(account)}`) : raw,
        account: isV2 ? account : null,
        seq,
      });
      publisher.enqueue({
        slot: slots.of(role, partition),
        key: symbol,
        value: Buffer.from(text, 'utf8'),
        timestampMs: clock.nowMs(),
        ...guard,
        counted: 'trade_updates',
        ...(journalId !== 0 && index === roles.length - 1 ? { onDurable: () => journal.settle(journalId) } : {}),
      });
    });
  };

  return {
    seen,
    receive: (raw) => {
      const identity = orderEventIdentity(account ?? '', JSON.parse(raw) as Record<string, unknown>);
      if (seen.has(identity)) return false;
      const journalId = journal.append('order', raw, clock.nowMs());
      seen.add(identity);
      publish(raw, journalId, orderRoles);
      return true;
    },
    restore: (raw, journalId, roles) => {
      seen.add(orderEventIdentity(account ?? '', JSON.parse(raw) as Record<string, unknown>));
      publish(raw, journalId, roles);
    },
  };
}
