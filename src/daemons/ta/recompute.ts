/**
 * One partition computed once more from the event log, from its first record, by the bare core: no state, no commits, no sink.
 * Guarantees: the same merged sequence as the running task's, so the same rows; rows are given out when nothing in the log read
 * so far can change them any more, and what is held meanwhile is bounded by the market time that revisions reach back.
 */
import type { EventLog, LogReader, LogRecord, NewRecord, TopicPartition } from '../../lib/log/port.ts';
import { exitCode, TorghutError, unreachableError } from '../../lib/service/errors.ts';
import { type CurrentRow, keepNewest, rowOfOutput } from '../../lib/signals/current-rows.ts';
import { formatSecond, type TaSettings } from '../../lib/ta/index.ts';
import { inputRoles } from './merge.ts';
import { firstMark, TaskCore } from './task-core.ts';

/** Market ms behind the watermark that a revision can reach: 16 minute bars, the lateness, and room. */
export const revisionReachMs = 1_200_000;

const POLL_RECORDS = 5_000;
const CONSUME_RECORDS = 500;
const PAUSE_ABOVE = 20_000;

export interface RecomputeOptions {
  log: EventLog;
  partition: number;
  /** Names of the input topics, in the order of `inputRoles`. */
  inputs: readonly string[];
  settings: TaSettings;
  maxFutureMs: number;
  /** Offsets that the running task has committed, in the order of the inputs. */
  committed: readonly bigint[];
  /** Takes rows that end at or before a second, once they are settled. */
  onSettled(untilMs: number, rows: Map<string, CurrentRow>): Promise<void>;
  /** Market ms of a slice: rows are given out by whole slices. */
  sliceMs: number;
}

export interface Recomputed {
  records: number;
  /** Rows that are left: newer than the last settled slice. */
  rest: Map<string, CurrentRow>;
  /** Everything that can be computed is committed by the running task. */
  isCaughtUp: boolean;
  /** Up to here the task's committed rows can no longer change, epoch ms; -Infinity before any event. */
  settledMs: number;
}

/** @throws `ta_history_cut` (exit 11) when retention has taken the first records, `ta_input_stuck` */
export async function recomputePartition(options: RecomputeOptions): Promise<Recomputed> {
  const { log, partition, inputs, settings, maxFutureMs, committed, sliceMs } = options;
  const places = inputs.map((topic) => ({ topic, partition }));
  const ends = await inputEnds(log, partition, inputs);
  const core = new TaskCore({
    partition,
    runId: 'recomputed',
    settings,
    maxFutureMs,
    topics: { bars: 'bars', signals: 'signals', late: 'late' },
    restored: { task: undefined, symbols: new Map() },
    start: firstMark(inputRoles.map(() => 0n)),
    nowText: () => formatSecond(0),
  });
  const reader = await log.openReader({
    partitions: places.map((place) => ({ ...place, start: 'earliest' as const })),
  });
  const rows = new Map<string, CurrentRow>();
  const isCommitted = () => core.merge.positions().every(({ offset }, i) => offset <= (committed[i] ?? 0n));
  let settledMs = Number.NEGATIVE_INFINITY;
  let givenMs = Number.NEGATIVE_INFINITY;
  let records = 0;
  let silent = 0;
  try {
    for (;;) {
      const polled = await reader.poll({ maxRecords: POLL_RECORDS, waitMs: silent === 0 ? 0 : 1_000 });
      for (const record of polled)
        if (isWanted(record, inputs, ends)) core.merge.push(inputs.indexOf(record.topic), record);
      let consumed = 0;
      for (let done = -1; done !== 0; consumed += done) {
        done = core.consume(stepBefore(core.merge.positions(), committed));
        take(core, rows);
        const { watermark } = core.engine;
        if (watermark && isCommitted()) settledMs = watermark.sec * 1_000 - revisionReachMs;
      }
      records += consumed;
      const wholeMs = Math.floor(settledMs / sliceMs) * sliceMs;
      if (wholeMs > givenMs && Number.isFinite(wholeMs)) {
        await options.onSettled(wholeMs, takeUntil(rows, wholeMs));
        givenMs = wholeMs;
      }
      const isPaused = balance(core, reader, places);
      silent = polled.length > 0 || consumed > 0 ? 0 : silent + 1;
      const isRead = (isAtEnd: typeof isBehindEnd) =>
        places.every((place, i) => isPaused[i] || isAtEnd(reader, place, ends[i]));
      if (silent >= 1 && isRead(isBehindEnd)) break;
      // Behind the last record of a Kafka partition stand only transaction markers.
      if (silent >= 2 && isRead(isBehindKnownEnd)) break;
      if (silent > 30) throw stuck(partition);
    }
  } finally {
    await reader.close();
  }
  return { records, rest: rows, isCaughtUp: isCommitted(), settledMs };
}

