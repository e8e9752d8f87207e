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

interface EncodedHeaders {
  count: number;
  bytes: Buffer;
}

const noHeaders: EncodedHeaders = { count: 0, bytes: Buffer.alloc(0) };

/**
 * Headers in their stored form. The records of a commit mostly share one headers object, which is encoded once; keep one of
 * these no longer than a commit, because the objects belong to the caller.
 */
export class HeaderEncoder {
  #last: Record<string, string> | undefined;
  #encoded = noHeaders;

  encode(headers: Record<string, string> | undefined): EncodedHeaders {
    if (headers === undefined) return noHeaders;
    if (headers === this.#last) return this.#encoded;
    const parts: Buffer[] = [];
    for (const [name, value] of Object.entries(headers)) {
      const lengths = Buffer.allocUnsafe(8);
      const [nameBytes, valueBytes] = [Buffer.from(name, 'utf8'), Buffer.from(value, 'utf8')];
      lengths.writeUInt32LE(nameBytes.length, 0);
      lengths.writeUInt32LE(valueBytes.length, 4);
      parts.push(lengths, nameBytes, valueBytes);
    }
    this.#last = headers;
    this.#encoded = { count: parts.length / 3, bytes: Buffer.concat(parts) };
    return this.#encoded;
  }
}

/** Bytes that a record takes in a batch. */
export function recordBytes(
  record: Pick<NewRecord, 'key' | 'value' | 'headers'>,
  headers: HeaderEncoder = new HeaderEncoder(),
): number {
  const { key, value } = record;
  const keyBytes = key === null ? 0 : Buffer.byteLength(key);
  return RECORD_BYTES + keyBytes + (value === null ? 0 : value.length) + headers.encode(record.headers).bytes.length;
}

/** @param head `baseOffset` must be at or below the first record's offset */
export function encodeBatch(head: Omit<BatchHead, 'count'>, records: readonly StoredRecord[]): Buffer {
  const headers = new HeaderEncoder();
  let bytes = 0;
  for (const record of records) bytes += recordBytes(record, headers);
  const deltas = records.map((record) => Number(record.offset - head.baseOffset));
  return encodeRange(head, records, { from: 0, to: records.length, bytes, headers, deltas });
}

export interface BatchRange {
  from: number;
  to: number;
  /** Sum of `recordBytes` from `from` to `to`. */
  bytes: number;
  headers: HeaderEncoder;
  /** Offset of each record behind the base; without them they follow each other. */
  deltas?: readonly number[];
}

/** A batch of the records from `from` up to `to`. */
export function encodeRange(
  head: Omit<BatchHead, 'count'>,
  records: readonly Omit<StoredRecord, 'offset'>[],
  { from, to, bytes, headers, deltas }: BatchRange,
): Buffer {
  const data = Buffer.allocUnsafe(HEAD_BYTES + bytes);
  data.writeUInt32LE(VERSION, 0);
  data.writeUInt32LE(to - from, 4);
  data.writeBigUInt64LE(head.baseOffset, 8);
  data.writeDoubleLE(head.maxBefore, 16);
  data.writeDoubleLE(head.maxAfter, 24);
  let at = HEAD_BYTES;
  for (let i = from; i < to; i++) {
    const { key, value, timestampMs, headers: own } = records[i] as StoredRecord;
    const encoded = headers.encode(own);
    data.writeUInt32LE(deltas?.[i] ?? i - from, at);
    data.writeDoubleLE(timestampMs, at + 4);
    data.writeInt32LE(value === null ? -1 : value.length, at + 16);
    data.writeUInt16LE(encoded.count, at + 20);
    let next = at + RECORD_BYTES;
    const keyLength = key === null ? -1 : data.write(key, next, 'utf8');
    data.writeInt32LE(keyLength, at + 12);
    if (keyLength > 0) next += keyLength;
    if (value !== null) {
      data.set(value, next);
      next += value.length;
    }
    if (encoded.count > 0) data.set(encoded.bytes, next);
    at = next + encoded.bytes.length;
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
