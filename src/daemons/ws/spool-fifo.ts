/**
 * A first-in first-out line of raw messages: in memory while it is short, on disk behind that.
 * Guarantees: order; bounded memory; the disk never holds more than was allowed (`push` refuses, the caller counts). Messages on
 * disk are numbered over the lives of all processes of a folder; a file stays until its messages are durable elsewhere
 * (`settle`), and what a dead process left is taken over behind the number that is durable, each message once.
 */
import {
  closeSync, ftruncateSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeSync,
} from 'node:fs'; // biome-ignore format: one list
import { join } from 'node:path';
import { machineMs } from '../../lib/service/machine.ts';

export interface SpooledMessage {
  raw: string;
  /** Number of the journal entry that guards the message; 0 for none. */
  journalId: number;
  /** Its place in the order of everything that ever was on this disk line; 0 when it never was there. */
  number: number;
}

interface Segment {
  path: string;
  fd: number;
  /** Number of the first message in it. */
  first: number;
  written: number;
  read: number;
  /** Of an earlier process, whose journal numbers mean nothing here. */
  isAdopted: boolean;
}

const SEGMENT_BYTES = 16 * 1024 * 1024;
const WRITE_BUFFER_BYTES = 64 * 1024;
const READ_CHUNK_BYTES = 256 * 1024;
/** Length (4 bytes), journal number (8). */
const HEADER_BYTES = 12;
/** Machine ms between attempts on a disk that refused. */
const RETRY_MS = 1_000;

/** May exceed every bound: it exists nowhere else. */
export const PRECIOUS = Number.POSITIVE_INFINITY;

export interface SpoolFifoOptions {
  folder: string;
  name: string;
  /** Bytes of text kept in memory before messages go to disk, and kept there when the disk is full. */
  memoryBytes: number;
  /** Asked before the disk grows by so many bytes into this share of the allowed size (0 to 1); false refuses. */
  mayGrow(bytes: number, share: number): boolean;
  /** The waiting disk part grew (or, negative, shrank) by so many bytes. */
  onDiskBytes(bytes: number): void;
  /** Number up to which messages are durable elsewhere. */
  durableNumber?: number;
  /** A message of a dead process that goes on waiting here. */
  onAdopted?(raw: string): void;
}

export class SpoolFifo {
  readonly #options: SpoolFifoOptions;
  #memory: SpooledMessage[] = [];
  #head = 0;
  #memoryBytes = 0;
  #segments: Segment[] = [];
  /** Read to their end, waiting for `settle`. */
  #drained: { segment: Segment; last: number }[] = [];
  #buffer: Buffer[] = [];
  #bufferBytes = 0;
  #length = 0;
  #onDisk = 0;
  #nextNumber = 1;
  #nextRead = 1;
  #refusedMs: number | undefined;
  /** Messages pushed and taken in the life of this object. */
  pushed = 0;
  taken = 0;

  constructor(options: SpoolFifoOptions) {
    this.#options = options;
    mkdirSync(options.folder, { recursive: true });
    this.#adopt(options.durableNumber ?? 0);
  }

  get length(): number {
    return this.#length;
  }

