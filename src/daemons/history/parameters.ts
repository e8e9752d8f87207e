/** The query parameters of the history API, parsed once; every mistake is a 400 with the name of the parameter. */
import { z } from 'zod';
import { newYorkInstant } from '../../lib/market/calendar.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import { usageError } from '../../lib/service/errors.ts';
import type { HistoryRange } from '../../lib/signals/history.ts';

const NS_PER_MS = 1_000_000n;
const dayMs = 86_400_000;

const symbol = z
  .string()
  .transform((text) => text.toUpperCase())
  .pipe(z.string().regex(/^[A-Z][A-Z0-9./]{0,15}$/, 'is no symbol'));
const window = z.enum(['PT1S', 'PT1M']).default('PT1S');
const limit = z.coerce.number().int().min(1).max(5_000).default(500);
const instant = z.string().transform((text, context) => {
  const ns = parseTimestampNs(text);
  if (ns !== undefined) return Number(ns / NS_PER_MS);
  context.addIssue({ code: 'custom', message: 'must be a time like 2013-10-08T13:30:00Z' });
  return z.NEVER;
});
const date = z.string().regex(/^\d{4}-\d{2}-\d{2}$/, 'must be a date like 2013-10-08');
/** Days are New York's (spec ta 9). */
const tz = z.literal('America/New_York').default('America/New_York');
const cursor = z
  .string()
  .regex(/^[0-9]{1,15}$/, 'is no cursor of this API')
  .transform(Number)
  .optional();

/** Time and id of the last row of the page before. */
const place = z
  .string()
  .regex(/^\d{1,15}_[0-9a-f-]{36}$/, 'is no cursor of this API')
  .transform((text) => {
    const [atMs, id] = text.split('_') as [string, string];
    return { atMs: Number(atMs), id };
  })
  .optional();

export const parameters = {
  symbols: z.object({
    assetClass: z.enum(['equity', 'crypto']).default('equity'),
    view: z.enum(['compact', 'full']).default('full'),
  }),
  latest: z.object({ symbol, window }),
  range: z.object({
    symbol,
    window,
    from: instant,
    to: instant,
    step: z.coerce.number().int().min(1).max(86_400).optional(),
    limit,
    cursor,
  }),
  list: z.object({
    day: date,
    tz,
    status: z.string().max(40).optional(),
    strategyId: z.uuid().optional(),
    limit,
    cursor: place,
  }),
  summary: z.object({ day: date, tz, strategyId: z.uuid().optional() }),
  days: z.object({ start: date, end: date, tz, strategyId: z.uuid().optional() }),
};

/** @throws `parameter_invalid` (400) */
export function parse<T>(schema: z.ZodType<T>, url: URL): T {
  const result = schema.safeParse(Object.fromEntries(url.searchParams));
  if (result.success) return result.data;
  const why = result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
  throw usageError({
    code: 'parameter_invalid',
    what: 'a parameter is wrong',
    why,
    next: 'correct the query of the address',
  });
}

export function rangeOf(given: z.infer<typeof parameters.range>): HistoryRange {
  const { from, to, step, cursor: after, ...rest } = given;
  return { ...rest, fromMs: from, toMs: to, stepSeconds: step, afterMs: after };
}

/** A New York date as [fromMs, toMs) in UTC. */
export function dayRange(day: string): { fromMs: number; toMs: number } {
  const fromMs = Number(newYorkInstant(day, 0) / NS_PER_MS);
  const next = new Date(Date.parse(`${day}T00:00:00Z`) + dayMs).toISOString().slice(0, 10);
  return { fromMs, toMs: Number(newYorkInstant(next, 0) / NS_PER_MS) };
}

export const timeText = (ms: number): string => new Date(ms).toISOString();
