/**
 * What is known of a replay: its window, its very offsets, and the step that is done. One file per replay in the home,
 * written as a whole before and after each step, so that a crash anywhere is gone on from.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { codeOf, exitCode, refusedError, TorghutError, usageError } from '../../../lib/service/errors.ts';

export const replayMethods = ['m1t', 'm2', 'm3', 'm5'] as const;
export type ReplayMethod = (typeof replayMethods)[number];

/** Those that end the live run: its rows and topics are replaced, and a new run id begins. */
export const isDestructive = (method: ReplayMethod): boolean => method === 'm1t' || method === 'm3';

/** The steps of a replay, in order. */
export const replaySteps = [
  'created', 'collected', 'computed', 'saved', 'promoted', 'rolled_back',
  'kept', 'dropped', 'emptied', 'seeded', 'handed_over',
] as const; // biome-ignore format: two ways through them
export type ReplayStep = (typeof replaySteps)[number];

const offset = z.string().regex(/^\d+$/).transform(BigInt);
const placeSchema = z.object({ topic: z.string(), partition: z.int(), start: offset, end: offset });

const recordSchema = z.object({
  version: z.literal(1),
  replay_id: z.string(),
  method: z.enum(replayMethods),
  step: z.enum(replaySteps),
  /** Windows that end after the one and at or before the other, epoch ms; `to` is null where the run goes on with it. */
  from_ms: z.number(),
  to_ms: z.number().nullable(),
  partitions: z.int().positive(),
  /** The very records that are read: per input and partition, end exclusive. */
  inputs: z.array(placeSchema),
  repair: z.array(placeSchema),
  symbols: z.array(z.string()),
  live_database: z.string(),
  is_promotable: z.boolean(),
  reason: z.string(),
  actor: z.string(),
  /** Market time, RFC 3339. */
  created_at: z.string(),
  /** Machine time is not kept: how long it took is in the journal of the command. */
  records_read: z.number(),
});
export type ReplayRecord = z.output<typeof recordSchema>;

const folderOf = (home: string) => join(home, 'state', 'replays');
const pathOf = (home: string, id: string) => join(folderOf(home), `${id}.json`);

export function saveReplay(home: string, record: ReplayRecord): void {
  mkdirSync(folderOf(home), { recursive: true });
  const path = pathOf(home, record.replay_id);
  const text = JSON.stringify(
    record,
    (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value),
    1,
  );
  writeFileSync(`${path}.new`, `${text}\n`, { mode: 0o600, flush: true });
  renameSync(`${path}.new`, path);
}

/** @throws `replay_record_damaged` (exit 4) */
export function findReplay(home: string, id: string): ReplayRecord | undefined {
  const path = pathOf(home, id);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return recordSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw refusedError({
      code: 'replay_record_damaged',
      what: `${path} does not describe a replay of this version`,
      next: 'use the version that made it, or move the file away and discard its database and topics by hand',
      cause,
    });
  }
}

/** @throws `replay_unknown` (exit 2) */
export function demandReplay(home: string, id: string): ReplayRecord {
  const record = findReplay(home, id);
  if (record) return record;
  throw usageError({
    code: 'replay_unknown',
    what: `this home has no replay ${id}`,
    next: 'list them with `torghut ta replay status`',
  });
}

export function listReplays(home: string): ReplayRecord[] {
  let names: string[];
  try {
    names = readdirSync(folderOf(home)).filter((name) => name.endsWith('.json'));
  } catch {
    return [];
  }
  return names.sort().flatMap((name) => findReplay(home, name.slice(0, -'.json'.length)) ?? []);
}

/** The replay ended before it was done, by Ctrl-C or a signal. */
export function interrupted(id: string): TorghutError {
  return new TorghutError({
    code: 'replay_interrupted',
    what: `the replay ${id} was interrupted`,
    next: `go on with \`torghut ta replay run --replay-id ${id}\`, or discard it`,
    exitCode: exitCode.interrupted,
  });
}

export function forgetReplay(home: string, id: string): void {
  rmSync(pathOf(home, id), { force: true });
}
