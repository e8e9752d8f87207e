/**
 * Pause, stop and resume as plans over the trading controls (spec 10.2, 10.3). Pure: facts in, plan or refusal out.
 * Guarantees: pausing and stopping need nothing to be well; resuming needs every check to be ok, and after a stop another
 * person than the one who stopped.
 */
import type { ControlsChange, TradingControls } from '../ledger/contract.ts';
import type { StopRecord } from '../ledger/operator.ts';
import { refusedError } from '../service/errors.ts';
import { bookChecks, type Check, describeProblems, planIdOf, verdictOf } from './plan.ts';

export type ControlAction = 'pause' | 'stop' | 'resume';

export interface ControlPlan {
  id: string;
  action: ControlAction;
  accountLabel: string;
  /** What would be done, one line each; empty when it is so already. */
  steps: readonly string[];
  change: ControlsChange;
  before: TradingControls;
  /** --yes is not enough. */
  needsConfirm: boolean;
}

function planOf(plan: Omit<ControlPlan, 'id' | 'accountLabel'>): ControlPlan {
  const { accountLabel, killSwitch, paused, emergencyStopReason } = plan.before;
  const facts = { action: plan.action, accountLabel, killSwitch, paused, emergencyStopReason };
  return { ...plan, accountLabel, id: planIdOf(facts) };
}

export function planPause(before: TradingControls): ControlPlan {
  const steps = before.paused ? [] : ['pause: decide nothing and send nothing; reconcile and cancels go on'];
  return planOf({ action: 'pause', steps, change: { paused: true }, before, needsConfirm: false });
}

export function planStop(before: TradingControls): ControlPlan {
  const steps = before.killSwitch
    ? []
    : ['kill switch on: every submit is refused; a running loop cancels its open orders in each cycle'];
  return planOf({ action: 'stop', steps, change: { killSwitch: true }, before, needsConfirm: false });
}

export function planResume(before: TradingControls, stop: StopRecord | undefined): ControlPlan {
  const steps: string[] = [];
  if (before.killSwitch) steps.push(`kill switch off (set by ${stop?.actor ?? 'unknown'}: ${stop?.reason ?? ''})`);
  if (before.emergencyStopReason !== undefined) steps.push(`release the emergency stop ${before.emergencyStopReason}`);
  if (before.paused) steps.push('end the pause: decisions and orders begin with the next cycle');
  const change = { paused: false, killSwitch: false, emergencyStopReason: null };
  const needsConfirm = before.killSwitch || before.emergencyStopReason !== undefined;
  return planOf({ action: 'resume', steps, change, before, needsConfirm });
}

/** Name of the check that `stop --cancel-open` makes. */
export const cancelCheckId = 'cancelled';

/** Names of the checks that `stop --flatten` makes. */
export const flattenCheckIds = ['market_open', 'flattened'] as const;

/** Names of the conditions of `resume`, as its runbook page lists them. */
export const resumeCheckIds = [
  'signal_lag',
  'cursor_ahead',
  'reconcile_lag',
  'unresolved_claims',
  'position_drift',
  'flatten_over',
  'stop_cause',
  'different_actor',
] as const;

export interface ResumeFacts {
  /** Market ms. */
  nowMs: number;
  session: 'open' | 'closed' | 'unknown';
  /** Where the signal log ends; undefined when the store did not answer. */
  ends: readonly { windowSize: string; partition: number; endOffset: bigint; newestEventMs: number }[] | undefined;
  /** Next offsets that the loop would read. */
  cursor: readonly { windowSize: string; partition: number; nextOffset: bigint }[];
  /** Market ms of the last reconcile pass without an error. */
  reconciledAtMs: number | undefined;
  reconcileEveryMs: number;
  unresolvedClaims: number;
  /** Symbols whose position differs, by the findings of the last pass. */
  driftSymbols: readonly string[];
  /** A request to close positions is being worked off. */
  isFlattening: boolean;
  /** Account stops that would latch again at once. */
  standingStops: readonly string[];
  controls: TradingControls;
  stop: StopRecord | undefined;
  actor: string;
}

