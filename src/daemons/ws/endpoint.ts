/**
 * What ws tells about itself: /readyz gates, /status (polled by `up`), /metrics (spec ingest 4).
 */
import { isUp } from '../../lib/alpaca/connection-state.ts';
import { formatTimestampNs } from '../../lib/market/time.ts';
import type { Clock } from '../../lib/service/clock.ts';
import type { DaemonEndpoint } from '../../lib/service/http.ts';
import { machineMs } from '../../lib/service/machine.ts';
import type { ChannelFreshness } from './channel-freshness.ts';
import type { Forwarder } from './forwarder.ts';
import type { Journal } from './journal.ts';
import type { Lane } from './lane.ts';
import type { WsMetrics } from './metrics.ts';
import type { Publisher } from './publisher.ts';
import { type LoopWatch, logErrorClass, type StreamHealth } from './stream-health.ts';

export interface EndpointParts {
  runId: string;
  feed: string;
  symbols: readonly string[];
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
  isStopping(): boolean;
}

/** Consecutive failed commits from which on the log counts as down. */
const MAX_LOG_FAILURES = 3;

export function createEndpoint(parts: EndpointParts): DaemonEndpoint {
  const { market, orders, publisher, forwarder, lanes, metrics, clock } = parts;

  /** The gates of /readyz, in the order in which the first false one names the error class (spec ingest 4.1). */
  const judge = () => {
    const channels = parts.freshness.judge(clock.nowMs(), forwarder.gaps.open > 0);
    const gates = {
      alpaca_ws: isUp(market.state),
      kafka: publisher.failures < MAX_LOG_FAILURES && !publisher.isStuck,
      market_data_channels: channels.every((channel) => channel.ready || !channel.required),
      trade_updates: orders === undefined || orders.state === 'ready',
    };
    const errorClass = ((): string | null => {
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
    return market.faultToCure(now) ?? orders?.faultToCure(now);
  };

  return {
    isAlive: () => faultToCure() === undefined,
    readiness: () => {
      const { gates, channels, errorClass } = judge();
      const ready = !parts.isStopping() && Object.values(gates).every(Boolean);
      metrics.ready.set(ready ? 1 : 0);
      for (const [gate, isOpen] of Object.entries(gates)) metrics.gates.set({ gate }, isOpen ? 1 : 0);
      const isSubscribed = isUp(market.state);
      return {
        ready,
        status: ready ? 'ready' : 'not_ready',
        error_class: parts.isStopping() ? 'stopping' : errorClass,
        gates,
        degraded: market.state === 'degraded' || channels.some((channel) => channel.degraded),
        restart_reason: faultToCure() ?? null,
        alpaca_market_data_ws: {
          state: market.state,
          auth_ok: isSubscribed || market.state === 'subscribing',
          subscription_ok: market.state === 'ready',
          attempt: market.attempt,
          error_class: market.lastErrorClass ?? null,
          error_code: market.lastErrorCode ?? null,
          subscribed_symbol_count: parts.symbols.length,
          subscribed_symbols: parts.symbols,
          missing_subscription_symbols_by_channel: market.missing,
        },
        trade_updates:
          orders === undefined ? null : { state: orders.state, error_class: orders.lastErrorClass ?? null },
        kafka: { failures: publisher.failures, error_code: publisher.lastErrorCode ?? null },
        market_data_channels: channels,
      };
    },
    status: () => ({
      run_id: parts.runId,
      feed: parts.feed,
      symbols: parts.symbols,
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
    }),
    metrics: metrics.registry,
  };
}
