/**
 * `torghut ta replay`: plan, run, promote, roll back, discard, status (spec ta R7).
 * Guarantees: reading is free; nothing begins unless the feasibility admits it, and nothing changes without consent to the very
 * plan that was shown; what was begun is gone on with by the same words after a crash.
 */
import { askConsent } from '../../../lib/runbook/confirm.ts';
import { planIdOf } from '../../../lib/runbook/plan.ts';
import { crashPoint } from '../../../lib/service/crash-point.ts';
import { exitCode, refusedError, usageError } from '../../../lib/service/errors.ts';
import { readRecord } from '../../../lib/signals/run-record.ts';
import { checkedName } from '../../../lib/signals/schema.ts';
import { comparisonObject } from '../comparison-view.ts';
import { diffOutputs } from '../diff.ts';
import { collectInput } from './collect.ts';
import { computeReplay } from './compute.ts';
import type { ReplayContext } from './context.ts';
import { demandDiscardable, discardReplay, lossOf } from './discard.ts';
import { endLiveRun } from './end-live-run.ts';
import type { ReplayQuestion } from './facts.ts';
import { replayNames } from './names.ts';
import { planObject, planReplay, statusObject } from './plan.ts';
import {
  demandPromotable, demandPromoted, note, promoteReplay, rollBackReplay, swapHindrances, windowOf,
} from './promote.ts'; // biome-ignore format: one list
import { demandReplay, findReplay, isDestructive, listReplays, type ReplayRecord } from './record.ts';
import { daysOf } from './swap.ts';

export interface ReplayConsent {
  confirm?: string | undefined;
  yes: boolean;
  dryRun: boolean;
  reason: string;
  actor: string;
}

export interface ReplayOutcome {
  object: Record<string, unknown>;
  exitCode: number;
}

export async function showPlan(context: ReplayContext, question: ReplayQuestion): Promise<ReplayOutcome> {
  const plan = await planReplay(context, question);
  return {
    object: { action: 'plan', ...planObject(question, plan) },
    exitCode: plan.feasibility.admission ? exitCode.ok : exitCode.problemFound,
  };
}

/** Begins a replay, or goes on with one that was begun. */
export async function runReplay(
  context: ReplayContext,
  question: ReplayQuestion,
  consent: ReplayConsent,
): Promise<ReplayOutcome> {
  const begun = findReplay(context.home, question.id);
  if (begun) {
    if (['computed', 'promoted', 'saved', 'rolled_back', 'handed_over'].includes(begun.step)) {
      throw refusedError({
        code: 'replay_step',
        what: `the replay ${begun.replay_id} is ${begun.step.replace('_', ' ')} already`,
        next: 'promote, roll back or discard it; a new one takes a new --replay-id',
      });
    }
    context.tell(`going on with the replay ${begun.replay_id}, which is ${begun.step}`);
    return finish(context, begun);
  }
  // Who gives no window means to go on; consent in advance is consent to a window that was named, or to the plan that was read.
  const isUnseen = consent.yes && consent.confirm === undefined && !consent.dryRun;
  if (isUnseen && question.fromMs === undefined && question.method !== 'm3') {
    throw usageError({
      code: 'replay_not_begun',
      what: `there is no replay ${question.id} to go on with, and --yes begins none without --from`,
      why: 'it was never begun, or it was discarded',
      next: 'give --from, and --to where it should end; `torghut ta replay status` lists what was begun',
    });
  }
  const plan = await planReplay(context, question);
  const object = planObject(question, plan);
  if (!plan.feasibility.admission && !consent.dryRun) {
    throw refusedError({
      code: 'replay_refused',
      what: `the replay ${question.id} is not begun`,
      why: plan.feasibility.required_actions.map(({ block, why }) => `${block}: ${why}`).join('; '),
      next: plan.feasibility.required_actions.map(({ next }) => next).join('; '),
    });
  }
  for (const step of plan.steps) context.tell(`plan ${plan.id}: ${step}`);
  const isAgreed = await askConsent({
    ...consent,
    what: `begin the replay ${question.id}`,
    planId: plan.id,
    isDestructive: isDestructive(question.method),
  });
  if (!isAgreed) return { object: { action: 'run', applied: false, ...object }, exitCode: exitCode.ok };
  const { facts, inputs, repair, partitions } = plan.answer;
  const record = note(context, {
    version: 1,
    replay_id: question.id,
    method: question.method,
    step: 'created',
    from_ms: facts.fromMs,
    to_ms: facts.toMs,
    partitions,
    inputs,
    repair,
    symbols: [...plan.symbols],
    live_database: checkedName(context.store.database),
    is_promotable: !question.isKeptApart && !isDestructive(question.method),
    reason: consent.reason,
    actor: consent.actor,
    created_at: new Date(facts.nowMs).toISOString(),
    records_read: 0,
  });
  crashPoint('replay.created');
  return finish(context, record);
}

