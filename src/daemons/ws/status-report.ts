/**
 * The checks of `torghut ws status` (spec ingest 6.1, S1 to S7) from what a ws tells and what its topics hold; pure but for the
 * reading of the topics. The exit code names the one thing that is wrong.
 */
import type { EventLog } from '../../lib/log/port.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import { NS_PER_MS } from '../../lib/service/clock.ts';
import { STALE_MS } from './channel-freshness.ts';
import type { ClusterVerdict } from './cluster-checks.ts';
import type { WsFacts } from './status-client.ts';
import { readLast } from './tail.ts';

export interface StatusCheck extends Record<string, unknown> {
  check: string;
  what: string;
  result: 'ok' | 'warning' | 'problem' | 'skipped';
  detail: string;
}

export interface NewestRecord extends Record<string, unknown> {
  topic: string;
  channel: string | null;
  symbol: string | null;
  event_ts: string | null;
  /** Market ms from the event, and from its writing, to market now. */
  event_age_ms: number | null;
  record_age_ms: number;
}

export interface WsReport extends Record<string, unknown> {
  healthy: boolean;
  exit_code: number;
  error_class: string | null;
  checks: StatusCheck[];
  topics: NewestRecord[] | null;
}

/** Exit codes by error class (spec ingest 6.1). */
const exitCodes: Readonly<Record<string, number>> = {
  alpaca_406_second_connection: 10,
  alpaca_auth: 11,
  alpaca_auth_timeout: 11,
  alpaca_entitlement: 12,
  alpaca_symbol_limit: 12,
  kafka_auth: 13,
  kafka_metadata: 14,
  kafka_produce: 15,
  backpressure: 15,
  market_data_channel_starvation: 16,
  symbols_empty: 17,
};
const RESTART = 18;
const UNDETERMINED = 20;

/** The newest record of each topic over its partitions; topics without records are left out. */
export async function newestRecords(
  log: EventLog,
  topics: readonly string[],
  marketNowMs: number,
): Promise<NewestRecord[]> {
  const found: NewestRecord[] = [];
  const existing = await log.describeTopics(log.kind === 'kafka' ? [...topics] : undefined);
  for (const topic of topics) {
    let newest: Awaited<ReturnType<typeof readLast>>[number] | undefined;
    for (const { partition } of existing.find(({ name }) => name === topic)?.partitions ?? []) {
      const last = (await readLast(log, { topic, partition }, 1)).at(-1);
      if (last && (newest === undefined || last.record.timestampMs >= newest.record.timestampMs)) newest = last;
    }
    if (newest === undefined) continue;
    const { record, value, eventNs } = newest;
    found.push({
      topic,
      channel: value?.channel ?? null,
      symbol: value?.symbol || null,
      event_ts: value?.event_ts ?? null,
      // The topic is read a moment after the clock: a record may be younger than "now".
      event_age_ms: eventNs === undefined ? null : Math.max(0, marketNowMs - Number(eventNs / NS_PER_MS)),
      record_age_ms: Math.max(0, marketNowMs - record.timestampMs),
    });
  }
  return found;
}

/** Market ms of the ws that answered. */
export function marketNowMs(facts: WsFacts): number {
  return Number((parseTimestampNs(facts.status.market_now) ?? 0n) / NS_PER_MS);
}

/** Sum of a counter over its labels, and the value by one label. */
function counter(metrics: string, name: string): { sum: number; by: Record<string, number> } {
  const by: Record<string, number> = {};
  let sum = 0;
  for (const line of metrics.split('\n')) {
    const match = /^([a-z_]+)(?:\{[a-z_]+="([^"]*)"[^}]*\})? ([0-9.e+]+)$/.exec(line);
    if (match?.[1] !== name) continue;
    sum += Number(match[3]);
    by[match[2] ?? ''] = (by[match[2] ?? ''] ?? 0) + Number(match[3]);
  }
  return { sum, by };
}

/** Upper bound of the bucket in which a quantile of a histogram lies, over all labels; undefined when it is empty. */
function quantile(metrics: string, name: string, share: number): string | undefined {
  const buckets = new Map<string, number>();
  for (const line of metrics.split('\n')) {
    const match = /^([a-z_]+)_bucket\{.*?le="([^"]+)".*\} ([0-9.e+]+)$/.exec(line);
    if (match?.[1] === name) buckets.set(match[2] as string, (buckets.get(match[2] as string) ?? 0) + Number(match[3]));
  }
  const total = buckets.get('+Inf') ?? 0;
  if (total === 0) return undefined;
  return [...buckets].find(([, count]) => count >= share * total)?.[0];
}

const listed = (lists: Record<string, string[]>) =>
  Object.entries(lists)
    .filter(([, symbols]) => symbols.length > 0)
    .map(([channel, symbols]) => `${channel}: ${symbols.join(',')}`)
    .join('; ');

/**
 * @param topics undefined when the log of this ws is not at hand
 * @param topicNames in the order of `ingestRoles`: trades, quotes, bars, …
 */
