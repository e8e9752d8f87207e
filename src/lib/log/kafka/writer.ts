/**
 * The transactional writer. `openKafkaWriter` begins a transaction at once: that, and not connecting, fences the predecessor.
 * A commit is one transaction: the records in awaited sends (order), the group offsets, the end.
 *
 * While brokers are away the same requests are sent again in the same transaction: with their sequence numbers the broker keeps
 * each once. After `KAFKA_TRANSACTION_TIMEOUT_MS` the broker has aborted the transaction by itself, and a writer that went on
 * with new records under the old sequence numbers could have them taken for repetitions and dropped. So a writer whose
 * transaction failed is over: `writer_lost` when nothing of the commit can become visible, `commit_unknown` when the answer to
 * the end did not come. Only a new writer, which fences this one, may go on, after reading what is there.
 */
import kafkajs, { type Producer, type Transaction } from 'kafkajs';
import { TorghutError, unreachableError } from '../../service/errors.ts';
import { machineMs, sleep } from '../../service/machine.ts';
import type { Commit, CommitResult, LogWriter, OffsetCommit } from '../port.ts';
import { type RetryWindow, transactionalProducer } from './client.ts';
import { kafkaError, within, withPatience } from './faults.ts';
import { messagesOf } from './produce-messages.ts';
import { placeRecords, type RequestRecords, type TopicFacts } from './records.ts';
import type { KafkaSettings } from './settings.ts';

export interface KafkaWriterOptions {
  settings: KafkaSettings;
  owner: string;
  factsOf(topic: string): Promise<TopicFacts>;
}

/** @throws `log_unreachable`, `kafka_auth` */
export async function openKafkaWriter(options: KafkaWriterOptions): Promise<LogWriter> {
  const { settings, owner } = options;
  const window: RetryWindow = { until: machineMs() + OPEN_MS };
  // Installations that share a cluster have client ids of their own, and must not fence each other.
  const id = owner.startsWith(settings.clientId) ? owner : `${settings.clientId}-${owner}`;
  const producer = transactionalProducer(settings, id, window);
  const begin = async () => {
    await producer.connect();
    // Nobody waits any more: to begin now would fence a writer that was opened meanwhile.
    if (machineMs() >= window.until) throw new Error('the brokers answered too late');
    return producer.transaction();
  };
  try {
    // The last request may begin at the very end of the window.
    const first = await within(OPEN_MS + settings.requestTimeoutMs, begin());
    return new KafkaWriter(options, producer, window, first);
  } catch (error) {
    window.until = 0;
    await disconnect(producer);
    throw kafkaError(error, `cannot open the writer ${owner}`, owner);
  }
}

/** kafkajs waits here for requests that it may have lost. */
async function disconnect(producer: Producer): Promise<void> {
  await within(DISCONNECT_MS, producer.disconnect()).catch(() => undefined);
}

/** How long opening waits for brokers: a predecessor's transaction has to be ended first. */
const OPEN_MS = 20_000;
/** Longest machine ms for the courtesy of ending a failed transaction oneself. */
const ABORT_MS = 2_000;
/** What the two requests of an end may take on top of their own time-outs, machine ms. */
const END_MS = 1_000;
/** Longest machine ms for saying good-bye to brokers. */
const DISCONNECT_MS = 2_000;

type FirstOffsets = Map<string, CommitResult['firstOffsets'][number]>;

class KafkaWriter implements LogWriter {
  readonly owner: string;
  private readonly options: KafkaWriterOptions;
  private readonly producer: Producer;
  private readonly window: RetryWindow;
  private next: Transaction | undefined;
  private queue: Promise<unknown> = Promise.resolve();
  private dead: Error | undefined;
  private isClosed = false;

  constructor(options: KafkaWriterOptions, producer: Producer, window: RetryWindow, first: Transaction) {
    this.owner = options.owner;
    this.options = options;
    this.producer = producer;
    this.window = window;
    this.next = first;
  }

  commit(commit: Commit): Promise<CommitResult> {
    const result = this.queue.then(() => this.commitNow(commit));
    this.queue = result.catch(() => undefined);
    return result;
  }

