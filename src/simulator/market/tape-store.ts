/**
 * All market messages of a run in release order, compactly: bytes in 1 MiB blocks, facts in typed columns.
 * Guarantee: append-only; index i never changes its meaning. About 31 bytes plus the line per message, so the recorded day
 * (1.56 million messages) takes about 240 MB.
 */
import { kindLetters } from './message-line.ts';

const BLOCK_BYTES = 1 << 20;

export class TapeStore {
  length = 0;
  readonly symbols: string[] = [];
  private readonly symbolIds = new Map<string, number>();
  private blocks: Buffer[] = [];
  private blockUsed = BLOCK_BYTES;
  private event = new BigInt64Array(1024);
  private release = new BigInt64Array(1024);
  private kinds = new Uint8Array(1024);
  private symbolOf = new Uint16Array(1024);
  private blockOf = new Uint32Array(1024);
  private offsets = new Uint32Array(1024);
  private lengths = new Uint32Array(1024);

  /** Number of a symbol, giving it one when new. */
  symbolId(symbol: string): number {
    const known = this.symbolIds.get(symbol);
    if (known !== undefined) return known;
    if (this.symbols.length === 65_535) throw new Error('more than 65,535 symbols');
    this.symbols.push(symbol);
    this.symbolIds.set(symbol, this.symbols.length - 1);
    return this.symbols.length - 1;
  }

  findSymbol(symbol: string): number | undefined {
    return this.symbolIds.get(symbol);
  }

  /** Copies the line. Release times must not fall. */
  append(code: number, symbol: string, eventNs: bigint, releaseNs: bigint, line: Buffer): number {
    const index = this.length;
    if (index === this.kinds.length) this.grow();
    if (this.blockUsed + line.length > BLOCK_BYTES) {
      this.blocks.push(Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, line.length)));
      this.blockUsed = 0;
    }
    const block = this.blocks.length - 1;
    line.copy(this.blocks[block] as Buffer, this.blockUsed);
    this.event[index] = eventNs;
    this.release[index] = releaseNs;
    this.kinds[index] = code;
    this.symbolOf[index] = this.symbolId(symbol);
    this.blockOf[index] = block;
    this.offsets[index] = this.blockUsed;
    this.lengths[index] = line.length;
    this.blockUsed += line.length;
    this.length = index + 1;
    return index;
  }

  eventNs(index: number): bigint {
    return this.event[index] as bigint;
  }

  releaseNs(index: number): bigint {
    return this.release[index] as bigint;
  }

  code(index: number): number {
    return this.kinds[index] as number;
  }

  letter(index: number): string {
    return kindLetters[this.kinds[index] as number] as string;
  }

  symbolIdAt(index: number): number {
    return this.symbolOf[index] as number;
  }

  symbolAt(index: number): string {
    return this.symbols[this.symbolOf[index] as number] as string;
  }

  /** A view of the line's bytes, without its first `skip` bytes. Do not change it. */
  line(index: number, skip = 0): Buffer {
    const start = this.offsets[index] as number;
    return (this.blocks[this.blockOf[index] as number] as Buffer).subarray(
      start + skip,
      start + (this.lengths[index] as number),
    );
  }

  parse(index: number): Record<string, unknown> {
    return JSON.parse(this.line(index).toString('utf8')) as Record<string, unknown>;
  }

  private grow(): void {
    const size = this.kinds.length * 2;
    const grown = <T extends { set(from: T): void }>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    this.event = grown(this.event, new BigInt64Array(size));
    this.release = grown(this.release, new BigInt64Array(size));
    this.kinds = grown(this.kinds, new Uint8Array(size));
    this.symbolOf = grown(this.symbolOf, new Uint16Array(size));
    this.blockOf = grown(this.blockOf, new Uint32Array(size));
    this.offsets = grown(this.offsets, new Uint32Array(size));
    this.lengths = grown(this.lengths, new Uint32Array(size));
  }
}
