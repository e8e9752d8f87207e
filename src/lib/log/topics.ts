/**
 * Topic names, keys, partitions and retention (spec ingest 3.1, ta 1.1, narrowed by design 5). Names come from the
 * environment; this file holds the defaults and what each topic must be.
 */
import type { TopicSpec } from './port.ts';

const DAY_MS = 86_400_000;

/** What each topic is for; the key of every name table. */
export const topicRoles = [
  'trades', 'quotes', 'bars', 'status', 'tradeUpdates', 'tradeUpdatesV2', 'repair', 'dlq',
  'taBars', 'taSignals', 'taStatus', 'taState', 'taLate',
] as const; // biome-ignore format: one list

export type TopicRole = (typeof topicRoles)[number];

export const defaultTopics: Record<TopicRole, string> = {
  trades: 'torghut.trades.v1',
  quotes: 'torghut.quotes.v1',
  bars: 'torghut.bars.1m.v1',
  status: 'torghut.status.v1',
  tradeUpdates: 'torghut.trade-updates.v1',
  tradeUpdatesV2: 'torghut.trade-updates.v2',
  repair: 'torghut.ingest.repair.v1',
  dlq: 'torghut.ingest.dlq.v1',
  taBars: 'torghut.ta.bars.1s.v1',
  taSignals: 'torghut.ta.signals.v1',
  taStatus: 'torghut.ta.status.v1',
  taState: 'torghut.ta.state.v1',
  taLate: 'torghut.ta.late.v1',
};

/** All ingest and ta topics have the same number of partitions (design 5). */
export const defaultPartitions = 3;

const kinds: Record<TopicRole, Pick<TopicSpec, 'retentionMs' | 'cleanup' | 'owner'>> = {
  trades: { retentionMs: 35 * DAY_MS, cleanup: 'delete', owner: 'ws' },
  quotes: { retentionMs: 35 * DAY_MS, cleanup: 'delete', owner: 'ws' },
  bars: { retentionMs: 35 * DAY_MS, cleanup: 'delete', owner: 'ws' },
  status: { retentionMs: 7 * DAY_MS, cleanup: 'compact,delete', owner: 'ws' },
  tradeUpdates: { retentionMs: 7 * DAY_MS, cleanup: 'delete', owner: 'ws' },
  tradeUpdatesV2: { retentionMs: 7 * DAY_MS, cleanup: 'delete', owner: 'ws' },
  repair: { retentionMs: 35 * DAY_MS, cleanup: 'delete', owner: 'ws' },
  dlq: { retentionMs: 14 * DAY_MS, cleanup: 'delete', owner: 'ws' },
  taBars: { retentionMs: 35 * DAY_MS, cleanup: 'delete', owner: 'ta-{p}' },
  taSignals: { retentionMs: 35 * DAY_MS, cleanup: 'delete', owner: 'ta-{p}' },
  taStatus: { retentionMs: 7 * DAY_MS, cleanup: 'compact,delete', owner: 'ta-{p}' },
  taState: { retentionMs: -1, cleanup: 'compact', owner: 'ta-{p}' },
  taLate: { retentionMs: 35 * DAY_MS, cleanup: 'delete', owner: 'ta-{p}' },
};

export interface TopicSpecOptions {
  names?: Partial<Record<TopicRole, string>>;
  partitions?: number;
  /** On a virtual clock nothing is deleted by age and compacted topics only compact (design 4). */
  clock: 'system' | 'virtual';
}

/** The specification of one topic by its role. */
export function topicSpec(role: TopicRole, options: TopicSpecOptions): TopicSpec {
  const kind = kinds[role];
  const isVirtual = options.clock === 'virtual';
  return {
    name: options.names?.[role] ?? defaultTopics[role],
    partitions: options.partitions ?? defaultPartitions,
    owner: kind.owner,
    retentionMs: isVirtual ? -1 : kind.retentionMs,
    cleanup: isVirtual && kind.cleanup === 'compact,delete' ? 'compact' : kind.cleanup,
  };
}

/** Specifications of all topics. */
export function allTopicSpecs(options: TopicSpecOptions): TopicSpec[] {
  return topicRoles.map((role) => topicSpec(role, options));
}
