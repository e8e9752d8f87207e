/**
 * What may be written: every record of a commit is checked and gets its partition before the transaction begins, so that a
 * record that the broker would refuse cannot stop a commit half way.
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

export interface PlacedRecord extends NewRecord {
  partition: number;
  /** Estimate of its bytes in a batch, never too small. */
  bytes: number;
}

/** Header, lengths and offsets of one record in a batch of its own. */
const RECORD_OVERHEAD = 100;

/** The records with their partitions. @throws `record_invalid` when one of them, or an offset, cannot be written */
export async function placeRecords(
  commit: Commit,
  factsOf: (topic: string) => Promise<TopicFacts>,
): Promise<{ records: PlacedRecord[]; facts: Map<string, TopicFacts> }> {
  const facts = new Map<string, TopicFacts>();
  const records: PlacedRecord[] = [];
  for (const record of commit.records) {
    let topic = facts.get(record.topic);
    if (!topic) {
      topic = await factsOf(record.topic);
      facts.set(record.topic, topic);
    }
    records.push(place(record, topic));
  }
  for (const { topic, partition, offset } of commit.groupOffsets?.offsets ?? []) {
    if (offset < 0n || !Number.isInteger(partition) || partition < 0) {
      throw invalid(topic, `the offset ${offset} of partition ${partition} is not one`);
    }
  }
  return { records, facts };
}

function place(record: NewRecord, topic: TopicFacts): PlacedRecord {
  const { key, value, timestampMs, headers } = record;
  if (!Number.isSafeInteger(timestampMs) || timestampMs < 0) {
    throw invalid(record.topic, 'its timestamp is not a whole number of milliseconds since 1970');
  }
  if (key === null && topic.isCompacted) throw invalid(record.topic, 'records of a compacted topic need a key');
  if (key === null && record.partition === undefined) throw invalid(record.topic, 'it has neither key nor partition');
  const partition = record.partition ?? partitionOfKey(key as string, topic.partitions);
  if (!Number.isInteger(partition) || partition < 0 || partition >= topic.partitions) {
    throw invalid(record.topic, `the topic has ${topic.partitions} partitions, not a partition ${partition}`);
  }
  const keyBytes = key === null ? 0 : Buffer.byteLength(key);
  const bytes = (value?.length ?? 0) + keyBytes + headerBytesOf(headers) + RECORD_OVERHEAD;
  if (bytes > topic.maxBytes) {
    throw invalid(record.topic, `it has about ${bytes} bytes, the topic takes at most ${topic.maxBytes}`);
  }
  return { ...record, partition, bytes };
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
