/**
 * The request budget of the trading API (spec 4.4): a token bucket for everything, and a reserve that only cancels may use,
 * so that an order can always be taken back. Machine time: the broker counts real minutes.
 */
import { machineMs, sleep } from '../service/machine.ts';

export interface RequestBudget {
  /** Waits for a token; false when the signal aborted. `cancel` takes from the reserve when the rest is used up. */
  take(purpose: 'normal' | 'cancel', signal?: AbortSignal): Promise<boolean>;
  /** Tokens left now, without the reserve. */
  left(): number;
  /** What the broker said is left of its own limit. @param resetMs machine ms until it begins anew */
  heard(remaining: number, resetMs: number): void;
  /** Requests left now: the broker's newest word while it holds, else the tokens. */
  remaining(): number;
}

interface Bucket {
  tokens: number;
  perMinute: number;
  filledAt: number;
}

/** @param perMinute normal requests a minute (150) @param reservePerMinute further ones for cancels (50) */
export function createRequestBudget(perMinute: number, reservePerMinute: number, now = machineMs): RequestBudget {
  const bucket = (rate: number): Bucket => ({ tokens: rate, perMinute: rate, filledAt: now() });
  const normal = bucket(perMinute);
  const reserve = bucket(reservePerMinute);
  const refill = (of: Bucket) => {
    const at = now();
    of.tokens = Math.min(of.perMinute, of.tokens + ((at - of.filledAt) * of.perMinute) / 60_000);
    of.filledAt = at;
  };
  const takeFrom = (of: Bucket): boolean => {
    refill(of);
    if (of.tokens < 1) return false;
    of.tokens -= 1;
    return true;
  };
  let word: { remaining: number; untilMs: number } | undefined;
  const left = () => {
    refill(normal);
    return Math.floor(normal.tokens);
  };
  return {
    heard: (remaining, resetMs) => {
      word = { remaining, untilMs: now() + resetMs };
    },
    remaining: () => (word && now() < word.untilMs ? Math.min(word.remaining, left()) : left()),
    take: async (purpose, signal) => {
      while (!signal?.aborted) {
        if (takeFrom(normal)) return true;
        if (purpose === 'cancel' && takeFrom(reserve)) return true;
        const fastest = Math.max(normal.perMinute, purpose === 'cancel' ? reserve.perMinute : 0, 1);
        await sleep(Math.min(1_000, 60_000 / fastest), signal);
      }
      return false;
    },
    left,
  };
}
