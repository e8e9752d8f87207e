/**
 * From a record of the ta topics to a row of the signal store (lib/ta/record.ts writes the records with the column names).
 * A record that is not one of ours is an error with its place in the topic, never a row with made-up values.
 */
import { z } from 'zod';
import type { LogRecord } from '../log/port.ts';
import { parseTimestampNs } from '../market/time.ts';
import { refusedError } from '../service/errors.ts';
import { readRecordForm } from './record-form.ts';
import { indicatorNames } from './tables.ts';

/** A time of a record: milliseconds, and the text that the engine reads. */
interface Instant {
  ms: number;
  text: string;
}

/**
 * Times met lately by their text: the symbols of a second share theirs, and a record has four (measured: reading and writing
 * times was two thirds of the work on a record).
 */
const instants = new Map<string, Instant>();
const maxInstants = 2_000;

function instantOf(text: string): Instant | undefined {
  const known = instants.get(text);
  if (known) return known;
  const ns = parseTimestampNs(text);
  if (ns === undefined) return undefined;
  const ms = Number(ns / 1_000_000n);
  const made = { ms, text: timeText(ms) };
  if (instants.size >= maxInstants) instants.clear();
  instants.set(text, made);
  return made;
}

const instant = z.string().transform((text, context) => {
  const found = instantOf(text);
  if (found) return found;
  context.addIssue({ code: 'custom', message: 'is no RFC 3339 time' });
  return z.NEVER;
});

const flag = z.boolean().transform(Number);
const nullableNumber = z.number().nullable();

const envelope = {
  symbol: z.string().min(1),
  window_size: z.enum(['PT1S', 'PT1M']),
  event_ts: instant,
  revision: z.int().nonnegative(),
  seq: z.int().nonnegative(),
  ingest_ts: instant,
  is_final: flag,
  source: z.string(),
  window_step: z.string().nullable(),
  window_start: instant.nullable(),
  window_end: instant.nullable(),
  version: z.int().nonnegative(),
  run_id: z.string().min(1),
};

const barSchema = z.object({
  ...envelope,
  o: nullableNumber,
  h: nullableNumber,
  l: nullableNumber,
  c: nullableNumber,
  v: z.number(),
  vwap: nullableNumber,
  count: z.int().nonnegative(),
  unpriced: z.int().nonnegative(),
  is_flat: flag,
});

const indicatorShape = Object.fromEntries(indicatorNames.map((name) => [name, nullableNumber])) as Record<
  (typeof indicatorNames)[number],
  typeof nullableNumber
>;

const signalSchema = z.object({
  ...envelope,
  ...indicatorShape,
  microstructure_signal_v1: z.unknown().transform((value) => (value == null ? null : JSON.stringify(value))),
  n_bars: z.int().nonnegative(),
  is_warm: flag,
  signal_quality_flag: z.string(),
  feature_schema_version: z.string(),
});

export interface StoreRow {
  kind: 'bar' | 'signal';
  partition: number;
  offset: bigint;
  runId: string;
  eventMs: number;
  /** The row as JSON, without its closing brace: `stored_at` is added when it is written. */
  head: string;
}

/** Milliseconds as the DateTime64(3) text that the engine reads. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString().slice(0, 23).replace('T', ' ');
}

/** The columns of a record as they stand in its table, times as text. */
function rowOf(
  value: unknown,
  kind: 'bar' | 'signal',
): { row: Record<string, unknown>; runId: string; eventMs: number } {
  const parsed = kind === 'bar' ? barSchema.parse(value) : signalSchema.parse(value);
  const row: Record<string, unknown> = parsed;
  const { run_id: runId, event_ts: eventTs, window_start: start, window_end: end } = parsed;
  row.event_ts = eventTs.text;
  row.ingest_ts = parsed.ingest_ts.text;
  row.window_start = start === null ? null : start.text;
  row.window_end = end === null ? null : end.text;
  if (!('unpriced' in parsed)) return { row, runId, eventMs: eventTs.ms };
  const { unpriced, ...rest } = parsed;
  return { row: { ...rest, unpriced_count: unpriced }, runId, eventMs: eventTs.ms };
}

/**
 * The columns of a record as they stand in its table, times as text; where it came from (`src_*`, `stored_at`) is not among them.
 * @throws ZodError when it is not a record of this version
 */
export function columnsOf(value: unknown, kind: 'bar' | 'signal'): Record<string, unknown> & { event_ms: number } {
  const { row, eventMs } = rowOf(value, kind);
  return { ...row, event_ms: eventMs };
}

/** The row of a text in the form of lib/ta/record.ts, without reading it as JSON; undefined when it is none. */
function rowOfForm(text: string, kind: 'bar' | 'signal'): { text: string; runId: string; eventMs: number } | undefined {
  const form = readRecordForm(text, kind);
  if (!form) return undefined;
  const event = instantOf(form.eventTs);
  const ingest = instantOf(form.ingestTs);
  const start = instantOf(form.windowStart);
  const end = instantOf(form.windowEnd);
  if (!event || !ingest || !start || !end) return undefined;
  const times = `"event_ts":"${event.text}","ingest_ts":"${ingest.text}","window_start":"${start.text}","window_end":"${end.text}"`;
  return { text: `{${form.columns},${times}`, runId: form.runId, eventMs: event.ms };
}

function rowOfJson(text: string, kind: 'bar' | 'signal'): { text: string; runId: string; eventMs: number } {
  const { row, runId, eventMs } = rowOf(JSON.parse(text), kind);
  return { text: JSON.stringify(row).slice(0, -1), runId, eventMs };
}

/** @throws `ta_record_invalid` (exit 4) */
export function rowOfRecord(record: LogRecord, kind: 'bar' | 'signal'): StoreRow {
  const { partition, offset } = record;
  try {
    const value = (record.value ?? Buffer.alloc(0)).toString('utf8');
    const { text, runId, eventMs } = rowOfForm(value, kind) ?? rowOfJson(value, kind);
    const head = `${text},"src_partition":${partition},"src_offset":"${offset}"`;
    return { kind, partition, offset, runId, eventMs, head };
  } catch (error) {
    throw refusedError({
      code: 'ta_record_invalid',
      what: `the record at ${record.topic} partition ${partition} offset ${offset} is not a ${kind} of this version`,
      why: error instanceof z.ZodError ? z.prettifyError(error).replaceAll('\n', ' ') : (error as Error).message,
      next: 'the topic was written by another version or another program; use a new run for it',
      cause: error,
    });
  }
}
