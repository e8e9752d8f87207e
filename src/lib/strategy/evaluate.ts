/**
 * Evaluation of one signal by all strategies of a catalog, with a circuit per strategy (spec trading 2.3).
 * Guarantees: pure; the clock is the signal's own event time, so a replay opens and closes the same circuits; a strategy
 * that throws harms neither the other strategies nor the batch.
 */
import type { CatalogEntry } from './catalog.ts';
import type { StrategyIntent } from './plugin.ts';
import { type StrategySignal, timeframeOf } from './signal.ts';

/** Errors in a row after which a strategy rests. */
const CIRCUIT_ERRORS = 3;
/** Market milliseconds that it rests. */
const CIRCUIT_REST_MS = 300_000;

export interface StrategyHealth {
  errorsInRow: number;
  /** Event time until which the strategy is not asked, market milliseconds; 0 when it is well. */
  restsUntilMs: number;
}

/** What evaluation remembers between signals. Values of `states` are JSON (see StrategyPlugin.state). */
export interface EvaluationState {
  /** By `stateKey`. */
  states: ReadonlyMap<string, unknown>;
  /** By strategy name. */
  health: ReadonlyMap<string, StrategyHealth>;
}

/** One thing that one strategy wants after one signal. */
export interface StrategyWish {
  entry: CatalogEntry;
  intent: StrategyIntent;
}

export interface EvaluationResult {
  state: EvaluationState;
  wishes: readonly StrategyWish[];
  errors: readonly { strategyName: string; error: unknown }[];
}

export const emptyEvaluation: EvaluationState = { states: new Map(), health: new Map() };

/** Key of a strategy's state for one symbol and window. */
export function stateKey(strategyName: string, symbol: string, windowSize: string): string {
  return [strategyName, symbol, windowSize].join('\u001f');
}

/** Does the entry look at this signal at all? */
export function isFor(entry: CatalogEntry, signal: StrategySignal): boolean {
  if (!entry.enabled || entry.timeframe !== timeframeOf(signal.windowSize)) return false;
  return entry.symbols.length === 0 || entry.symbols.includes(signal.symbol);
}

/** The state while a batch is worked through: changed in place, by its owner alone. */
export interface WorkingEvaluation {
  states: Map<string, unknown>;
  health: Map<string, StrategyHealth>;
}

export const workingCopy = (state: EvaluationState): WorkingEvaluation => ({
  states: new Map(state.states),
  health: new Map(state.health),
});

/** Asks every strategy that the signal concerns, in catalog order, and changes `working` to the state after it. */
export function evaluateInto(
  entries: readonly CatalogEntry[],
  working: WorkingEvaluation,
  signal: StrategySignal,
): Omit<EvaluationResult, 'state'> {
  const wishes: StrategyWish[] = [];
  const errors: { strategyName: string; error: unknown }[] = [];
  for (const entry of entries) {
    if (!isFor(entry, signal)) continue;
    const well = working.health.get(entry.name);
    if (well && signal.eventTsMs < well.restsUntilMs) continue;
    const key = stateKey(entry.name, signal.symbol, signal.windowSize);
    try {
      const result = entry.strategy.evaluate(entry.strategy.restore(working.states.get(key)), signal);
      working.states.set(key, result.state);
      for (const intent of result.intents) wishes.push({ entry, intent });
      if (well) working.health.delete(entry.name);
    } catch (error) {
      errors.push({ strategyName: entry.name, error });
      const errorsInRow = (well?.errorsInRow ?? 0) + 1;
      const restsUntilMs = errorsInRow >= CIRCUIT_ERRORS ? signal.eventTsMs + CIRCUIT_REST_MS : 0;
      working.health.set(entry.name, { errorsInRow, restsUntilMs });
    }
  }
  return { wishes, errors };
}

/** The same as a pure function, for one signal alone. */
export function evaluateSignal(
  entries: readonly CatalogEntry[],
  before: EvaluationState,
  signal: StrategySignal,
): EvaluationResult {
  const state = workingCopy(before);
  return { ...evaluateInto(entries, state, signal), state };
}
