/**
 * One partition inside an environment: its head, appending, reading from an offset, looking up a time.
 * Everything here runs inside a transaction that the caller has opened (environment.ts).
 */
import { createHash } from 'node:crypto';
import type { LogRecord, NewRecord, TopicPartition } from '../port.ts';
import {
  decodeBatch,
  encodeRange,
  HeaderEncoder,
  MAX_BATCH_BYTES,
  MAX_BATCH_RECORDS,
  readBatchHead,
  recordBytes,
} from './batch.ts';
import type { Store } from './environment.ts';
import { batchKey, batchRangeEnd, kindOf, lastOffsetOfBatchKey, nextStreamKey, partitionKey } from './layout.ts';

/** State of a partition that every commit to it rewrites. */
export interface StreamHead {
  /** Number of this partition within its environment, part of the batch keys. */
  stream: number;
  /** First offset that retention has left. */
  earliest: bigint;
  /** Offset behind the last record. */
  end: bigint;
  /** Running maximum of the record timestamps; -Infinity while empty. */
  maxTimestampMs: number;
  /** Compacted partitions: records stored and different keys, which tell how much of it is old. */
  records: number;
  keys: number;
  /** Compacted partitions: where the running pass goes on, 0 when none runs. */
  cleanFrom: bigint;
}

const HEAD_BYTES = 52;

function encodeHead(head: StreamHead): Buffer {
  const data = Buffer.alloc(HEAD_BYTES);
  data.writeUInt32LE(head.stream, 0);
  data.writeBigUInt64LE(head.earliest, 4);
  data.writeBigUInt64LE(head.end, 12);
  data.writeDoubleLE(head.maxTimestampMs, 20);
  data.writeDoubleLE(head.records, 28);
  data.writeDoubleLE(head.keys, 36);
  data.writeBigUInt64LE(head.cleanFrom, 44);
  return data;
}

export function readHead(store: Store, of: TopicPartition): StreamHead | undefined {
  const data = store.get(partitionKey(of.topic, of.partition));
  if (!data) return undefined;
  return {
    stream: data.readUInt32LE(0),
    earliest: data.readBigUInt64LE(4),
    end: data.readBigUInt64LE(12),
    maxTimestampMs: data.readDoubleLE(20),
    records: data.readDoubleLE(28),
    keys: data.readDoubleLE(36),
    cleanFrom: data.readBigUInt64LE(44),
  };
}

export function writeHead(store: Store, of: TopicPartition, head: StreamHead): void {
  put(store, partitionKey(of.topic, of.partition), encodeHead(head));
}

/** A put inside a transaction is done when it returns; its thenable result must not leave the transaction's callback. */
export function put(store: Store, key: Buffer, value: Buffer): void {
  void store.put(key, value);
}

export function remove(store: Store, key: Buffer): void {
  void store.remove(key);
}

function createHead(store: Store): StreamHead {
  const stream = store.get(nextStreamKey)?.readUInt32LE(0) ?? 1;
  const next = Buffer.alloc(4);
  next.writeUInt32LE(stream + 1, 0);
  put(store, nextStreamKey, next);
  return {
    stream,
    earliest: 0n,
    end: 0n,
    maxTimestampMs: Number.NEGATIVE_INFINITY,
    records: 0,
    keys: 0,
    cleanFrom: 0n,
  };
}

/** Entry that holds the newest offset of a key of a compacted partition; long keys by their hash. */
export function newestOfKeyEntry(stream: number, key: string): Buffer {
  const bytes = Buffer.from(key, 'utf8');
  const name = bytes.length <= 512 ? bytes : createHash('sha256').update(bytes).digest();
  const entry = Buffer.allocUnsafe(6 + name.length);
  entry[0] = kindOf.newestOfKey;
  entry.writeUInt32BE(stream, 1);
  entry[5] = bytes.length <= 512 ? 0 : 1;
  name.copy(entry, 6);
  return entry;
}

export function offsetValue(offset: bigint): Buffer {
  const value = Buffer.allocUnsafe(8);
  value.writeBigUInt64LE(offset, 0);
  return value;
}

