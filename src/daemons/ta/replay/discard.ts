/**
 * Removes everything of a replay: its database, topics, groups, and at last its record. May be repeated after a crash at any
 * point. The journal keeps that there was one.
 */
import { crashPoint } from '../../../lib/service/crash-point.ts';
import { refusedError } from '../../../lib/service/errors.ts';
import { storeError } from '../../../lib/signals/errors.ts';
import type { ReplayContext } from './context.ts';
import { replayNames } from './names.ts';
import { forgetReplay, type ReplayRecord } from './record.ts';

/** @throws `replay_step` (exit 4) while it is half way into the live tables or half way through ending the live run */
export function demandDiscardable(record: ReplayRecord): void {
  const halfWay: ReplayRecord['step'][] = ['saved', 'kept', 'dropped', 'emptied', 'seeded'];
  if (!halfWay.includes(record.step)) return;
  throw refusedError({
    code: 'replay_step',
    what: `the replay ${record.replay_id} cannot be discarded`,
    why: `it stands half way (${record.step}): its database may hold the only copy of rows`,
    next:
      record.step === 'saved'
        ? 'finish it first: `torghut ta replay promote` or `torghut ta replay rollback`'
        : 'finish it first: `torghut ta replay run`',
  });
}

/** What discarding it loses for good; undefined when all of it can be computed again. */
export function lossOf(record: ReplayRecord): string | undefined {
  if (record.step === 'promoted') return 'the rows that the promote replaced: it can no longer be rolled back';
  if (record.step === 'handed_over') return 'the rows of the former run that were dropped';
  return undefined;
}

export async function discardReplay(context: ReplayContext, record: ReplayRecord): Promise<void> {
  const names = replayNames(record.replay_id);
  const client = await context.store.client();
  try {
    await client.command({ query: `DROP DATABASE IF EXISTS ${names.database} SYNC` });
  } catch (error) {
    throw storeError(error);
  }
  crashPoint('replay.discarding');
  const own = new Set([...Object.values(names.topics), ...Object.values(names.inputs)]);
  const there = (await context.log.describeTopics()).map(({ name }) => name).filter((name) => own.has(name));
  await context.log.deleteTopics(there);
  for (const group of [names.groupId, names.sinkGroupId]) await context.log.deleteGroup(group);
  context.journal.record({
    at: new Date(context.clock.nowMs()).toISOString(),
    replay_id: record.replay_id,
    method: record.method,
    step: 'discarded',
    actor: record.actor,
  });
  forgetReplay(context.home, record.replay_id);
}