  private async commitNow(commit: Commit): Promise<CommitResult> {
    if (this.isClosed) throw new TorghutError({ code: 'log_closed', what: `the writer ${this.owner} is closed` });
    if (this.dead) throw this.dead;
    const what = `cannot commit as ${this.owner}`;
    let requests: RequestRecords[];
    try {
      const { settings, factsOf } = this.options;
      requests = await placeRecords(commit, { factsOf, maxRequestBytes: settings.maxRequestBytes });
    } catch (error) {
      throw kafkaError(error, what, this.owner);
    }
    const firstOffsets: FirstOffsets = new Map();
    if (requests.length === 0 && !commit.groupOffsets) return { firstOffsets: [] };
    const deadline = machineMs() + this.options.settings.transactionTimeoutMs;
    this.window.until = deadline;
    const before = <T>(work: Promise<T>) => within(deadline - machineMs(), work, 'the broker did not take it');
    let transaction = this.next;
    this.next = undefined;
    try {
      transaction ??= await before(this.producer.transaction());
      // kafkajs itself repeats a send: only it knows which brokers have answered.
      for (const request of requests) await before(this.send(transaction, request, firstOffsets));
      if (commit.groupOffsets) await before(sendOffsets(transaction, commit.groupOffsets, deadline));
    } catch (error) {
      this.dead = this.lost(error, what);
      // Without the abort the broker ends the transaction at its time-out or when the next writer fences this one.
      this.window.until = machineMs() + ABORT_MS;
      await Promise.race([transaction?.abort().catch(() => undefined), sleep(ABORT_MS)]);
      throw this.dead;
    }
    try {
      // Two requests: who coordinates, and the end itself. One that comes later belongs to a writer that the next one fenced.
      await within(2 * this.options.settings.requestTimeoutMs + END_MS, transaction.commit());
    } catch (error) {
      this.dead = this.unknown(error, what);
      throw this.dead;
    }
    return { firstOffsets: [...firstOffsets.values()] };
  }

  private lost(error: unknown, what: string): Error {
    const known = kafkaError(error, what, this.owner);
    if (known.code !== 'log_unreachable') return known;
    return unreachableError({
      code: 'writer_lost',
      what,
      why: `the transaction could not be written (${known.why ?? known.message})`,
      next: 'nothing of it was committed; open a new writer',
      canRetry: false,
      cause: error,
    });
  }

  private unknown(error: unknown, what: string): Error {
    const known = kafkaError(error, what, this.owner);
    if (known.code === 'fenced') return known;
    return unreachableError({
      code: 'commit_unknown',
      what,
      why: `the answer to the end of the transaction did not come (${known.why ?? known.message})`,
      next: 'open a new writer, which ends the transaction, and read what is there',
      canRetry: false,
      cause: error,
    });
  }

  private async send(transaction: Transaction, { topics }: RequestRecords, firstOffsets: FirstOffsets): Promise<void> {
    const isCompressed = this.options.settings.compression === 'gzip';
    const compression = isCompressed ? kafkajs.CompressionTypes.GZIP : kafkajs.CompressionTypes.None;
    const topicMessages = [...topics].map(([topic, partitions]) => ({
      topic,
      messages: messagesOf(partitions, { isCompressed }),
    }));
    const sent = await transaction.sendBatch({ topicMessages, acks: -1, compression });
    for (const { topicName, partition, baseOffset } of sent) {
      const count = topics.get(topicName)?.get(partition)?.length ?? 0;
      const key = `${topicName} ${partition}`;
      const known = firstOffsets.get(key);
      if (known) known.count += count;
      else firstOffsets.set(key, { topic: topicName, partition, offset: BigInt(baseOffset ?? 0), count });
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    await this.queue;
    // Nothing was written in it, so there is nothing to end at the broker.
    this.next = undefined;
    this.window.until = 0;
    await disconnect(this.producer);
  }
}

/** kafkajs repeats only some of the faults that pass here; asking twice does no harm. */
function sendOffsets(transaction: Transaction, { groupId, offsets }: OffsetCommit, deadline: number): Promise<void> {
  const topics = offsetsByTopic(offsets);
  return withPatience(() => transaction.sendOffsets({ consumerGroupId: groupId, topics }), deadline - machineMs());
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
