/**
 * Free space of the store, looked at by the sink itself: it stops a little before the last byte, so that merges, TTL and a purge
 * still have room (spec ta 5.2, emergency). The refusal is an error that opens the circuit; every later try looks again, so
 * writing goes on by itself. Guarantee: a look that fails holds nothing up, the insert itself then says what is wrong.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { unreachableError } from '../../lib/service/errors.ts';
import { machineMs } from '../../lib/service/machine.ts';
import { formatBytes, percent } from '../../lib/signals/disk/level.ts';

export interface SpaceLimits {
  /** Below this share of a disk nothing is written; 0: no such limit. */
  minFreeRatio: number;
  minFreeBytes: number;
}

/** A server is left with what spec ta 5.2 calls an emergency; the embedded engine shares the disk of somebody's machine. */
export const serverLimits: SpaceLimits = { minFreeRatio: 0.08, minFreeBytes: 2 * 1024 ** 3 };
export const embeddedLimits: SpaceLimits = { minFreeRatio: 0, minFreeBytes: 24 * 1024 ** 2 };

/** Machine ms between two looks while there is space. */
const everyMs = 2_000;

const diskSchema = z.array(z.object({ free: z.coerce.number(), total: z.coerce.number() }));

export class SpaceWatch {
  readonly #limits: SpaceLimits;
  readonly #client: () => Promise<ClickHouseClient>;
  #nextMs = Number.NEGATIVE_INFINITY;
  /** Of the fullest disk; undefined before the first look. */
  freeBytes: number | undefined;

  constructor(client: () => Promise<ClickHouseClient>, limits: SpaceLimits) {
    this.#client = client;
    this.#limits = limits;
  }

  /** @throws `store_nearly_full` (may be retried) */
  async demand(): Promise<void> {
    if (machineMs() < this.#nextMs) return;
    const disk = await this.#fullest();
    if (!disk) return;
    this.freeBytes = disk.free;
    const { minFreeRatio, minFreeBytes } = this.#limits;
    const ratio = disk.total > 0 ? disk.free / disk.total : 1;
    if (ratio >= minFreeRatio && disk.free >= minFreeBytes) {
      this.#nextMs = machineMs() + everyMs;
      return;
    }
    throw unreachableError({
      code: 'store_nearly_full',
      what: 'the disk of ClickHouse is nearly full: no rows are written',
      why: `free ${formatBytes(disk.free)}, ${percent(ratio)}; at least ${formatBytes(minFreeBytes)} and ${percent(minFreeRatio)} stay free`,
      next: '`torghut clickhouse disk` says what may go; no row is lost, they stay in the log',
    });
  }

  async #fullest(): Promise<{ free: number; total: number } | undefined> {
    try {
      const client = await this.#client();
      const result = await client.query({
        query: 'SELECT free_space AS free, total_space AS total FROM system.disks ORDER BY free_space LIMIT 1',
        format: 'JSONEachRow',
      });
      return diskSchema.parse(await result.json())[0];
    } catch {
      return undefined;
    }
  }
}
