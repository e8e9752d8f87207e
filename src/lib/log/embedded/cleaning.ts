/**
 * Retention and compaction, run by the writer now and then in small steps so that no commit waits long for them.
 * Guarantees: retention removes whole batches from the beginning only, and only those whose every record is older than the
 * topic keeps them; compaction never removes the newest record of a key (a tombstone after a day), nor changes an offset.
 */
import type { LogRecord, TopicPartition, TopicSpec } from '../port.ts';
import { decodeBatch, encodeBatch, MAX_BATCH_BYTES, readBatchHead } from './batch.ts';
import type { Store } from './environment.ts';
import type { WriteSize } from './headroom.ts';
import { batchKey, batchRangeEnd, lastOffsetOfBatchKey } from './layout.ts';
import { newestOfKeyEntry, put, readHead, remove, type StreamHead, writeHead } from './stream.ts';

const BATCHES_PER_STEP = 16;
/** Upper bound of what one step writes again. */
export const cleaningSize: WriteSize = {
  bytes: BATCHES_PER_STEP * MAX_BATCH_BYTES,
  batches: BATCHES_PER_STEP,
  entries: 0,
};
/** A pass begins when over half of the records, and at least this many, are old. */
const MIN_OLD_RECORDS = 64;
/** How long a tombstone stays for readers that lag (Kafka's delete.retention.ms), market ms. */
const TOMBSTONE_MS = 86_400_000;

/**
 * One step for one partition, inside a write transaction.
 * @param nowMs market now; ages count from it or from the partition's newest timestamp, whichever is earlier, so neither a
 *   recorded past nor a stray stamp from the future deletes what is young
 * @returns true when there is more to do
 */
export function cleanPartition(store: Store, spec: TopicSpec, of: TopicPartition, nowMs: number): boolean {
  const head = readHead(store, of);
  if (!head || head.end === 0n) return false;
  const ageFromMs = Math.min(nowMs, head.maxTimestampMs);
  let isMore = false;
  if (spec.cleanup !== 'compact' && spec.retentionMs >= 0) {
    isMore = deleteOld(store, spec, of, head, ageFromMs - spec.retentionMs);
  }
  if (spec.cleanup !== 'delete') isMore = compact(store, of, head, ageFromMs - TOMBSTONE_MS) || isMore;
  return isMore;
}

function batches(store: Store, head: StreamHead, from: bigint): { last: bigint; key: Buffer; data: Buffer }[] {
  const range = { start: batchKey(head.stream, from), end: batchRangeEnd(head.stream), limit: BATCHES_PER_STEP };
  return [...store.getRange(range)].map(({ key, value }) => ({ last: lastOffsetOfBatchKey(key), key, data: value }));
}

function deleteOld(store: Store, spec: TopicSpec, of: TopicPartition, head: StreamHead, cutoffMs: number): boolean {
  const found = batches(store, head, head.earliest);
  let deleted = 0;
  for (const { last, key, data } of found) {
    if (readBatchHead(data).maxAfter >= cutoffMs) break;
    if (spec.cleanup === 'compact,delete') forget(store, head, decodeBatch(data, of));
    remove(store, key);
    head.earliest = last + 1n;
    deleted += 1;
  }
  if (deleted > 0) writeHead(store, of, head);
  return deleted === BATCHES_PER_STEP;
}

/** Takes removed records out of the counts, and their keys out of the index where they were the newest. */
function forget(store: Store, head: StreamHead, records: readonly LogRecord[]): void {
  for (const { key, offset } of records) {
    head.records -= 1;
    if (key === null) continue;
    const entry = newestOfKeyEntry(head.stream, key);
    if (store.get(entry)?.readBigUInt64LE(0) !== offset) continue;
    remove(store, entry);
    head.keys -= 1;
  }
}

function compact(store: Store, of: TopicPartition, head: StreamHead, tombstoneCutoffMs: number): boolean {
  const old = head.records - head.keys;
  if (head.cleanFrom === 0n && (old < MIN_OLD_RECORDS || old < head.keys)) return false;
  const found = batches(store, head, head.cleanFrom);
  for (const { last, key, data } of found) {
    const records = decodeBatch(data, of);
    const superseded = records.filter((record) => !isNewest(store, head, record));
    const expired = records.filter(
      (record) => record.value === null && record.timestampMs < tombstoneCutoffMs && isNewest(store, head, record),
    );
    head.cleanFrom = last + 1n;
    if (superseded.length + expired.length === 0) continue;
    const gone = new Set([...superseded, ...expired]);
    const kept = records.filter((record) => !gone.has(record));
    forget(store, head, [...gone]);
    if (kept.length === 0) remove(store, key);
    else put(store, key, encodeBatch(readBatchHead(data), kept));
  }
  const isPassOver = found.length < BATCHES_PER_STEP;
  if (isPassOver) head.cleanFrom = 0n;
  writeHead(store, of, head);
  return !isPassOver;
}

function isNewest(store: Store, head: StreamHead, record: LogRecord): boolean {
  if (record.key === null) return true;
  return store.get(newestOfKeyEntry(head.stream, record.key))?.readBigUInt64LE(0) === record.offset;
}