async function inputEnds(log: EventLog, partition: number, inputs: readonly string[]): Promise<bigint[]> {
  const described = await log.describeTopics([...inputs]);
  return inputs.map((name) => {
    const found = described.find((topic) => topic.name === name)?.partitions.find((p) => p.partition === partition);
    if ((found?.earliest ?? 0n) > 0n) {
      throw new TorghutError({
        exitCode: exitCode.cannotDetermine,
        code: 'ta_history_cut',
        what: `${name} partition ${partition} begins at offset ${found?.earliest}`,
        why: 'retention has taken the first records, and averages and session sums depend on them',
        next: 'compare with an output that was computed from the same first record: torghut ta diff',
      });
    }
    return found?.latest ?? 0n;
  });
}

/**
 * Records to merge until the next look at what is settled. Single ones shortly before the committed positions: in a quiet market
 * a few hundred records are a quarter of an hour, and the last look before them decides how much can be told.
 */
function stepBefore(positions: readonly { offset: bigint }[], committed: readonly bigint[]): number {
  const left = positions.map(({ offset }, i) => (committed[i] ?? 0n) - offset);
  const isNear = left.every((records) => records >= 0n) && left.reduce((a, b) => a + b, 0n) <= 2 * CONSUME_RECORDS;
  return isNear ? 1 : CONSUME_RECORDS;
}

/** Records beyond the end that was there at the beginning are not looked at: the log may grow without end. */
function isWanted(record: LogRecord, inputs: readonly string[], ends: readonly bigint[]): boolean {
  return record.offset < (ends[inputs.indexOf(record.topic)] ?? 0n);
}

const positionOf = (reader: LogReader, { topic }: TopicPartition): bigint =>
  reader.positions().find((place) => place.topic === topic)?.offset ?? 0n;

function isBehindEnd(reader: LogReader, place: TopicPartition, end = 0n): boolean {
  return positionOf(reader, place) >= end;
}

function isBehindKnownEnd(reader: LogReader, place: TopicPartition): boolean {
  return positionOf(reader, place) >= reader.knownEnd(place);
}

/** An input that the others cannot follow is not read on. @returns which are paused */
function balance(core: TaskCore, reader: LogReader, places: readonly TopicPartition[]): boolean[] {
  return places.map((place, i) => {
    const isPaused = core.merge.queued(i) > PAUSE_ABOVE;
    if (isPaused) reader.pause([place]);
    else reader.resume([place]);
    return isPaused;
  });
}

function take(core: TaskCore, rows: Map<string, CurrentRow>): void {
  for (const { topic, value } of core.outputs() as readonly NewRecord[]) {
    if (topic === 'late') continue;
    keepNewest(rows, rowOfOutput(JSON.parse(String(value)), topic === 'bars' ? 'bar' : 'signal'));
  }
  core.committed(core.mark(), new Set(core.changedSymbols));
}

/** Takes the rows out that end at or before the time. */
export function takeUntil(rows: Map<string, CurrentRow>, untilMs: number): Map<string, CurrentRow> {
  const taken = new Map<string, CurrentRow>();
  for (const [key, row] of rows) {
    if (row.eventMs > untilMs) continue;
    taken.set(key, row);
    rows.delete(key);
  }
  return taken;
}

function stuck(partition: number): Error {
  return unreachableError({
    code: 'ta_input_stuck',
    what: `the inputs of partition ${partition} cannot be read to their ends`,
    why: 'no record came for 30 s',
    next: 'look at the event log, then try again',
  });
}
