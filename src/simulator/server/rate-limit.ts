/**
 * Rate-limit headers of the market-data REST: 200 requests a machine minute per key. The limit itself is a fault (http_429),
 * never enforced by count, because market time may run many times faster than the account's minute.
 * Facts: alpaca-protocol 3.
 */
import type { ServerResponse } from 'node:http';
import { systemClock } from '../../lib/service/clock.ts';
import { machineMs } from '../../lib/service/machine.ts';

const LIMIT = 200;
const WINDOW_MS = 60_000;

export interface RateLimit {
  /** Counts a request of a key and sets the headers. @param isExhausted says that nothing is left */
  apply(response: ServerResponse, keyId: string, isExhausted: boolean): void;
}

export function createRateLimit(): RateLimit {
  const wall = systemClock();
  const windows = new Map<string, { startedMs: number; used: number }>();
  return {
    apply: (response, keyId, isExhausted) => {
      const now = machineMs();
      let window = windows.get(keyId);
      if (!window || now - window.startedMs >= WINDOW_MS) {
        window = { startedMs: now, used: 0 };
        windows.set(keyId, window);
      }
      window.used += 1;
      const resetMs = wall.nowMs() + WINDOW_MS - (now - window.startedMs);
      response.setHeader('X-RateLimit-Limit', String(LIMIT));
      response.setHeader('X-RateLimit-Remaining', String(isExhausted ? 0 : Math.max(1, LIMIT - window.used)));
      response.setHeader('X-RateLimit-Reset', String(Math.ceil(resetMs / 1_000)));
      if (isExhausted) response.setHeader('Retry-After', '1');
    },
  };
}
