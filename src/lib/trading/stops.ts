/**
 * Account-level stops (spec trading 3.3). Pure: facts in, reasons to latch, whether the account is to be flattened, and
 * whether a latched stop may let go. The latch itself is in trading_controls, so that no restart clears it.
 * Guarantees: what lost money (daily loss, drawdown, a missed close) is released by an operator only; a stop because of
 * signals lets go by itself, after clean cycles in a row.
 */
import type { Decimal } from 'decimal.js';
import { newYorkInstant, newYorkTime, tradingDay } from '../market/calendar.ts';
import type { Continuity } from './continuity.ts';
import type { StopSettings } from './settings.ts';

const NS_PER_MS = 1_000_000n;

/**
 * Market ms from which a day's first snapshot is looked for: the opening bell once it has rung, else New York's midnight
 * (what happened over night belongs to no session yet).
 */
export function dayStartMs(nowMs: number): number {
  const { date } = newYorkTime(BigInt(nowMs) * NS_PER_MS);
  const openNs = tradingDay(date)?.openNs;
  const openMs = openNs === undefined ? undefined : Number(openNs / NS_PER_MS);
  if (openMs !== undefined && nowMs >= openMs) return openMs;
  return Number(newYorkInstant(date, 0) / NS_PER_MS);
}

/** Reason of the stop that this equity triggers; undefined when none. */
export function dailyLossReason(first: Decimal, equity: Decimal, limitPct: Decimal): string | undefined {
  if (first.lte(0)) return undefined;
  const loss = first.minus(equity).div(first);
  return loss.gte(limitPct) ? `daily_loss_stop:${loss.toFixed(4)}` : undefined;
}

/** The same from the highest equity. */
export function drawdownReason(highest: Decimal, equity: Decimal, limitPct: Decimal): string | undefined {
  if (highest.lte(0)) return undefined;
  const fall = highest.minus(equity).div(highest);
  return fall.gte(limitPct) ? `drawdown_stop:${fall.toFixed(4)}` : undefined;
}

export interface EquityFacts {
  equity: Decimal;
  /** Of the session. */
  first: Decimal | undefined;
  /** Since the last release of a stop. */
  highest: Decimal | undefined;
}

/** Stops that a reading of the account triggers: each closes the positions too. */
export function equityStops({ equity, first, highest }: EquityFacts, settings: StopSettings): readonly string[] {
  const { dailyLossPct, drawdownPct } = settings;
  const found = [
    dailyLossPct && first ? dailyLossReason(first, equity, dailyLossPct) : undefined,
    drawdownPct && highest ? drawdownReason(highest, equity, drawdownPct) : undefined,
  ];
  return found.filter((reason) => reason !== undefined);
}

export interface SignalFacts {
  continuity: Continuity;
  isSessionOpen: boolean;
  criticalReasons: readonly string[];
  /** `status:reason` of a universe that came to its end; undefined while it is well, or static. */
  universeFailure: string | undefined;
}

/** Stops that the signals trigger. */
export function signalStops(facts: SignalFacts, settings: StopSettings): readonly string[] {
  const { continuity, isSessionOpen, criticalReasons, universeFailure } = facts;
  const { lagSeconds, reason, streak } = continuity;
  return [
    ...(isSessionOpen && lagSeconds !== undefined && lagSeconds >= settings.signalLagSeconds
      ? [`signal_lag_exceeded:${Math.floor(lagSeconds)}`]
      : []),
    ...(reason !== undefined && criticalReasons.includes(reason) && streak >= settings.stalenessStreak
      ? [`signal_staleness_streak_exceeded:${reason}:${streak}`]
      : []),
    ...(universeFailure === undefined ? [] : [`universe_source_unavailable:${universeFailure}`]),
  ];
}

/** What an emergency stop may be about, as its runbook page lists it. */
export const stopKinds = [
  'daily_loss_stop',
  'drawdown_stop',
  'closeout_failed',
  'signal_lag_exceeded',
  'signal_staleness_streak_exceeded',
  'universe_source_unavailable',
] as const;

const recoverable = ['signal_lag_exceeded', 'signal_staleness_streak_exceeded'];

/** What a reason is about, without its figures. */
const kindOf = (reason: string): string => reason.split(':')[0] ?? reason;
const kindsOf = (latched: string | null): string[] => (latched === null ? [] : latched.split(';').map(kindOf));

/** May this stop let go by itself? Every one of its reasons must be of that kind. */
export function isRecoverable(latched: string): boolean {
  return kindsOf(latched).every((kind) => recoverable.includes(kind));
}

export interface LatchStep {
  /** What is to be stored: a new text, null for a release, undefined for no change. */
  change: string | null | undefined;
  /** Clean cycles so far. */
  recoveryStreak: number;
}

/** The next state of the latch. @param latched as stored @param found reasons that hold now */
export function stepLatch(
  latched: string | null,
  found: readonly string[],
  recoveryStreak: number,
  settings: StopSettings,
): LatchStep {
  const known = kindsOf(latched);
  const fresh = found.filter((reason) => !known.includes(kindOf(reason)));
  // A stop for another reason is added, because only both together say what an operator must have looked at.
  if (fresh.length > 0) {
    return { change: [...(latched === null ? [] : [latched]), ...fresh].join(';'), recoveryStreak: 0 };
  }
  if (latched === null || found.length > 0 || !isRecoverable(latched)) return { change: undefined, recoveryStreak: 0 };
  const clean = recoveryStreak + 1;
  return clean >= settings.recoveryCycles
    ? { change: null, recoveryStreak: 0 }
    : { change: undefined, recoveryStreak: clean };
}
