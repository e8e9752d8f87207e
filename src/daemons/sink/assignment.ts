/**
 * Which partitions this sink reads, and from where. The group's callbacks and the loop meet here: a change first stops the loop
 * at a safe point (nothing half written, nothing half committed), then takes effect.
 */
import type { EventLog, LogReader, LogRecord, TopicPartition } from '../../lib/log/port.ts';

export interface AssignmentOptions {
  log: EventLog;
  groupId: string;
  topics: readonly string[];
}

const keyOf = ({ topic, partition }: TopicPartition) => `${topic} ${partition}`;

export class Assignment {
  readonly #options: AssignmentOptions;
  #partitions = new Set<number>();
  #reader: LogReader | undefined;
  /** Next offset to read whose predecessors are all stored. */
  #committed = new Map<string, TopicPartition & { offset: bigint }>();
  #change: Promise<void> = Promise.resolve();
  #busy: Promise<void> = Promise.resolve();
  #interrupt = new AbortController();

  constructor(options: AssignmentOptions) {
    this.#options = options;
  }

  /** Aborted when the partitions are about to change: waits for the store end, the batch is dropped and read again. */
  get interrupt(): AbortSignal {
    return this.#interrupt.signal;
  }

  assign(partitions: readonly number[]): Promise<void> {
    return this.#alter(() => {
      for (const partition of partitions) this.#partitions.add(partition);
    });
  }

  revoke(partitions: readonly number[]): Promise<void> {
    return this.#alter(() => {
      for (const partition of partitions) this.#partitions.delete(partition);
    });
  }

  #alter(apply: () => void): Promise<void> {
    const next = this.#change.then(async () => {
      this.#interrupt.abort();
      await this.#busy;
      apply();
      await this.#reopen();
      this.#interrupt = new AbortController();
    });
    // A failed change is the caller's to report; the next one may work.
    this.#change = next.catch(() => undefined);
    return next;
  }

  async #reopen(): Promise<void> {
    await this.#reader?.close();
    this.#reader = undefined;
    this.#committed.clear();
    if (this.#partitions.size === 0) return;
    const { log, groupId, topics } = this.#options;
    const stored = new Map(
      (await log.groupOffsets(groupId, [...topics])).map((place) => [keyOf(place), place.offset] as const),
    );
    const partitions = topics.flatMap((topic) => [...this.#partitions].map((partition) => ({ topic, partition })));
    this.#reader = await log.openReader({
      partitions: partitions.map((place) => ({ ...place, start: stored.get(keyOf(place)) ?? 'earliest' })),
    });
    for (const place of this.#reader.positions()) this.#committed.set(keyOf(place), place);
  }

  /**
   * Runs one turn of the loop with the reader, unless a change is under way; a change waits for its end.
   * @returns false when there is nothing to read from
   */
  async turn(work: (reader: LogReader) => Promise<void>): Promise<boolean> {
    // A change that was asked for while this waited comes first.
    for (let seen: Promise<void> | undefined; seen !== this.#change; ) {
      seen = this.#change;
      await seen;
    }
    const reader = this.#reader;
    if (!reader) return false;
    const run = work(reader);
    this.#busy = run.catch(() => undefined);
    await run;
    return true;
  }

  /** Commits what the reader has been given so far: call it when all of it is stored. */
  async commit(positions: readonly (TopicPartition & { offset: bigint })[]): Promise<void> {
    const moved = positions.filter((place) => this.#committed.get(keyOf(place))?.offset !== place.offset);
    if (moved.length === 0) return;
    const offsets = moved.map(({ topic, partition, offset }) => ({ topic, partition, offset }));
    await this.#options.log.commitOffsets({ groupId: this.#options.groupId, offsets });
    for (const place of offsets) this.#committed.set(keyOf(place), place);
  }

  /** Goes back to what is committed: the records after it are read again. */
  rewind(reader: LogReader): void {
    for (const place of this.#committed.values()) reader.seek(place, place.offset);
  }

  /** Committed positions by topic and partition. */
  positions(): Record<string, Record<string, string>> {
    const out: Record<string, Record<string, string>> = {};
    for (const { topic, partition, offset } of this.#committed.values()) {
      out[topic] ??= {};
      out[topic][String(partition)] = offset.toString();
    }
    return out;
  }

  async close(): Promise<void> {
    this.#interrupt.abort();
    await this.#busy;
    await this.#reader?.close();
    this.#reader = undefined;
  }
}

/** Records that hold a row: progress records and tombstones hold none. */
export function holdsRow(record: LogRecord): boolean {
  return record.key !== null && record.value !== null;
}
