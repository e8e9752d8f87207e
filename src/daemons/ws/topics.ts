/** The topics of ws: names from the environment, specifications for the log. */

import type { TopicSpec } from '../../lib/log/port.ts';
import { type TopicRole, topicSpec } from '../../lib/log/topics.ts';
import type { WsConfig } from './variables.ts';

export const ingestRoles = [
  'trades', 'quotes', 'bars', 'status', 'tradeUpdates', 'tradeUpdatesV2', 'repair', 'dlq',
] as const satisfies readonly TopicRole[]; // biome-ignore format: one list

export type IngestTopics = Record<(typeof ingestRoles)[number], string>;

/** The variables that name the topics. */
export type TopicNames = Pick<WsConfig, Extract<keyof WsConfig, `${string}TOPIC${string}`>>;

export function ingestTopics(config: TopicNames): IngestTopics {
  return {
    trades: config.TOPIC_TRADES,
    quotes: config.TOPIC_QUOTES,
    bars: config.TOPIC_BARS_1M,
    status: config.TOPIC_STATUS,
    tradeUpdates: config.TOPIC_TRADE_UPDATES,
    tradeUpdatesV2: config.TOPIC_TRADE_UPDATES_V2,
    repair: config.INGEST_REPAIR_TOPIC,
    dlq: config.INGEST_DLQ_TOPIC,
  };
}

export function ingestTopicSpecs(names: IngestTopics, partitions: number, clock: 'system' | 'virtual'): TopicSpec[] {
  return ingestRoles.map((role) => topicSpec(role, { names, partitions, clock }));
}
