/**
 * From signal rows to wishes: which rows are evaluated, which are only recorded (design 5, trade).
 * Guarantees: pure; per symbol and window size each event time is evaluated at most once and in rising order; a row at or
 * before the last evaluated one is a revision or late and never traded; a row older than a decision may be is skipped.
 */

import type { CatalogEntry } from '../strategy/catalog.ts';
import {
  type EvaluationState,
  evaluateInto,
  evaluateSignal,
  isFor,
  type StrategyWish,
  stateKey,
  workingCopy,
} from '../strategy/evaluate.ts';
import type { SignalRow } from './ports.ts';

export type RowNote = {
  row: SignalRow;
  kind: 'signal_revised' | 'signal_late' | 'signal_skipped_stale';
  /** For a revision whose first evaluation is still remembered. */
  wouldDiffer?: boolean;
};

/** What was evaluated of late, so that a revision can tell whether it would have acted otherwise. */
interface Remembered {
  eventTsMs: number;
  actions: string;
  states: ReadonlyMap<string, unknown>;
}

/** Late trades make revisions for 15 s (design 5); twice that many windows are remembered per symbol. */
const REMEMBERED_WINDOWS = 32;

export interface PlanState {
  evaluation: EvaluationState;
  /** Last evaluated event time (market ms) by `symbol windowSize`. */
  lastEvaluated: ReadonlyMap<string, number>;
  recent: ReadonlyMap<string, readonly Remembered[]>;
}

export interface PlanInput {
  entries: readonly CatalogEntry[];
  /** Rows in offset order within each partition. */
  rows: readonly SignalRow[];
  nowMs: number;
  /** Market ms that a row may be old. */
  maxAgeMs: number;
  isSessionOpen: boolean;
}

export interface Plan {
  state: PlanState;
  wishes: readonly { row: SignalRow; wish: StrategyWish }[];
  notes: readonly RowNote[];
  /** Newest evaluated event time per symbol and window of this batch. */
  evaluated: ReadonlyMap<string, SignalRow>;
  /** Wishes that were dropped because the session is closed. */
  closedWishes: number;
  errors: readonly { strategyName: string; error: unknown; row: SignalRow }[];
}

export const rowKey = (row: Pick<SignalRow, 'symbol' | 'windowSize'>): string => `${row.symbol} ${row.windowSize}`;

const actionsOf = (wishes: readonly StrategyWish[]): string =>
  wishes.map((wish) => `${wish.entry.name}:${wish.intent.action}`).join();

export function planRows(before: PlanState, input: PlanInput): Plan {
  const { entries, rows, nowMs, maxAgeMs, isSessionOpen } = input;
  // One copy for the batch: a copy per row would cost every row the states of all symbols.
  const evaluation = workingCopy(before.evaluation);
  const lastEvaluated = new Map(before.lastEvaluated);
  const recent = new Map(before.recent);
  const wishes: { row: SignalRow; wish: StrategyWish }[] = [];
  const notes: RowNote[] = [];
  const evaluated = new Map<string, SignalRow>();
  const errors: { strategyName: string; error: unknown; row: SignalRow }[] = [];
  let closedWishes = 0;

  for (const row of rows) {
    const key = rowKey(row);
    const last = lastEvaluated.get(key);
    if (last !== undefined && row.eventTsMs <= last) {
      notes.push(noteOf(row, recent.get(key) ?? [], entries, evaluation));
      continue;
    }
    const states = statesOf(entries, evaluation, row);
    const result = evaluateInto(entries, evaluation, row);
    for (const error of result.errors) errors.push({ ...error, row });
    lastEvaluated.set(key, row.eventTsMs);
    evaluated.set(key, row);
    const remembered = { eventTsMs: row.eventTsMs, actions: actionsOf(result.wishes), states };
    recent.set(key, [...(recent.get(key) ?? []).slice(1 - REMEMBERED_WINDOWS), remembered]);
    if (nowMs - row.eventTsMs > maxAgeMs) notes.push({ row, kind: 'signal_skipped_stale' });
    else if (!isSessionOpen) closedWishes += result.wishes.length;
    else for (const wish of result.wishes) wishes.push({ row, wish });
  }
  wishes.sort((a, b) => a.row.eventTsMs - b.row.eventTsMs);
  return { state: { evaluation, lastEvaluated, recent }, wishes, notes, evaluated, closedWishes, errors };
}

function statesOf(entries: readonly CatalogEntry[], evaluation: EvaluationState, row: SignalRow) {
  const states = new Map<string, unknown>();
  for (const entry of entries) {
    if (!isFor(entry, row)) continue;
    const key = stateKey(entry.name, row.symbol, row.windowSize);
    if (evaluation.states.has(key)) states.set(key, evaluation.states.get(key));
  }
  return states;
}

function noteOf(
  row: SignalRow,
  remembered: readonly Remembered[],
  entries: readonly CatalogEntry[],
  evaluation: EvaluationState,
): RowNote {
  if (row.revision === 0) return { row, kind: 'signal_late' };
  const first = remembered.find((item) => item.eventTsMs === row.eventTsMs);
  if (!first) return { row, kind: 'signal_revised' };
  const again = evaluateSignal(entries, { states: first.states, health: evaluation.health }, row);
  return { row, kind: 'signal_revised', wouldDiffer: actionsOf(again.wishes) !== first.actions };
}
