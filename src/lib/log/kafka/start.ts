/**
 * Where a reader begins: the beginning, the end, an offset, or the first record at or after a time.
 *
 * A broker answers times by the stamps of all its batches, and the markers that end transactions bear the broker's wall time. On
 * a virtual clock years behind, every lookup would end at the first marker. So the broker's answer counts as a lower bound: when
 * the record there is older, the place is searched by halves and then record by record.
 */
import type Cluster from 'kafkajs/src/cluster/index.js';
import type { LogReader, ReaderOptions, TopicPartition } from '../port.ts';
import { readerCluster } from './client.ts';
import { ATTEMPT_MS, kafkaError, within, withPatience } from './faults.ts';
import { KafkaReader } from './reader.ts';
import type { KafkaSettings } from './settings.ts';

/** A record is stamped at most this much later than any record behind it in its partition, ms (late revisions: 15 s). */
const DISORDER_MS = 60_000;
/** Facts of the protocol (ListOffsets): the isolation that sees open transactions, and the time that means the end. */
const READ_UNCOMMITTED = 0;
const LATEST = -1;
/** So few offsets are looked through one by one. */
const SCAN_OFFSETS = 10_000n;

/** One offset: the earliest, the committed end, or the broker's answer for a time (-1: none). */
async function listed(
  cluster: Cluster,
  { topic, partition }: TopicPartition,
  at: 'earliest' | 'latest' | number,
): Promise<bigint> {
  const where = typeof at === 'number' ? { fromTimestamp: at } : { fromBeginning: at === 'earliest' };
  const [found] = await withPatience(() =>
    cluster.fetchTopicsOffset([{ topic, partitions: [{ partition }], ...where }]),
  );
  return BigInt(found?.partitions[0]?.offset ?? -1);
}

/** The end that a reader of uncommitted records would see. The cluster knows the topic. */
export async function highWatermark(cluster: Cluster, { topic, partition }: TopicPartition): Promise<bigint> {
  const nodeId = Object.keys(cluster.findLeaderForPartitions(topic, [partition]))[0];
  if (nodeId === undefined) return 0n;
  const broker = await cluster.findBroker({ nodeId });
  const { responses } = await broker.listOffsets({
    isolationLevel: READ_UNCOMMITTED,
    topics: [{ topic, partitions: [{ partition, timestamp: LATEST }] }],
  });
  return BigInt(responses[0]?.partitions[0]?.offset ?? 0);
}

/** First offset whose running-maximum timestamp is at or after the time, or the committed end. The cluster knows the topic. */
export async function offsetAtTime(cluster: Cluster, of: TopicPartition, timestampMs: number): Promise<bigint> {
  const end = await listed(cluster, of, 'latest');
  const bound = await listed(cluster, of, timestampMs);
  if (bound < 0n || bound >= end) return end;
  const reader = new KafkaReader(cluster, [{ ...of, offset: bound }]);
  /** The first record from an offset on that satisfies the condition. */
  const first = async (from: bigint, count: number, isIt: (stamp: number) => boolean) => {
    reader.seek(of, from);
    while ((reader.positions()[0]?.offset ?? end) < end) {
      for (const record of await reader.poll({ maxRecords: count, waitMs: 500 })) {
        if (isIt(record.timestampMs)) return record;
      }
    }
    return undefined;
  };
  let low = bound;
  let high = end;
  while (high - low > SCAN_OFFSETS) {
    const middle = (low + high) / 2n;
    const record = await first(middle, 1, () => true);
    if (record && record.offset > low && record.timestampMs < timestampMs - DISORDER_MS) low = record.offset;
    else high = middle;
  }
  return (await first(low, 5_000, (stamp) => stamp >= timestampMs))?.offset ?? end;
}

/** @throws `log_unreachable`, `kafka_auth` */
export async function openKafkaReader(settings: KafkaSettings, options: ReaderOptions): Promise<LogReader> {
  const cluster = readerCluster(settings);
  const topics = [...new Set(options.partitions.map(({ topic }) => topic))];
  try {
    await within(ATTEMPT_MS, cluster.connect());
    await withPatience(() => cluster.addMultipleTargetTopics(topics));
    const starts: (TopicPartition & { offset: bigint })[] = [];
    for (const { topic, partition, start } of options.partitions) {
      const of = { topic, partition };
      let offset: bigint;
      if (typeof start === 'bigint') offset = start;
      else if (typeof start === 'string') offset = await listed(cluster, of, start);
      else offset = await offsetAtTime(cluster, of, start.timestampMs);
      starts.push({ ...of, offset });
    }
    return new KafkaReader(cluster, starts);
  } catch (error) {
    await cluster.disconnect().catch(() => undefined);
    throw kafkaError(error, `cannot read ${topics.join(', ')}`);
  }
}
