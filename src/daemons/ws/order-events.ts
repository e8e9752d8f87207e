/**
 * Order events on their way from the stream to both topics: journalled first, told once, numbered once.
 * Guarantees: an event that the provider sends again, or that REST told before, makes no second record; version 1 carries the provider's `data`
 * unchanged, version 2 adds the account (spec ingest 5).
 */
import type { TopicRole } from '../../lib/log/topics.ts';
import { type EnvelopeWriter, withMembers } from '../../lib/market/envelope-text.ts';
import { executionIdentity, onceIdentity, orderEventIdentity, RecentSet } from '../../lib/market/identity.ts';
import { formatTimestampNs, parseTimestampNs } from '../../lib/market/time.ts';
import type { Clock } from '../../lib/service/clock.ts';
import type { Journal } from './journal.ts';
import type { Publisher } from './publisher.ts';
import type { Slots } from './records.ts';

export const orderRoles = ['tradeUpdates', 'tradeUpdatesV2'] as const satisfies readonly TopicRole[];

export interface OrderEvents {
  /** Notes an event that is in the topic. */
  note(data: Record<string, unknown>): void;
  /** Takes an event that REST shows and the stream may not have brought. @returns false when it was told before */
  recover(data: Record<string, unknown>): boolean;
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

  /** Events told from REST that the stream may still bring, under other ids. */
  const fromRest = new RecentSet(SEEN_CAPACITY);
  const accountText = account ?? '';

  const note = (data: Record<string, unknown>) => {
    seen.add(orderEventIdentity(accountText, data));
    for (const identity of [executionIdentity(accountText, data), onceIdentity(accountText, data)]) {
      if (identity !== undefined) seen.add(identity);
    }
  };
  const isOneOf = (set: RecentSet, identity: string | undefined) => identity !== undefined && set.has(identity);

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
        source: data.recovered === true ? 'rest' : 'ws',
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
    note: (data) => {
      note(data);
      if (data.recovered === true) fromRest.add(onceIdentity(accountText, data) ?? '');
    },
    receive: (raw) => {
      const data = JSON.parse(raw) as Record<string, unknown>;
      if (seen.has(orderEventIdentity(accountText, data))) return false;
      if (isOneOf(seen, executionIdentity(accountText, data))) return false;
      if (isOneOf(fromRest, onceIdentity(accountText, data))) return false;
      const journalId = journal.append('order', raw, clock.nowMs());
      note(data);
      publish(raw, journalId, orderRoles);
      return true;
    },
    recover: (data) => {
      const once = onceIdentity(accountText, data);
      if (isOneOf(seen, executionIdentity(accountText, data)) || isOneOf(seen, once)) return false;
      if (once !== undefined) fromRest.add(once);
      const raw = JSON.stringify(data);
      const journalId = journal.append('order', raw, clock.nowMs());
      note(data);
      publish(raw, journalId, orderRoles);
      return true;
    },
    restore: (raw, journalId, roles) => {
      note(JSON.parse(raw) as Record<string, unknown>);
      publish(raw, journalId, roles);
    },
  };
}
