/**
 * A task: partition p of trades, quotes and bars together, with its own writer (design 5).
 * Guarantees: the writer is opened, which fences the predecessor, before the state is read; outputs, state and positions are
 * one commit; memory is bounded while catching up. A commit that fails ends the task; it is opened anew from its state.
 */
import type { EventLog, LogReader, LogWriter, NewRecord } from '../../lib/log/port.ts';
import { sessionOf } from '../../lib/market/calendar.ts';
import type { Clock } from '../../lib/service/clock.ts';
import { refusedError } from '../../lib/service/errors.ts';
import { machineMs } from '../../lib/service/machine.ts';
import { formatInstant, SnapshotError, type TaSettings } from '../../lib/ta/index.ts';
import type { TaEncoder } from '../../lib/wire/ta-encoder.ts';
import { heartbeatOf } from './heartbeat.ts';
import { inputRoles } from './merge.ts';
import { firstMark, TaskCore } from './task-core.ts';
import {
  encodeSymbolState,
  encodeTaskRecord,
  type Mark,
  readTaskState,
  stateUnreadable,
  symbolKey,
  taskKey,
} from './task-state.ts';

export interface TaskTopics {
  trades: string;
  quotes: string;
  bars: string;
  taBars: string;
  taSignals: string;
  taLate: string;
  taState: string;
  taStatus: string;
}

export interface TaskOptions {
  log: EventLog;
  clock: Clock;
  runId: string;
  settings: TaSettings;
  topics: TaskTopics;
  groupId: string;
  clientId: string;
  maxFutureMs: number;
  commitIntervalMs: number;
  commitRecords: number;
  heartbeatMs: number;
  degradedAfterMs: number;
  offsetReset: 'earliest' | 'latest' | 'none';
  /** Turns outputs and heartbeats into Avro; without it they are JSON. */
  encoder?: TaEncoder | undefined;
  /** A ClickHouse is configured by its address (told in heartbeats). */
  isSinkEnabled?: boolean;
  /** Owner of partition p's writer (`{p}` stands for its number); without it the live one's. */
  owner?: string;
}

/**
 * On Kafka the owner is the transactional id of the whole cluster: another run must not be fenced by this one. On the embedded
 * log it names the environment of the partition.
 */
export function taskOwner(
  options: Pick<TaskOptions, 'log' | 'clientId' | 'runId' | 'owner'>,
  partition: number,
): string {
  const { log, clientId, runId, owner } = options;
  if (owner !== undefined) return owner.replaceAll('{p}', String(partition));
  return log.kind === 'kafka' ? `${clientId}-${runId}-${partition}` : `ta-${partition}`;
}

/**
 * Records read at once, and records of one input that may wait for the others: enough to keep the merge going between two reads,
 * and little enough that nine full queues are some ten megabytes.
 */
const POLL_RECORDS = 2_000;
const PAUSE_ABOVE = 4_000;
const RESUME_BELOW = 1_000;
/** Machine ms between two snapshots of one symbol, and between commits that carry positions only. */
const SNAPSHOT_MS = 1_000;
const QUIET_COMMIT_MS = 1_000;

export class PartitionTask {
  readonly partition: number;
  readonly #options: TaskOptions;
  readonly #writer: LogWriter;
  readonly #reader: LogReader;
  readonly #core: TaskCore;
  readonly #inputs: string[];
  readonly #paused: boolean[] = [false, false, false];
  readonly #snapshotAt = new Map<string, number>();
  #committed: Mark;
  #sinceCommit = 0;
  #committedAt = machineMs();
  #heartbeatAt = Number.NEGATIVE_INFINITY;
  #previousBeat: { inputCount: number; outputCount: number } | undefined;
  #commits = 0;
  /** Everything that was read and can be merged is applied. */
  #isDrained = false;
  readonly #giveFromMs: number | null;

  private constructor(
    options: TaskOptions,
    partition: number,
    writer: LogWriter,
    reader: LogReader,
    core: TaskCore,
    giveFromMs: number | null,
  ) {
    this.#giveFromMs = giveFromMs;
    this.#options = options;
    this.partition = partition;
    this.#writer = writer;
    this.#reader = reader;
    this.#core = core;
    this.#inputs = inputRoles.map((role) => options.topics[role]);
    this.#committed = core.mark();
  }

  /** Fences the former task of the partition, then reads its state. @throws what a refused state or the log reports */
  static async open(options: TaskOptions, partition: number): Promise<PartitionTask> {
    const { log, topics, settings, runId, clock, maxFutureMs } = options;
    const writer = await log.openWriter({ owner: taskOwner(options, partition) });
    try {
      const restored = await readTaskState(log, topics.taState, partition);
      if (restored.task && restored.task.runId !== runId) {
        throw refusedError({
          code: 'ta_state_of_other_run',
          what: `the ta state of partition ${partition} belongs to run ${restored.task.runId}, not ${runId}`,
          why: 'one set of topics holds one run',
          next: 'use the topics of this run, or set TORGHUT_RUN_ID to the run that goes on',
        });
      }
      const start = firstMark(await startOffsets(options, partition, restored.task?.replayFrom));
      const core = new TaskCore({
        partition,
        runId,
        settings,
        maxFutureMs,
        topics: { bars: topics.taBars, signals: topics.taSignals, late: topics.taLate },
        restored,
        start,
        nowText: () => new Date(clock.nowMs()).toISOString(),
      });
      const reader = await log.openReader({
        partitions: inputRoles.map((role, i) => ({
          topic: topics[role],
          partition,
          start: core.merge.positions()[i]?.offset ?? 0n,
        })),
      });
      return new PartitionTask(options, partition, writer, reader, core, restored.task?.giveFromMs ?? null);
    } catch (error) {
      await writer.close();
      if (error instanceof SnapshotError) throw stateUnreadable(`${topics.taState} partition ${partition}`, error);
      throw error;
    }
  }

