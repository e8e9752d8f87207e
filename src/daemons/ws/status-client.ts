/**
 * Asks a running ws: /healthz, /readyz, /status and /metrics, each parsed once. Fields that a newer ws adds pass through.
 */
import { z } from 'zod';
import { describeError, usageError } from '../../lib/service/errors.ts';
import { findService } from '../../lib/service/home.ts';

const TIMEOUT_MS = 5_000;

const channelSchema = z.looseObject({
  channel: z.string(),
  ready: z.boolean(),
  required: z.boolean(),
  gate_active: z.boolean(),
  market_session_state: z.string(),
  reason: z.string(),
  degraded: z.boolean(),
  lag_ms: z.number().nullable(),
  missing_symbols: z.array(z.string()),
  stale_symbols: z.array(z.string()),
  halted_symbols: z.array(z.string()),
});

const readinessSchema = z.looseObject({
  ready: z.boolean(),
  error_class: z.string().nullable(),
  gates: z.record(z.string(), z.boolean()),
  degraded: z.boolean(),
  restart_reason: z.string().nullable(),
  alpaca_market_data_ws: z.looseObject({
    state: z.string(),
    attempt: z.number(),
    error_class: z.string().nullable(),
    error_code: z.number().nullable(),
    missing_subscription_symbols_by_channel: z.record(z.string(), z.array(z.string())),
  }),
  market_data_channels: z.array(channelSchema),
});

const counts = z.record(z.string(), z.number());

const statusSchema = z.looseObject({
  run_id: z.string(),
  feed: z.string(),
  state: z.string(),
  orders_state: z.string().nullable(),
  symbols: z.array(z.string()),
  market_now: z.string(),
  received: counts,
  acknowledged: counts,
  queued: z.number(),
  spooled: z.number(),
  spooled_bytes: z.number(),
  gaps: z.object({ open: z.number(), repaired: z.number(), unrepaired: z.number() }),
  last_event_ts: z.string().nullable(),
  lag_ms: z.number().nullable(),
  reconnects: z.number(),
});

export interface WsFacts {
  url: string;
  /** HTTP status of /healthz. */
  healthz: number;
  readiness: z.infer<typeof readinessSchema>;
  status: z.infer<typeof statusSchema>;
  /** Text of /metrics. */
  metrics: string;
}

function unreachable(why: string, cause?: unknown): Error {
  return usageError({
    code: 'ws_unreachable',
    what: 'no ws answers',
    why,
    next: 'start `torghut up` or `torghut ws`, or name its address with --url',
    cause,
  });
}

/** @throws `ws_unreachable` (exit 2: no access, spec ingest 6.1) */
export async function askWs(options: { home: string; url?: string | undefined }): Promise<WsFacts> {
  const url = options.url ?? findService(options.home, 'ws')?.url;
  if (url === undefined) throw unreachable('none is running in this home');
  try {
    const get = (path: string) => fetch(new URL(path, url), { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const [healthz, readyz, status, metrics] = await Promise.all(
      ['/healthz', '/readyz', '/status', '/metrics'].map(get),
    );
    if (!healthz || !readyz || !status || !metrics) throw new Error('no answer');
    return {
      url,
      healthz: healthz.status,
      readiness: readinessSchema.parse(await readyz.json()),
      status: statusSchema.parse(await status.json()),
      metrics: await metrics.text(),
    };
  } catch (error) {
    if (error instanceof z.ZodError) throw unreachable(`what answers at ${url} is no ws of this version`, error);
    throw unreachable(`${url}: ${describeError(error)}`, error);
  }
}
