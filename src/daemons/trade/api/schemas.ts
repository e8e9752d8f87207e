/**
 * What the HTTP API of `torghut trade` takes and gives (spec trading 7), as zod schemas: the OpenAPI document is made of
 * them, and the tests hold the answers against them. Decimals and times are text; 64-bit numbers too.
 */
import { z } from 'zod';

const time = z.string().describe('RFC 3339, market time');
const optionalTime = time.nullable();
const decimal = z.string().describe('decimal number');

export const errorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), request_id: z.string() }),
});

const page = {
  symbol: z.string().max(32).optional().describe('of this symbol alone'),
  status: z.string().max(32).optional().describe('with this status alone'),
  strategy: z.string().max(255).optional().describe('of this strategy alone'),
  since: z.string().max(40).optional().describe('at or after this market time (RFC 3339); default 24 market hours ago'),
  limit: z.number().int().min(1).max(500).default(100).describe('rows at most'),
  cursor: z.string().max(512).optional().describe('next_cursor of the page before'),
};
export const listQuery = z.strictObject(page);
export type ListQuery = z.infer<typeof listQuery>;
export const noQuery = z.strictObject({});
export const reconcileQuery = z.strictObject({
  since_ms: z
    .number()
    .int()
    .min(0)
    .optional()
    .describe('list orders from a day before this market time (ms) at the latest'),
});
export const profitQuery = z.strictObject({
  day: z.string().max(10).optional().describe('day in New York, YYYY-MM-DD; default the present one'),
});

const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({
    items: z.array(item),
    next_cursor: z.string().nullable().describe('give it as cursor for the next page; null on the last'),
  });

export const decisionSchema = z.object({
  id: z.string(),
  strategy: z.string(),
  symbol: z.string(),
  timeframe: z.string(),
  event_ts: time,
  decided_at: time,
  action: z.enum(['buy', 'sell']),
  intent: z.enum(['entry', 'exit']),
  qty: decimal,
  price: decimal.nullable(),
  status: z.string(),
  reasons: z.array(z.string()),
  reject_origin: z.string().nullable(),
  executed_at: optionalTime,
  rationale: z.string(),
  signal: z.object({
    run_id: z.string(),
    window_size: z.string(),
    revision: z.number(),
    src_partition: z.number(),
    src_offset: z.string(),
  }),
  decision_hash: z.string(),
});

export const executionSchema = z.object({
  id: z.string(),
  decision_id: z.string().nullable(),
  alpaca_order_id: z.string(),
  client_order_id: z.string(),
  symbol: z.string(),
  side: z.enum(['buy', 'sell']),
  order_type: z.string(),
  qty: decimal,
  filled_qty: decimal,
  avg_fill_price: decimal.nullable(),
  state: z.string(),
  broker_status: z.string(),
  is_final: z.boolean(),
  is_late_accepted: z.boolean(),
  is_orphan: z.boolean(),
  submitted_at: optionalTime,
  filled_at: optionalTime,
  canceled_at: optionalTime,
});

export const positionsSchema = z.object({
  account_label: z.string(),
  items: z.array(z.object({ symbol: z.string(), qty: decimal, avg_entry_price: decimal })),
  drift: z.array(z.string()).describe('symbols whose quantity differs from the broker, by the last reconcile pass'),
});

export const profitSchema = z.object({
  account_label: z.string(),
  day: z.string(),
  from: time,
  to: time,
  realized: decimal.describe('US dollars, average cost, before fees'),
  equity: z.object({ first: decimal.nullable(), last: decimal.nullable(), delta: decimal.nullable() }),
  items: z.array(
    z.object({
      strategy: z.string().nullable(),
      symbol: z.string(),
      fills: z.number(),
      bought: decimal,
      sold: decimal,
      realized: decimal,
      qty: decimal,
      avg_entry_price: decimal.nullable(),
    }),
  ),
});

const dependency = z.object({ ok: z.boolean(), detail: z.string() });
export const healthSchema = z.object({ status: z.enum(['ok']), service: z.literal('torghut') });
export const readySchema = z.object({
  status: z.enum(['ok', 'degraded']),
  ready: z.boolean(),
  reason_codes: z.array(z.string()),
  dependencies: z.object({ postgres: dependency, database: dependency, clickhouse: dependency, alpaca: dependency }),
  scheduler: z.object({
    running: z.boolean(),
    leader: z.boolean(),
    last_run_at: optionalTime,
    last_reconcile_at: optionalTime,
  }),
  live_submission_gate: z.object({
    allowed: z.boolean(),
    reasons: z.array(z.string()),
    capital_stage: z.enum(['live', 'shadow']),
  }),
  last_error: z.string().nullable(),
});
export const tradingHealthSchema = z.object({
  status: z.enum(['ok', 'degraded']),
  dependencies: z.object({ postgres: dependency, clickhouse: dependency, alpaca: dependency }),
  universe: z
    .object({
      status: z.string(),
      reason: z.string(),
      count: z.number().nullable(),
      as_of: optionalTime,
      age_seconds: z.number().nullable().describe('market seconds; null for a static list'),
      is_blocked: z.boolean(),
    })
    .nullable()
    .describe('null before the first cycle'),
  last_reconcile_at: optionalTime,
});
export const databaseCheckSchema = z.object({
  ok: z.boolean(),
  schema_current: z.boolean(),
  current_heads: z.array(z.string()),
  expected_heads: z.array(z.string()),
  lineage_ready: z.boolean(),
  branch_count: z.number(),
  pending: z.array(z.string()),
  newer: z.array(z.string()),
  edited: z.array(z.string()),
  warnings: z.array(z.string()),
  account_scope: z.object({ checks: z.array(z.string()), errors: z.array(z.string()) }),
});
/** Grows with the loop; the fields that every version has. */
export const statusSchema = z.looseObject({
  run_id: z.string(),
  account_label: z.string(),
  enabled: z.boolean(),
  mode: z.string(),
  running: z.boolean(),
  build: z.object({ version: z.string(), active_revision: z.string().nullable() }),
  leader: z.boolean(),
  epoch: z.string().nullable(),
  kill_switch: z.boolean(),
  paused: z.boolean(),
  session: z.string(),
  cursor: z.record(z.string(), z.string()),
  cycles: z.number(),
  decisions_total: z.number(),
  orders_open: z.number(),
  tca: z.object({
    orders: z.number(),
    avg_slippage_bps: z.number().nullable(),
    avg_abs_slippage_bps: z.number().nullable(),
  }),
  unknown_claims: z.number(),
  draining: z.boolean(),
  drained: z.boolean(),
  last_error: z.string().nullable(),
});
export const countersSchema = z.record(z.string(), z.unknown());
export const passSchema = z.looseObject({ changes: z.number() });
export const drainSchema = z.object({ draining: z.boolean(), drained: z.boolean() });

export const decisionPage = pageOf(decisionSchema);
export const executionPage = pageOf(executionSchema);

/** A schema as OpenAPI 3.1 wants it. */
export function documentOf(schema: z.ZodType): Record<string, unknown> {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io: 'output', unrepresentable: 'any' });
  return json;
}

/** A query's schema as the server's validator wants it: what may be left out is not required. */
export function queryOf(schema: z.ZodType): Record<string, unknown> {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return json;
}
