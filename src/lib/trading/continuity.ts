/**
 * Do signals keep coming? (spec trading 1.7, 3.3). Pure: one step per cycle from what the cycle saw. While the market is
 * closed silence is expected; a critical reason never is.
 * Guarantees: an alert begins when a reason repeats or signals lag, and ends only after clean cycles in a row; the streak of
 * a critical reason and the lag are what the emergency stop looks at.
 */
import type { SignalFreshness } from '../risk/live-gate.ts';
import type { ContinuitySettings } from './settings.ts';

export type ContinuityState =
  | 'signals_present'
  | 'actionable_source_fault'
  | 'expected_market_closed_staleness'
  | 'universe_fail_safe_block';

export interface CycleSight {
  /** Market ms. */
  nowMs: number;
  isSessionOpen: boolean;
  /** Rows read by this cycle; undefined when it could not read, or was not meant to. */
  rows: number | undefined;
  /** Newest event time among all rows read so far, market ms. */
  newestEventMs: number | undefined;
  /** Why nothing could be read. */
  fault: string | undefined;
  isUniverseBlocked: boolean;
}

export interface Continuity {
  state: ContinuityState;
  /** Why there was no signal; undefined when there was one. */
  reason: string | undefined;
  /** Cycles in a row with this reason. */
  streak: number;
  isAlert: boolean;
  /** Healthy cycles in a row while the alert stands. */
  recoveryStreak: number;
  /** Market seconds since the newest signal; undefined before the first. */
  lagSeconds: number | undefined;
  freshness: SignalFreshness;
  startedAtMs: number;
}

export function startContinuity(nowMs: number): Continuity {
  return {
    state: 'signals_present',
    reason: undefined,
    streak: 0,
    isAlert: false,
    recoveryStreak: 0,
    lagSeconds: undefined,
    freshness: 'missing',
    startedAtMs: nowMs,
  };
}

/** The reason of a cycle without signals; undefined when there were some. */
function reasonOf(sight: CycleSight): string | undefined {
  if (sight.fault !== undefined) return sight.fault;
  if (sight.isUniverseBlocked) return 'universe_source_unavailable';
  if (sight.rows === undefined || sight.rows > 0) return undefined;
  return sight.newestEventMs === undefined ? 'no_signals_in_window' : 'cursor_tail_stable';
}

function freshnessOf(sight: CycleSight, lagSeconds: number | undefined, limit: number): SignalFreshness {
  if (sight.fault !== undefined) return 'unavailable';
  if (lagSeconds === undefined) return 'missing';
  return lagSeconds < limit ? 'current' : 'stale';
}

export function nextContinuity(before: Continuity, sight: CycleSight, settings: ContinuitySettings): Continuity {
  const { nowMs, isSessionOpen, newestEventMs, isUniverseBlocked } = sight;
  const lagSeconds = newestEventMs === undefined ? undefined : Math.max(0, (nowMs - newestEventMs) / 1_000);
  const reason = reasonOf(sight);
  const streak = reason === undefined ? 0 : reason === before.reason ? before.streak + 1 : 1;
  const isCritical = reason !== undefined && settings.criticalReasons.includes(reason);
  const isExpected = !isSessionOpen && !isCritical && (reason === undefined || isQuiet(reason, settings));
  const isGrace = nowMs - before.startedAtMs < settings.graceSeconds * 1_000;
  const isLagging = isSessionOpen && lagSeconds !== undefined && lagSeconds >= settings.lagAlertSeconds;
  const isFaulty = !isExpected && (streak >= settings.streakAlert || isLagging) && (isCritical || !isGrace);
  const isClean = reason === undefined && !isLagging;
  const recoveryStreak = before.isAlert && (isClean || isExpected) ? before.recoveryStreak + 1 : 0;
  const isAlert = isFaulty || (before.isAlert && recoveryStreak < settings.recoveryCycles);
  return {
    state: isUniverseBlocked
      ? 'universe_fail_safe_block'
      : isAlert
        ? 'actionable_source_fault'
        : reason !== undefined && isExpected
          ? 'expected_market_closed_staleness'
          : 'signals_present',
    reason,
    streak,
    isAlert,
    recoveryStreak: isAlert ? recoveryStreak : 0,
    lagSeconds,
    freshness: freshnessOf(sight, lagSeconds, settings.lagAlertSeconds),
    startedAtMs: before.startedAtMs,
  };
}

const isQuiet = (reason: string, settings: ContinuitySettings): boolean =>
  settings.expectedClosedReasons.includes(reason);
