/**
 * What a task computes, without any I/O: merged records go through the core, outputs gather until the next commit.
 * Guarantees
 * - Outputs are a function of the merged sequence. After a restart records are applied past their symbol's snapshot only, and
 *   nothing is given out before the committed positions: every output is committed once.
 * - What cannot be used is counted and given out with its reason, never dropped in silence.
 */
import type { LogRecord, NewRecord } from '../../lib/log/port.ts';
import {
  type BarOutput,
  barRecord,
  decodeRecord,
  type Emit,
  formatInstant,
  IGNORED,
  type LateOutput,
  type MarketEvent,
  type SymbolSnapshot,
  signalRecord,
  TaEngine,
  type TaSettings,
} from '../../lib/ta/index.ts';
import { InputMerge, inputRoles } from './merge.ts';
import { noteProgress, type ShardProgress } from './progress.ts';
import type { Mark, RestoredState, TaskCounters } from './task-state.ts';

export interface CoreTopics {
  bars: string;
  signals: string;
  late: string;
}

export interface TaskCoreOptions {
  partition: number;
  runId: string;
  settings: TaSettings;
  maxFutureMs: number;
  topics: CoreTopics;
  restored: RestoredState;
  /** Where to begin without state. */
  start: Mark;
  /** Market now as RFC 3339, for `ingest_ts`. */
  nowText: () => string;
}

/** The part of a record that cannot be used which is kept with its reason. */
const RAW_LIMIT = 65_536;

interface NumberedMark {
  number: number;
  mark: Mark;
}

export class TaskCore {
  readonly engine: TaEngine;
  readonly merge: InputMerge;
  /** Newest bar of each symbol, for the status. */
  readonly latest = new Map<string, BarOutput>();
  #outputs: NewRecord[] = [];
  #records = 0;
  #rejected = 0;
  #progress: (ShardProgress | undefined)[];
  /** The mark of the last commit (or of the replay's beginning). */
  #lastMark: NumberedMark;
  /** Symbols whose snapshot is older than their state, with the mark before their first uncovered change. */
  readonly #changed = new Map<string, NumberedMark>();
  /** Symbols that the engine has forgotten since the last commit. */
  readonly #evicted = new Set<string>();
  /** Offsets that the restored snapshots cover; undefined when the replay is over. */
  #covers: Map<string, readonly bigint[]> | undefined;
  /** Nothing is given out before this mark is reached. */
  #silentUntil: Mark | undefined;
  #restoredCounters: TaskCounters | undefined;
  #current: LogRecord | undefined;
  readonly #options: TaskCoreOptions;
  readonly #emit: Emit = (output) => {
    if (this.#silentUntil !== undefined || this.#isWarmUp(output)) return;
    this.#outputs.push(this.#recordOf(output));
  };

