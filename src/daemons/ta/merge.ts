/**
 * The one order of a task's three inputs (design 5): by (running maximum of the record timestamp in that partition, trades <
 * quotes < bars, offset).
 * Guarantees: the order depends on the records alone, never on when they were read; an input with nothing to read holds the
 * others back until its own next record can no longer come before theirs.
 */
import type { LogRecord } from '../../lib/log/port.ts';

/** Inputs in the order that breaks ties. */
export const inputRoles = ['trades', 'quotes', 'bars'] as const;

/** What the merge needs to go on: per input the next offset and the running maximum so far. */
export interface InputPosition {
  offset: bigint;
  runningMaxMs: number;
}

interface Queue {
  records: LogRecord[];
  head: number;
  /** Queued records with a key; progress records have none. */
  data: number;
  offset: bigint;
  runningMaxMs: number;
}

export class InputMerge {
  readonly #queues: Queue[];

  constructor(positions: readonly InputPosition[]) {
    this.#queues = positions.map(({ offset, runningMaxMs }) => ({
      records: [],
      head: 0,
      data: 0,
      offset,
      runningMaxMs,
    }));
  }

  push(input: number, record: LogRecord): void {
    const queue = this.#queues[input] as Queue;
    queue.records.push(record);
    if (record.key !== null) queue.data += 1;
  }

  /** Records that wait in an input. */
  queued(input: number): number {
    const queue = this.#queues[input] as Queue;
    return queue.records.length - queue.head;
  }

  /** The next record in merged order and the number of its input; undefined while an empty input holds the merge. */
  next(): { input: number; record: LogRecord } | undefined {
    let best = -1;
    let bestMs = Number.POSITIVE_INFINITY;
    let holdMs = Number.POSITIVE_INFINITY;
    let hold = -1;
    for (let i = 0; i < this.#queues.length; i++) {
      const queue = this.#queues[i] as Queue;
      const head = queue.records[queue.head];
      if (head === undefined) {
        // Its next record comes at (running maximum, i) at the earliest.
        if (queue.runningMaxMs < holdMs) {
          holdMs = queue.runningMaxMs;
          hold = i;
        }
        continue;
      }
      const ms = Math.max(queue.runningMaxMs, head.timestampMs);
      if (ms < bestMs) {
        bestMs = ms;
        best = i;
      }
    }
    if (best < 0 || bestMs > holdMs || (bestMs === holdMs && hold < best)) return undefined;
    const queue = this.#queues[best] as Queue;
    const record = queue.records[queue.head] as LogRecord;
    queue.head += 1;
    if (record.key !== null) queue.data -= 1;
    if (queue.head > 1_024 && queue.head * 2 > queue.records.length) {
      queue.records = queue.records.slice(queue.head);
      queue.head = 0;
    }
    queue.offset = record.offset + 1n;
    queue.runningMaxMs = bestMs;
    return { input: best, record };
  }

  /** Where the merge stands: everything before was given out. */
  positions(): InputPosition[] {
    return this.#queues.map(({ offset, runningMaxMs }) => ({ offset, runningMaxMs }));
  }

  /** Next offset of an input, waiting progress records counted as read when nothing else waits. */
  settledOffset(input: number): bigint {
    const queue = this.#queues[input] as Queue;
    const last = queue.data === 0 && queue.head < queue.records.length ? queue.records.at(-1) : undefined;
    return last === undefined ? queue.offset : last.offset + 1n;
  }
}
