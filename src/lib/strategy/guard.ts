/**
 * What stands between a plug-in and the batch: its definition is checked when it is loaded, everything that it returns when
 * it returns it. A mistake is an error of that strategy at that signal (evaluate.ts counts it and lets the strategy rest);
 * nothing malformed reaches a decision.
 */
import { Decimal } from 'decimal.js';
import { z } from 'zod';
import { type StrategyIntent, type StrategyPlugin, type StrategyType, strategyType } from './plugin.ts';
import type { StrategySignal } from './signal.ts';

/** Intents of one signal at most. */
const MAX_INTENTS = 16;

const isSchema = (value: unknown): value is z.ZodType<unknown> =>
  typeof value === 'object' &&
  value !== null &&
  typeof (value as { safeParse?: unknown }).safeParse === 'function' &&
  typeof (value as { parse?: unknown }).parse === 'function';

const nameSchema = z
  .string({ error: 'must be text' })
  .regex(/^[a-z][a-z0-9_]{0,63}$/, { error: 'must be lower case letters, digits and _' });

const definitionSchema = z.looseObject({
  type: nameSchema,
  aliases: z.array(nameSchema, { error: 'must be a list of names' }).default([]),
  params: z.custom<z.ZodType<unknown>>(isSchema, { error: 'must be a zod schema' }),
  state: z.custom<z.ZodType<unknown>>(isSchema, { error: 'must be a zod schema' }),
  initial: z.unknown(),
  cooldownSeconds: z
    .custom<(params: unknown) => number>((value) => typeof value === 'function', { error: 'must be a function' })
    .optional(),
  evaluate: z.custom<StrategyPlugin<unknown, unknown>['evaluate']>((value) => typeof value === 'function', {
    error: 'must be a function (state, signal, params) => ({ state, intents })',
  }),
});

const positive = z.custom<Decimal>(
  (value) => Decimal.isDecimal(value) && (value as Decimal).isFinite() && (value as Decimal).gt(0),
  { error: 'must be a Decimal above 0' },
);

const intentSchema = z
  .strictObject({
    action: z.enum(['buy', 'sell']),
    // Postgres has no character 0, and half a surrogate pair is no text: neither may reach the transaction of a batch.
    rationale: z
      .string()
      .min(1)
      .max(256)
      .refine((text) => !text.includes('\u0000') && text.isWellFormed(), { error: 'must be text without NUL' }),
    quantity: positive.optional(),
    orderType: z.enum(['market', 'limit', 'stop', 'stop_limit']),
    timeInForce: z.enum(['day', 'gtc', 'ioc', 'fok']),
    limitPrice: positive.optional(),
    stopPrice: positive.optional(),
    reduceOnly: z.boolean().optional(),
    confidence: z.number().min(0).max(1),
  })
  .refine((intent) => (intent.limitPrice !== undefined) === /limit/.test(intent.orderType), {
    error: 'limitPrice belongs to limit and stop_limit orders',
  })
  .refine((intent) => (intent.stopPrice !== undefined) === /stop/.test(intent.orderType), {
    error: 'stopPrice belongs to stop and stop_limit orders',
  });

const resultSchema = z.strictObject({
  state: z.unknown(),
  intents: z.array(intentSchema, { error: 'must be a list' }).max(MAX_INTENTS),
});

/** Why a definition is refused, as one line. */
export class PluginDefinitionError extends Error {
  override readonly name = 'PluginDefinitionError';
}

/** What a plug-in returned is not what it promised. */
export class PluginResultError extends Error {
  override readonly name = 'PluginResultError';
}

const lineOf = (error: z.ZodError): string =>
  error.issues.map((issue) => `${issue.path.join('.') || 'it'}: ${issue.message}`).join('; ');

/** A plug-in's definition as a type that a catalog can name. @throws PluginDefinitionError */
export function guardedStrategy(definition: unknown, source: { file: string; digest: string }): StrategyType {
  const parsed = definitionSchema.safeParse(definition);
  if (!parsed.success) throw new PluginDefinitionError(lineOf(parsed.error));
  const { type, aliases, params, state, initial, evaluate } = parsed.data;
  const isInitialValid = state.safeParse(initial).success;
  if (!isInitialValid) throw new PluginDefinitionError('initial: does not fit the schema of the state');
  const restOf = parsed.data.cooldownSeconds ?? (() => 0);
  const plugin: StrategyPlugin<unknown, unknown> = {
    type,
    aliases,
    params,
    state,
    initial,
    cooldownSeconds: (given) => {
      const seconds = restOf(given);
      if (typeof seconds === 'number' && seconds >= 0 && seconds <= 86_400) return seconds;
      throw new PluginResultError(`cooldownSeconds gave ${String(seconds)}, not seconds from 0 to 86400`);
    },
    evaluate: (before, signal, given) => {
      // A copy that cannot be changed: what one strategy does to its signal is nothing to the next.
      const result = resultSchema.safeParse(evaluate(before, frozen(signal), given));
      if (!result.success) throw new PluginResultError(lineOf(result.error));
      const next = state.safeParse(result.data.state);
      if (!next.success) throw new PluginResultError(`state: ${lineOf(next.error)}`);
      return { state: next.data, intents: result.data.intents.map(withoutUndefined) };
    },
  };
  return { ...strategyType(plugin), source };
}

const frozen = (signal: StrategySignal): StrategySignal =>
  Object.freeze({ ...signal, features: Object.freeze({ ...signal.features }) });

const withoutUndefined = (intent: z.infer<typeof intentSchema>): StrategyIntent =>
  Object.fromEntries(Object.entries(intent).filter(([, value]) => value !== undefined)) as unknown as StrategyIntent;
