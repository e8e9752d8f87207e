/**
 * A reader of named partitions without a consumer group, read_committed: records of aborted transactions and control records
 * are left out, and the known end is the last stable offset, so a reader at the end has seen everything that is committed.
 */

import type { FetchedPartition } from 'kafkajs/src/broker/index.js';
import type Cluster from 'kafkajs/src/cluster/index.js';
import Batch from 'kafkajs/src/consumer/batch.js';
import { TorghutError } from '../../service/errors.ts';
import { machineMs, sleep } from '../../service/machine.ts';
import type { LogReader, LogRecord, ReaderOptions, TopicPartition } from '../port.ts';
import { isolationLevel, kafkaError, protocolType, readerCluster } from './client.ts';
import type { KafkaSettings } from './settings.ts';

const MAX_PARTITION_BYTES = 1_048_576;
const MAX_FETCH_BYTES = 8_388_608;

interface Assigned extends TopicPartition {
  position: bigint;
  end: bigint;
  isPaused: boolean;
  /** Fetched and not yet given out. */
  buffer: LogRecord[];
  /** Position behind the buffer. */
  fetched: bigint;
}

const keyOf = ({ topic, partition }: TopicPartition) => `${topic} ${partition}`;

/** First offset of each partition for its start position. */
export async function resolveStarts(cluster: Cluster, options: ReaderOptions): Promise<Map<string, bigint>> {
  const starts = new Map<string, bigint>();
  for (const { topic, partition, start } of options.partitions) {
    const key = keyOf({ topic, partition });
    if (typeof start === 'bigint') starts.set(key, start);
    else if (start === 'earliest') starts.set(key, await offsetAt(cluster, { topic, partition }, 'earliest'));
    else if (start === 'latest') starts.set(key, await offsetAt(cluster, { topic, partition }, 'latest'));
    else starts.set(key, await offsetAt(cluster, { topic, partition }, start.timestampMs));
  }
  return starts;
}

/** One offset: the earliest, the end, or the first at or after a time (the end when there is none). */
export async function offsetAt(
  cluster: Cluster,
  { topic, partition }: TopicPartition,
  at: 'earliest' | 'latest' | number,
): Promise<bigint> {
  const where = typeof at === 'number' ? { fromTimestamp: at } : { fromBeginning: at === 'earliest' };
  const [found] = await cluster.fetchTopicsOffset([{ topic, partitions: [{ partition }], ...where }]);
  const offset = BigInt(found?.partitions[0]?.offset ?? -1);
  // No record at or after the time.
  return offset >= 0n ? offset : offsetAt(cluster, { topic, partition }, 'latest');
}

export async function openKafkaReader(settings: KafkaSettings, options: ReaderOptions): Promise<LogReader> {
  const cluster = readerCluster(settings);
  const topics = [...new Set(options.partitions.map(({ topic }) => topic))];
  try {
    await cluster.connect();
    await cluster.addMultipleTargetTopics(topics);
    const starts = await resolveStarts(cluster, options);
    return new KafkaReader(cluster, options, starts);
  } catch (error) {
    await cluster.disconnect().catch(() => undefined);
    throw kafkaError(error, `cannot read ${topics.join(', ')}`);
  }
}

class KafkaReader implements LogReader {
  private readonly cluster: Cluster;
  private readonly assigned = new Map<string, Assigned>();
  private failures = 0;
  private isClosed = false;

  constructor(cluster: Cluster, options: ReaderOptions, starts: ReadonlyMap<string, bigint>) {
    this.cluster = cluster;
    for (const { topic, partition } of options.partitions) {
      const at = starts.get(keyOf({ topic, partition })) ?? 0n;
      this.assigned.set(keyOf({ topic, partition }), {
        topic,
        partition,
        position: at,
        fetched: at,
        end: at,
        isPaused: false,
        buffer: [],
      });
    }
  }

  async poll({
    maxRecords,
    waitMs,
    signal,
  }: {
    maxRecords: number;
    waitMs: number;
    signal?: AbortSignal;
  }): Promise<LogRecord[]> {
    const deadline = machineMs() + waitMs;
    for (;;) {
      const ready = this.take(maxRecords);
      if (ready.length > 0 || signal?.aborted || this.isClosed) return ready;
      const leftMs = deadline - machineMs();
      if (leftMs <= 0) return [];
      await this.fetch(Math.max(1, Math.min(leftMs, 500)), signal);
    }
  }

  private take(maxRecords: number): LogRecord[] {
    const records: LogRecord[] = [];
    for (const assigned of this.assigned.values()) {
      if (assigned.isPaused) continue;
      const room = maxRecords - records.length;
      if (room <= 0) break;
      if (assigned.buffer.length > 0) {
        const taken = assigned.buffer.length <= room ? assigned.buffer : assigned.buffer.slice(0, room);
        assigned.buffer = assigned.buffer.length <= room ? [] : assigned.buffer.slice(room);
        for (const record of taken) records.push(record);
      }
      // Behind the last record stand control records: the position passes them once the buffer is empty.
      assigned.position = assigned.buffer[0]?.offset ?? assigned.fetched;
    }
    return records;
  }