/** Market seconds of signal lag from which on nothing is resumed (spec 10.3). */
const MAX_SIGNAL_LAG_SECONDS = 300;

export function resumeChecks(facts: ResumeFacts): Check[] {
  const { nowMs, ends, cursor, reconciledAtMs, reconcileEveryMs, controls, stop, actor } = facts;
  const check = (
    id: (typeof resumeCheckIds)[number],
    signal: string,
    value: string,
    isOk: boolean | undefined,
  ): Check => ({
    id,
    signal,
    value,
    verdict: verdictOf(isOk),
  });
  const newest = ends && Math.max(...ends.map((end) => end.newestEventMs), Number.NEGATIVE_INFINITY);
  const lagSeconds = newest === undefined || !Number.isFinite(newest) ? undefined : (nowMs - newest) / 1000;
  // Outside the session no signals are expected (spec 1.7), and nothing is decided either.
  const isLagOk =
    facts.session === 'closed' || (ends && lagSeconds !== undefined && lagSeconds < MAX_SIGNAL_LAG_SECONDS);
  const lagText = lagSeconds === undefined ? 'no signal' : `${lagSeconds.toFixed(1)} s`;
  const ahead = ends && cursor.filter((place) => place.nextOffset > endOf(ends, place)).map(nameOf);
  const reconcileLagMs = reconciledAtMs === undefined ? undefined : nowMs - reconciledAtMs;
  const isStopped = controls.killSwitch || controls.emergencyStopReason !== undefined;
  return [
    check(
      'signal_lag',
      `newest signal under ${MAX_SIGNAL_LAG_SECONDS} market seconds old, or the session closed`,
      ends === undefined ? 'the signal store does not answer' : `${lagText}, session ${facts.session}`,
      facts.session === 'closed' ? true : ends === undefined ? undefined : isLagOk,
    ),
    check(
      'cursor_ahead',
      'the cursor lies within the signal log',
      ahead === undefined ? 'the signal store does not answer' : ahead.join(' ') || 'none ahead',
      ahead && ahead.length === 0,
    ),
    check(
      'reconcile_lag',
      `last reconcile pass under ${(3 * reconcileEveryMs) / 1000} market seconds ago`,
      reconcileLagMs === undefined ? 'never reconciled' : `${(reconcileLagMs / 1000).toFixed(1)} s`,
      reconcileLagMs !== undefined && reconcileLagMs < 3 * reconcileEveryMs,
    ),
    ...bookChecks(facts),
    check(
      'flatten_over',
      'no request to close positions is being worked off',
      facts.isFlattening ? 'positions are being closed' : 'none',
      !facts.isFlattening,
    ),
    check(
      'stop_cause',
      'no account stop would latch again at once',
      facts.standingStops.join('; ') || 'none',
      facts.standingStops.length === 0,
    ),
    check(
      'different_actor',
      'a stop is released by another person than the one who made it',
      isStopped ? `stopped by ${stop?.actor ?? 'unknown'}, released by ${actor}` : 'not stopped',
      !isStopped || stop?.actor !== actor,
    ),
  ];
}

const nameOf = (place: { windowSize: string; partition: number }): string => `${place.windowSize}:${place.partition}`;

function endOf(ends: NonNullable<ResumeFacts['ends']>, place: { windowSize: string; partition: number }): bigint {
  return ends.find((end) => nameOf(end) === nameOf(place))?.endOffset ?? 0n;
}

/** @throws `resume_refused` (exit 4) that names every condition that does not hold */
export function demandResumable(checks: readonly Check[]): void {
  if (checks.every((check) => check.verdict === 'ok')) return;
  throw refusedError({
    code: 'resume_refused',
    what: 'trading is not resumed',
    why: describeProblems(checks),
    next: 'correct what is named; `torghut trade reconcile` settles claims and positions',
  });
}
