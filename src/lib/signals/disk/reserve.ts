/**
 * A file that is there to be deleted: on a disk without a free byte the engine refuses TRUNCATE and DROP PARTITION (measured),
 * so some MiB beside its data make them possible. Guarantee: it is never made where space is short.
 */
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { homePaths } from '../../service/home.ts';

/** Enough for the engine's own bookkeeping of a few dozen statements. */
export const reserveBytes = 16 * 1024 * 1024;

export const reservePath = (home: string): string => join(homePaths.clickhouse(home), 'reserve');

/** Makes the file when it is missing and at least four times its size is free. @returns is it there? */
export function keepReserve(home: string): boolean {
  const path = reservePath(home);
  if (statSync(path, { throwIfNoEntry: false })) return true;
  try {
    mkdirSync(dirname(path), { recursive: true });
    const { bavail, bsize } = statfsSync(dirname(path));
    if (bavail * bsize < 4 * reserveBytes) return false;
    const file = openSync(`${path}.new`, 'w', 0o600);
    try {
      // Random: a filesystem that compresses would keep nothing free for zeros.
      const block = randomFillSync(Buffer.alloc(1024 * 1024));
      for (let at = 0; at < reserveBytes; at += block.length) writeSync(file, block);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${path}.new`, path);
    return true;
  } catch {
    rmSync(`${path}.new`, { force: true });
    return false;
  }
}

/** Deletes it. @returns the bytes that came free */
export function releaseReserve(home: string): number {
  const path = reservePath(home);
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  rmSync(path, { force: true });
  return size;
}
