/**
 * The produce request written in one piece. kafkajs makes an encoder of 512 bytes for every record and for every header of it;
 * with three headers a record costs twice as much as without (measured: 8.9 and 4.2 µs), more than everything else of a commit.
 * Guarantees: the same bytes as kafkajs writes (held by a test, record by record); compressed requests and requests of older
 * versions stay kafkajs' own. Facts: record batch format 2, https://kafka.apache.org/documentation/#recordbatch.
 */
import Encoder from 'kafkajs/src/protocol/encoder.js';
import crc32C from 'kafkajs/src/protocol/recordBatch/crc32C/index.js';
import kafkajsRequests, { type ProduceArguments, type ProduceMessage } from 'kafkajs/src/protocol/requests/index.js';

/** From first offset to the count of records. */
const BATCH_HEAD = 61;
/** Where the part begins that the checksum covers. */
const CHECKED_FROM = 21;
const TRANSACTIONAL = 16;
const MAGIC = 2;
const NO_COMPRESSION = 0;
/** The first version with record batches. */
const FIRST_VERSION = 3;
const MAX_KEYS = 50_000;

/** Bytes of an unsigned number in groups of seven bits. */
function sizeOf(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size += 1;
  return size;
}

function write(into: Buffer, at: number, value: number): number {
  let rest = value;
  while (rest >= 128) {
    into[at++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  into[at++] = rest;
  return at;
}

/** A signed number as Kafka writes it: sign in the lowest bit. */
const zigZag = (value: number) => (value < 0 ? -2 * value - 1 : 2 * value);

const keys = new Map<string, Buffer>();
function keyBytes(key: string): Buffer {
  let bytes = keys.get(key);
  if (bytes === undefined) {
    bytes = Buffer.from(key, 'utf8');
    if (keys.size >= MAX_KEYS) keys.clear();
    keys.set(key, bytes);
  }
  return bytes;
}

const bytesOf = (value: string | Buffer | null | undefined): Buffer | undefined =>
  value === null || value === undefined ? undefined : typeof value === 'string' ? Buffer.from(value, 'utf8') : value;

type Headers = NonNullable<ProduceMessage['headers']>;
/** Most records of a writer share one object of headers. */
const encodedHeaders = new WeakMap<Headers, Buffer>();
const noHeaders = Buffer.from([0]);

function headerBytes(headers: Headers | undefined): Buffer {
  if (headers === undefined) return noHeaders;
  let encoded = encodedHeaders.get(headers);
  if (encoded === undefined) {
    const names = Object.keys(headers);
    const parts: Buffer[] = [varint(zigZag(names.length))];
    for (const name of names) {
      const [key, value] = [Buffer.from(name, 'utf8'), Buffer.from(headers[name] as string, 'utf8')];
      parts.push(varint(zigZag(key.length)), key, varint(zigZag(value.length)), value);
    }
    encoded = Buffer.concat(parts);
    encodedHeaders.set(headers, encoded);
  }
  return encoded;
}

function varint(value: number): Buffer {
  const bytes = Buffer.alloc(sizeOf(value));
  write(bytes, 0, value);
  return bytes;
}

interface Prepared {
  key: Buffer | undefined;
  value: Buffer | undefined;
  headers: Buffer;
  timeDelta: number;
  /** Bytes behind the length. */
  size: number;
}

function prepare(message: ProduceMessage, offsetDelta: number, firstMs: number): Prepared {
  const key = typeof message.key === 'string' ? keyBytes(message.key) : bytesOf(message.key);
  const value = bytesOf(message.value);
  const headers = headerBytes(message.headers);
  const timeDelta = zigZag(Number(message.timestamp) - firstMs);
  const size =
    1 + sizeOf(timeDelta) + sizeOf(zigZag(offsetDelta)) + sizeOfBytes(key) + sizeOfBytes(value) + headers.length;
  return { key, value, headers, timeDelta, size };
}

const sizeOfBytes = (bytes: Buffer | undefined) =>
  bytes === undefined ? 1 : sizeOf(zigZag(bytes.length)) + bytes.length;

function writeBytes(into: Buffer, at: number, bytes: Buffer | undefined): number {
  if (bytes === undefined) return write(into, at, zigZag(-1));
  const from = write(into, at, zigZag(bytes.length));
  bytes.copy(into, from);
  return from + bytes.length;
}

/** One partition's records as a batch. Every message needs its timestamp. */
export function encodeBatch(
  messages: readonly ProduceMessage[],
  options: { producerId: string | number; producerEpoch: number; firstSequence: number; isTransactional: boolean },
): Buffer {
  let firstMs = Number.POSITIVE_INFINITY;
  let lastMs = 0;
  for (const { timestamp } of messages) {
    const ms = Number(timestamp);
    if (ms < firstMs) firstMs = ms;
    if (ms > lastMs) lastMs = ms;
  }
  let size = BATCH_HEAD;
  const prepared = messages.map((message, index) => {
    const one = prepare(message, index, firstMs);
    size += sizeOf(zigZag(one.size)) + one.size;
    return one;
  });
  const batch = Buffer.allocUnsafe(size);
  batch.writeBigInt64BE(0n, 0);
  batch.writeInt32BE(size - 12, 8);
  batch.writeInt32BE(0, 12);
  batch.writeInt8(MAGIC, 16);
  batch.writeInt16BE(options.isTransactional ? TRANSACTIONAL : 0, 21);
  batch.writeInt32BE(messages.length - 1, 23);
  batch.writeBigInt64BE(BigInt(firstMs), 27);
  batch.writeBigInt64BE(BigInt(lastMs), 35);
  batch.writeBigInt64BE(BigInt(options.producerId), 43);
  batch.writeInt16BE(options.producerEpoch, 51);
  batch.writeInt32BE(options.firstSequence, 53);
  batch.writeInt32BE(messages.length, 57);
  let at = BATCH_HEAD;
  prepared.forEach(({ key, value, headers, timeDelta, size: length }, index) => {
    at = write(batch, at, zigZag(length));
    batch[at++] = 0;
    at = write(batch, at, timeDelta);
    at = write(batch, at, zigZag(index));
    at = writeBytes(batch, at, key);
    at = writeBytes(batch, at, value);
    headers.copy(batch, at);
    at += headers.length;
  });
  batch.writeUInt32BE(crc32C(batch.subarray(CHECKED_FROM)), 17);
  return batch;
}

function encodeRequest(given: ProduceArguments): Encoder {
  const { transactionalId = null, acks, timeout, topicData, producerId = -1, producerEpoch = 0 } = given;
  const request = new Encoder().writeString(transactionalId).writeInt16(acks).writeInt32(timeout);
  request.writeInt32(topicData.length);
  for (const { topic, partitions } of topicData) {
    request.writeString(topic).writeInt32(partitions.length);
    for (const { partition, messages, firstSequence = 0 } of partitions) {
      const batch = encodeBatch(messages, {
        producerId: String(producerId),
        producerEpoch,
        firstSequence,
        isTransactional: transactionalId !== null && transactionalId !== '',
      });
      // Length and bytes: what kafkajs writes as a size and an encoder.
      request.writeInt32(partition).writeBytes(batch);
    }
  }
  return request;
}

const { requests } = kafkajsRequests;
const original = requests.Produce;

/** What kafkajs would send, for the test that compares. */
export const originalProduce = original;

/** Lets every producer of this process write its uncompressed requests in one piece. */
export function encodeProduceInOnePiece(): void {
  if (requests.Produce !== original) return;
  requests.Produce = {
    ...original,
    protocol: ({ version }) => {
      const make = original.protocol({ version });
      return (given) => {
        const made = make(given);
        const isOurs =
          version >= FIRST_VERSION &&
          (given.compression ?? NO_COMPRESSION) === NO_COMPRESSION &&
          given.topicData.every(({ partitions }) =>
            partitions.every(({ messages }) => messages.every((message) => isPlain(message))),
          );
        if (isOurs) made.request.encode = async () => encodeRequest(given);
        return made;
      };
    },
  };
}

/** Has a time, and headers (if any) that are single texts. */
function isPlain({ timestamp, headers }: ProduceMessage): boolean {
  if (timestamp === undefined || timestamp === null) return false;
  if (headers === undefined || encodedHeaders.has(headers)) return true;
  for (const name in headers) if (typeof headers[name] !== 'string') return false;
  return true;
}
