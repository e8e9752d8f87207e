/**
 * Asks a running ws: by its address (/healthz, /readyz, /status, /metrics), or through a cluster's API server (/facts of a pod,
 * which holds all of that and answers 200 also when ws is not ready). Every answer is parsed once; fields that a newer ws adds
 * pass through.
 */
import { z } from 'zod';
import { type CredentialReport, credentialReportSchema } from '../../lib/alpaca/credential-test.ts';
import type { Kubectl } from '../../lib/cluster/kubectl.ts';
import type { ClusterFacts } from '../../lib/cluster/ws-deployment.ts';
import { describeError, usageError } from '../../lib/service/errors.ts';
import { findService } from '../../lib/service/home.ts';

const TIMEOUT_MS = 5_000;
/** The credential test asks others in its turn. */
const CREDENTIALS_TIMEOUT_MS = 30_000;

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
  subscribed_symbol_count: z.number(),
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
  trade_updates: z
    .looseObject({ state: z.string(), error_class: z.string().nullable(), error_code: z.number().nullable() })
    .nullable(),
  kafka: z.looseObject({ failures: z.number(), error_code: z.string().nullable() }),
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
  gaps: z.looseObject({ open: z.number(), repaired: z.number(), unrepaired: z.number() }),
  last_event_ts: z.string().nullable(),
  lag_ms: z.number().nullable(),
  reconnects: z.number(),
  uptime_ms: z.number(),
  loop_lag_ms: z.number(),
  identity: z.looseObject({
    key_mark: z.string(),
    market_url: z.string(),
    channels: z.array(z.string()),
    shard: z.object({ index: z.number(), count: z.number() }),
    connection_limit: z.number(),
    pair_limit: z.number().nullable(),
    log: z.string(),
    kafka_security: z.string().nullable(),
    version: z.string().nullable(),
    commit: z.string().nullable(),
  }),
  connection: z.looseObject({
    active_sockets: z.number(),
    reconnects_10m: z.number(),
    last_end: z
      .looseObject({ error_class: z.string(), code: z.number().nullable(), clean: z.boolean(), age_ms: z.number() })
      .nullable(),
    last_unclean_age_ms: z.number().nullable(),
    notice: z.looseObject({ errorClass: z.string(), code: z.number().nullable() }).nullable(),
  }),
});

const factsSchema = z.looseObject({
  healthz: z.number(),
  readiness: readinessSchema,
  status: statusSchema,
  metrics: z.string(),
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

export interface WsPeer {
  facts: WsFacts;
  /** Lets ws test its own keys. @param isProbe also by authenticating on the test stream */
  testCredentials(isProbe: boolean): Promise<CredentialReport>;
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

async function orUnreachable<T>(where: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof z.ZodError) throw unreachable(`what answers at ${where} is no ws of this version`, error);
    throw unreachable(`${where}: ${describeError(error)}`, error);
  }
}

const credentialsPath = (isProbe: boolean) => `/credentials${isProbe ? '?probe=true' : ''}`;

/** The ws of a home, or at an address. @throws `ws_unreachable` (exit 2: no access, spec ingest 6.1) */
export async function findWs(options: { home: string; url?: string | undefined }): Promise<WsPeer> {
  const url = options.url ?? findService(options.home, 'ws')?.url;
  if (url === undefined) throw unreachable('none is running in this home');
  const get = (path: string, ms = TIMEOUT_MS) => fetch(new URL(path, url), { signal: AbortSignal.timeout(ms) });
  const facts = await orUnreachable(url, async () => {
    const [healthz, readyz, status, metrics] = await Promise.all(
      ['/healthz', '/readyz', '/status', '/metrics'].map((path) => get(path)),
    );
    if (!healthz || !readyz || !status || !metrics) throw new Error('no answer');
    return {
      url,
      healthz: healthz.status,
      readiness: readinessSchema.parse(await readyz.json()),
      status: statusSchema.parse(await status.json()),
      metrics: await metrics.text(),
    };
  });
  return {
    facts,
    testCredentials: (isProbe) =>
      orUnreachable(url, async () =>
        credentialReportSchema.parse(await (await get(credentialsPath(isProbe), CREDENTIALS_TIMEOUT_MS)).json()),
      ),
  };
}

/** @throws `ws_unreachable` (exit 2) */
export async function askWs(options: { home: string; url?: string | undefined }): Promise<WsFacts> {
  return (await findWs(options)).facts;
}

/** The ws in a pod, through the API server's proxy. @throws `ws_unreachable` (exit 2) */
export async function findWsInCluster(kubectl: Kubectl, cluster: ClusterFacts): Promise<WsPeer> {
  const living = cluster.pods.filter(({ phase, is_terminating }) => phase === 'Running' && !is_terminating);
  const pod = living.find(({ ready }) => ready) ?? living[0];
  if (!pod) throw unreachable(`no pod of ${cluster.deployment} runs in namespace ${cluster.namespace}`);
  const base = `/api/v1/namespaces/${cluster.namespace}/pods/${pod.name}:${cluster.port}/proxy`;
  const raw = async (path: string): Promise<unknown> =>
    JSON.parse(await kubectl.text(['get', '--raw', `${base}${path}`]));
  const where = `pod ${pod.name}`;
  const facts = await orUnreachable(where, async () => factsSchema.parse(await raw('/facts')));
  return {
    facts: { ...facts, url: where },
    testCredentials: (isProbe) =>
      orUnreachable(where, async () => credentialReportSchema.parse(await raw(credentialsPath(isProbe)))),
  };
}
