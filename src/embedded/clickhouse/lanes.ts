/**
 * Who may run in the engine now. Each running query takes one thread of Node's pool for its whole time, so long reads could
 * take them all and stop the inserts: every kind of statement has a lane of its own with a bound, and waits in turn there.
 */
import type { StatementKind } from './statement.ts';

interface Lane {
  limit: number;
  running: number;
  waiting: { start: () => void; signal: AbortSignal | undefined }[];
}

/** Bounds for a pool of so many threads; at least two stay free for control statements and for gzip. */
export function laneLimits(poolThreads: number): Record<StatementKind, number> {
  const usable = Math.max(3, poolThreads - 2);
  const insert = Math.max(1, Math.floor(usable / 4));
  const change = Math.max(1, Math.floor(usable / 8));
  return { read: Math.max(1, usable - insert - change), insert, change, control: 1 };
}

export class Lanes {
  readonly #lanes: Record<StatementKind, Lane>;

  constructor(limits: Record<StatementKind, number>) {
    const lane = (limit: number): Lane => ({ limit, running: 0, waiting: [] });
    this.#lanes = {
      read: lane(limits.read),
      insert: lane(limits.insert),
      change: lane(limits.change),
      control: lane(limits.control),
    };
  }

  /** Runs the work when its lane has room. @throws the signal's reason when it is given up while waiting */
  async run<T>(kind: StatementKind, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const lane = this.#lanes[kind];
    await this.#enter(lane, signal);
    try {
      return await work();
    } finally {
      lane.running -= 1;
      const next = lane.waiting.shift();
      if (next) {
        lane.running += 1;
        next.start();
      }
    }
  }

  #enter(lane: Lane, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (lane.running < lane.limit) {
      lane.running += 1;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const entry = {
        signal,
        start: () => {
          signal?.removeEventListener('abort', giveUp);
          resolve();
        },
      };
      const giveUp = () => {
        lane.waiting = lane.waiting.filter((other) => other !== entry);
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', giveUp, { once: true });
      lane.waiting.push(entry);
    });
  }

  counts(): Record<StatementKind, { running: number; waiting: number }> {
    const of = (kind: StatementKind) => ({
      running: this.#lanes[kind].running,
      waiting: this.#lanes[kind].waiting.length,
    });
    return { read: of('read'), insert: of('insert'), change: of('change'), control: of('control') };
  }
}
