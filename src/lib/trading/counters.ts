/** What the cycle counts over the life of the process, for status and metrics. */
import type { Continuity } from './continuity.ts';
import type { ProcessSummary } from './process.ts';
import type { Quality } from './quality.ts';
import type { Universe } from './universe.ts';

/** Counts by a label of few values: a code of ours, or the name of a strategy. */
export type Tally = Record<string, number>;

export function count(tally: Tally, label: string): void {
  tally[label] = (tally[label] ?? 0) + 1;
}

export interface CycleCounters {
  /** Signal rows taken. */
  rows: number;
  decisions: number;
  submitted: number;
  unknown: number;
  rejected: number;
  blocked: number;
  /** By reason code. */
  rejectReasons: Tally;
  blockReasons: Tally;
  notes: { signal_revised: number; signal_late: number; signal_skipped_stale: number };
  /** Revisions whose action would have been another. */
  wouldDiffer: number;
  /** Wishes dropped outside the session. */
  closedWishes: number;
  /** By strategy. */
  strategyErrors: Tally;
  strategyIntents: Tally;
  /** How quantities came to be (risk/sizing.ts). */
  sizings: Tally;
  /** Readings of signals that failed, by code. */
  faults: Tally;
  /** Batches that were not decided on, by what was wrong with them. */
  qualityReasons: Tally;
  /** Rows that enabled strategies look at, and batches of them that were not decided on. */
  qualityRows: number;
  qualityRejections: number;
  /** Batches that held the cursor, by what was wrong with them. */
  qualityHolds: Tally;
  /** Cycles without a signal, by reason, and in a row whatever the reason. */
  noSignal: Tally;
  noSignalStreak: number;
  /** Alerts that began, by reason. */
  stalenessAlerts: Tally;
  expectedStaleness: number;
  actionableStaleness: number;
  /** Looks at the universe by `status reason`, and those that blocked, by reason. */
  universe: Tally;
  universeBlocks: Tally;
  /** One cycle's sight of its signals. @param wasAlert the alert stood before it */
  see(continuity: Continuity, wasAlert: boolean, universe: Universe): void;
  judge(quality: Quality): void;
  refuse(reasons: readonly string[], isHeld: boolean): void;
  add(summary: ProcessSummary): void;
}

export function newCounters(): CycleCounters {
  const counters: CycleCounters = {
    rows: 0,
    decisions: 0,
    submitted: 0,
    unknown: 0,
    rejected: 0,
    blocked: 0,
    rejectReasons: {},
    blockReasons: {},
    notes: { signal_revised: 0, signal_late: 0, signal_skipped_stale: 0 },
    wouldDiffer: 0,
    closedWishes: 0,
    strategyErrors: {},
    strategyIntents: {},
    sizings: {},
    faults: {},
    qualityReasons: {},
    qualityRows: 0,
    qualityRejections: 0,
    qualityHolds: {},
    noSignal: {},
    noSignalStreak: 0,
    stalenessAlerts: {},
    expectedStaleness: 0,
    actionableStaleness: 0,
    universe: {},
    universeBlocks: {},
    see: ({ reason, state, isAlert }, wasAlert, { status, reason: how, isBlocked }) => {
      counters.noSignalStreak = reason === undefined ? 0 : counters.noSignalStreak + 1;
      if (reason !== undefined) count(counters.noSignal, reason);
      if (isAlert && !wasAlert) count(counters.stalenessAlerts, reason ?? 'signal_lag');
      if (state === 'expected_market_closed_staleness') counters.expectedStaleness += 1;
      if (state === 'actionable_source_fault') counters.actionableStaleness += 1;
      count(counters.universe, `${status} ${how}`);
      if (isBlocked) count(counters.universeBlocks, how);
    },
    judge: (quality) => {
      counters.qualityRows += quality.rows;
      if (quality.verdict !== 'pass') counters.qualityRejections += 1;
      for (const reason of quality.reasons) {
        count(counters.qualityReasons, reason);
        if (quality.verdict === 'hold') count(counters.qualityHolds, reason);
      }
    },
    refuse: (reasons, isHeld) => {
      counters[isHeld ? 'blocked' : 'rejected'] += 1;
      const counts = isHeld ? counters.blockReasons : counters.rejectReasons;
      for (const reason of reasons) count(counts, reason);
    },
    add: (summary) => {
      counters.submitted += summary.submitted;
      counters.unknown += summary.unknown;
      for (const { reasons, isHeld } of summary.refused) counters.refuse(reasons, isHeld);
    },
  };
  return counters;
}
