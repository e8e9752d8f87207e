/**
 * What a replay would do, and what one has done, as objects for scripts and lines for people. Reads only.
 */
import { planIdOf } from '../../../lib/runbook/plan.ts';
import { judgeReplay, type ReplayFeasibility } from '../../../lib/runbook/ta-replay.ts';
import { usageError } from '../../../lib/service/errors.ts';
import { symbolsOf } from './collect.ts';
import type { ReplayContext } from './context.ts';
import { type LiveLoss, lossOfLiveRun } from './end-live-run.ts';
import { gatherFacts, type ReplayAnswer, type ReplayQuestion } from './facts.ts';
import { replayNames } from './names.ts';
import { isDestructive, type ReplayRecord } from './record.ts';

export interface ReplayPlan {
  id: string;
  feasibility: ReplayFeasibility;
  answer: ReplayAnswer;
  loss: LiveLoss | undefined;
  steps: string[];
  symbols: readonly string[];
}

const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());

export async function planReplay(context: ReplayContext, question: ReplayQuestion): Promise<ReplayPlan> {
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

export function planObject(question: ReplayQuestion, plan: ReplayPlan): Record<string, unknown> {
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
    next: plan.feasibility.admission ? runCommand(question, plan) : null,
  };
}

/** The command that does what the plan says, with its window written out. */
function runCommand(question: ReplayQuestion, { id, answer, symbols }: ReplayPlan): string {
  const { fromMs, toMs } = answer.facts;
  return [
    `torghut ta replay run --replay-id ${question.id} --method ${question.method} --from ${iso(fromMs)}`,
    ...(toMs === null ? [] : [`--to ${iso(toMs)}`]),
    ...(symbols.length === 0 ? [] : [`--symbols ${symbols.join(',')}`]),
    ...(question.isKeptApart ? ['--keep-apart'] : []),
    ...(question.duringSession ? ['--during-session'] : []),
    `--reason "…" --confirm ${id}`,
  ].join(' ');
}

export function statusObject(record: ReplayRecord): Record<string, unknown> {
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