  /** @throws SnapshotError */
  constructor(options: TaskCoreOptions) {
    this.#options = options;
    this.engine = new TaEngine(options.settings, (symbol) => this.#forget(symbol));
    const { task, symbols } = options.restored;
    const from = task?.replayFrom ?? options.start;
    this.merge = new InputMerge(from.inputs);
    this.#progress = [...from.progress];
    this.#lastMark = { number: 0, mark: from };
    if (!task) return;
    this.#covers = new Map();
    this.#silentUntil = task.committed;
    this.#restoredCounters = task.counters;
    const snapshots: SymbolSnapshot[] = [];
    for (const [symbol, { covers, snapshot }] of symbols) {
      this.#covers.set(symbol, covers);
      snapshots.push({ symbol, bytes: snapshot });
    }
    this.engine.restore(from.newest, snapshots, this.#emit);
    this.#endReplayWhenReached();
  }

  /** Does it belong to a time that was only read to warm up? */
  #isWarmUp(output: Parameters<Emit>[0]): boolean {
    const fromMs = this.#options.restored.task?.giveFromMs ?? null;
    if (fromMs === null) return false;
    return (output.kind === 'late' ? output.event.sec : output.end) * 1_000 <= fromMs;
  }

  /** Is the task still going over what was committed before? */
  get isReplaying(): boolean {
    return this.#silentUntil !== undefined;
  }

  /** Outputs that wait for the next commit. */
  get waiting(): number {
    return this.#outputs.length;
  }

  /** Applies up to `limit` merged records. @returns how many there were */
  consume(limit: number): number {
    let done = 0;
    for (; done < limit; done++) {
      const next = this.merge.next();
      if (next === undefined) break;
      this.#records += 1;
      this.#current = next.record;
      this.#apply(next.input, next.record);
      if (this.#silentUntil !== undefined) this.#endReplayWhenReached();
    }
    return done;
  }

  #apply(input: number, record: LogRecord): void {
    const event = decodeValue(record.value);
    if (typeof event === 'string') {
      if (event !== IGNORED) this.#reject(record, event);
      return;
    }
    if (event.sec * 1_000 + event.nano / 1_000_000 > record.timestampMs + this.#options.maxFutureMs) {
      this.#reject(record, 'future_event_ts');
    } else if (event.kind === 'progress') {
      const { state, progress } = noteProgress(this.#progress[input], record.headers.shard, event);
      this.#progress[input] = state;
      if (progress) this.engine.observe(progress.sec, progress.nano, this.#emit);
    } else {
      this.#applyEvent(input, record, event);
    }
  }

  #applyEvent(input: number, record: LogRecord, event: MarketEvent): void {
    const covered = this.#covers?.get(event.symbol)?.[input];
    if (covered !== undefined && record.offset < covered) {
      this.engine.observe(event.sec, event.nano, this.#emit);
      return;
    }
    if (!this.#changed.has(event.symbol)) this.#changed.set(event.symbol, this.#lastMark);
    // It is back: the snapshot that comes with the next commit must not be removed by it.
    if (this.#evicted.size > 0) this.#evicted.delete(event.symbol);
    this.engine.process(event, this.#emit);
  }

  #endReplayWhenReached(): void {
    const { committed } = this.#options.restored.task ?? {};
    if (!committed) return;
    const isReached = this.merge.positions().every(({ offset }, i) => offset >= (committed.inputs[i]?.offset ?? 0n));
    if (!isReached) return;
    this.#silentUntil = undefined;
    this.#covers = undefined;
    this.#lastMark = { number: 1, mark: committed };
    if (this.#restoredCounters) this.#setCounters(this.#restoredCounters);
  }

  /** Counts over the life of the run; the replay has counted some things twice. */
  #setCounters(counters: TaskCounters): void {
    this.#records = counters.records;
    this.#rejected = counters.rejected;
    const own = this.engine.counters;
    own.bars = counters.bars;
    own.signals = counters.signals;
    own.revisions = counters.revisions;
    own.late = counters.late;
    own.duplicates = counters.duplicates;
    own.tradesWithoutPrice = counters.trades_without_price;
    own.unknownConditions = new Map(Object.entries(counters.unknown_conditions));
  }

  get counters(): TaskCounters {
    const own = this.engine.counters;
    return {
      records: this.#records,
      bars: own.bars,
      signals: own.signals,
      revisions: own.revisions,
      late: own.late,
      duplicates: own.duplicates,
      rejected: this.#rejected,
      trades_without_price: own.tradesWithoutPrice,
      unknown_conditions: Object.fromEntries(own.unknownConditions),
    };
  }

  #reject(record: LogRecord, reason: string): void {
    this.#rejected += 1;
    if (this.#silentUntil !== undefined) return;
    const { topic, partition, offset, key, value } = record;
    const raw = value?.subarray(0, RAW_LIMIT).toString('utf8') ?? null;
    const body = { reason, symbol: key, run_id: this.#options.runId, ...sourceOf({ topic, partition, offset }), raw };
    this.#outputs.push({
      topic: this.#options.topics.late,
      partition: this.#options.partition,
      key: key ?? 'UNKNOWN',
      value: Buffer.from(JSON.stringify(body)),
      timestampMs: record.timestampMs,
    });
  }

  #recordOf(output: Parameters<Emit>[0]): NewRecord {
    const { topics, partition, runId, nowText } = this.#options;
    if (output.kind === 'late') return this.#lateRecord(output);
    const isBar = output.kind === 'bar';
    if (isBar && output.end >= (this.latest.get(output.symbol)?.end ?? 0)) this.latest.set(output.symbol, output);
    return {
      topic: isBar ? topics.bars : topics.signals,
      partition,
      key: output.symbol,
      value: Buffer.from(isBar ? barRecord(output, nowText(), runId) : signalRecord(output, nowText(), runId)),
      timestampMs: output.end * 1_000,
    };
  }

  #lateRecord({ reason, event }: LateOutput): NewRecord {
    const { watermark } = this.engine;
    const body = {
      reason,
      symbol: event.symbol,
      event_ts: formatInstant(event.sec, event.nano),
      watermark: watermark && formatInstant(watermark.sec, watermark.nano),
      run_id: this.#options.runId,
      // An amendment that waited for its trade is given out long after its record.
      ...(reason !== 'unmatched_amendment' && this.#current ? sourceOf(this.#current) : {}),
      event,
    };
    return {
      topic: this.#options.topics.late,
      partition: this.#options.partition,
      key: event.symbol,
      value: Buffer.from(JSON.stringify(body)),
      timestampMs: event.sec * 1_000 + Math.floor(event.nano / 1_000_000),
    };
  }

  /** The point that the merge has reached. */
  mark(): Mark {
    return { inputs: this.merge.positions(), newest: this.engine.newestEvent, progress: [...this.#progress] };
  }

  /** Symbols that changed since their snapshot. */
  get changedSymbols(): Iterable<string> {
    return this.#changed.keys();
  }

  /** Silent symbols that were forgotten: their snapshots in the state topic have no more use. */
  get evicted(): Iterable<string> {
    return this.#evicted;
  }

  #forget(symbol: string): void {
    this.#changed.delete(symbol);
    this.latest.delete(symbol);
    this.#evicted.add(symbol);
  }

  /** The outputs of the next commit. They leave the core when `committed` says that they are durable. */
  outputs(): readonly NewRecord[] {
    return this.#outputs;
  }

  /** Where a restart has to begin if these symbols' snapshots are written with the mark. */
  replayFrom(mark: Mark, snapshots: ReadonlySet<string>): Mark {
    let oldest: NumberedMark | undefined;
    for (const [symbol, numbered] of this.#changed) {
      if (!snapshots.has(symbol) && (!oldest || numbered.number < oldest.number)) oldest = numbered;
    }
    return oldest?.mark ?? mark;
  }

  /** Outputs, state and positions up to the mark are durable. */
  committed(mark: Mark, snapshots: ReadonlySet<string>): void {
    this.#outputs = [];
    this.#evicted.clear();
    for (const symbol of snapshots) this.#changed.delete(symbol);
    this.#lastMark = { number: this.#lastMark.number + 1, mark };
  }
}

const utf8 = (bytes: Uint8Array): string => (bytes as Buffer).toString('utf8');

function decodeValue(value: Buffer | null): ReturnType<typeof decodeRecord> {
  return value === null ? 'schema' : decodeRecord(value, utf8);
}

function sourceOf({ topic, partition, offset }: Pick<LogRecord, 'topic' | 'partition' | 'offset'>) {
  return { source_topic: topic, source_partition: partition, source_offset: offset.toString() };
}

/** A mark before everything, at given offsets. */
export function firstMark(offsets: readonly bigint[]): Mark {
  return {
    inputs: offsets.map((offset) => ({ offset, runningMaxMs: Number.NEGATIVE_INFINITY })),
    newest: null,
    progress: inputRoles.map(() => undefined),
  };
}