/**
 * Appends records of one partition and writes its head.
 * @param isCompacted keep the newest offset per key, for compaction
 * @returns offset of the first record
 */
export function append(store: Store, of: TopicPartition, records: readonly NewRecord[], isCompacted: boolean): bigint {
  const head = readHead(store, of) ?? createHead(store);
  const headers = new HeaderEncoder();
  const first = head.end;
  let from = 0;
  while (from < records.length) {
    const maxBefore = head.maxTimestampMs;
    const baseOffset = head.end;
    let to = from;
    let bytes = 0;
    for (let record = records[to]; record && to - from < MAX_BATCH_RECORDS; record = records[to]) {
      const size = recordBytes(record, headers);
      if (to > from && bytes + size > MAX_BATCH_BYTES) break;
      bytes += size;
      if (record.timestampMs > head.maxTimestampMs) head.maxTimestampMs = record.timestampMs;
      to += 1;
    }
    head.end += BigInt(to - from);
    const range = { from, to, bytes, headers };
    const data = encodeRange({ baseOffset, maxBefore, maxAfter: head.maxTimestampMs }, records, range);
    put(store, batchKey(head.stream, head.end - 1n), data);
    if (isCompacted) noteNewest(store, head, records.slice(from, to), baseOffset);
    from = to;
  }
  writeHead(store, of, head);
  return first;
}

function noteNewest(
  store: Store,
  head: StreamHead,
  batch: readonly { key: string | null }[],
  baseOffset: bigint,
): void {
  let offset = baseOffset - 1n;
  for (const { key } of batch) {
    offset += 1n;
    head.records += 1;
    if (key === null) continue;
    const entry = newestOfKeyEntry(head.stream, key);
    if (!store.doesExist(entry)) head.keys += 1;
    put(store, entry, offsetValue(offset));
  }
}

/** Up to about `limit` records from an offset on: whole batches, so a little more is possible. */
export function readFrom(
  store: Store,
  head: StreamHead,
  of: TopicPartition,
  offset: bigint,
  limit: number,
): LogRecord[] {
  const records: LogRecord[] = [];
  for (const { value } of store.getRange({ start: batchKey(head.stream, offset), end: batchRangeEnd(head.stream) })) {
    for (const record of decodeBatch(value, of, offset)) records.push(record);
    if (records.length >= limit) break;
  }
  return records;
}

/** The first batch whose last offset is at or after `offset`. */
export function batchAt(store: Store, head: StreamHead, offset: bigint): { last: bigint; data: Buffer } | undefined {
  const range = { start: batchKey(head.stream, offset), end: batchRangeEnd(head.stream), limit: 1 };
  for (const { key, value } of store.getRange(range)) return { last: lastOffsetOfBatchKey(key), data: value };
  return undefined;
}

/**
 * First offset whose running-maximum timestamp is at or after the time, or the end. The running maximum never falls, so a
 * binary search over the offsets finds the batch; one probe reads one batch.
 */
export function offsetOfTime(store: Store, head: StreamHead, of: TopicPartition, timestampMs: number): bigint {
  let low = head.earliest;
  let high = head.end;
  let found: { last: bigint; data: Buffer } | undefined;
  while (low < high) {
    const middle = (low + high) / 2n;
    const batch = batchAt(store, head, middle);
    if (!batch) {
      high = middle;
      continue;
    }
    const { baseOffset, maxAfter } = readBatchHead(batch.data);
    if (maxAfter >= timestampMs) {
      found = batch;
      high = baseOffset < middle ? baseOffset : middle;
    } else low = batch.last + 1n;
  }
  if (!found) return head.end;
  let maximum = readBatchHead(found.data).maxBefore;
  for (const record of decodeBatch(found.data, of)) {
    if (record.timestampMs > maximum) maximum = record.timestampMs;
    if (maximum >= timestampMs && record.offset >= head.earliest) return record.offset;
  }
  // The record that reached the time was compacted away: what follows is past it.
  const next = batchAt(store, head, found.last + 1n);
  return next ? (decodeBatch(next.data, of)[0]?.offset ?? head.end) : head.end;
}
