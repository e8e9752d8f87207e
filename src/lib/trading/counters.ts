/** What the cycle counts over the life of the process, for status and metrics. */
import type { ProcessSummary } from './process.ts';

export interface CycleCounters {
  /** Signal rows taken. */
  rows: number;
  decisions: number;
  submitted: number;
  unknown: number;
  rejected: number;
  blocked: number;
  /** By reason code. */
  rejectReasons: Record<string, number>;
  blockReasons: Record<string, number>;
  notes: { signal_revised: number; signal_late: number; signal_skipped_stale: number };
  /** Revisions whose action would have been another. */
  wouldDiffer: number;
  /** Wishes dropped outside the session. */
  closedWishes: number;
  strategyErrors: number;
  /** Readings of signals that failed, by code. */
  faults: Record<string, number>;
  /** Batches that were not decided on, by what was wrong with them. */
  qualityReasons: Record<string, number>;
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
    strategyErrors: 0,
    faults: {},
    qualityReasons: {},
    refuse: (reasons, isHeld) => {
      counters[isHeld ? 'blocked' : 'rejected'] += 1;
      const counts = isHeld ? counters.blockReasons : counters.rejectReasons;
      for (const reason of reasons) counts[reason] = (counts[reason] ?? 0) + 1;
    },
    add: (summary) => {
      counters.submitted += summary.submitted;
      counters.unknown += summary.unknown;
      for (const { reasons, isHeld } of summary.refused) counters.refuse(reasons, isHeld);
    },
  };
  return counters;
}
