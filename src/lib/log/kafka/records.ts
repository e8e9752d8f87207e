/**
 * What may be written: every record of a commit is checked and gets its partition and request before the transaction begins,
 * so that a record that the broker would refuse cannot stop a commit half way.
 */
import { usageError } from '../../service/errors.ts';
import { partitionOfKey } from '../partition.ts';
import type { Commit, NewRecord } from '../port.ts';

export interface TopicFacts {
  partitions: number;
  isCompacted: boolean;
  /** `max.message.bytes`: largest batch of one partition. */
  maxBytes: number;
}

/** One request: the records of each topic and partition in order, and an estimate of its bytes, never too small. */
export interface RequestRecords {
  topics: Map<string, Map<number, NewRecord[]>>;
  bytes: number;
}

/** Header, lengths and offsets of one record in a batch of its own. */
const RECORD_OVERHEAD = 100;

/**
 * The records of a commit, in order, cut into requests that are small enough for the settings and for every topic in them.
 * @throws `record_invalid` when one of them, or an offset, cannot be written
 */
export async function placeRecords(
  commit: Commit,
  options: { factsOf(topic: string): Promise<TopicFacts>; maxRequestBytes: number },
): Promise<RequestRecords[]> {
  const facts = new Map<string, TopicFacts>();
  let limit = options.maxRequestBytes;
  for (const { topic } of commit.records) {
    if (facts.has(topic)) continue;
    const known = await options.factsOf(topic);
    facts.set(topic, known);
    limit = Math.min(limit, known.maxBytes);
  }
  const requests: RequestRecords[] = [];
  let request: RequestRecords = { topics: new Map(), bytes: 0 };
  for (const record of commit.records) {
    const topic = facts.get(record.topic) as TopicFacts;
    const partition = placeOf(record, topic);
    const bytes = bytesOf(record, topic);
    if (request.bytes > 0 && request.bytes + bytes > limit) {
      requests.push(request);
      request = { topics: new Map(), bytes: 0 };
    }
    let partitions = request.topics.get(record.topic);
    if (!partitions) {
      partitions = new Map();
      request.topics.set(record.topic, partitions);
    }
    const list = partitions.get(partition);
    if (list) list.push(record);
    else partitions.set(partition, [record]);
    request.bytes += bytes;
  }
  if (request.bytes > 0) requests.push(request);
  for (const { topic, partition, offset } of commit.groupOffsets?.offsets ?? []) {
    if (offset < 0n || !Number.isInteger(partition) || partition < 0) {
      throw invalid(topic, `the offset ${offset} of partition ${partition} is not one`);
    }
  }
  return requests;
}

function placeOf(record: NewRecord, topic: TopicFacts): number {
  const { key, timestampMs } = record;
  if (!Number.isSafeInteger(timestampMs) || timestampMs < 0) {
    throw invalid(record.topic, 'its timestamp is not a whole number of milliseconds since 1970');
  }
  if (key === null && topic.isCompacted) throw invalid(record.topic, 'records of a compacted topic need a key');
  if (key === null && record.partition === undefined) throw invalid(record.topic, 'it has neither key nor partition');
  const partition = record.partition ?? partitionOfKey(key as string, topic.partitions);
  if (!Number.isInteger(partition) || partition < 0 || partition >= topic.partitions) {
    throw invalid(record.topic, `the topic has ${topic.partitions} partitions, not a partition ${partition}`);
  }
  return partition;
}

function bytesOf({ topic: name, key, value, headers }: NewRecord, topic: TopicFacts): number {
  // At most three bytes for a unit of UTF-16.
  const bytes = (value?.length ?? 0) + 3 * (key?.length ?? 0) + headerBytesOf(headers) + RECORD_OVERHEAD;
  if (bytes > topic.maxBytes) {
    throw invalid(name, `it has about ${bytes} bytes, the topic takes at most ${topic.maxBytes}`);
  }
  return bytes;
}

/** Most records of a writer share one object of headers. */
const headerSizes = new WeakMap<Record<string, string>, number>();

function headerBytesOf(headers: Record<string, string> | undefined): number {
  if (headers === undefined) return 0;
  let bytes = headerSizes.get(headers);
  if (bytes === undefined) {
    bytes = 0;
    for (const [name, text] of Object.entries(headers)) bytes += Buffer.byteLength(name) + Buffer.byteLength(text) + 10;
    headerSizes.set(headers, bytes);
  }
  return bytes;
}

function invalid(topic: string, why: string): Error {
  return usageError({ code: 'record_invalid', what: `a record for ${topic} cannot be written`, why });
}
