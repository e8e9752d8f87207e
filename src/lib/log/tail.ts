/**
 * Looking at a topic: where to begin, and records as plain rows. Values are untrusted text: JSON is parsed, anything else shown as
 * text or base64, never interpreted.
 */
import { formatTimestampNs, parseTimestampNs } from '../market/time.ts';
import { NS_PER_MS } from '../service/clock.ts';
import { usageError } from '../service/errors.ts';
import type { EventLog, LogRecord, ReaderOptions, StartPosition } from './port.ts';

/** One record as it is shown. */
export interface RecordRow extends Record<string, unknown> {
  partition: number;
  offset: bigint;
  /** RFC 3339, market time. */
  timestamp: string;
  key: string | null;
  value: unknown;
  headers: Record<string, string>;
}

/** Parses where to begin: earliest, latest, an offset or an RFC 3339 time. @throws `log_start_invalid` (exit 2) */
export function parseStart(text: string): StartPosition {
  if (text === 'earliest' || text === 'latest') return text;
  if (/^\d+$/.test(text)) return BigInt(text);
  const ns = parseTimestampNs(text);
  if (ns !== undefined) return { timestampMs: Number(ns / NS_PER_MS) };
  throw usageError({
    code: 'log_start_invalid',
    what: `cannot begin at ${JSON.stringify(text)}`,
    why: 'it is neither earliest, latest, an offset nor an RFC 3339 time',
    next: 'for example 2013-10-08T13:30:00Z',
  });
}

function shownValue(value: Buffer | null): unknown {
  if (value === null) return null;
  const text = value.toString('utf8');
  if (!Buffer.from(text, 'utf8').equals(value)) return { base64: value.toString('base64') };
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function timeText(timestampMs: number): string {
  return formatTimestampNs(BigInt(Math.trunc(timestampMs)) * NS_PER_MS);
}

export function recordRow(record: LogRecord): RecordRow {
  const { partition, offset, timestampMs, key, headers } = record;
  return { partition, offset, timestamp: timeText(timestampMs), key, value: shownValue(record.value), headers };
}

export interface TailOptions {
  topic: string;
  /** One partition; all without it. */
  partition?: number | undefined;
  /** Where to begin; without it the last `count` records of what is there. */
  from?: StartPosition | undefined;
  /** Most records to give of those that are there now; undefined gives all of them. */
  count?: number | undefined;
  /** Goes on with what is committed later, until the signal aborts. */
  follow: boolean;
  signal: AbortSignal;
  /** Makes what a record holds readable (Avro); without it values are shown as they are. */
  open?: (record: LogRecord) => Promise<LogRecord>;
}

/**
 * Records of a topic in lists: first those that are there, ordered by time, then (follow) new ones as they come.
 * @throws `topic_unknown`, `log_partition_unknown` (exit 2)
 */
export async function* tailTopic(log: EventLog, options: TailOptions): AsyncGenerator<RecordRow[]> {
  const { topic, count, follow, signal } = options;
  const [description] = await log.describeTopics([topic]);
  const there = description?.partitions ?? [];
  const chosen = there.filter(({ partition }) => options.partition === undefined || options.partition === partition);
  if (chosen.length === 0) {
    throw usageError({
      code: 'log_partition_unknown',
      what: `the topic ${topic} has no partition ${options.partition}`,
      why: `it has ${there.length}, counted from 0`,
    });
  }
  const lastOnes = (earliest: bigint, latest: bigint): bigint => {
    const from = latest - BigInt(count ?? 0);
    return count === undefined || from < earliest ? earliest : from;
  };
  const partitions: ReaderOptions['partitions'] = chosen.map(({ partition, earliest, latest }) => ({
    topic,
    partition,
    start: options.from ?? lastOnes(earliest, latest),
  }));
  const { open } = options;
  const rows = async (records: readonly LogRecord[]) =>
    (open ? await Promise.all(records.map(open)) : records).map(recordRow);
  const reader = await log.openReader({ partitions });
  try {
    const ends = new Map(chosen.map(({ partition, latest }) => [partition, latest]));
    const isBehind = () => reader.positions().some((of) => of.offset < (ends.get(of.partition) ?? 0n));
    const found: LogRecord[] = [];
    const isEnough = () => options.from !== undefined && count !== undefined && found.length >= count;
    while (isBehind() && !isEnough() && !signal.aborted) {
      const isLimited = options.from !== undefined && count !== undefined;
      const maxRecords = isLimited ? count - found.length : 5_000;
      found.push(...(await reader.poll({ maxRecords, waitMs: 500, signal })));
    }
    found.sort((a, b) => a.timestampMs - b.timestampMs || a.partition - b.partition || (a.offset < b.offset ? -1 : 1));
    const shown =
      options.from === undefined && count !== undefined ? found.slice(Math.max(0, found.length - count)) : found;
    if (shown.length > 0) yield await rows(shown);
    while (follow && !signal.aborted) {
      const records = await reader.poll({ maxRecords: 5_000, waitMs: 1_000, signal });
      if (records.length > 0) yield await rows(records);
    }
  } finally {
    await reader.close();
  }
}

/** One row per partition of the topics. */
export async function topicRows(log: EventLog, names?: string[]): Promise<Record<string, unknown>[]> {
  const topics = await log.describeTopics(names);
  return topics.flatMap((topic) =>
    topic.partitions.map(({ partition, earliest, latest }) => ({
      topic: topic.name,
      partition,
      earliest,
      latest,
      cleanup: topic.cleanup,
      retention_ms: topic.retentionMs,
    })),
  );
}

/** One row per partition with a committed offset; a group without any has one row of its own. */
export async function groupRows(log: EventLog): Promise<Record<string, unknown>[]> {
  const groups = await log.describeGroups();
  return groups.flatMap(({ groupId, members, offsets }): Record<string, unknown>[] => {
    const memberOf = (partition: number) => members.find((one) => one.partitions.includes(partition))?.memberId ?? null;
    if (offsets.length === 0) {
      return [
        {
          group: groupId,
          topic: null,
          partition: null,
          offset: null,
          latest: null,
          lag: null,
          members: members.length,
          member: null,
        },
      ];
    }
    return offsets.map(({ topic, partition, offset, latest, lag }) => ({
      group: groupId,
      topic,
      partition,
      offset,
      latest,
      lag,
      members: members.length,
      member: memberOf(partition),
    }));
  });
}
