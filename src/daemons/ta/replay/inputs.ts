/**
 * The event log as a replay sees it: the input topics end where the plan says, and the missing repaired records stand where
 * their event time lies.
 * Guarantees: the sequence depends on the plan alone, so a restart reads the same one. An inserted record takes an offset of its
 * own, and everything behind it moves up by one; committed group offsets are those of the real topics again.
 */
import type {
  EventLog,
  LogReader,
  LogRecord,
  LogWriter,
  ReaderOptions,
  TopicPartition,
} from '../../../lib/log/port.ts';
import type { Pace } from './pace.ts';
import type { Insertion, Stretch } from './repair.ts';

const keyOf = ({ topic, partition }: TopicPartition): string => `${topic} ${partition}`;

/** One partition of one input. */
export class ReplaySource {
  readonly stretch: Stretch;
  readonly #insertions: readonly Insertion[];
  /** Own offset of each insertion. */
  readonly #offsets: readonly bigint[];
  /** Next own offset that was not given out yet, for the progress. */
  reached: bigint;
  /** Real offset of the first record that was given out by this process. */
  firstOffset: bigint | undefined;
  isExhausted = false;

  constructor(stretch: Stretch, insertions: readonly Insertion[]) {
    this.stretch = stretch;
    this.#insertions = insertions;
    this.#offsets = insertions.map(({ before }, i) => before + BigInt(i));
    this.reached = this.start;
  }

  get start(): bigint {
    return this.stretch.start;
  }

