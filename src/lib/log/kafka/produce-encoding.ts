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

/** Below this the bit operators of numbers hold. */
const SMALL = 2 ** 31;

/** Bytes of an unsigned number in groups of seven bits. */
function sizeOf(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < 0x1000_0000) return 4;
  let size = 5;
  for (let rest = Math.floor(value / 0x8_0000_0000); rest > 0; rest = Math.floor(rest / 128)) size += 1;
  return size;
}

function write(into: Buffer, at: number, value: number): number {
  let rest = value;
  while (rest >= SMALL) {
    into[at++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  while (rest >= 128) {
    into[at++] = (rest & 127) | 128;
    rest >>>= 7;
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

/** Lengths, deltas and attributes of a record at most, without key, value and headers. */
const MAX_RECORD_HEAD = 40;
/** Shorter texts are copied byte by byte: a call costs more. */
const SHORT = 12;

const timeOf = ({ timestamp, timestampMs }: ProduceMessage): number => timestampMs ?? Number(timestamp);

const sizeOfBytes = (bytes: Buffer | undefined) =>
  bytes === undefined ? 1 : sizeOf(zigZag(bytes.length)) + bytes.length;

function writeBytes(into: Buffer, at: number, bytes: Buffer | undefined): number {
  if (bytes === undefined) return write(into, at, zigZag(-1));
  const { length } = bytes;
  const from = write(into, at, zigZag(length));
  if (length > SHORT) into.set(bytes, from);
  else for (let i = 0; i < length; i++) into[from + i] = bytes[i] as number;
  return from + length;
}

/** One partition's records as a batch. Every message needs its timestamp. */
export function encodeBatch(
  messages: readonly ProduceMessage[],
  options: { producerId: string | number; producerEpoch: number; firstSequence: number; isTransactional: boolean },
): Buffer {
  const count = messages.length;
  let firstMs = Number.POSITIVE_INFINITY;
  let lastMs = 0;
  // Room for the worst case: a second pass over all texts for their exact size costs more than the spare bytes.
  let room = BATCH_HEAD;
  for (const message of messages) {
    const ms = timeOf(message);
    if (ms < firstMs) firstMs = ms;
    if (ms > lastMs) lastMs = ms;
    const { key, value } = message;
    room += MAX_RECORD_HEAD + headerBytes(message.headers).length + 3 * ((key?.length ?? 0) + textUnits(value));
    if (typeof value !== 'string' && value) room += value.length;
  }
  const batch = Buffer.allocUnsafe(room);
  let at = BATCH_HEAD;
  for (let index = 0; index < count; index++) {
    const message = messages[index] as ProduceMessage;
    const key = typeof message.key === 'string' ? keyBytes(message.key) : bytesOf(message.key);
    const value = bytesOf(message.value);
    const headers = headerBytes(message.headers);
    const timeDelta = zigZag(timeOf(message) - firstMs);
    const place = zigZag(index);
    const size = 1 + sizeOf(timeDelta) + sizeOf(place) + sizeOfBytes(key) + sizeOfBytes(value) + headers.length;
    at = write(batch, at, zigZag(size));
    batch[at++] = 0;
    at = write(batch, at, timeDelta);
    at = write(batch, at, place);
    at = writeBytes(batch, at, key);
    at = writeBytes(batch, at, value);
    batch.set(headers, at);
    at += headers.length;
  }
  batch.writeBigInt64BE(0n, 0);
  batch.writeInt32BE(at - 12, 8);
  batch.writeInt32BE(0, 12);
  batch.writeInt8(MAGIC, 16);
  batch.writeInt16BE(options.isTransactional ? TRANSACTIONAL : 0, 21);
  batch.writeInt32BE(count - 1, 23);
  batch.writeBigInt64BE(BigInt(firstMs), 27);
  batch.writeBigInt64BE(BigInt(lastMs), 35);
  batch.writeBigInt64BE(BigInt(options.producerId), 43);
  batch.writeInt16BE(options.producerEpoch, 51);
  batch.writeInt32BE(options.firstSequence, 53);
  batch.writeInt32BE(count, 57);
  batch.writeUInt32BE(crc32C(batch.subarray(CHECKED_FROM, at)), 17);
  return batch.subarray(0, at);
}

const textUnits = (value: string | Buffer | null | undefined): number => (typeof value === 'string' ? value.length : 0);

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
function isPlain({ timestamp, timestampMs, headers }: ProduceMessage): boolean {
  if ((timestamp === undefined || timestamp === null) && timestampMs === undefined) return false;
  if (headers === undefined || encodedHeaders.has(headers)) return true;
  for (const name in headers) if (typeof headers[name] !== 'string') return false;
  return true;
}
