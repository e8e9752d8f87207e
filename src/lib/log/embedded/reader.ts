/**
 * A reader of partitions in any environments.
 * Guarantees: order per partition, only committed records; one poll sees one snapshot of each environment. Woken by the file
 * system when somebody commits (0.3 ms measured), with a slow poll behind it. Topics and environments may appear later.
 */
import { setImmediate } from 'node:timers/promises';
import { refusedError } from '../../service/errors.ts';
import { machineMs } from '../../service/machine.ts';
import type { LogReader, LogRecord, ReaderOptions, StartPosition, TopicPartition } from '../port.ts';
import { type Catalogue, ownerOf } from './catalogue.ts';
import type { Environment, Store } from './environment.ts';
import { offsetOfTime, readFrom, readHead } from './stream.ts';

/** Longest machine ms between two looks at an environment whose folder is watched, and at one that is not (yet). */
const SLOW_POLL_MS = 250;
const FAST_POLL_MS = 10;

interface Assigned extends TopicPartition {
  /** Where to begin, until it is resolved to `position`. */
  start: StartPosition | undefined;
  position: bigint;
  end: bigint;
  isPaused: boolean;
  environment: Environment | undefined;
  /** Read from the environment but not yet given out. */
  pending: LogRecord[];
}

export interface ReaderParts {
  catalogue: Catalogue;
  /** Opens the environment of an owner (one reference). */
  environmentOf: (owner: string) => Environment;
  signal?: AbortSignal | undefined;
  onClose: (reader: EmbeddedReader) => void;
}

export class EmbeddedReader implements LogReader {
  readonly #parts: ReaderParts;
  readonly #assigned: Assigned[];
  readonly #environments = new Map<string, { environment: Environment; forget: () => void }>();
  #turn = 0;
  #wakes = 0;
  #onWake: (() => void) | undefined;
  #isClosed = false;

