/**
 * The limit of requests a minute and account, in machine time: it protects the server, so it is never scaled.
 * Facts: alpaca-protocol 3 (200 a minute; X-RateLimit-Limit, -Remaining, -Reset in unix seconds on every answer).
 */
import type { ServerResponse } from 'node:http';
import { systemClock } from '../../lib/service/clock.ts';

const WINDOW_MS = 60_000;

export class RateLimit {
  readonly #perMinute: number;
  /** The machine's own wall clock: the header carries unix seconds that a client compares with its own. */
  readonly #wall = systemClock();
  readonly #used = new Map<string, { window: number; count: number }>();

  constructor(perMinute: number) {
    this.#perMinute = perMinute;
  }

  /** Counts a request, sets the headers of its answer. @returns whether it is within the limit */
  admit(keyId: string, response: ServerResponse): boolean {
    const window = Math.floor(this.#wall.nowMs() / WINDOW_MS);
    const known = this.#used.get(keyId);
    const used = known?.window === window ? known : { window, count: 0 };
    used.count += 1;
    this.#used.set(keyId, used);
    response.setHeader('X-RateLimit-Limit', String(this.#perMinute));
    response.setHeader('X-RateLimit-Remaining', String(Math.max(0, this.#perMinute - used.count)));
    response.setHeader('X-RateLimit-Reset', String(((window + 1) * WINDOW_MS) / 1000));
    return used.count <= this.#perMinute;
  }
}
