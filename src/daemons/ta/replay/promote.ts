/**
 * A computed replay put into the live tables, and taken out again (design 5: it enters by REPLACE PARTITION).
 * Guarantees: the rows that were there are saved before anything changes, and never saved again over themselves; each step may be
 * repeated after a crash; a day into which the live sink could write is refused unless the sink is paused. Trade reads the signal
 * log of its own run, which is not touched: no promoted row can make it act.
 */

import { crashPoint } from '../../../lib/service/crash-point.ts';
import { refusedError, TorghutError } from '../../../lib/service/errors.ts';
import { findService } from '../../../lib/service/home.ts';
import { readRecord } from '../../../lib/signals/run-record.ts';
import { checkedName } from '../../../lib/signals/schema.ts';
import { readControls } from '../control.ts';
import { revisionReachMs } from '../recompute.ts';
import type { ReplayContext } from './context.ts';
import { replayNames } from './names.ts';
import { type ReplayRecord, saveReplay } from './record.ts';
import { copyWindow, currentTables, daysOf, digestOf, type RowWindow, swapDay } from './swap.ts';

const DAY_MS = 86_400_000;

export function windowOf(record: ReplayRecord): RowWindow {
  if (record.to_ms === null) throw new Error('a replay that ends the live run has no window to promote');
  return { fromMs: record.from_ms, toMs: record.to_ms };
}

/** Why the days of a replay cannot be swapped now; empty when they can. */
export async function swapHindrances(context: ReplayContext, record: ReplayRecord): Promise<string[]> {
  const { log, clock, topics, sinkGroupId, config, home } = context;
  const { toMs } = windowOf(record);
  const found: string[] = [];
  const outputs = [topics.taBars, topics.taSignals];
  const stored = await log.groupOffsets(sinkGroupId, outputs);
  const storedOf = (topic: string, partition: number) =>
    stored.find((place) => place.topic === topic && place.partition === partition)?.offset ?? 0n;
  const described = await log.describeTopics(outputs);
  const behindUntil = async (ms: number) => {
    for (const { name, partitions } of described) {
      for (const { partition } of partitions) {
        const needed = await log.offsetForTime({ topic: name, partition }, ms);
        if (storedOf(name, partition) < needed) return `${name} partition ${partition} up to offset ${needed}`;
      }
    }
    return undefined;
  };
  const unstored = await behindUntil(toMs + revisionReachMs);
  if (unstored !== undefined) found.push(`the live sink has not stored ${unstored}, which may hold rows of the window`);
  const dayEndMs = (Math.floor(toMs / DAY_MS) + 1) * DAY_MS;
  const isClosed =
    clock.nowMs() > dayEndMs + revisionReachMs && (await behindUntil(dayEndMs + revisionReachMs)) === undefined;
  if (isClosed) return found;
  const { sink } = await readControls(log, config.TA_CONTROL_TOPIC);
  if (!sink.paused) {
    found.push('the live sink still writes into the last day of the window: torghut ta pause --only sink --wait');
    return found;
  }
  const url = findService(home, 'sink')?.url;
  if (url === undefined) return found;
  const answer = (await fetch(new URL('/status', url), { signal: AbortSignal.timeout(5_000) })
    .then((response) => response.json())
    .catch(() => undefined)) as { is_paused?: unknown } | undefined;
  if (answer?.is_paused !== true) found.push('the live sink is told to pause and has not yet');
  return found;
}

function demandStep(record: ReplayRecord, steps: readonly ReplayRecord['step'][], what: string): void {
  if (steps.includes(record.step)) return;
  throw refusedError({
    code: 'replay_step',
    what: `the replay ${record.replay_id} cannot be ${what}`,
    why: `it is ${record.step.replace('_', ' ')}; that follows ${steps.join(' or ')}`,
    next: 'look at it with `torghut ta replay status`',
  });
}

/** @throws `replay_step`, `replay_kept_apart` (exit 4) */
export function demandPromotable(record: ReplayRecord): void {
  if (!record.is_promotable) {
    throw refusedError({
      code: 'replay_kept_apart',
      what: `the replay ${record.replay_id} is never promoted`,
      why: record.to_ms === null ? 'it is the live run itself' : 'it was begun with --keep-apart',
      next: 'begin a new one without it',
    });
  }
  demandStep(record, ['computed', 'saved', 'rolled_back'], 'promoted');
}

export const demandPromoted = (record: ReplayRecord): void => demandStep(record, ['promoted', 'saved'], 'rolled back');

/** Puts the rows of the replay into the live tables. */
export async function promoteReplay(context: ReplayContext, record: ReplayRecord): Promise<ReplayRecord> {
  const { database } = replayNames(record.replay_id);
  const client = await context.store.client();
  const live = checkedName(record.live_database);
  let now = record;
  if (now.step !== 'saved') {
    for (const table of currentTables) {
      const to = { database, name: `before_${table.name}` };
      await copyWindow(client, `${live}.${table.name}`, to, table, windowOf(record));
      crashPoint('replay.saving');
    }
    now = note(context, { ...now, step: 'saved' });
    crashPoint('replay.saved');
  }
  await swapAll(context, now, (name) => `${database}.${name}`);
  now = note(context, { ...now, step: 'promoted' });
  crashPoint('replay.promoted');
  return now;
}

/** Puts the rows back that the promote replaced. Live rows outside the window stay as they are now. */
export async function rollBackReplay(context: ReplayContext, record: ReplayRecord): Promise<ReplayRecord> {
  const { database } = replayNames(record.replay_id);
  // Until it is done it stands as saved: a crash leaves both ways open.
  const begun = note(context, { ...record, step: 'saved' });
  await swapAll(context, begun, (name) => `${database}.before_${name}`);
  const now = note(context, { ...begun, step: 'rolled_back' });
  crashPoint('replay.rolled_back');
  return now;
}

async function swapAll(
  context: ReplayContext,
  record: ReplayRecord,
  sourceOf: (table: string) => string,
): Promise<void> {
  const client = await context.store.client();
  const { database } = replayNames(record.replay_id);
  const window = windowOf(record);
  const ttlDays = (await readRecord(client, record.live_database))?.ttl_days ?? undefined;
  for (const day of daysOf(window)) {
    for (const table of currentTables) {
      context.tell(`${day}: ${record.live_database}.${table.name}`);
      const source = sourceOf(table.name);
      await swapDay({ client, liveDatabase: record.live_database, database, table, source, window, day, ttlDays });
    }
  }
  for (const table of currentTables) {
    const wanted = await digestOf(client, sourceOf(table.name), table, window);
    const got = await digestOf(client, `${record.live_database}.${table.name}`, table, window);
    if (wanted.hash === got.hash && wanted.rows === got.rows) continue;
    throw new TorghutError({
      code: 'replay_rows_moved',
      what: `${record.live_database}.${table.name} has ${got.rows} rows in the window, ${wanted.rows} were put there`,
      why: 'somebody wrote into it meanwhile',
      next: 'pause the sink (`torghut ta pause --only sink`), then begin the step again',
    });
  }
}

/** Writes the step and tells the journal. */
export function note(context: ReplayContext, record: ReplayRecord): ReplayRecord {
  saveReplay(context.home, record);
  context.journal.record({
    at: new Date(context.clock.nowMs()).toISOString(),
    replay_id: record.replay_id,
    method: record.method,
    step: record.step,
    actor: record.actor,
    reason: record.reason,
  });
  return record;
}
