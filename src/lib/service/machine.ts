/**
 * Machine time: time-outs, leases, heartbeats, back-off, batching (design 4). Never scaled, never mixed with market time,
 * which comes from the Clock alone.
 */
import { setTimeout as delay } from 'node:timers/promises';

/** Monotonic machine milliseconds; the origin is arbitrary, only differences mean something. */
export function machineMs(): number {
  return performance.now();
}

/** CLOCK_MONOTONIC in nanoseconds: the same in every process of this machine since boot. */
export function machineNs(): bigint {
  return process.hrtime.bigint();
}

/** Seconds since the epoch by the machine's own clock, for stamps that other programs read (metrics). */
export function machineEpochSeconds(): number {
  return Math.floor((performance.timeOrigin + performance.now()) / 1000);
}

/** Waits machine milliseconds; resolves early (without error) when the signal aborts. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  try {
    await delay(ms, undefined, signal ? { signal } : {});
  } catch (error) {
    if (!signal?.aborted) throw error;
  }
}

/**
 * Exponential back-off in machine milliseconds with ±20 % jitter (spec ingest 2.4).
 * @param attempt 1 for the first retry
 */
export function backoffMs(attempt: number, baseMs: number, maxMs: number, random: () => number): number {
  const raw = Math.min(maxMs, baseMs * 2 ** Math.max(0, attempt - 1));
  return Math.min(maxMs, Math.max(baseMs, raw * (0.8 + 0.4 * random())));
}
