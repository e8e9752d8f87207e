/**
 * From a record of the ta topics to a row of the signal store (lib/ta/record.ts writes the records with the column names).
 * A record that is not one of ours is an error with its place in the topic, never a row with made-up values.
 */
import { z } from 'zod';
import type { LogRecord } from '../log/port.ts';
import { parseTimestampNs } from '../market/time.ts';
import { refusedError } from '../service/errors.ts';
import { indicatorNames } from './tables.ts';

const instant = z.string().transform((text, context) => {
  const ns = parseTimestampNs(text);
  if (ns === undefined) {
    context.addIssue({ code: 'custom', message: 'is no RFC 3339 time' });
    return z.NEVER;
  }
  return Number(ns / 1_000_000n);
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

/**
 * The columns of a record as they stand in its table, times as text; where it came from (`src_*`, `stored_at`) is not among them.
 * @throws ZodError when it is not a record of this version
 */
export function columnsOf(value: unknown, kind: 'bar' | 'signal'): Record<string, unknown> & { event_ms: number } {
  const parsed = kind === 'bar' ? barSchema.parse(value) : signalSchema.parse(value);
  const { event_ts, ingest_ts, window_start, window_end, ...rest } = parsed;
  const columns: Record<string, unknown> & { event_ms: number } = {
    ...rest,
    event_ts: timeText(event_ts),
    event_ms: event_ts,
    ingest_ts: timeText(ingest_ts),
    window_start: window_start === null ? null : timeText(window_start),
    window_end: window_end === null ? null : timeText(window_end),
  };
  if ('unpriced' in columns) {
    columns.unpriced_count = columns.unpriced;
    delete columns.unpriced;
  }
  return columns;
}

/** @throws `ta_record_invalid` (exit 4) */
export function rowOfRecord(record: LogRecord, kind: 'bar' | 'signal'): StoreRow {
  const place = `${record.topic} partition ${record.partition} offset ${record.offset}`;
  let columns: ReturnType<typeof columnsOf>;
  try {
    columns = columnsOf(JSON.parse((record.value ?? Buffer.alloc(0)).toString('utf8')), kind);
  } catch (error) {
    throw refusedError({
      code: 'ta_record_invalid',
      what: `the record at ${place} is not a ${kind} of this version`,
      why: error instanceof z.ZodError ? z.prettifyError(error).replaceAll('\n', ' ') : (error as Error).message,
      next: 'the topic was written by another version or another program; use a new run for it',
      cause: error,
    });
  }
  const { event_ms, ...row } = columns;
  const source = { src_partition: record.partition, src_offset: record.offset.toString() };
  return {
    kind,
    partition: record.partition,
    offset: record.offset,
    runId: String(columns.run_id),
    eventMs: event_ms,
    head: JSON.stringify({ ...row, ...source }).slice(0, -1),
  };
}
