/** Kinds of parameters that strategies share; every message says what the value must be. */
import { Decimal } from 'decimal.js';
import { z } from 'zod';

const quantityText = 'must be a quantity above 0, for example 1 or "0.5"';

/** Accepts `"300"` and 300; kept exact. */
export const positiveQuantity = z
  .union([z.string(), z.number()], { error: quantityText })
  .refine((value) => /^\d+(\.\d+)?$/.test(String(value)) && new Decimal(String(value)).gt(0), { error: quantityText })
  .transform((value) => new Decimal(String(value)));

export const rsiLevel = z.number({ error: 'must be a number from 0 to 100' }).min(0).max(100);

/** Market seconds between two entries of a strategy in one symbol; 0 = none. */
export const cooldownSeconds = z.number({ error: 'must be a number of seconds' }).min(0).max(86_400);

export const yesOrNo = z.boolean({ error: 'must be true or false' });
