/**
 * The transactional writer. `openKafkaWriter` begins a transaction at once: that, and not connecting, fences the predecessor.
 * A commit is one transaction: the records in awaited sends (order), the group offsets, the end. When the end's outcome is
 * unknown the writer is dead (`commit_unknown`): only a new one, which fences it, may find out by reading.
 */
import kafkajs, { type Producer, type Transaction } from 'kafkajs';
import { unreachableError } from '../../service/errors.ts';
import { sleep } from '../../service/machine.ts';
import { partitionOfKey } from '../partition.ts';
import type { Commit, CommitResult, LogWriter, NewRecord, OffsetCommit } from '../port.ts';
import { kafkaError, protocolType, transactionalProducer } from './client.ts';
import type { KafkaSettings } from './settings.ts';

export interface KafkaWriterOptions {
  settings: KafkaSettings;
  owner: string;
  partitionsOf(topic: string): Promise<number>;
}

export async function openKafkaWriter(options: KafkaWriterOptions): Promise<LogWriter> {
  const { settings, owner } = options;
  const producer = transactionalProducer(settings, owner);
  try {
    await producer.connect();
    const first = await producer.transaction();
    return new KafkaWriter(options, producer, first);
  } catch (error) {
    await producer.disconnect().catch(() => undefined);
    throw kafkaError(error, `cannot open the writer ${owner}`, owner);
  }
}

interface Chunk {
  topicMessages: { topic: string; messages: ReturnType<typeof message>[] }[];
  bytes: number;
}

class KafkaWriter implements LogWriter {
  readonly owner: string;
  private readonly options: KafkaWriterOptions;
  private readonly producer: Producer;
  private next: Transaction | undefined;
  private queue: Promise<unknown> = Promise.resolve();
  private dead: Error | undefined;

  constructor(options: KafkaWriterOptions, producer: Producer, first: Transaction) {
    this.owner = options.owner;
    this.options = options;
    this.producer = producer;
    this.next = first;
  }

  commit(commit: Commit): Promise<CommitResult> {
    const result = this.queue.then(() => this.commitNow(commit));
    this.queue = result.catch(() => undefined);
    return result;
  }

  private async commitNow(commit: Commit): Promise<CommitResult> {
    if (this.dead) throw this.dead;
    const what = `cannot commit as ${this.owner}`;
    let transaction: Transaction;
    try {
      transaction = this.next ?? (await this.producer.transaction());
      this.next = undefined;
    } catch (error) {
      throw this.remember(kafkaError(error, what, this.owner));
    }
    const firstOffsets = new Map<string, CommitResult['firstOffsets'][number]>();
    try {
      for (const chunk of await this.chunks(commit.records)) await this.send(transaction, chunk, firstOffsets);
      if (commit.groupOffsets) await sendOffsets(transaction, commit.groupOffsets);
    } catch (error) {
      const known = this.remember(kafkaError(error, what, this.owner));
      try {
        await transaction.abort();
      } catch (abortError) {
        // The broker aborts it itself at the time-out or when the next writer fences this one.
        this.dead = kafkaError(abortError, what, this.owner);
      }
      throw known;
    }
    try {
      await transaction.commit();
    } catch (error) {
      const known = kafkaError(error, what, this.owner);
      this.dead =
        known.code === 'fenced'
          ? known
          : unreachableError({
              code: 'commit_unknown',
              what,
              why: `the answer to the end of the transaction did not come (${known.why ?? known.message})`,
              next: 'open a new writer, which ends the transaction, and read what is there',
              canRetry: false,
              cause: error,
            });
      throw this.dead;
    }
    return { firstOffsets: [...firstOffsets.values()] };
  }

  /** A fenced writer stays fenced. */
  private remember<T extends { code: string }>(error: T): T {
    if (error.code === 'fenced') this.dead = error as unknown as Error;
    return error;
  }

  private async send(
    transaction: Transaction,
    chunk: Chunk,
    firstOffsets: Map<string, CommitResult['firstOffsets'][number]>,
  ) {
    const compression =
      this.options.settings.compression === 'gzip' ? kafkajs.CompressionTypes.GZIP : kafkajs.CompressionTypes.None;
    const sent = await transaction.sendBatch({ topicMessages: chunk.topicMessages, acks: -1, compression });
    for (const { topicName, partition, baseOffset } of sent) {
      const count =
        chunk.topicMessages
          .find(({ topic }) => topic === topicName)
          ?.messages.filter((item) => item.partition === partition).length ?? 0;
      const key = `${topicName} ${partition}`;
      const known = firstOffsets.get(key);
      if (known) known.count += count;
      else firstOffsets.set(key, { topic: topicName, partition, offset: BigInt(baseOffset ?? 0), count });
    }
  }

  /** Cuts the records into requests of at most maxRequestBytes, in order. */
  private async chunks(records: readonly NewRecord[]): Promise<Chunk[]> {
    const chunks: Chunk[] = [];
    let chunk: Chunk = { topicMessages: [], bytes: 0 };
    for (const record of records) {
      const partitions = record.partition === undefined ? await this.options.partitionsOf(record.topic) : 0;
      const size = (record.value?.length ?? 0) + (record.key?.length ?? 0) + 64;
      if (chunk.bytes > 0 && chunk.bytes + size > this.options.settings.maxRequestBytes) {
        chunks.push(chunk);
        chunk = { topicMessages: [], bytes: 0 };
      }
      let messages = chunk.topicMessages.find(({ topic }) => topic === record.topic)?.messages;
      if (!messages) {
        messages = [];
        chunk.topicMessages.push({ topic: record.topic, messages });
      }
      messages.push(message(record, partitions));
      chunk.bytes += size;
    }
    if (chunk.bytes > 0) chunks.push(chunk);
    return chunks;
  }

  async close(): Promise<void> {
    await this.queue;
    if (this.next) await this.next.abort().catch(() => undefined);
    this.next = undefined;
    await this.producer.disconnect();
  }
}

function message(record: NewRecord, partitions: number) {
  return {
    key: record.key,
    value: record.value,
    partition: record.partition ?? partitionOfKey(record.key ?? '', partitions),
    timestamp: String(record.timestampMs),
    ...(record.headers && { headers: record.headers }),
  };
}

const coordinatorMoving = new Set([
  'GROUP_COORDINATOR_NOT_AVAILABLE',
  'GROUP_LOAD_IN_PROGRESS',
  'NOT_COORDINATOR_FOR_GROUP',
]);

/** kafkajs does not retry this call while the group's coordinator is still loading; 5 machine seconds of patience. */
async function sendOffsets(transaction: Transaction, { groupId, offsets }: OffsetCommit): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction.sendOffsets({ consumerGroupId: groupId, topics: offsetsByTopic(offsets) });
    } catch (error) {
      if (attempt >= 50 || !coordinatorMoving.has(protocolType(error) ?? '')) throw error;
      await sleep(100);
    }
  }
}

/** Offsets grouped by topic, as kafkajs takes them. */
export function offsetsByTopic(offsets: readonly { topic: string; partition: number; offset: bigint }[]) {
  const topics = new Map<string, { partition: number; offset: string }[]>();
  for (const { topic, partition, offset } of offsets) {
    const list = topics.get(topic) ?? [];
    list.push({ partition, offset: offset.toString() });
    topics.set(topic, list);
  }
  return [...topics].map(([topic, partitions]) => ({ topic, partitions }));
}
