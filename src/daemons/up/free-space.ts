/**
 * Free space of the filesystem that holds the home. A full one stops what cannot be written, never loses it: `up` says so by
 * name, and everything goes on by itself when there is space again.
 */
import { statfsSync } from 'node:fs';
import type { Logger } from 'pino';

/** Below this the stores refuse writes or soon will (the ClickHouse engine reserves some MiB per insert). */
export const lowSpaceBytes = 32 * 1024 * 1024;

export class FreeSpace {
  private readonly home: string;
  private readonly log: Logger;
  private isLow = false;

  constructor(home: string, log: Logger) {
    this.home = home;
    this.log = log;
  }

  /** Looks anew and logs a change. @returns words for the screen while space is low */
  check(): string | undefined {
    const free = this.freeBytes();
    if (free === undefined) return undefined;
    const isLow = free < lowSpaceBytes;
    if (isLow && !this.isLow) {
      this.log.error(
        { code: 'disk_full', home: this.home, free_mib: toMiB(free) },
        'the disk under the home is full: nothing is lost, but rows and orders wait until there is space',
      );
    } else if (!isLow && this.isLow) this.log.info({ free_mib: toMiB(free) }, 'there is space again');
    this.isLow = isLow;
    return isLow ? `disk full: ${toMiB(free)} MiB free under ${this.home}` : undefined;
  }

  private freeBytes(): number | undefined {
    try {
      const { bavail, bsize } = statfsSync(this.home);
      return bavail * bsize;
    } catch {
      return undefined;
    }
  }
}

function toMiB(bytes: number): number {
  return Math.floor(bytes / (1024 * 1024));
}