  private async fetch(waitMs: number, signal?: AbortSignal): Promise<void> {
    const wanted = [...this.assigned.values()].filter(({ isPaused, buffer }) => !isPaused && buffer.length === 0);
    if (wanted.length === 0) return sleep(Math.min(waitMs, 20), signal);
    try {
      await this.cluster.refreshMetadataIfNecessary();
      await Promise.all([...this.byLeader(wanted)].map(([nodeId, list]) => this.fetchFrom(nodeId, list, waitMs)));
      this.failures = 0;
    } catch (error) {
      if (protocolType(error) === 'OFFSET_OUT_OF_RANGE') throw offsetLost(wanted);
      this.failures += 1;
      const known = kafkaError(error, 'cannot read from Kafka');
      if (!known.canRetry || this.failures > 20) throw known;
      await sleep(Math.min(1_000, 50 * this.failures), signal);
      await this.cluster.refreshMetadata().catch(() => undefined);
    }
  }

  private byLeader(wanted: readonly Assigned[]): Map<string, Assigned[]> {
    const byLeader = new Map<string, Assigned[]>();
    for (const assigned of wanted) {
      const leaders = this.cluster.findLeaderForPartitions(assigned.topic, [assigned.partition]);
      const nodeId = Object.keys(leaders)[0];
      if (nodeId === undefined) continue;
      byLeader.set(nodeId, [...(byLeader.get(nodeId) ?? []), assigned]);
    }
    return byLeader;
  }

  private async fetchFrom(nodeId: string, list: readonly Assigned[], waitMs: number): Promise<void> {
    const broker = await this.cluster.findBroker({ nodeId });
    const topics = [...new Set(list.map(({ topic }) => topic))].map((topic) => ({
      topic,
      partitions: list
        .filter((assigned) => assigned.topic === topic)
        .map(({ partition, fetched }) => ({
          partition,
          fetchOffset: fetched.toString(),
          maxBytes: MAX_PARTITION_BYTES,
        })),
    }));
    const { responses } = await broker.fetch({
      maxWaitTime: Math.round(waitMs),
      minBytes: 1,
      maxBytes: MAX_FETCH_BYTES,
      isolationLevel,
      topics,
    });
    for (const { topicName, partitions } of responses) {
      for (const data of partitions) this.accept(topicName, data);
    }
  }

  private accept(topic: string, data: FetchedPartition): void {
    const assigned = this.assigned.get(keyOf({ topic, partition: data.partition }));
    if (!assigned) return;
    const batch = new Batch(topic, assigned.fetched.toString(), data);
    const stable = BigInt(data.lastStableOffset ?? data.highWatermark);
    assigned.end = stable >= 0n ? stable : BigInt(data.highWatermark);
    if (batch.rawMessages.length === 0) return;
    assigned.buffer = batch.messages.map((message) => ({
      topic,
      partition: data.partition,
      offset: BigInt(message.offset),
      key: message.key?.toString('utf8') ?? null,
      value: message.value,
      timestampMs: Number(message.timestamp),
      headers: textHeaders(message.headers),
    }));
    const next = BigInt(batch.lastOffset()) + 1n;
    if (next > assigned.fetched) assigned.fetched = next;
  }

  positions(): (TopicPartition & { offset: bigint })[] {
    return [...this.assigned.values()].map(({ topic, partition, position }) => ({
      topic,
      partition,
      offset: position,
    }));
  }

  knownEnd(partition: TopicPartition): bigint {
    return this.assigned.get(keyOf(partition))?.end ?? 0n;
  }

  seek(partition: TopicPartition, offset: bigint): void {
    const assigned = this.assigned.get(keyOf(partition));
    if (!assigned) return;
    assigned.position = offset;
    assigned.fetched = offset;
    assigned.buffer = [];
  }

  pause(partitions: TopicPartition[]): void {
    for (const partition of partitions) this.setPaused(partition, true);
  }

  resume(partitions: TopicPartition[]): void {
    for (const partition of partitions) this.setPaused(partition, false);
  }

  private setPaused(partition: TopicPartition, isPaused: boolean): void {
    const assigned = this.assigned.get(keyOf(partition));
    if (assigned) assigned.isPaused = isPaused;
  }

  async close(): Promise<void> {
    this.isClosed = true;
    await this.cluster.disconnect();
  }
}

function textHeaders(headers: Record<string, Buffer | undefined>): Record<string, string> {
  const entries = Object.entries(headers ?? {});
  return entries.length === 0
    ? {}
    : Object.fromEntries(entries.map(([name, value]) => [name, value?.toString('utf8') ?? '']));
}

function offsetLost(wanted: readonly Assigned[]): TorghutError {
  const list = wanted.map(({ topic, partition, position }) => `${topic} ${partition} at ${position}`).join(', ');
  return new TorghutError({
    code: 'offset_out_of_range',
    what: `an offset does not exist any more (one of ${list})`,
    why: 'retention removed it, or the topic was made anew',
    next: 'replay from the earliest offset, or begin a new run',
    exitCode: 4,
  });
}
