/**
 * A small binary writer and reader for snapshots: variable-length integers up to 2^53, doubles bit for bit, short strings,
 * and prices as ticks where that is exact. No Node API (the same bundle runs in Flink).
 */

/** A snapshot that this code cannot read: another version, or damaged bytes. */
export class SnapshotError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'SnapshotError';
  }
}

const TICKS = 10_000;

export class ByteWriter {
  private bytes = new Uint8Array(1024);
  private view = new DataView(this.bytes.buffer);
  private at = 0;

  private room(count: number): void {
    if (this.at + count <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.at + count));
    grown.set(this.bytes);
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }

  byte(value: number): void {
    this.room(1);
    this.bytes[this.at++] = value;
  }

  /** A whole number from 0 to 2^53 − 1. */
  uint(value: number): void {
    this.room(8);
    let rest = value;
    while (rest >= 128) {
      this.bytes[this.at++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.bytes[this.at++] = rest;
  }

  /** A whole number of either sign, below 2^52. */
  int(value: number): void {
    this.uint(value >= 0 ? value * 2 : -value * 2 - 1);
  }

  double(value: number): void {
    this.room(8);
    this.view.setFloat64(this.at, value, true);
    this.at += 8;
  }

  optionalDouble(value: number | null): void {
    this.byte(value === null ? 0 : 1);
    if (value !== null) this.double(value);
  }

  /** A double that is mostly a whole number (sizes). */
  mostlyWhole(value: number): void {
    if (Number.isInteger(value) && value >= 0 && value < 1e15 && !Object.is(value, -0)) {
      this.uint(value + 1);
    } else {
      this.uint(0);
      this.double(value);
    }
  }

  /** A price next to another one: the difference in ticks when both are exact ticks, else the double. @returns its ticks */
  price(value: number, previousTicks: number): number {
    const ticks = Math.round(value * TICKS);
    const delta = ticks - previousTicks;
    if (ticks / TICKS === value && ticks >= 0 && ticks < 1e12 && !Object.is(value, -0)) {
      this.uint((delta >= 0 ? delta * 2 : -delta * 2 - 1) + 1);
      return ticks;
    }
    this.uint(0);
    this.double(value);
    return previousTicks;
  }

  text(value: string): void {
    this.uint(value.length);
    for (let i = 0; i < value.length; i++) this.uint(value.charCodeAt(i));
  }

  /** Everything that another writer holds. */
  append(other: ByteWriter): void {
    this.room(other.at);
    this.bytes.set(other.bytes.subarray(0, other.at), this.at);
    this.at += other.at;
  }

  finish(): Uint8Array {
    return this.bytes.slice(0, this.at);
  }
}

export class ByteReader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at = 0;
  /** Ticks of the last price read. */
  ticks = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  byte(): number {
    const value = this.bytes[this.at++];
    if (value === undefined) throw new SnapshotError('the snapshot ends too early');
    return value;
  }

  uint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
    throw new SnapshotError('the snapshot holds an impossible number');
  }

  int(): number {
    const value = this.uint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  double(): number {
    if (this.at + 8 > this.bytes.length) throw new SnapshotError('the snapshot ends too early');
    const value = this.view.getFloat64(this.at, true);
    this.at += 8;
    return value;
  }

  optionalDouble(): number | null {
    return this.byte() === 0 ? null : this.double();
  }

  mostlyWhole(): number {
    const value = this.uint();
    return value === 0 ? this.double() : value - 1;
  }

  price(previousTicks: number): number {
    const value = this.uint();
    if (value === 0) {
      this.ticks = previousTicks;
      return this.double();
    }
    const delta = value - 1;
    this.ticks = previousTicks + (delta % 2 === 0 ? delta / 2 : -(delta + 1) / 2);
    return this.ticks / TICKS;
  }

  text(): string {
    const length = this.uint();
    let value = '';
    for (let i = 0; i < length; i++) value += String.fromCharCode(this.uint());
    return value;
  }

  get isAtEnd(): boolean {
    return this.at === this.bytes.length;
  }
}
