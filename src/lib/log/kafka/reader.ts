/**
 * A reader of named partitions without a consumer group, read_committed: records of aborted transactions and control records
 * are left out, and the known end is the last stable offset, so a reader at the end has seen everything that is committed.
 */

import type { FetchedPartition } from 'kafkajs/src/broker/index.js';
import type Cluster from 'kafkajs/src/cluster/index.js';
import { TorghutError } from '../../service/errors.ts';
import { machineMs, sleep } from '../../service/machine.ts';
import type { LogReader, LogRecord, TopicPartition } from '../port.ts';
import { isolationLevel } from './client.ts';
import { committedPart } from './committed.ts';
import { ATTEMPT_MS, forgetLostBroker, isPassing, kafkaError, protocolType, within } from './faults.ts';

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
  /** It got nothing although there is something: it is asked for in a request of its own. */
  isAlone: boolean;
}

const keyOf = ({ topic, partition }: TopicPartition) => `${topic} ${partition}`;

export class KafkaReader implements LogReader {
  private readonly cluster: Cluster;
  private readonly assigned = new Map<string, Assigned>();
  private failures = 0;
  private isClosed = false;

  /** The cluster must know the topics; it is closed with the reader. */
  constructor(cluster: Cluster, starts: readonly (TopicPartition & { offset: bigint })[]) {
    this.cluster = cluster;
    for (const { topic, partition, offset: at } of starts) {
      this.assigned.set(keyOf({ topic, partition }), {
        topic,
        partition,
        position: at,
        fetched: at,
        end: at,
        isPaused: false,
        isAlone: false,
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
    // Without a wait the brokers are asked once for what is there.
    for (let isFirst = true; ; isFirst = false) {
      const ready = this.take(maxRecords);
      if (ready.length > 0 || signal?.aborted || this.isClosed) return ready;
      const leftMs = deadline - machineMs();
      if (leftMs <= 0 && !isFirst) return [];
      await this.fetch(Math.max(0, Math.min(leftMs, 500)), signal);
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
    const alone = wanted.filter(({ isAlone }) => isAlone);
    // Several partitions may be alone: one after the other, and all others in the next round.
    const list = alone.length > 0 ? alone.slice(0, 1) : wanted;
    // An answer that comes after its requests were given up counts no more.
    const round = { isOver: false };
    const ask = async () => {
      await this.cluster.refreshMetadataIfNecessary();
      await Promise.all([...this.byLeader(list)].map(([nodeId, part]) => this.fetchFrom(nodeId, part, waitMs, round)));
    };
    try {
      await within(ATTEMPT_MS, ask());
      this.failures = 0;
    } catch (error) {
      round.isOver = true;
      if (protocolType(error) === 'OFFSET_OUT_OF_RANGE') throw offsetLost(wanted);
      this.failures += 1;
      const known = kafkaError(error, 'cannot read from Kafka');
      if (!known.canRetry || !isPassing(error) || this.failures > 20) throw known;
      forgetLostBroker(this.cluster, error);
      await sleep(Math.min(1_000, 50 * this.failures), signal);
      await within(ATTEMPT_MS, this.cluster.refreshMetadata()).catch(() => undefined);
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

  private async fetchFrom(
    nodeId: string,
    list: readonly Assigned[],
    waitMs: number,
    round: { isOver: boolean },
  ): Promise<void> {
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
    if (round.isOver) return;
    for (const { topicName, partitions } of responses) {
      for (const data of partitions) this.accept(topicName, data);
    }
  }

  private accept(topic: string, data: FetchedPartition): void {
    const assigned = this.assigned.get(keyOf({ topic, partition: data.partition }));
    if (!assigned) return;
    const stable = BigInt(data.lastStableOffset ?? -1);
    assigned.end = stable >= 0n ? stable : BigInt(data.highWatermark);
    const { messages, next } = committedPart(data, assigned.fetched);
    if (next === assigned.fetched && next < assigned.end) {
      // Alone in its request a partition gets at least one batch: without a record it is one that compaction emptied, and its
      // offsets are passed one by one (kafkajs does not tell where it ends). With others it may only have been left out.
      if (assigned.isAlone) assigned.fetched += 1n;
      assigned.isAlone = true;
      return;
    }
    assigned.isAlone = false;
    assigned.fetched = next;
    assigned.buffer = messages.map((message) => ({
      topic,
      partition: data.partition,
      offset: BigInt(message.offset),
      key: message.key?.toString('utf8') ?? null,
      value: message.value,
      timestampMs: Number(message.timestamp),
      headers: textHeaders(message.headers),
    }));
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
    assigned.isAlone = false;
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
