/**
 * `torghut ta replay`: plan, run, promote, roll back, discard, status (spec ta R7).
 * Guarantees: reading is free; nothing begins unless the feasibility admits it, and nothing changes without consent to the very
 * plan that was shown; what was begun is gone on with by the same words after a crash.
 */
import { askConsent } from '../../../lib/runbook/confirm.ts';
import { planIdOf } from '../../../lib/runbook/plan.ts';
import { judgeReplay, type ReplayFeasibility } from '../../../lib/runbook/ta-replay.ts';
import { crashPoint } from '../../../lib/service/crash-point.ts';
import { exitCode, refusedError, usageError } from '../../../lib/service/errors.ts';
import { checkedName } from '../../../lib/signals/schema.ts';
import { comparisonObject } from '../comparison-view.ts';
import { diffOutputs } from '../diff.ts';
import { collectInput, symbolsOf } from './collect.ts';
import { computeReplay } from './compute.ts';
import type { ReplayContext } from './context.ts';
import { demandDiscardable, discardReplay, lossOf } from './discard.ts';
import { endLiveRun, type LiveLoss, lossOfLiveRun } from './end-live-run.ts';
import { gatherFacts, type ReplayAnswer, type ReplayQuestion } from './facts.ts';
import { replayNames } from './names.ts';
import {
  demandPromotable,
  demandPromoted,
  note,
  promoteReplay,
  rollBackReplay,
  swapHindrances,
  windowOf,
} from './promote.ts';
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

interface ReplayPlan {
  id: string;
  feasibility: ReplayFeasibility;
  answer: ReplayAnswer;
  loss: LiveLoss | undefined;
  steps: string[];
  symbols: readonly string[];
}

const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());

async function planReplay(context: ReplayContext, question: ReplayQuestion): Promise<ReplayPlan> {
  const isFetched = question.method === 'm5';
  if (isFetched && (question.fromMs === undefined || question.toMs === undefined)) {
    throw usageError({
      code: 'replay_window_missing',
      what: '--method m5 needs a window',
      next: 'give --from and --to',
    });
  }
  const answer = await gatherFacts(context, question);
  const { facts } = answer;
  if (facts.toMs !== null && facts.toMs <= facts.fromMs && facts.settledMs !== null) {
    throw usageError({
      code: 'replay_window_empty',
      what: `from ${iso(facts.fromMs)} to ${iso(facts.toMs)} there is nothing`,
      next: 'give --from before --to',
    });
  }
  const feasibility = judgeReplay(facts);
  const loss = isDestructive(question.method) ? await lossOfLiveRun(context, facts.fromMs) : undefined;
  const symbols = isFetched ? symbolsOf(context, question.symbols) : [];
  const { id, method, isKeptApart, duringSession } = question;
  const planId = planIdOf({
    id,
    method,
    from: facts.fromMs,
    to: facts.toMs,
    partitions: answer.partitions,
    blocks: feasibility.required_actions.map(({ block }) => block),
    isKeptApart,
    duringSession,
    symbols: [...symbols],
    loss: loss ? loss.partitions.map(({ table, day }) => `${table} ${day}`) : null,
  });
  return { id: planId, feasibility, answer, loss, steps: stepsOf(question, answer, loss, symbols), symbols };
}

function stepsOf(
  question: ReplayQuestion,
  { facts, inputs, isExact }: ReplayAnswer,
  loss: LiveLoss | undefined,
  symbols: readonly string[],
): string[] {
  const names = replayNames(question.id);
  const records = inputs.reduce((sum, { start, end }) => sum + Number(end - start), 0);
  if (loss) return loss.steps;
  return [
    ...(question.method === 'm5'
      ? [
          `fetch trades, quotes and bars of ${symbols.length} symbols from the provider into ${names.inputs.trades} and its like`,
        ]
      : [`read ${records} records of the log and what of ${facts.repairRecords} repaired ones is missing in it`]),
    `compute run ${names.runId} into its own topics and the database ${names.database}; the live run goes first`,
    question.method !== 'm5' && isExact
      ? 'averages begin with the first record of the log, as the live run did: unchanged input gives unchanged rows'
      : `averages begin ${Math.round(facts.leadMs / 60_000)} minutes before the window or with what there is: they may differ from the live run's in the last digits`,
    'compare it with the live rows; promote or discard it afterwards',
  ];
}

function planObject(question: ReplayQuestion, plan: ReplayPlan): Record<string, unknown> {
  const { facts, inputs, repair } = plan.answer;
  const names = replayNames(question.id);
  return {
    replay_id: question.id,
    plan_id: plan.id,
    method: question.method,
    from: iso(facts.fromMs),
    to: iso(facts.toMs),
    settled_until: iso(facts.settledMs),
    run_id: names.runId,
    database: isDestructive(question.method) ? null : names.database,
    replay_feasibility: plan.feasibility,
    facts: {
      market_now: iso(facts.nowMs),
      session: facts.session,
      trading: facts.trading,
      lead_seconds: facts.leadMs / 1_000,
      source_whole_from: iso(facts.source.cutMs),
      ttl_days: facts.ttlDays,
      disk_free_bytes: facts.disk.freeBytes,
      disk_estimate_bytes: facts.disk.estimateBytes,
      disk_level_after: facts.disk.level,
      repaired_records: facts.repairRecords,
      live_rows: facts.coverage.rows,
      live_sessions: facts.coverage.days,
      live_gaps: facts.coverage.gaps,
    },
    inputs: inputs.map(({ topic, partition, start, end }) => ({ topic, partition, start, end })),
    repair: repair.map(({ topic, partition, start, end }) => ({ topic, partition, start, end })),
    drops: plan.loss?.partitions ?? [],
    steps: plan.steps,
  };
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
  const { fromMs, toMs } = windowOf(record);
  const { database } = replayNames(record.replay_id);
  const compared = await diffOutputs({
    home: context.home,
    env: context.env,
    left: `clickhouse:${record.live_database}`,
    right: `clickhouse:${database}`,
    fromMs,
    toMs,
    valuesOnly: false,
  });
  const difference = comparisonObject(compared.comparison, compared.inputs, compared.inputsMissing);
  return {
    object: { action: 'run', applied: true, ...statusObject(record), ...computed, ...difference },
    exitCode: exitCode.ok,
  };
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

function statusObject(record: ReplayRecord): Record<string, unknown> {
  const names = replayNames(record.replay_id);
  return {
    replay_id: record.replay_id,
    method: record.method,
    step: record.step,
    from: iso(record.from_ms),
    to: iso(record.to_ms),
    run_id: names.runId,
    database: names.database,
    can_be_promoted: record.is_promotable,
    records_read: record.records_read,
    created_at: record.created_at,
    actor: record.actor,
    reason: record.reason,
  };
}