  constructor(parts: ReaderParts, options: ReaderOptions) {
    this.#parts = parts;
    this.#assigned = options.partitions.map(({ topic, partition, start }) => ({
      topic,
      partition,
      start,
      position: 0n,
      end: 0n,
      isPaused: false,
      environment: undefined,
      pending: [],
    }));
    // A start counts from now: what a later poll finds behind "latest" is new.
    for (const of of this.#assigned) this.#resolve(of);
  }

  async poll(options: { maxRecords: number; waitMs: number; signal?: AbortSignal }): Promise<LogRecord[]> {
    const until = machineMs() + options.waitMs;
    while (!this.#isClosed) {
      const wakes = this.#wakes;
      const records = this.#collect(options.maxRecords);
      // A caller that polls in a loop must not starve timers and sockets.
      await setImmediate();
      if (records.length > 0) return records;
      const left = until - machineMs();
      if (left <= 0 || options.signal?.aborted || this.#parts.signal?.aborted) return [];
      if (this.#wakes === wakes) await this.#wait(Math.min(left, this.#pollMs()), options.signal);
    }
    return [];
  }

  positions(): (TopicPartition & { offset: bigint })[] {
    return this.#assigned.map((of) => ({ topic: of.topic, partition: of.partition, offset: of.position }));
  }

  knownEnd(partition: TopicPartition): bigint {
    return this.#find(partition).end;
  }

  seek(partition: TopicPartition, offset: bigint): void {
    const of = this.#find(partition);
    of.start = undefined;
    of.position = offset;
    of.pending = [];
  }

  pause(partitions: TopicPartition[]): void {
    for (const partition of partitions) this.#find(partition).isPaused = true;
  }

  resume(partitions: TopicPartition[]): void {
    for (const partition of partitions) this.#find(partition).isPaused = false;
    this.#wake();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#wake();
    for (const { environment, forget } of this.#environments.values()) {
      forget();
      await environment.release();
    }
    this.#environments.clear();
    this.#parts.onClose(this);
  }

  #find(partition: TopicPartition): Assigned {
    const found = this.#assigned.find((of) => of.topic === partition.topic && of.partition === partition.partition);
    if (!found) throw new Error(`${partition.topic}-${partition.partition} is not assigned to this reader`);
    return found;
  }

  /** Finds the environment once the topic exists, and turns the start position into an offset. */
  #resolve(of: Assigned): Environment | undefined {
    if (!of.environment) {
      const spec = this.#parts.catalogue.find(of.topic);
      if (spec) of.environment = this.#open(ownerOf(spec, of.partition));
    }
    const { start } = of;
    if (start === undefined) return of.environment;
    const position = of.environment?.read((store) => {
      const head = readHead(store, of);
      if (!head) return 0n;
      of.end = head.end;
      if (start === 'earliest') return head.earliest;
      if (start === 'latest') return head.end;
      if (typeof start === 'bigint') return start;
      return offsetOfTime(store, head, of, start.timestampMs);
    });
    // Nothing there yet: everything that comes is after any time asked for.
    of.position = position ?? (typeof start === 'bigint' ? start : 0n);
    of.start = undefined;
    return of.environment;
  }

  #open(owner: string): Environment {
    const known = this.#environments.get(owner);
    if (known) return known.environment;
    const environment = this.#parts.environmentOf(owner);
    this.#environments.set(owner, { environment, forget: environment.onChange(() => this.#wake()) });
    return environment;
  }

  /** Takes a fair share from each partition, beginning with another one each time. */
  #collect(maxRecords: number): LogRecord[] {
    const open = this.#assigned.filter((of) => !of.isPaused);
    this.#turn += 1;
    const records: LogRecord[] = [];
    this.#refreshAll(maxRecords);
    let left = maxRecords;
    for (let i = 0; i < open.length && left > 0; i++) {
      const of = open[(i + this.#turn) % open.length] as Assigned;
      left -= this.#take(of, Math.ceil(left / (open.length - i)), records);
    }
    for (const of of open) left -= left > 0 ? this.#take(of, left, records) : 0;
    return records;
  }

  /** Looks at every partition, those of one environment in one snapshot. */
  #refreshAll(maxRecords: number): void {
    const groups = new Map<Environment, Assigned[]>();
    for (const of of this.#assigned) {
      const environment = this.#resolve(of);
      if (!environment) continue;
      const group = groups.get(environment);
      if (group) group.push(of);
      else groups.set(environment, [of]);
    }
    for (const [environment, group] of groups) {
      environment.read((store) => {
        for (const of of group) refresh(store, of, of.isPaused ? 0 : maxRecords);
      });
    }
  }

  #take(of: Assigned, count: number, into: LogRecord[]): number {
    const taken = of.pending.splice(0, count);
    for (const record of taken) into.push(record);
    const last = taken.at(-1);
    if (last) of.position = of.pending[0]?.offset ?? last.offset + 1n;
    return taken.length;
  }

  #pollMs(): number {
    const isWatched = this.#assigned.every((of) => of.environment?.isWatched);
    return isWatched ? SLOW_POLL_MS : FAST_POLL_MS;
  }

  #wake(): void {
    this.#wakes += 1;
    this.#onWake?.();
  }

  #wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const signals = [signal, this.#parts.signal].filter((one) => one !== undefined);
      const done = () => {
        clearTimeout(timer);
        for (const one of signals) one.removeEventListener('abort', done);
        this.#onWake = undefined;
        resolve();
      };
      const timer = setTimeout(done, ms);
      for (const one of signals) one.addEventListener('abort', done, { once: true });
      this.#onWake = done;
    });
  }
}

function refresh(store: Store, of: Assigned, limit: number): void {
  const head = readHead(store, of);
  if (!head) return;
  of.end = head.end;
  if (of.position > head.end) throw outOfRange(of, head.end);
  if (of.position < head.earliest) {
    // Retention has passed this reader.
    of.position = head.earliest;
    of.pending = [];
  }
  if (of.pending.length >= limit || of.position === head.end) return;
  const from = (of.pending.at(-1)?.offset ?? of.position - 1n) + 1n;
  for (const record of readFrom(store, head, of, from, limit - of.pending.length)) of.pending.push(record);
  // A compacted end: nothing is left to read, the position may go there.
  if (of.pending.length === 0) of.position = head.end;
}

function outOfRange(of: Assigned, end: bigint) {
  return refusedError({
    code: 'offset_out_of_range',
    what: `offset ${of.position} of ${of.topic} partition ${of.partition} does not exist`,
    why: `the partition ends at ${end}: the position belongs to another log`,
    next: 'begin a new run, or restore the folder of the log',
  });
}