/** Everything from the record to the end of the computation. */
async function finish(context: ReplayContext, begun: ReplayRecord): Promise<ReplayOutcome> {
  if (isDestructive(begun.method)) {
    const ended = await endLiveRun(context, begun);
    return {
      object: { action: 'run', applied: true, ...statusObject(ended.record), next: ended.next },
      exitCode: exitCode.ok,
    };
  }
  let record = begun;
  if (record.method === 'm5' && record.step === 'created') record = await collectInput(context, record);
  const computed = await computeReplay(context, record);
  record = note(context, { ...record, step: 'computed', records_read: computed.records });
  crashPoint('replay.computed');
  const difference = await differenceOf(context, record);
  return {
    object: { action: 'run', applied: true, ...statusObject(record), ...computed, ...difference },
    exitCode: exitCode.ok,
  };
}

/** The live rows of the window against those of the replay; nothing where the live store has no tables yet. */
async function differenceOf(context: ReplayContext, record: ReplayRecord): Promise<Record<string, unknown>> {
  const { home, env } = context;
  const client = await context.store.client();
  if (!(await readRecord(client, record.live_database))) return { compared: null };
  const { fromMs, toMs } = windowOf(record);
  const [left, right] = [record.live_database, replayNames(record.replay_id).database];
  const sides = { left: `clickhouse:${left}`, right: `clickhouse:${right}` };
  const found = await diffOutputs({ home, env, ...sides, fromMs, toMs, valuesOnly: false });
  return comparisonObject(found.comparison, found.inputs, found.inputsMissing);
}

export async function promote(context: ReplayContext, id: string, consent: ReplayConsent): Promise<ReplayOutcome> {
  const record = demandReplay(context.home, id);
  demandPromotable(record);
  const days = daysOf(windowOf(record));
  const steps = [
    `save the rows of the window from ${record.live_database}`,
    `replace them in ${days.join(', ')} by those of ${replayNames(id).database}; rows outside the window stay`,
  ];
  return change(context, record, consent, { action: 'promote', steps, isDestructive: false }, () =>
    promoteReplay(context, record),
  );
}

export async function rollBack(context: ReplayContext, id: string, consent: ReplayConsent): Promise<ReplayOutcome> {
  const record = demandReplay(context.home, id);
  demandPromoted(record);
  const steps = [`put the rows back that were in ${record.live_database} before the promote`];
  return change(context, record, consent, { action: 'rollback', steps, isDestructive: false }, () =>
    rollBackReplay(context, record),
  );
}

/** A change of the live rows: refused while somebody else may write or trade on them. */
async function change(
  context: ReplayContext,
  record: ReplayRecord,
  consent: ReplayConsent,
  plan: { action: string; steps: string[]; isDestructive: boolean },
  work: () => Promise<ReplayRecord>,
): Promise<ReplayOutcome> {
  const { action, steps } = plan;
  const hindrances = await swapHindrances(context, record);
  const planId = planIdOf({ action, id: record.replay_id, from: record.from_ms, to: record.to_ms, step: record.step });
  const object = { action, plan_id: planId, steps, hindrances };
  if (consent.dryRun)
    return {
      object: { ...object, applied: false, ...statusObject(record) },
      exitCode: hindrances.length > 0 ? exitCode.problemFound : exitCode.ok,
    };
  if (hindrances.length > 0) {
    throw refusedError({
      code: 'replay_rows_open',
      what: `the rows of ${record.replay_id} cannot be swapped now`,
      why: hindrances.join('; '),
      next: 'do what is named, then ask again',
    });
  }
  for (const step of steps) context.tell(`plan ${planId}: ${step}`);
  const isAgreed = await askConsent({ ...consent, what: steps.join('; '), planId, isDestructive: plan.isDestructive });
  const after = isAgreed ? await work() : record;
  return { object: { ...object, applied: isAgreed, ...statusObject(after) }, exitCode: exitCode.ok };
}

export async function discard(context: ReplayContext, id: string, consent: ReplayConsent): Promise<ReplayOutcome> {
  const record = demandReplay(context.home, id);
  demandDiscardable(record);
  const loss = lossOf(record);
  const planId = planIdOf({ action: 'discard', id, step: record.step });
  const { database } = replayNames(id);
  const what = `drop the database ${database}, the topics and groups of ${id}${loss === undefined ? '' : `, and with them ${loss}`}`;
  context.tell(`plan ${planId}: ${what}`);
  const isAgreed = await askConsent({ ...consent, what, planId, isDestructive: loss !== undefined });
  if (isAgreed) await discardReplay(context, { ...record, actor: consent.actor });
  return {
    object: { action: 'discard', replay_id: id, plan_id: planId, loses: loss ?? null, applied: isAgreed },
    exitCode: exitCode.ok,
  };
}

/** Every replay of this home, or one. */
export function replayStatus(home: string, id: string | undefined): Record<string, unknown>[] {
  return (id === undefined ? listReplays(home) : [demandReplay(home, id)]).map(statusObject);
}
