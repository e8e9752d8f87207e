/**
 * Form of the strategy catalog (spec trading 2.1). Unknown keys are errors at every level; money and fractions are decimals
 * and may be written as text or number.
 */
import { Decimal } from 'decimal.js';
import { z } from 'zod';
import type { StrategyRegistry } from './registry.ts';

const decimalText = (describe: string, accept: (value: Decimal) => boolean) =>
  z
    .union([z.string(), z.number()], { error: describe })
    .refine((value) => /^\d+(\.\d+)?$/.test(String(value)) && accept(new Decimal(String(value))), { error: describe })
    .transform((value) => new Decimal(String(value)));

const text = (describe: string) => z.string({ error: describe });
/** Text that a row of the ledger takes. */
const plainText = () => text('must be text').regex(/^[^\p{Cc}]*$/u, { error: 'must not contain control characters' });
/** US dollars that a column of the ledger takes: numeric(20,8). */
const LARGEST_AMOUNT = new Decimal('1e12');

/** A symbol of Alpaca: letters and digits, `.` for classes, `/` for crypto pairs. */
const symbol = text('must be a symbol such as AAPL').regex(/^[A-Za-z][A-Za-z0-9./]{0,15}$/, {
  error: 'must be a symbol such as AAPL',
});

const symbols = z
  .union([z.array(symbol), z.string()], { error: 'must be a list of symbols or one comma-separated text' })
  .transform((value, context) => {
    const list = typeof value === 'string' ? value.split(',').map((item) => item.trim()) : value;
    const names = list.filter(Boolean).map((item) => item.toUpperCase());
    for (const name of names) {
      if (!symbol.safeParse(name).success) context.addIssue({ code: 'custom', message: `'${name}' is no symbol` });
    }
    return [...new Set(names)];
  });

const typeName = ({ find, names }: StrategyRegistry) =>
  text('must be the name of a strategy type').refine((name) => find(name) !== undefined, {
    error: (issue) => `unknown strategy type '${String(issue.input)}'; known: ${names.join(', ')}`,
  });

/** Type of an entry that names none. */
export const defaultStrategyType = 'macd_rsi';

/** The form of one entry, with the strategies that it may name. */
export const entrySchemaOf = (registry: StrategyRegistry) =>
  z
    .strictObject({
      name: plainText().min(1).max(255).optional(),
      strategy_id: plainText().min(1).max(255).optional(),
      strategy_type: typeName(registry).default(defaultStrategyType),
      version: z.union([plainText(), z.number()], { error: 'must be text' }).transform(String).optional(),
      description: text('must be text')
        .refine((given) => !given.includes('\u0000'), { error: 'must not contain the character NUL' })
        .default(''),
      enabled: z.boolean({ error: 'must be true or false' }).default(false),
      params: z.record(z.string(), z.unknown(), { error: 'must be a map of parameters' }).default({}),
      priority: z.number({ error: 'must be a whole number' }).int().default(100),
      base_timeframe: z
        .enum(['1Sec', '1Min'], { error: 'must be 1Sec or 1Min, the timeframes that signals have' })
        .default('1Min'),
      universe_type: plainText().max(64).default('static'),
      universe_symbols: symbols.optional(),
      symbols: symbols.optional(),
      max_notional_per_trade: decimalText('must be a decimal of US dollars, from 0 to under 1000000000000', (value) =>
        value.lt(LARGEST_AMOUNT),
      ).optional(),
      max_position_pct_equity: decimalText('must be a fraction from 0 to 1 (0.05 = 5 %)', (value) =>
        value.lte(1),
      ).optional(),
    })
    .check((context) => {
      const { name, strategy_id: id, universe_symbols: universe, symbols: alias } = context.value;
      if (name === undefined && id === undefined) {
        context.issues.push({ code: 'custom', message: 'missing name (or strategy_id)', input: context.value });
      }
      if (universe !== undefined && alias !== undefined) {
        context.issues.push({
          code: 'custom',
          message: 'universe_symbols and symbols are two names of one setting; give one',
          path: ['symbols'],
          input: context.value,
        });
      }
    });

export type RawEntry = z.infer<ReturnType<typeof entrySchemaOf>>;