  /** Own offset behind the last record. */
  get end(): bigint {
    return this.stretch.end + BigInt(this.#insertions.length);
  }

  /** How many insertions lie before an own offset. */
  insertedBefore(own: bigint): number {
    let [low, high] = [0, this.#offsets.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#offsets[middle] as bigint) < own) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  realOffset(own: bigint): bigint {
    return own - BigInt(this.insertedBefore(own));
  }

  /** The insertions from one on that stand before a real offset, as records. */
  take(from: number, before: bigint): LogRecord[] {
    const { topic, partition } = this.stretch;
    const records: LogRecord[] = [];
    for (let i = from; i < this.#insertions.length; i++) {
      const insertion = this.#insertions[i] as Insertion;
      if (insertion.before > before) break;
      const { key, value, timestampMs } = insertion;
      records.push({ topic, partition, offset: this.#offsets[i] as bigint, key, value, timestampMs, headers: {} });
    }
    return records;
  }
}

class ReplayReader implements LogReader {
  readonly #inner: LogReader;
  readonly #pace: Pace;
  readonly #sources: Map<string, { source: ReplaySource; inserted: number; isPaused: boolean }>;

  constructor(
    inner: LogReader,
    pace: Pace,
    sources: Map<string, { source: ReplaySource; inserted: number; isPaused: boolean }>,
  ) {
    this.#inner = inner;
    this.#pace = pace;
    this.#sources = sources;
  }

  async poll(options: { maxRecords: number; waitMs: number; signal?: AbortSignal }): Promise<LogRecord[]> {
    await this.#pace.hold(options.signal);
    const isOver = [...this.#sources.values()].every(({ source }) => source.isExhausted);
    const records = isOver ? [] : await this.#inner.poll(options);
    const given: LogRecord[] = [];
    for (const record of records) this.#give(record, given);
    for (const state of this.#sources.values()) this.#endWhereDue(state, given);
    this.#pace.took(given.length);
    return given;
  }

  #give(record: LogRecord, given: LogRecord[]): void {
    const state = this.#sources.get(keyOf(record));
    if (!state || record.offset >= state.source.stretch.end) return;
    const { source } = state;
    source.firstOffset ??= record.offset;
    const before = source.take(state.inserted, record.offset);
    given.push(...before);
    state.inserted += before.length;
    const offset = record.offset + BigInt(state.inserted);
    given.push({ ...record, offset });
    source.reached = offset + 1n;
  }

  #endWhereDue(state: { source: ReplaySource; inserted: number }, given: LogRecord[]): void {
    const { source } = state;
    if (source.isExhausted || this.#positionOf(source.stretch) < source.stretch.end) return;
    given.push(...source.take(state.inserted, source.stretch.end));
    source.isExhausted = true;
    source.reached = source.end;
    this.#inner.pause([source.stretch]);
  }

  #positionOf(of: TopicPartition): bigint {
    return this.#inner.positions().find((place) => keyOf(place) === keyOf(of))?.offset ?? 0n;
  }

  positions(): (TopicPartition & { offset: bigint })[] {
    return [...this.#sources.values()].map(({ source }) => {
      const { topic, partition } = source.stretch;
      return { topic, partition, offset: source.reached };
    });
  }

  knownEnd(partition: TopicPartition): bigint {
    return this.#sources.get(keyOf(partition))?.source.end ?? this.#inner.knownEnd(partition);
  }

  seek(): void {
    throw new Error('a replay reads forward only');
  }

  pause(partitions: TopicPartition[]): void {
    this.#inner.pause(partitions);
  }

  resume(partitions: TopicPartition[]): void {
    this.#inner.resume(partitions.filter((place) => !this.#sources.get(keyOf(place))?.source.isExhausted));
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

export class ReplayInputs {
  readonly #sources: Map<string, ReplaySource>;

  constructor(sources: readonly ReplaySource[]) {
    this.#sources = new Map(sources.map((source) => [keyOf(source.stretch), source]));
  }

  get sources(): ReplaySource[] {
    return [...this.#sources.values()];
  }

  /** Was everything of a partition given out? */
  isExhausted(partition: number): boolean {
    return this.sources.every(({ stretch, isExhausted }) => stretch.partition !== partition || isExhausted);
  }

  /** The log with these inputs. Everything else goes to the real one. */
  wrap(log: EventLog, pace: Pace): EventLog {
    const ownReader = async (options: ReaderOptions): Promise<LogReader> => {
      const sources = options.partitions.map((place) => this.#sources.get(keyOf(place)));
      if (!sources.every((source) => source !== undefined)) return log.openReader(options);
      const states = new Map<string, { source: ReplaySource; inserted: number; isPaused: boolean }>();
      const partitions = options.partitions.map((place, i) => {
        const source = sources[i] as ReplaySource;
        const own = typeof place.start === 'bigint' ? place.start : source.start;
        source.isExhausted = false;
        source.reached = own;
        source.firstOffset = undefined;
        states.set(keyOf(place), { source, inserted: source.insertedBefore(own), isPaused: false });
        return { topic: place.topic, partition: place.partition, start: source.realOffset(own) };
      });
      return new ReplayReader(await log.openReader({ partitions }), pace, states);
    };
    const ownWriter = async (options: { owner: string }): Promise<LogWriter> => {
      const writer = await log.openWriter(options);
      return {
        owner: writer.owner,
        close: () => writer.close(),
        commit: (commit) => {
          if (!commit.groupOffsets) return writer.commit(commit);
          const offsets = commit.groupOffsets.offsets.map((place) => ({
            ...place,
            offset: this.#sources.get(keyOf(place))?.realOffset(place.offset) ?? place.offset,
          }));
          return writer.commit({ ...commit, groupOffsets: { ...commit.groupOffsets, offsets } });
        },
      };
    };
    return new Proxy(log, {
      get: (target, name) => {
        if (name === 'openReader') return ownReader;
        if (name === 'openWriter') return ownWriter;
        if (name === 'describeTopics') return (names?: string[]) => this.#describe(target, names);
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  }

  /** A task checks that what it needs is there: here it is what the plan holds. */
  async #describe(log: EventLog, names?: string[]) {
    const described = await log.describeTopics(names);
    return described.map((topic) => ({
      ...topic,
      partitions: topic.partitions.map((place) => {
        const source = this.#sources.get(keyOf({ topic: topic.name, partition: place.partition }));
        return source ? { ...place, earliest: place.earliest, latest: source.end } : place;
      }),
    }));
  }
}
