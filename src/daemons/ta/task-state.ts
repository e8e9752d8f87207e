/**
 * What a task keeps in its partition of the state topic (design 5): the task record (positions, watermark, `replay_from`) and
 * a snapshot per symbol with the position that it covers.
 * Guarantees: read as a whole or refused; a snapshot never stands for more than its positions say.
 */
import { z } from 'zod';
import type { EventLog, LogRecord } from '../../lib/log/port.ts';
import { refusedError, unreachableError } from '../../lib/service/errors.ts';
import type { Instant } from '../../lib/ta/index.ts';
import type { InputPosition } from './merge.ts';
import { progressSchema, type ShardProgress } from './progress.ts';

/** A point between two records of the merged sequence from which a task can go on. */
export interface Mark {
  inputs: InputPosition[];
  /** Newest event time before the mark; null before the first event. */
  newest: Instant | null;
  progress: (ShardProgress | undefined)[];
}

export interface TaskCounters {
  records: number;
  bars: number;
  signals: number;
  revisions: number;
  late: number;
  duplicates: number;
  rejected: number;
  trades_without_price: number;
  unknown_conditions: Record<string, number>;
}

export const emptyCounters = (): TaskCounters => ({
  records: 0,
  bars: 0,
  signals: 0,
  revisions: 0,
  late: 0,
  duplicates: 0,
  rejected: 0,
  trades_without_price: 0,
  unknown_conditions: {},
});

export interface TaskRecord {
  runId: string;
  committed: Mark;
  replayFrom: Mark;
  counters: TaskCounters;
  /** Bars and signals that end at or before this are warm-up and never given out (epoch ms); null gives out everything. */
  giveFromMs: number | null;
}

const offsetText = z.string().regex(/^\d+$/).transform(BigInt);
const markSchema = z.object({
  inputs: z.array(z.object({ offset: offsetText, running_max_ms: z.number().nullable() })).length(3),
  newest: z.object({ sec: z.int(), nano: z.int() }).nullable(),
  progress: z.array(progressSchema.nullable()).length(3),
});
const count = z.int().nonnegative();
const taskSchema = z.object({
  version: z.literal(1),
  run_id: z.string(),
  committed: markSchema,
  replay_from: markSchema,
  give_from_ms: z.number().nullable().default(null),
  counters: z.object({
    records: count,
    bars: count,
    signals: count,
    revisions: count,
    late: count,
    duplicates: count,
    rejected: count,
    trades_without_price: count,
    unknown_conditions: z.record(z.string(), count),
  }),
});

function writeMark(mark: Mark): z.input<typeof markSchema> {
  return {
    inputs: mark.inputs.map(({ offset, runningMaxMs }) => ({
      offset: offset.toString(),
      running_max_ms: Number.isFinite(runningMaxMs) ? runningMaxMs : null,
    })),
    newest: mark.newest,
    progress: mark.progress.map((state) => state ?? null),
  };
}

function readMark(mark: z.output<typeof markSchema>): Mark {
  return {
    inputs: mark.inputs.map(({ offset, running_max_ms }) => ({
      offset,
      runningMaxMs: running_max_ms ?? Number.NEGATIVE_INFINITY,
    })),
    newest: mark.newest,
    progress: mark.progress.map((state) => state ?? undefined),
  };
}

export const taskKey = 'task';
const symbolPrefix = 'symbol:';
export const symbolKey = (symbol: string): string => `${symbolPrefix}${symbol}`;

export function encodeTaskRecord(record: TaskRecord): Buffer {
  return Buffer.from(
    JSON.stringify({
      version: 1,
      run_id: record.runId,
      committed: writeMark(record.committed),
      replay_from: writeMark(record.replayFrom),
      ...(record.giveFromMs === null ? {} : { give_from_ms: record.giveFromMs }),
      counters: record.counters,
    }),
  );
}

/** A symbol's snapshot behind the offsets of the three inputs that it covers. */
export function encodeSymbolState(inputs: readonly InputPosition[], snapshot: Uint8Array): Buffer {
  const value = Buffer.alloc(24 + snapshot.length);
  for (const [i, { offset }] of inputs.entries()) value.writeBigUInt64LE(offset, i * 8);
  value.set(snapshot, 24);
  return value;
}

export interface SymbolState {
  /** Next offset of each input that the snapshot does not cover. */
  covers: bigint[];
  snapshot: Uint8Array;
}

function decodeSymbolState(value: Buffer): SymbolState {
  const covers = [0, 8, 16].map((at) => value.readBigUInt64LE(at));
  return { covers, snapshot: Uint8Array.from(value.subarray(24)) };
}

export interface RestoredState {
  task: TaskRecord | undefined;
  symbols: Map<string, SymbolState>;
}

export function stateUnreadable(place: string, cause: unknown): Error {
  return refusedError({
    code: 'ta_state_unreadable',
    what: `the ta state in ${place} cannot be read`,
    why: (cause as Error).message,
    next: 'it was written by another version or damaged: run the version that wrote it, or start a new run',
    cause,
  });
}

/** Reads a partition of the state topic to its end. Call after the predecessor is fenced. */
export async function readTaskState(log: EventLog, topic: string, partition: number): Promise<RestoredState> {
  const restored: RestoredState = { task: undefined, symbols: new Map() };
  const [description] = await log.describeTopics([topic]);
  const end = description?.partitions.find((found) => found.partition === partition)?.latest ?? 0n;
  const reader = await log.openReader({ partitions: [{ topic, partition, start: 'earliest' }] });
  try {
    let silent = 0;
    while ((reader.positions()[0]?.offset ?? 0n) < end) {
      const records = await reader.poll({ maxRecords: 1_000, waitMs: 1_000 });
      for (const record of records) takeState(restored, record);
      silent = records.length > 0 ? 0 : silent + 1;
      // Behind the last record only transaction markers may be left.
      if (silent >= 2 && reader.knownEnd({ topic, partition }) <= (reader.positions()[0]?.offset ?? 0n)) break;
      if (silent < 30) continue;
      throw unreachableError({
        code: 'ta_state_stuck',
        what: `the state topic ${topic} partition ${partition} cannot be read to its end ${end}`,
        why: 'no record came for 30 s',
        next: 'look at the event log; the task is tried again',
      });
    }
  } finally {
    await reader.close();
  }
  return restored;
}

function takeState(restored: RestoredState, record: LogRecord): void {
  const { key, value, topic, partition, offset } = record;
  try {
    if (key === taskKey && value !== null) {
      const parsed = taskSchema.parse(JSON.parse(value.toString('utf8')));
      restored.task = {
        runId: parsed.run_id,
        committed: readMark(parsed.committed),
        replayFrom: readMark(parsed.replay_from),
        giveFromMs: parsed.give_from_ms,
        counters: parsed.counters,
      };
    } else if (key?.startsWith(symbolPrefix)) {
      const symbol = key.slice(symbolPrefix.length);
      if (value === null) restored.symbols.delete(symbol);
      else restored.symbols.set(symbol, decodeSymbolState(value));
    }
  } catch (error) {
    throw stateUnreadable(`${topic} partition ${partition} offset ${offset}`, error);
  }
}
