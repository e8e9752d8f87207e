/**
 * The stored form of consecutive records of one partition.
 * Guarantees: decode(encode(x)) = x; a batch knows its offsets and the running maximum of the timestamps before and after
 * it, so time lookup and retention need no other entry. Offsets may have holes (compaction).
 *
 * Layout, little endian: version u8, 3 spare bytes, count u32, base offset u64, maximum before f64, maximum after f64; then per
 * record: offset delta u32, timestamp f64, key length i32 (-1 null), value length i32 (-1 null), header count u16, key, value,
 * and per header two u32 lengths, name, value.
 */
import type { LogRecord, NewRecord, TopicPartition } from '../port.ts';

const VERSION = 1;
const HEAD_BYTES = 32;
const RECORD_BYTES = 22;

/** What one stored batch may take before the next one begins; LMDB keeps larger values in runs of whole pages. */
export const MAX_BATCH_BYTES = 65_536;
export const MAX_BATCH_RECORDS = 1_024;

export interface StoredRecord {
  offset: bigint;
  key: string | null;
  value: Buffer | null;
  timestampMs: number;
  headers?: Record<string, string>;
}

export interface BatchHead {
  count: number;
  baseOffset: bigint;
  /** Running maximum timestamp of the partition before the first record; -Infinity at its beginning. */
  maxBefore: number;
  /** The same after the last record. */
  maxAfter: number;
}

export function readBatchHead(data: Buffer): BatchHead {
  if (data[0] !== VERSION) throw new Error(`log batch of unknown version ${data[0]}`);
  return {
    count: data.readUInt32LE(4),
    baseOffset: data.readBigUInt64LE(8),
    maxBefore: data.readDoubleLE(16),
    maxAfter: data.readDoubleLE(24),
  };
}

/** Bytes that a record takes in a batch. */
export function recordBytes(record: Pick<NewRecord, 'key' | 'value' | 'headers'>): number {
  let bytes = RECORD_BYTES + (record.key === null ? 0 : Buffer.byteLength(record.key)) + (record.value?.length ?? 0);
  if (record.headers) {
    for (const [name, value] of Object.entries(record.headers)) {
      bytes += 8 + Buffer.byteLength(name) + Buffer.byteLength(value);
    }
  }
  return bytes;
}

/** @param head `baseOffset` must be at or below the first record's offset */
export function encodeBatch(head: Omit<BatchHead, 'count'>, records: readonly StoredRecord[]): Buffer {
  let bytes = HEAD_BYTES;
  for (const record of records) bytes += recordBytes(record);
  const data = Buffer.allocUnsafe(bytes);
  data.writeUInt32LE(VERSION, 0);
  data.writeUInt32LE(records.length, 4);
  data.writeBigUInt64LE(head.baseOffset, 8);
  data.writeDoubleLE(head.maxBefore, 16);
  data.writeDoubleLE(head.maxAfter, 24);
  let at = HEAD_BYTES;
  for (const record of records) {
    const headers = record.headers ? Object.entries(record.headers) : [];
    data.writeUInt32LE(Number(record.offset - head.baseOffset), at);
    data.writeDoubleLE(record.timestampMs, at + 4);
    data.writeInt32LE(record.value === null ? -1 : record.value.length, at + 16);
    data.writeUInt16LE(headers.length, at + 20);
    let next = at + RECORD_BYTES;
    if (record.key === null) data.writeInt32LE(-1, at + 12);
    else {
      const length = data.write(record.key, next, 'utf8');
      data.writeInt32LE(length, at + 12);
      next += length;
    }
    if (record.value) {
      record.value.copy(data, next);
      next += record.value.length;
    }
    for (const [name, value] of headers) {
      const nameLength = data.write(name, next + 8, 'utf8');
      const valueLength = data.write(value, next + 8 + nameLength, 'utf8');
      data.writeUInt32LE(nameLength, next);
      data.writeUInt32LE(valueLength, next + 4);
      next += 8 + nameLength + valueLength;
    }
    at = next;
  }
  return data;
}

/** Records of a batch from an offset on. Values are views of `data`, which must be the caller's own copy. */
export function decodeBatch(data: Buffer, of: TopicPartition, fromOffset = 0n): LogRecord[] {
  const { count, baseOffset } = readBatchHead(data);
  const records: LogRecord[] = [];
  let at = HEAD_BYTES;
  for (let i = 0; i < count; i++) {
    const offset = baseOffset + BigInt(data.readUInt32LE(at));
    const timestampMs = data.readDoubleLE(at + 4);
    const keyLength = data.readInt32LE(at + 12);
    const valueLength = data.readInt32LE(at + 16);
    const headerCount = data.readUInt16LE(at + 20);
    at += RECORD_BYTES;
    const isWanted = offset >= fromOffset;
    const key = keyLength < 0 || !isWanted ? null : data.toString('utf8', at, at + keyLength);
    at += Math.max(0, keyLength);
    const value = valueLength < 0 ? null : data.subarray(at, at + valueLength);
    at += Math.max(0, valueLength);
    const headers: Record<string, string> = {};
    for (let h = 0; h < headerCount; h++) {
      const nameEnd = at + 8 + data.readUInt32LE(at);
      const valueEnd = nameEnd + data.readUInt32LE(at + 4);
      if (isWanted) headers[data.toString('utf8', at + 8, nameEnd)] = data.toString('utf8', nameEnd, valueEnd);
      at = valueEnd;
    }
    if (isWanted) records.push({ topic: of.topic, partition: of.partition, offset, key, value, timestampMs, headers });
  }
  return records;
}
