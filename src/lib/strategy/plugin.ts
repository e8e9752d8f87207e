/**
 * The plug-in interface of strategies: a pure function (state, signal, params) → (state, intents).
 * Guarantees: a plug-in sees neither clock, account nor I/O, so live, replay and back-test call the same code and give the
 * same intents; its parameters and its state are parsed by its own zod schemas, never trusted.
 */
import type { Decimal } from 'decimal.js';
import type { z } from 'zod';
import type { OrderAction, OrderType, TimeInForce } from '../risk/order.ts';
import type { StrategySignal } from './signal.ts';

/** What a strategy wants after one signal; whether it opens or closes is decided by the position it meets. */
export interface StrategyIntent {
  action: OrderAction;
  /** Why, in stable words, comma separated. */
  rationale: string;
  /** Wanted quantity; without it the sizing of the trading cycle decides (spec trading 2.4). */
  quantity?: Decimal;
  orderType: OrderType;
  timeInForce: TimeInForce;
  limitPrice?: Decimal;
  stopPrice?: Decimal;
  /** Only ever lowers a position: without one to lower, nothing is decided. */
  reduceOnly?: boolean;
  /** 0–1, information only. */
  confidence: number;
}

export interface StrategyResult<State> {
  state: State;
  intents: readonly StrategyIntent[];
}

export interface StrategyPlugin<State, Params> {
  /** Name in the catalog's `strategy_type`. */
  type: string;
  /** Other names of the same type. */
  aliases: readonly string[];
  params: z.ZodType<Params>;
  /** State of one symbol; JSON, because it is stored with the cursor. */
  state: z.ZodType<State>;
  initial: State;
  /** Machine-free cooldown that these parameters ask for, market seconds; 0 = none. */
  cooldownSeconds(params: Params): number;
  evaluate(state: State, signal: StrategySignal, params: Params): StrategyResult<State>;
}

/** A plug-in with its parameters parsed: what the evaluation calls, types of state and parameters sealed in. */
export interface BoundStrategy {
  readonly cooldownSeconds: number;
  /** A state that fits this plug-in; the initial one when the stored value does not fit (another type, older version). */
  restore(stored: unknown): unknown;
  evaluate(state: unknown, signal: StrategySignal): StrategyResult<unknown>;
}

/** A type of the catalog: how to bind parameters. */
export interface StrategyType {
  readonly type: string;
  readonly names: readonly string[];
  readonly params: z.ZodType<unknown>;
  /** The plug-in that it came from; undefined for a built-in strategy. */
  readonly source?: { file: string; digest: string };
  /** @throws ZodError when the parameters do not fit */
  bind(params: unknown): BoundStrategy;
}

/** Seals the types of a plug-in so that a catalog can hold plug-ins of many kinds. */
export function strategyType<State, Params>(plugin: StrategyPlugin<State, Params>): StrategyType {
  return {
    type: plugin.type,
    names: [plugin.type, ...plugin.aliases],
    params: plugin.params,
    bind: (raw) => {
      const params = plugin.params.parse(raw);
      return {
        cooldownSeconds: plugin.cooldownSeconds(params),
        restore: (stored) => {
          const parsed = plugin.state.safeParse(stored);
          return parsed.success ? parsed.data : plugin.initial;
        },
        // The state came from `restore` or from this function's own result: both are State.
        evaluate: (state, signal) => plugin.evaluate(state as State, signal, params),
      };
    },
  };
}
