/**
 * `torghut ta diff`: two outputs compared by key, and the input behind the first difference.
 * A side is a database of the signal store (`clickhouse`, `clickhouse:NAME`) or a file of `torghut ta compute` (`.gz` too).
 */
import { existsSync } from 'node:fs';
import { openSignalStore, type SignalStore } from '../../embedded/connect.ts';
import { openEventLog } from '../../lib/log/open.ts';
import { openClock } from '../../lib/service/clock.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { describeError, type TorghutError, usageError } from '../../lib/service/errors.ts';
import { Comparison, type RowDifference } from '../../lib/signals/compare.ts';
import {
  type CurrentRow,
  endOfTime,
  keepNewest,
  rowOfOutput,
  StoredRows,
  type TimeRange,
} from '../../lib/signals/current-rows.ts';
import { inputFromFile, inputFromLog, type RowInputs } from './input-of-row.ts';
import { linesOf } from './lines.ts';
import { taVariables } from './variables.ts';

const SLICE_MS = 3_600_000;

export interface DiffOptions {
  home: string;
  env?: NodeJS.ProcessEnv;
  left: string;
  right: string;
  fromMs?: number | undefined;
  toMs?: number | undefined;
  /** Leave the revision numbers out: outputs of another arrival order have other ones. */
  valuesOnly: boolean;
  /** File of envelopes or messages that the input of the first difference is taken from; without it the log of the home. */
  data?: string | undefined;
}

export interface DiffResult {
  comparison: Comparison;
  first: RowDifference | undefined;
  inputs: RowInputs | undefined;
  /** Why the input cannot be shown, when there is a difference and it cannot. */
  inputsMissing: string | null;
}

interface Side {
  /** Starts of the slices that hold rows. */
  slices(range: TimeRange): Promise<number[]>;
  read(range: TimeRange): Promise<Map<string, CurrentRow>>;
}

/** @throws `diff_side_invalid`, `ta_file_unreadable` (exit 2), what the store reports (exit 3) */
export async function diffOutputs(options: DiffOptions): Promise<DiffResult> {
  const { home, valuesOnly } = options;
  const env = options.env ?? process.env;
  let store: SignalStore | undefined;
  const openStore = async () => {
    store ??= await openSignalStore({ home, env });
    return store;
  };
  try {
    const left = await openSide(options.left, openStore);
    const right = await openSide(options.right, openStore);
    const range = { fromMs: options.fromMs ?? 0, toMs: options.toMs ?? endOfTime };
    const comparison = new Comparison({ ignoresRevision: valuesOnly });
    const starts = new Set([...(await left.slices(range)), ...(await right.slices(range))]);
    for (const start of [...starts].sort((a, b) => a - b)) {
      const slice = { fromMs: Math.max(start, range.fromMs), toMs: Math.min(start + SLICE_MS, range.toMs) };
      comparison.add(await left.read(slice), await right.read(slice));
    }
    const { first } = comparison;
    return {
      comparison,
      first,
      ...(first ? await inputsOf(first, options, env) : { inputs: undefined, inputsMissing: null }),
    };
  } finally {
    await store?.close();
  }
}

async function inputsOf(first: RowDifference, options: DiffOptions, env: NodeJS.ProcessEnv) {
  try {
    if (options.data !== undefined) return { inputs: await inputFromFile(options.data, first), inputsMissing: null };
    const config = loadConfig(taVariables, env).values;
    const log = await openEventLog({ home: options.home, env, clock: openClock(undefined) });
    try {
      const topics = { trades: config.TA_TRADES_TOPIC, bars: config.TA_BARS1M_TOPIC };
      return { inputs: await inputFromLog(log, topics, first), inputsMissing: null };
    } finally {
      await log.close();
    }
  } catch (error) {
    // The difference itself is the answer; that its input is out of reach must not hide it.
    return { inputs: undefined, inputsMissing: describeError(error) };
  }
}

async function openSide(text: string, openStore: () => Promise<SignalStore>): Promise<Side> {
  const match = /^clickhouse(?::(.*))?$/.exec(text);
  if (!match) return fileSide(text);
  const name = match[1];
  if (name !== undefined && !/^[A-Za-z_]\w*$/.test(name))
    throw invalidSide(text, 'the name of the database is not one');
  const { client, database } = await openStore();
  const stored = new StoredRows(client, name ?? database);
  return { slices: (range) => stored.slices(range, SLICE_MS), read: (range) => stored.read(range) };
}

function invalidSide(text: string, why: string): TorghutError {
  return usageError({
    code: 'diff_side_invalid',
    what: `${text} is no output to compare`,
    why,
    next: 'give a file of `torghut ta compute`, `clickhouse`, or `clickhouse:NAME` for another database',
  });
}

async function fileSide(file: string): Promise<Side> {
  if (!existsSync(file)) throw invalidSide(file, 'there is no such file');
  const bySlice = new Map<number, Map<string, CurrentRow>>();
  let number = 0;
  try {
    for await (const line of linesOf(file)) {
      number += 1;
      if (line.trim() === '') continue;
      const row = rowOfLine(line);
      const start = Math.floor((row.eventMs - 1) / SLICE_MS) * SLICE_MS;
      const slice = bySlice.get(start) ?? new Map<string, CurrentRow>();
      bySlice.set(start, slice);
      keepNewest(slice, row);
    }
  } catch (error) {
    throw usageError({
      code: 'ta_file_unreadable',
      what: `line ${number} of ${file} cannot be read as a bar or signal`,
      why: error instanceof Error ? error.message.replaceAll(/\s+/g, ' ').slice(0, 300) : String(error),
      next: 'make the file with `torghut ta compute` of this version',
      cause: error,
    });
  }
  const within = (row: CurrentRow, range: TimeRange) => row.eventMs > range.fromMs && row.eventMs <= range.toMs;
  return {
    slices: async ({ fromMs, toMs }) =>
      [...bySlice.keys()].filter((start) => start + SLICE_MS > fromMs && start < toMs),
    read: async (range) => {
      const slice = bySlice.get(Math.floor((range.toMs - 1) / SLICE_MS) * SLICE_MS) ?? new Map<string, CurrentRow>();
      return new Map([...slice].filter(([, row]) => within(row, range)));
    },
  };
}

/** A line of `ta compute`: the record with its kind, and the column name of the table for what the topic calls `unpriced`. */
function rowOfLine(line: string): CurrentRow {
  const value = JSON.parse(line) as Record<string, unknown> | null;
  const kind = value?.kind;
  if (value === null || (kind !== 'bar' && kind !== 'signal')) throw new Error('it has no kind bar or signal');
  return rowOfOutput(kind === 'bar' ? { ...value, unpriced: value.unpriced_count } : value, kind);
}
