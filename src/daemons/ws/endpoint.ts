/**
 * What ws tells about itself: /readyz gates, /status (polled by `up`), /metrics (spec ingest 4), /facts (all of it in one answer
 * that is always 200, for readers behind a proxy) and /credentials (a test of its own keys, for the runbook).
 * Guarantee: no answer holds a key; the key id is shown as the first eight hex digits of its SHA-256.
 */
import { isUp } from '../../lib/alpaca/connection-state.ts';
import { formatTimestampNs } from '../../lib/market/time.ts';
import type { Clock } from '../../lib/service/clock.ts';
import { type DaemonEndpoint, sendJson } from '../../lib/service/http.ts';
import { machineMs } from '../../lib/service/machine.ts';
import type { ChannelFreshness, ChannelHealth } from './channel-freshness.ts';
import type { Forwarder } from './forwarder.ts';
import type { WsIdentity } from './identity.ts';
import type { Journal } from './journal.ts';
import type { Lane } from './lane.ts';
import type { WsMetrics } from './metrics.ts';
import type { Publisher } from './publisher.ts';
import { type LoopWatch, logErrorClass, type StreamHealth } from './stream-health.ts';

export interface EndpointParts {
  runId: string;
  feed: string;
  /** What was configured, without secrets. */
  identity: WsIdentity;
  /** The symbols wanted now, and how the last poll of the symbol service failed. */
  desired: { readonly symbols: readonly string[]; readonly failure: string | undefined; readonly isPolled: boolean };
  universe: { id: string; symbolHash: string; symbols: readonly string[] } | undefined;
  clock: Clock;
  market: StreamHealth;
  orders: StreamHealth | undefined;
  freshness: ChannelFreshness;
  loop: LoopWatch;
  publisher: Pick<Publisher, 'failures' | 'isStuck' | 'lastErrorCode' | 'queued' | 'queuedBytes'>;
  forwarder: Pick<Forwarder, 'gaps' | 'received' | 'lastEvent' | 'lagMs'>;
  lanes: readonly Pick<Lane, 'waiting'>[];
  journal: Pick<Journal, 'pending'>;
  metrics: WsMetrics;
  /** Provider messages durable in the log, over the life of the run, by channel. */
  acknowledged: ReadonlyMap<string, number>;
  spooledBytes(): number;
  reconnects(): number;
  loopLagSeconds(): number;
  openSockets(): number;
  /** Tests the own keys. @param isProbe also by authenticating on the test stream */
  testCredentials(isProbe: boolean): Promise<unknown>;
  isStopping(): boolean;
}

export interface Judgement {
  gates: { alpaca_ws: boolean; kafka: boolean; market_data_channels: boolean; trade_updates: boolean };
  channels: ChannelHealth[];
  /** Class of the first closed gate; null when all are open. */
  errorClass: string | null;
}

/** Consecutive failed commits from which on the log counts as down. */
const MAX_LOG_FAILURES = 3;