  /**
   * @param toDisk go to disk even while memory has room
   * @param share how much of the allowed size this message may fill, 0 to 1, or PRECIOUS
   * @returns false when there is no room
   */
  push(message: { raw: string; journalId: number }, toDisk: boolean, share: number): boolean {
    if (this.#onDisk > 0 || toDisk || this.#memoryBytes > this.#options.memoryBytes) {
      if (!this.#pushToDisk(message, share)) return false;
    } else {
      this.#memory.push({ ...message, number: 0 });
      this.#memoryBytes += message.raw.length;
    }
    this.#length += 1;
    this.pushed += 1;
    return true;
  }

  #pushToDisk({ raw, journalId }: { raw: string; journalId: number }, share: number): boolean {
    const { mayGrow, onDiskBytes, memoryBytes } = this.#options;
    const body = Buffer.from(raw, 'utf8');
    const size = body.length + HEADER_BYTES;
    if (share !== PRECIOUS && !mayGrow(size, share)) return false;
    if (this.#bufferBytes + size >= WRITE_BUFFER_BYTES && !this.#writeOut()) {
      // A full disk: what matters most may still fill the memory, by the same shares.
      const spare = share === PRECIOUS ? share : Math.max(0, share - LEAST_SHARE) * (memoryBytes / (1 - LEAST_SHARE));
      if (this.#bufferBytes + size > WRITE_BUFFER_BYTES + spare) return false;
    }
    const header = Buffer.allocUnsafe(HEADER_BYTES);
    header.writeUInt32LE(body.length, 0);
    header.writeDoubleLE(journalId, 4);
    this.#buffer.push(header, body);
    this.#bufferBytes += size;
    this.#onDisk += 1;
    this.#nextNumber += 1;
    onDiskBytes(size);
    return true;
  }

  peek(): SpooledMessage | undefined {
    while (this.#head >= this.#memory.length && this.#onDisk > 0) this.#load();
    return this.#memory[this.#head];
  }

  shift(): SpooledMessage | undefined {
    const message = this.peek();
    if (message === undefined) return undefined;
    this.#head += 1;
    this.#length -= 1;
    this.taken += 1;
    this.#memoryBytes -= message.raw.length;
    if (this.#head > 1_024 && this.#head * 2 > this.#memory.length) {
      this.#memory.splice(0, this.#head);
      this.#head = 0;
    }
    return message;
  }

  /** Everything up to this number is durable elsewhere: its files may go. */
  settle(number: number): void {
    while (this.#drained.length > 0 && (this.#drained[0] as { last: number }).last <= number) {
      this.#drop((this.#drained.shift() as { segment: Segment }).segment);
    }
  }

  /** Brings what is still buffered to disk, so that it outlives this process; the files stay. */
  close(): void {
    this.#refusedMs = undefined;
    if (this.#onDisk > 0) this.#writeOut();
    for (const segment of [...this.#segments.splice(0), ...this.#drained.splice(0).map((item) => item.segment)]) {
      closeSync(segment.fd);
    }
  }

  #writeOut(): boolean {
    if (this.#bufferBytes === 0) return true;
    if (this.#refusedMs !== undefined && machineMs() - this.#refusedMs < RETRY_MS) return false;
    const bytes = Buffer.concat(this.#buffer);
    let segment = this.#segments.at(-1);
    try {
      if (!segment || segment.isAdopted || segment.written >= SEGMENT_BYTES) segment = this.#openSegment();
      let done = 0;
      while (done < bytes.length) {
        done += writeSync(segment.fd, bytes, done, bytes.length - done, segment.written + done);
      }
      segment.written += bytes.length;
    } catch {
      this.#refusedMs = machineMs();
      if (segment) this.#cutBack(segment);
      return false;
    }
    this.#refusedMs = undefined;
    this.#buffer = [];
    this.#bufferBytes = 0;
    return true;
  }

  /**
   * A write may stop short on a full disk. What it left is no part of the file: the messages stay in the buffer and may go out
   * from there or into another file, and who takes the folder over would publish them a second time. An empty file goes.
   */
  #cutBack(segment: Segment): void {
    if (segment.written === 0) {
      this.#segments.pop();
      this.#drop(segment);
      return;
    }
    try {
      ftruncateSync(segment.fd, segment.written);
    } catch {
      // A disk that refuses even this: the next attempt writes over it.
    }
  }

  #openSegment(): Segment {
    // The first message of the segment is the first of the buffer.
    const first = this.#nextNumber - this.#buffer.length / 2;
    const path = join(this.#options.folder, `${this.#options.name}.${first}.spool`);
    const segment = { path, fd: openSync(path, 'w+', 0o600), first, written: 0, read: 0, isAdopted: false };
    this.#segments.push(segment);
    return segment;
  }

  #drop(segment: Segment): void {
    closeSync(segment.fd);
    rmSync(segment.path, { force: true });
  }

  /** Takes over the files of dead processes, less what is durable; a torn end was never acknowledged and is cut off. */
  #adopt(durable: number): void {
    const { folder, name, onAdopted, onDiskBytes } = this.#options;
    this.#nextNumber = durable + 1;
    const files = readdirSync(folder)
      .map((file) => ({ file, first: fileNumber(file, name) }))
      .filter((item): item is { file: string; first: number } => item.first !== undefined)
      .sort((a, b) => a.first - b.first);
    for (const { file, first } of files) {
      const path = join(folder, file);
      const bytes = readFileSync(path);
      const segment: Segment = { path, fd: openSync(path, 'r'), first, written: 0, read: 0, isAdopted: true };
      let number = first;
      for (let at = 0; at + HEADER_BYTES <= bytes.length; number++) {
        const end = at + HEADER_BYTES + bytes.readUInt32LE(at);
        if (end > bytes.length) break;
        segment.written = end;
        if (number <= durable) segment.read = end;
        else {
          this.#onDisk += 1;
          onDiskBytes(end - at);
          if (bytes.readDoubleLE(at + 4) === 0) {
            this.#length += 1;
            this.pushed += 1;
            onAdopted?.(bytes.toString('utf8', at + HEADER_BYTES, end));
          }
        }
        at = end;
      }
      if (segment.read >= segment.written) {
        this.#drop(segment);
        continue;
      }
      if (this.#segments.length === 0) this.#nextRead = Math.max(first, durable + 1);
      this.#segments.push(segment);
      this.#nextNumber = Math.max(this.#nextNumber, number);
    }
    if (this.#segments.length === 0) this.#nextRead = this.#nextNumber;
  }

  /** Brings the next messages from disk (or from the write buffer) into memory. */
  #load(): void {
    this.#memory = [];
    this.#head = 0;
    this.#memoryBytes = 0;
    const segment = this.#segments[0];
    if (segment === undefined) {
      const rest = Buffer.concat(this.#buffer);
      this.#buffer = [];
      this.#bufferBytes = 0;
      this.#decode(rest, false);
      return;
    }
    this.#nextRead = Math.max(this.#nextRead, segment.first);
    const size = Math.min(READ_CHUNK_BYTES, segment.written - segment.read);
    let chunk = Buffer.allocUnsafe(size);
    readSync(segment.fd, chunk, 0, size, segment.read);
    const first = HEADER_BYTES + chunk.readUInt32LE(0);
    if (first > size) {
      chunk = Buffer.allocUnsafe(first);
      readSync(segment.fd, chunk, 0, first, segment.read);
    }
    segment.read += this.#decode(chunk, segment.isAdopted);
    if (segment.read < segment.written) return;
    // What is still buffered begins a file of its own.
    this.#segments.shift();
    this.#drained.push({ segment, last: this.#nextRead - 1 });
  }

  /** Takes the whole messages out of a chunk. @returns bytes used */
  #decode(chunk: Buffer, isAdopted: boolean): number {
    let at = 0;
    while (at + HEADER_BYTES <= chunk.length) {
      const end = at + HEADER_BYTES + chunk.readUInt32LE(at);
      if (end > chunk.length) break;
      const journalId = chunk.readDoubleLE(at + 4);
      const number = this.#nextRead;
      this.#nextRead += 1;
      this.#onDisk -= 1;
      // What the dead process also journalled comes from its journal.
      if (!isAdopted || journalId === 0) {
        const raw = chunk.toString('utf8', at + HEADER_BYTES, end);
        this.#memory.push({ raw, journalId, number });
        this.#memoryBytes += raw.length;
      }
      at = end;
    }
    this.#options.onDiskBytes(-at);
    return at;
  }
}

/** The smallest share that any kind of message has: it gets nothing of the memory that a full disk leaves. */
export const LEAST_SHARE = 0.7;

function fileNumber(file: string, name: string): number | undefined {
  const prefix = `${name}.`;
  if (!file.startsWith(prefix) || !file.endsWith('.spool')) return undefined;
  const number = Number(file.slice(prefix.length, -'.spool'.length));
  return Number.isSafeInteger(number) && number > 0 ? number : undefined;
}