export function reportStatus(
  facts: WsFacts,
  topics: NewestRecord[] | undefined,
  topicNames: readonly string[],
  cluster?: { pods: ClusterVerdict; secrets: ClusterVerdict },
): WsReport {
  const { readiness, status, metrics } = facts;
  const channels = readiness.market_data_channels;
  const checks: StatusCheck[] = [];
  const add = (check: string, what: string, result: StatusCheck['result'], detail: string) =>
    checks.push({ check, what, result, detail });

  if (cluster) add('S1', 'deployment', cluster.pods.isWell ? 'ok' : 'problem', cluster.pods.detail);
  const closed = Object.entries(readiness.gates).filter(([, isOpen]) => !isOpen);
  const isAlive = facts.healthz === 200;
  add(
    'S2',
    'health and gates',
    isAlive && readiness.ready ? (readiness.degraded ? 'warning' : 'ok') : 'problem',
    [
      `healthz ${facts.healthz}`,
      readiness.restart_reason ?? undefined,
      closed.length === 0 ? 'all gates open' : `closed: ${closed.map(([gate]) => gate).join(', ')}`,
      readiness.error_class ?? undefined,
      readiness.alpaca_market_data_ws.error_code === null
        ? undefined
        : `code ${readiness.alpaca_market_data_ws.error_code}`,
      ...channels
        .filter(({ ready, required, degraded }) => degraded || (!ready && required))
        .map(({ channel, reason, stale_symbols }) =>
          [`${channel} ${reason.replace('market_data_channel_', '')}`, ...stale_symbols].join(' '),
        ),
    ]
      .filter((text) => text !== undefined)
      .join('; '),
  );

  const session = channels[0]?.market_session_state ?? 'unknown';
  const isJudged = channels.some(({ gate_active }) => gate_active);
  add(
    'S3',
    'session',
    'ok',
    isJudged ? `${session}, freshness gates active` : `${session}, freshness gates inactive (closed market or warm-up)`,
  );

  const missing = readiness.alpaca_market_data_ws.missing_subscription_symbols_by_channel;
  const missingText = listed(missing);
  add(
    'S4',
    'subscription',
    missingText === '' ? (readiness.gates.alpaca_ws ? 'ok' : 'problem') : 'problem',
    missingText === ''
      ? `${status.symbols.length} symbols asked for, market stream ${status.state}, order stream ${status.orders_state ?? 'off'}`
      : `not granted: ${missingText}`,
  );

  const produced = counter(metrics, 'torghut_ws_kafka_produce_success_total');
  const errors = counter(metrics, 'torghut_ws_kafka_send_errors_total').sum;
  const [p50, p99] = [0.5, 0.99].map((share) => quantile(metrics, 'torghut_ws_market_data_lag_ms', share));
  const isSilent = isJudged && produced.sum === 0;
  const { gaps } = status;
  add(
    'S5',
    'flow',
    isSilent ? 'problem' : errors > 0 || gaps.unrepaired > 0 || gaps.open > 0 || status.spooled > 0 ? 'warning' : 'ok',
    [
      `${produced.sum} records durable since the start, ${errors} send errors`,
      p50 === undefined ? 'no lag measured' : `lag p50 ≤ ${p50} ms, p99 ≤ ${p99} ms`,
      `${status.reconnects} reconnects, ${status.connection.reconnects_10m} in ten minutes`,
      `gaps ${gaps.open} open, ${gaps.repaired} repaired, ${gaps.unrepaired} unrepaired`,
      `${status.queued} queued, ${status.spooled} waiting in lanes`,
    ].join('; '),
  );

  if (topics === undefined)
    add('S6', 'topics', 'skipped', 'the log of this ws is not at hand; set KAFKA_BOOTSTRAP or --home');
  else {
    // Only of channels that are subscribed may anything be expected.
    const data = ['trades', 'quotes', 'bars'].flatMap((name, i) =>
      channels.some(({ channel }) => channel === name) ? [topicNames[i] ?? name] : [],
    );
    const old = topics.filter(({ topic, record_age_ms }) => data.includes(topic) && record_age_ms > STALE_MS);
    const absent = data.filter((name) => !topics.some(({ topic }) => topic === name));
    const wrong = [
      ...old.map(({ topic, record_age_ms }) => `${topic} ${record_age_ms} ms old`),
      ...absent.map((name) => `${name} is empty`),
    ];
    add(
      'S6',
      'topics',
      wrong.length === 0 ? 'ok' : isJudged ? 'problem' : 'warning',
      wrong.length === 0 ? `${data.length} data topics have records within ${STALE_MS / 1_000} s` : wrong.join('; '),
    );
  }

  const { identity } = status;
  const isOpen = identity.kafka_security !== null && !identity.kafka_security.includes('SSL');
  add(
    'S7',
    'identity',
    cluster && !cluster.secrets.isWell ? 'problem' : isOpen ? 'warning' : 'ok',
    [
      cluster?.secrets.detail,
      identity.log === 'embedded'
        ? 'embedded log'
        : `Kafka by ${identity.kafka_security}${isOpen ? ', which is not TLS' : ''}`,
      `key ${identity.key_mark}`,
      identity.version === null ? 'no version named' : `version ${identity.version}`,
      identity.commit === null ? undefined : `commit ${identity.commit}`,
    ]
      .filter((text) => text !== undefined)
      .join('; '),
  );

  const exit = (): number => {
    const known = readiness.error_class === null ? undefined : exitCodes[readiness.error_class];
    if (!readiness.ready || !isAlive) return known ?? (isAlive ? UNDETERMINED : RESTART);
    if (missingText !== '') return exitCodes.alpaca_symbol_limit as number;
    if (cluster && !cluster.pods.isWell) return cluster.pods.exitCode;
    if (cluster && !cluster.secrets.isWell && cluster.secrets.exitCode !== 0) return cluster.secrets.exitCode;
    if (checks.some(({ check, result }) => result === 'problem' && check !== 'S7'))
      return exitCodes.market_data_channel_starvation as number;
    return 0;
  };
  const code = exit();
  return {
    healthy: code === 0,
    exit_code: code,
    error_class: readiness.error_class,
    url: facts.url,
    run_id: status.run_id,
    feed: status.feed,
    market_now: status.market_now,
    gates: readiness.gates,
    checks,
    channels,
    gaps,
    received: status.received,
    acknowledged: status.acknowledged,
    last_event_ts: status.last_event_ts,
    lag_ms: status.lag_ms,
    topics: topics ?? null,
  };
}