export function createEndpoint(parts: EndpointParts): DaemonEndpoint & { judge(): Judgement } {
  const { market, orders, publisher, forwarder, lanes, metrics, clock, desired } = parts;
  const startedMs = machineMs();

  /** The gates of /readyz, in the order in which the first false one names the error class (spec ingest 4.1). */
  const judge = (): Judgement => {
    const channels = parts.freshness.judge(clock.nowMs(), forwarder.gaps.open > 0);
    const gates = {
      alpaca_ws: isUp(market.state),
      kafka: publisher.failures < MAX_LOG_FAILURES && !publisher.isStuck,
      market_data_channels: channels.every((channel) => channel.ready || !channel.required),
      trade_updates: orders === undefined || orders.state === 'ready',
    };
    const errorClass = ((): string | null => {
      if (desired.symbols.length === 0) return 'symbols_empty';
      if (!gates.alpaca_ws) return market.lastErrorClass ?? market.state;
      if (!gates.kafka) return logErrorClass(publisher.lastErrorCode);
      if (!gates.market_data_channels) {
        return forwarder.gaps.open > 0 ? 'gap_open' : 'market_data_channel_starvation';
      }
      return gates.trade_updates ? null : (orders?.lastErrorClass ?? orders?.state ?? 'unknown');
    })();
    return { gates, channels, errorClass };
  };

  const faultToCure = (): string | undefined => {
    const now = machineMs();
    if (parts.isStopping()) return undefined;
    if (parts.loop.isStalled(now)) return 'the event loop stood still';
    // Without a symbol there is nothing to connect for: idle, and a restart brings no symbol.
    const marketFault = desired.symbols.length === 0 ? undefined : market.faultToCure(now);
    return marketFault ?? orders?.faultToCure(now);
  };

  const ageMs = (atMs: number | undefined) => (atMs === undefined ? null : Math.round(machineMs() - atMs));

  const readiness = () => {
    const { gates, channels, errorClass } = judge();
    const ready = !parts.isStopping() && Object.values(gates).every(Boolean);
    metrics.ready.set(ready ? 1 : 0);
    for (const [gate, isOpen] of Object.entries(gates)) metrics.gates.set({ gate }, isOpen ? 1 : 0);
    const isSubscribed = isUp(market.state);
    const { symbols } = desired;
    return {
      ready,
      status: ready ? 'ready' : 'not_ready',
      error_class: parts.isStopping() ? 'stopping' : errorClass,
      gates,
      degraded:
        market.state === 'degraded' ||
        market.notice !== undefined ||
        desired.failure !== undefined ||
        channels.some((channel) => channel.degraded),
      restart_reason: faultToCure() ?? null,
      alpaca_market_data_ws: {
        state: market.state,
        auth_ok: isSubscribed || market.state === 'subscribing',
        subscription_ok: market.state === 'ready',
        latest_auth_success_at_ms: market.latestAuthMs ?? null,
        latest_subscription_ack_at_ms: market.latestAckMs ?? null,
        attempt: market.attempt,
        error_class: market.lastErrorClass ?? null,
        error_code: market.lastErrorCode ?? null,
        subscribed_symbol_count: symbols.length,
        subscribed_symbols: symbols,
        subscribed_symbols_by_channel: Object.fromEntries(
          parts.identity.channels.map((channel) => {
            const missing = market.missing[channel] ?? [];
            return [channel, isSubscribed ? symbols.filter((symbol) => !missing.includes(symbol)) : []];
          }),
        ),
        missing_subscription_symbols_by_channel: market.missing,
      },
      trade_updates:
        orders === undefined
          ? null
          : {
              state: orders.state,
              error_class: orders.lastErrorClass ?? null,
              error_code: orders.lastErrorCode ?? null,
            },
      kafka: { failures: publisher.failures, error_code: publisher.lastErrorCode ?? null },
      market_data_channels: channels,
      market_data_feeds: [
        {
          feed: parts.feed,
          core: true,
          ready: gates.alpaca_ws && gates.market_data_channels,
          auth_ok: isSubscribed || market.state === 'subscribing',
          subscription_ok: market.state === 'ready',
          kafka_ready: gates.kafka,
          error_class: market.lastErrorClass ?? null,
          channels: channels.map(({ channel }) => channel),
        },
      ],
      market_data_universe:
        parts.universe === undefined
          ? null
          : { id: parts.universe.id, symbol_hash: parts.universe.symbolHash, symbols: parts.universe.symbols },
      desired_symbols: { polled: desired.isPolled, failure: desired.failure ?? null },
    };
  };

  const status = () => ({
    run_id: parts.runId,
    feed: parts.feed,
    symbols: desired.symbols,
    market_now: formatTimestampNs(clock.nowNs()),
    state: market.state,
    orders_state: orders?.state ?? null,
    received: forwarder.received,
    acknowledged: { trades: 0, quotes: 0, bars: 0, ...Object.fromEntries(parts.acknowledged) },
    queued: publisher.queued,
    spooled: lanes.reduce((sum, lane) => sum + lane.waiting, 0),
    spooled_bytes: parts.spooledBytes(),
    journalled: parts.journal.pending,
    gaps: { ...forwarder.gaps },
    last_event_ts: forwarder.lastEvent?.text ?? null,
    lag_ms: forwarder.lagMs ?? null,
    reconnects: parts.reconnects(),
    identity: parts.identity,
    uptime_ms: Math.round(machineMs() - startedMs),
    loop_lag_ms: Math.round(parts.loopLagSeconds() * 1_000),
    connection: {
      active_sockets: parts.openSockets(),
      reconnects_10m: market.recentEnds(machineMs()),
      last_end:
        market.lastEnd === undefined
          ? null
          : {
              error_class: market.lastEnd.errorClass,
              code: market.lastEnd.code ?? null,
              clean: market.lastEnd.isClean,
              age_ms: ageMs(market.lastEnd.atMs),
            },
      last_unclean_age_ms: ageMs(market.lastUncleanMs),
      notice: market.notice === undefined ? null : { ...market.notice, code: market.notice.code ?? null },
    },
  });

  return {
    judge,
    isAlive: () => faultToCure() === undefined,
    readiness,
    status,
    metrics: metrics.registry,
    routes: {
      'GET /facts': async (_request, response) => {
        const healthz = faultToCure() === undefined ? 200 : 503;
        const text = await metrics.registry.metrics();
        sendJson(response, 200, { healthz, readiness: readiness(), status: status(), metrics: text });
      },
      'GET /credentials': async (_request, response, url) => {
        sendJson(response, 200, await parts.testCredentials(url.searchParams.get('probe') === 'true'));
      },
    },
  };
}
