/**
 * The built-in MACD/RSI strategy (spec trading 2.3): buy when MACD is above its signal line and RSI below a threshold, sell
 * when below and RSI above one. Strict inequalities; any missing input means no decision. By default a level comparison that
 * repeats while it holds; `require_cross` fires only on the bar where the lines crossed.
 */
import { z } from 'zod';
import { cooldownSeconds, positiveQuantity, rsiLevel, yesOrNo } from './parameters.ts';
import { type StrategyIntent, type StrategyPlugin, type StrategyType, strategyType } from './plugin.ts';
import type { StrategySignal } from './signal.ts';

const paramsSchema = z.strictObject({
  /** Buy only below this RSI. */
  buy_rsi_below: rsiLevel.default(35),
  /** Sell only above this RSI. */
  sell_rsi_above: rsiLevel.default(65),
  /** Fire only on the bar on which MACD crossed its signal line. */
  require_cross: yesOrNo.default(false),
  /** Market seconds between two entries of this strategy in one symbol; 0 = none. */
  cooldown_seconds: cooldownSeconds.default(0),
  /** Quantity of an order; without it the trading cycle sizes by the budgets. */
  quantity: positiveQuantity.optional(),
  /** Quantity by symbol, before `quantity`. */
  quantities: z.record(z.string(), positiveQuantity).default({}),
});

export type MacdRsiParams = z.infer<typeof paramsSchema>;

const stateSchema = z.strictObject({
  /** Side of MACD against its signal line at the last warm bar: 1 above, -1 below, 0 equal; null before the first. */
  side: z.union([z.literal(-1), z.literal(0), z.literal(1)]).nullable(),
});

export type MacdRsiState = z.infer<typeof stateSchema>;

const CONFIDENCE = 0.65;

function evaluate(
  state: MacdRsiState,
  signal: StrategySignal,
  params: MacdRsiParams,
): { state: MacdRsiState; intents: StrategyIntent[] } {
  const { macd, macdSignal, rsi14 } = signal;
  if (macd === null || macdSignal === null || rsi14 === null) return { state, intents: [] };
  const side = macd > macdSignal ? 1 : macd < macdSignal ? -1 : 0;
  const next: MacdRsiState = { side };
  const hasCrossed = state.side !== null && state.side !== side;
  if (side === 0 || (params.require_cross && !hasCrossed)) return { state: next, intents: [] };
  const isBuy = side === 1 && rsi14 < params.buy_rsi_below;
  const isSell = side === -1 && rsi14 > params.sell_rsi_above;
  if (!isBuy && !isSell) return { state: next, intents: [] };
  const quantity = params.quantities[signal.symbol] ?? params.quantity;
  const intent: StrategyIntent = {
    action: isBuy ? 'buy' : 'sell',
    rationale: isBuy ? 'macd_cross_up,rsi_oversold' : 'macd_cross_down,rsi_overbought',
    orderType: 'market',
    timeInForce: 'day',
    confidence: CONFIDENCE,
    ...(quantity === undefined ? {} : { quantity }),
  };
  return { state: next, intents: [intent] };
}

const plugin: StrategyPlugin<MacdRsiState, MacdRsiParams> = {
  type: 'macd_rsi',
  aliases: ['legacy_macd_rsi', 'static'],
  params: paramsSchema,
  state: stateSchema,
  initial: { side: null },
  cooldownSeconds: (params) => params.cooldown_seconds,
  evaluate,
};

export const macdRsi: StrategyType = strategyType(plugin);
