/**
 * A first-in first-out line of raw messages: in memory while it is short, on disk behind that.
 * Guarantees: order; bounded memory; the disk never holds more than was allowed (`push` refuses, the caller counts); segments
 * are deleted as they are read. The files belong to this process alone and mean nothing after it: what they held is read
 * again from REST.
 */
import { closeSync, mkdirSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export interface SpooledMessage {
  raw: string;
  /** Number of the journal entry that guards the message; 0 for none. */
  journalId: number;
}

interface Segment {
  path: string;
  fd: number;
  written: number;
  read: number;
}

const SEGMENT_BYTES = 16 * 1024 * 1024;
const WRITE_BUFFER_BYTES = 64 * 1024;
const READ_CHUNK_BYTES = 256 * 1024;
const HEADER_BYTES = 12;

export interface SpoolFifoOptions {
  folder: string;
  name: string;
  /** Bytes of text kept in memory before messages go to disk. */
  memoryBytes: number;
  /** Asked before the disk grows by so many bytes; false refuses. */
  mayGrow(bytes: number): boolean;
  /** The disk part grew (or, negative, shrank) by so many bytes. */
  onDiskBytes(bytes: number): void;
}

export class SpoolFifo {
  readonly #options: SpoolFifoOptions;
  #memory: SpooledMessage[] = [];
  #head = 0;
  #memoryBytes = 0;
  #segments: Segment[] = [];
  #buffer: Buffer[] = [];
  #bufferBytes = 0;
  #length = 0;
  #onDisk = 0;
  #segmentNumber = 0;

  constructor(options: SpoolFifoOptions) {
    this.#options = options;
    mkdirSync(options.folder, { recursive: true });
  }

  get length(): number {
    return this.#length;
  }

  /**
   * @param toDisk go to disk even while memory has room
   * @param isPrecious may exceed every bound: it exists nowhere else
   * @returns false when there is no room
   */
  push(message: SpooledMessage, toDisk: boolean, isPrecious: boolean): boolean {
    if (this.#onDisk > 0 || toDisk || this.#memoryBytes > this.#options.memoryBytes) {
      const body = Buffer.from(message.raw, 'utf8');
      const size = body.length + HEADER_BYTES;
      if (!isPrecious && !this.#options.mayGrow(size)) return false;
      const header = Buffer.allocUnsafe(HEADER_BYTES);
      header.writeUInt32LE(body.length, 0);
      header.writeDoubleLE(message.journalId, 4);
      this.#buffer.push(header, body);
      this.#bufferBytes += size;
      this.#onDisk += 1;
      this.#options.onDiskBytes(size);
      if (this.#bufferBytes >= WRITE_BUFFER_BYTES && !this.#writeOut() && !isPrecious) {
        // The disk is full: the buffer stays in memory; only this message is refused.
        this.#buffer.length -= 2;
        this.#bufferBytes -= size;
        this.#onDisk -= 1;
        this.#options.onDiskBytes(-size);
        return false;
      }
    } else {
      this.#memory.push(message);
      this.#memoryBytes += message.raw.length;
    }
    this.#length += 1;
    return true;
  }

  peek(): SpooledMessage | undefined {
    if (this.#head >= this.#memory.length) this.#load();
    return this.#memory[this.#head];
  }

  shift(): SpooledMessage | undefined {
    const message = this.peek();
    if (message === undefined) return undefined;
    this.#head += 1;
    this.#length -= 1;
    this.#memoryBytes -= message.raw.length;
    if (this.#head > 1_024 && this.#head * 2 > this.#memory.length) {
      this.#memory.splice(0, this.#head);
      this.#head = 0;
    }
    return message;
  }

  /** Removes the files. */
  close(): void {
    for (const segment of this.#segments.splice(0)) this.#drop(segment);
  }

  #writeOut(): boolean {
    if (this.#bufferBytes === 0) return true;
    const bytes = Buffer.concat(this.#buffer);
    try {
      let segment = this.#segments.at(-1);
      if (!segment || segment.written >= SEGMENT_BYTES) segment = this.#openSegment();
      // A write may stop short on a full disk: what is there is overwritten by the next attempt.
      let done = 0;
      while (done < bytes.length) {
        done += writeSync(segment.fd, bytes, done, bytes.length - done, segment.written + done);
      }
      segment.written += bytes.length;
    } catch {
      return false;
    }
    this.#buffer = [];
    this.#bufferBytes = 0;
    return true;
  }

  #openSegment(): Segment {
    this.#segmentNumber += 1;
    const path = join(this.#options.folder, `${this.#options.name}-${process.pid}-${this.#segmentNumber}.spool`);
    const segment = { path, fd: openSync(path, 'w+', 0o600), written: 0, read: 0 };
    this.#segments.push(segment);
    return segment;
  }

  #drop(segment: Segment): void {
    closeSync(segment.fd);
    rmSync(segment.path, { force: true });
  }

  /** Brings the next messages from disk (or from the write buffer) into memory. */
  #load(): void {
    if (this.#onDisk === 0) return;
    this.#memory = [];
    this.#head = 0;
    this.#memoryBytes = 0;
    let segment = this.#segments[0];
    while (segment && segment.read >= segment.written && this.#segments.length > 1) {
      this.#drop(segment);
      this.#segments.shift();
      segment = this.#segments[0];
    }
    if (segment && segment.read < segment.written) {
      const size = Math.min(READ_CHUNK_BYTES, segment.written - segment.read);
      let chunk = Buffer.allocUnsafe(size);
      readSync(segment.fd, chunk, 0, size, segment.read);
      const first = HEADER_BYTES + chunk.readUInt32LE(0);
      if (first > size) {
        chunk = Buffer.allocUnsafe(first);
        readSync(segment.fd, chunk, 0, first, segment.read);
      }
      segment.read += this.#decode(chunk);
      if (segment.read >= segment.written && this.#bufferBytes === 0) {
        this.#drop(segment);
        this.#segments.shift();
      }
      return;
    }
    for (const drained of this.#segments.splice(0)) this.#drop(drained);
    const rest = Buffer.concat(this.#buffer);
    this.#buffer = [];
    this.#bufferBytes = 0;
    this.#decode(rest);
  }

  /** Takes the whole messages out of a chunk. @returns bytes used */
  #decode(chunk: Buffer): number {
    let at = 0;
    let count = 0;
    while (at + HEADER_BYTES <= chunk.length) {
      const end = at + HEADER_BYTES + chunk.readUInt32LE(at);
      if (end > chunk.length) break;
      const raw = chunk.toString('utf8', at + HEADER_BYTES, end);
      this.#memory.push({ raw, journalId: chunk.readDoubleLE(at + 4) });
      this.#memoryBytes += raw.length;
      at = end;
      count += 1;
    }
    this.#onDisk -= count;
    this.#options.onDiskBytes(-at);
    return at;
  }
}
