/**
 * What trade hears from `torghut clickhouse guard`: is the store in an emergency? Asked in machine time, apart from the cycle.
 * Guarantees: a guard that is gone or silent changes nothing for a minute, then what it said is forgotten (nobody watches);
 * asking never holds up or fails a cycle.
 */
import { z } from 'zod';
import { findService } from '../../service/home.ts';
import { machineMs, sleep } from '../../service/machine.ts';

const statusSchema = z.object({ no_new_exposure: z.string().nullable() });
const everyMs = 1_000;
const timeoutMs = 2_000;
const forgetMs = 60_000;

export interface GuardWatch {
  /** Why nothing new may be opened; undefined while it may, or nobody watches. */
  emergency(): string | undefined;
}

/** Watches until the signal aborts. @param url of a guard that is not one of this home */
export function watchGuard(home: string, url: string | undefined, signal: AbortSignal): GuardWatch {
  let said: { reason: string | null; atMs: number } | undefined;
  const ask = async () => {
    const address = url ?? findService(home, 'guard')?.url;
    if (address === undefined) return;
    const response = await fetch(new URL('/status', address), {
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    });
    said = { reason: statusSchema.parse(await response.json()).no_new_exposure, atMs: machineMs() };
  };
  const run = async () => {
    while (!signal.aborted) {
      await ask().catch(() => undefined);
      await sleep(everyMs, signal);
    }
  };
  void run();
  return {
    emergency: () =>
      said !== undefined && machineMs() - said.atMs < forgetMs ? (said.reason ?? undefined) : undefined,
  };
}
