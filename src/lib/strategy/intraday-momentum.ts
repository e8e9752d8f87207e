/**
 * The built-in intraday momentum strategy `intraday_tsmom_v1` (spec trading 2.1): time-series momentum within the session.
 *
 *     m = vwap_w5m / vwap_session − 1          the last five minutes against the whole session
 *     long   when m ≥  entry_momentum, ema12 > ema26, rsi14 ≤ max_rsi, and vol_realized_w60s ≤ max_volatility where known
 *     short  when m ≤ −entry_momentum, ema12 < ema26, rsi14 ≥ 100 − max_rsi, and the same volatility (only with allow_short)
 *     a long is over when m ≤ exit_momentum or ema12 < ema26; a short when m ≥ −exit_momentum or ema12 > ema26
 *
 * One intent per turn of its stance (flat, long, short), never one per bar; what ends a stance only ever reduces a position.
 * Any missing input leaves the stance as it is. Ratios of doubles, compared and never used as money.
 */
import { z } from 'zod';
import { cooldownSeconds, positiveQuantity, rsiLevel, yesOrNo } from './parameters.ts';
import { type StrategyIntent, type StrategyPlugin, type StrategyType, strategyType } from './plugin.ts';
import type { StrategySignal } from './signal.ts';

const ratio = (error: string) => z.number({ error }).min(0, { error }).max(1, { error });

const paramsSchema = z
  .strictObject({
    /** Entry threshold of m; 0.002 = 20 basis points. */
    entry_momentum: ratio('must be a fraction from 0 to 1 (0.002 = 20 bps)').default(0.002),
    /** Exit threshold of m, below the entry's. */
    exit_momentum: ratio('must be a fraction from 0 to 1 (0 = back at the session average)').default(0),
    /** No long above this RSI, no short below its mirror: the move is over. */
    max_rsi: rsiLevel.default(75),
    /** Standard deviation of the last returns (vol_realized_w60s) above which nothing is entered. */
    max_volatility: ratio('must be a fraction from 0 to 1').default(0.005),
    allow_short: yesOrNo.default(false),
    cooldown_seconds: cooldownSeconds.default(300),
    /** Quantity of an order; without it the trading cycle sizes by the budgets. */
    quantity: positiveQuantity.optional(),
  })
  .refine((params) => params.exit_momentum < params.entry_momentum, {
    error: 'exit_momentum must be below entry_momentum',
    path: ['exit_momentum'],
  });

export type IntradayMomentumParams = z.infer<typeof paramsSchema>;

const stateSchema = z.strictObject({ stance: z.enum(['flat', 'long', 'short']) });
export type IntradayMomentumState = z.infer<typeof stateSchema>;
type Stance = IntradayMomentumState['stance'];

const CONFIDENCE = 0.6;

const numberOf = (signal: StrategySignal, name: string): number | undefined => {
  const value = signal.features[name];
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
};

/** The next stance; undefined while an input is missing. Pure. */
export function nextStance(stance: Stance, signal: StrategySignal, params: IntradayMomentumParams): Stance | undefined {
  const recent = numberOf(signal, 'vwap_w5m');
  const session = numberOf(signal, 'vwap_session');
  const fast = numberOf(signal, 'ema12');
  const slow = numberOf(signal, 'ema26');
  const { rsi14 } = signal;
  if (recent === undefined || session === undefined || fast === undefined || slow === undefined) return undefined;
  if (rsi14 === null || session <= 0) return undefined;
  const momentum = recent / session - 1;
  if (stance === 'long') return momentum <= params.exit_momentum || fast < slow ? 'flat' : 'long';
  if (stance === 'short') return momentum >= -params.exit_momentum || fast > slow ? 'flat' : 'short';
  const volatility = numberOf(signal, 'vol_realized_w60s');
  if (volatility !== undefined && volatility > params.max_volatility) return 'flat';
  if (momentum >= params.entry_momentum && fast > slow && rsi14 <= params.max_rsi) return 'long';
  if (params.allow_short && momentum <= -params.entry_momentum && fast < slow && rsi14 >= 100 - params.max_rsi) {
    return 'short';
  }
  return 'flat';
}

function evaluate(state: IntradayMomentumState, signal: StrategySignal, params: IntradayMomentumParams) {
  const stance = nextStance(state.stance, signal, params);
  if (stance === undefined || stance === state.stance) return { state, intents: [] };
  const isExit = stance === 'flat';
  const isBuy = isExit ? state.stance === 'short' : stance === 'long';
  const intent: StrategyIntent = {
    action: isBuy ? 'buy' : 'sell',
    rationale: isExit ? `momentum_exit,was_${state.stance}` : `momentum_entry,${stance}`,
    orderType: 'market',
    timeInForce: 'day',
    confidence: CONFIDENCE,
    ...(isExit ? { reduceOnly: true } : params.quantity === undefined ? {} : { quantity: params.quantity }),
  };
  return { state: { stance }, intents: [intent] };
}

const plugin: StrategyPlugin<IntradayMomentumState, IntradayMomentumParams> = {
  type: 'intraday_tsmom_v1',
  aliases: ['intraday_tsmom', 'tsmom_intraday'],
  params: paramsSchema,
  state: stateSchema,
  initial: { stance: 'flat' },
  cooldownSeconds: (params) => params.cooldown_seconds,
  evaluate,
};

export const intradayMomentum: StrategyType = strategyType(plugin);