  /**
   * Works until the signal aborts or there is nothing more to come, then commits what is ready and closes.
   * @param isAtEnd asked between two steps; without it there is no end
   * @throws when a commit fails
   */
  async run(signal: AbortSignal, isAtEnd: () => boolean = () => false): Promise<void> {
    try {
      while (!signal.aborted && !(this.#isDrained && isAtEnd())) await this.#step(signal);
      if (!this.#core.isReplaying && this.#sinceCommit > 0) await this.#commit(false);
    } finally {
      await this.#reader.close();
      await this.#writer.close();
    }
  }

  async #step(signal: AbortSignal): Promise<void> {
    const { commitRecords } = this.#options;
    const records = await this.#reader.poll({ maxRecords: POLL_RECORDS, waitMs: this.#waitMs(), signal });
    for (const record of records) this.#core.merge.push(this.#inputs.indexOf(record.topic), record);
    this.#balance();
    for (;;) {
      const limit = commitRecords - this.#sinceCommit;
      const done = this.#core.consume(limit);
      this.#isDrained = done < limit;
      this.#sinceCommit += done;
      if (this.#core.isReplaying) this.#sinceCommit = 0;
      const isFull = this.#sinceCommit >= commitRecords;
      const isBeat = machineMs() - this.#heartbeatAt >= this.#options.heartbeatMs;
      if (!this.#core.isReplaying && (isFull || isBeat || this.#isDue())) await this.#commit(isBeat);
      if (!isFull || signal.aborted) return;
    }
  }

  #isDue(): boolean {
    if (this.#sinceCommit === 0) return false;
    const age = machineMs() - this.#committedAt;
    return age >= (this.#core.waiting > 0 ? this.#options.commitIntervalMs : QUIET_COMMIT_MS);
  }

  #waitMs(): number {
    const now = machineMs();
    const beat = this.#heartbeatAt + this.#options.heartbeatMs - now;
    const limit = this.#core.waiting > 0 ? this.#options.commitIntervalMs : QUIET_COMMIT_MS;
    const commit = this.#sinceCommit > 0 ? this.#committedAt + limit - now : limit;
    return Math.max(0, Math.min(beat, commit, QUIET_COMMIT_MS));
  }

  /** An input that the others cannot follow stops being read, so that a long catch-up does not fill the memory. */
  #balance(): void {
    for (let i = 0; i < this.#inputs.length; i++) {
      const queued = this.#core.merge.queued(i);
      const of = [{ topic: this.#inputs[i] as string, partition: this.partition }];
      if (!this.#paused[i] && queued > PAUSE_ABOVE) {
        this.#paused[i] = true;
        this.#reader.pause(of);
      } else if (this.#paused[i] && queued < RESUME_BELOW) {
        this.#paused[i] = false;
        this.#reader.resume(of);
      }
    }
  }

  async #commit(isBeat: boolean): Promise<void> {
    const { runId, topics, groupId, clock } = this.#options;
    const mark = this.#core.mark();
    const now = machineMs();
    const snapshots = new Set<string>();
    for (const symbol of this.#core.changedSymbols) {
      if (now - (this.#snapshotAt.get(symbol) ?? Number.NEGATIVE_INFINITY) >= SNAPSHOT_MS) snapshots.add(symbol);
    }
    const records: NewRecord[] = [...this.#core.outputs()];
    const state = (key: string, value: Buffer): NewRecord => ({
      topic: topics.taState,
      partition: this.partition,
      key,
      value,
      timestampMs: clock.nowMs(),
    });
    for (const symbol of snapshots) {
      const snapshot = this.#core.engine.snapshot(symbol);
      if (snapshot) records.push(state(symbolKey(symbol), encodeSymbolState(mark.inputs, snapshot)));
    }
    for (const symbol of this.#core.evicted) {
      records.push({ ...state(symbolKey(symbol), Buffer.alloc(0)), value: null });
      this.#snapshotAt.delete(symbol);
    }
    const replayFrom = this.#core.replayFrom(mark, snapshots);
    const { counters } = this.#core;
    records.push(
      state(taskKey, encodeTaskRecord({ runId, committed: mark, replayFrom, counters, giveFromMs: this.#giveFromMs })),
    );
    if (isBeat) records.push(this.#heartbeat(now));
    const offsets = this.#inputs.map((topic, i) => ({
      topic,
      partition: this.partition,
      offset: mark.inputs[i]?.offset ?? 0n,
    }));
    const { encoder } = this.#options;
    await this.#writer.commit({ records: encoder?.encode(records) ?? records, groupOffsets: { groupId, offsets } });
    this.#core.committed(mark, snapshots);
    for (const symbol of snapshots) this.#snapshotAt.set(symbol, now);
    this.#committed = mark;
    this.#committedAt = now;
    this.#sinceCommit = 0;
    this.#commits += 1;
  }

  #heartbeat(now: number): NewRecord {
    const { clock, topics, degradedAfterMs, runId } = this.#options;
    const nowMs = clock.nowMs();
    const { bars, signals } = this.#core.counters;
    const { watermark, latest } = { watermark: this.#core.engine.watermark, latest: this.#core.latest };
    const newestMs = Math.max(Number.NEGATIVE_INFINITY, ...[...latest.values()].map((bar) => bar.end * 1_000));
    const lastMs = Number.isFinite(newestMs) ? newestMs : null;
    const elapsedSeconds = (now - this.#heartbeatAt) / 1_000;
    const body = heartbeatOf({
      nowMs,
      watermarkMs: watermark && watermark.sec * 1_000 + watermark.nano / 1_000_000,
      lastInputMs: lastMs,
      lastOutputMs: lastMs,
      inputCount: bars,
      outputCount: signals,
      previous: this.#previousBeat && { ...this.#previousBeat, elapsedSeconds },
      isRegularSession: sessionOf(clock.nowNs()) === 'regular',
      degradedAfterMs,
      latestBySymbol: new Map([...latest].map(([symbol, bar]) => [symbol, bar.end * 1_000])),
      isSinkEnabled: this.#options.isSinkEnabled ?? false,
    });
    this.#previousBeat = { inputCount: bars, outputCount: signals };
    this.#heartbeatAt = now;
    const ts = new Date(nowMs).toISOString();
    const envelope = { ingest_ts: ts, event_ts: ts, symbol: 'ta', seq: this.#commits, is_final: true, source: 'ta' };
    const value = { ...envelope, window: null, run_id: runId, partition: this.partition, ...body, version: 1 };
    return {
      topic: topics.taStatus,
      partition: this.partition,
      key: 'ta',
      value: Buffer.from(JSON.stringify(value)),
      timestampMs: nowMs,
    };
  }

  get core(): TaskCore {
    return this.#core;
  }

  /** Positions and watermark that every output behind them is durable for. */
  status(): {
    positions: Record<string, string>;
    ends: Record<string, string>;
    watermark: string | null;
    symbols: number;
  } {
    const isSettled = this.#core.waiting === 0 && !this.#core.isReplaying;
    const { maxOutOfOrderMs } = this.#options.settings;
    const newest = isSettled ? this.#core.engine.newestEvent : this.#committed.newest;
    const watermarkMs = newest && newest.sec * 1_000 + Math.floor(newest.nano / 1_000_000) - maxOutOfOrderMs;
    const positions: Record<string, string> = {};
    const ends: Record<string, string> = {};
    for (const [i, topic] of this.#inputs.entries()) {
      const offset = isSettled ? this.#core.merge.settledOffset(i) : (this.#committed.inputs[i]?.offset ?? 0n);
      positions[topic] = offset.toString();
      ends[topic] = this.#reader.knownEnd({ topic, partition: this.partition }).toString();
    }
    return {
      positions,
      ends,
      watermark:
        watermarkMs === null ? null : formatInstant(Math.floor(watermarkMs / 1_000), (watermarkMs % 1_000) * 1_000_000),
      symbols: this.#core.engine.symbols.size,
    };
  }
}

/** Offsets to begin at without state; with state, the check that the log still holds what it needs. */
async function startOffsets(options: TaskOptions, partition: number, from: Mark | undefined): Promise<bigint[]> {
  const { log, topics, offsetReset } = options;
  const names = inputRoles.map((role) => topics[role]);
  const described = await log.describeTopics(names);
  return names.map((name, i) => {
    const found = described.find((topic) => topic.name === name)?.partitions.find((p) => p.partition === partition);
    const [earliest, latest] = [found?.earliest ?? 0n, found?.latest ?? 0n];
    const needed = from?.inputs[i]?.offset;
    if (needed !== undefined && (needed < earliest || needed > latest)) {
      throw refusedError({
        code: 'ta_input_gone',
        what: `the ta state needs ${name} partition ${partition} from offset ${needed}, the topic holds ${earliest} to ${latest}`,
        why: needed > latest ? 'the topic was made anew' : 'retention has removed what was not yet read',
        next: 'start a new run: its own topics and TORGHUT_RUN_ID',
      });
    }
    if (needed === undefined && offsetReset === 'none') {
      throw refusedError({
        code: 'ta_no_state',
        what: `partition ${partition} has no ta state`,
        why: 'TA_AUTO_OFFSET_RESET is none',
        next: 'set it to earliest or latest to begin anew',
      });
    }
    return needed ?? (offsetReset === 'latest' ? latest : earliest);
  });
}
