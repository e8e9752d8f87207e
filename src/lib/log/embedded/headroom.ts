/**
 * Room in the data file for the next transaction, taken from the disk before LMDB needs it.
 * Why: when lmdb-js 3.5.6 meets ENOSPC while it writes pages it prints its message into a buffer that is too short and ends the
 * process (SIGSEGV, seen on a full tmpfs). So a full disk has to show before the transaction, as an ordinary error of an
 * ordinary write. LMDB uses the file up to its last page and does not mind what is behind; overwriting allocated blocks
 * cannot run out of space (a copy-on-write file system is the exception), and commits are about a fifth faster that way.
 */
import { closeSync, fdatasyncSync, fstatSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Store } from './environment.ts';

/** Taken at once beyond what is needed, so that small commits do not extend the file each time. */
const RESERVE_BYTES = 2 * 1_048_576;
const zeros = Buffer.alloc(262_144);

const statsSchema = z.object({ pageSize: z.number(), lastPageNumber: z.number() });

/** How much a transaction will write, as an upper bound. */
export interface WriteSize {
  /** Bytes of all values. */
  bytes: number;
  /** Number of large values (batches), each of which may waste a page. */
  batches: number;
  /** Number of small entries. */
  entries: number;
}

function needed({ bytes, batches, entries }: WriteSize): number {
  // Pages of the tree and of the free list are copied too: 64 of them whatever is written.
  return bytes + batches * 8_192 + entries * 512 + 64 * 4_096;
}

export class Headroom {
  readonly #fd: number;
  /** Bytes behind the last page that are surely there; this process alone writes between two measurements. */
  #left = 0;

  constructor(path: string) {
    this.#fd = openSync(join(path, 'data.mdb'), 'r+');
  }

  /**
   * Makes room for one transaction; call with the writer's lock held.
   * @param isAlone no other process has written since the last call (the owner's one writer)
   * @throws the file system's error (ENOSPC, EDQUOT) when there is none
   */
  take(store: Store, size: WriteSize, isAlone: boolean): void {
    const need = needed(size);
    if (!isAlone || this.#left < need) {
      const stats = statsSchema.parse(store.getStats());
      const used = (stats.lastPageNumber + 1) * stats.pageSize;
      this.#left = this.#extend(used, need) - used;
    }
    this.#left -= need;
  }

  /** Flushes what was written without a flush, then closes. */
  close(): void {
    fdatasyncSync(this.#fd);
    closeSync(this.#fd);
  }

  /** @returns the size of the file */
  #extend(used: number, need: number): number {
    let size = fstatSync(this.#fd).size;
    if (size - used >= need) return size;
    const wanted = used + need + RESERVE_BYTES;
    try {
      while (size < wanted) size += writeSync(this.#fd, zeros, 0, Math.min(zeros.length, wanted - size), size);
    } catch (error) {
      // What could be had may be enough for this one.
      if (size - used < need) throw error;
    }
    return size;
  }
}
