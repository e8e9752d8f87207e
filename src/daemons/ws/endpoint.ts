/**
 * What ws tells about itself: /readyz gates, /status (polled by `up`), /metrics (spec ingest 4).
 */
import type { ConnectionState } from '../../lib/alpaca/connectionState.ts';
import type { DaemonEndpoint } from '../../lib/service/http.ts';
import type { Forwarder } from './forwarder.ts';
import type { Journal } from './journal.ts';
import type { Lane } from './lane.ts';
import type { WsMetrics } from './metrics.ts';
import type { Publisher } from './publisher.ts';

export interface EndpointParts {
  runId: string;
  symbols: readonly string[];
  market: { readonly state: ConnectionState };
  orders: { readonly state: ConnectionState } | undefined;
  publisher: Publisher;
  forwarder: Forwarder;
  lanes: readonly Lane[];
  journal: Journal;
  metrics: WsMetrics;
  /** Provider messages durable in the log, over the life of the run, by channel. */
  acknowledged: ReadonlyMap<string, number>;
  spooledBytes(): number;
  reconnects(): number;
  isStopping(): boolean;
}

export function createEndpoint(parts: EndpointParts): DaemonEndpoint {
  const { market, orders, publisher, forwarder, lanes, metrics } = parts;
  const gates = () => ({
    alpaca_ws: market.state === 'ready' || market.state === 'degraded',
    kafka: publisher.failures < 3 && !publisher.isStuck,
    trade_updates: orders === undefined || orders.state === 'ready',
    market_data_channels: forwarder.gaps.open === 0,
  });
  return {
    // Nothing inside this process blocks for long; a stalled event loop answers nothing at all.
    isAlive: () => true,
    readiness: () => {
      const now = gates();
      const ready = !parts.isStopping() && Object.values(now).every(Boolean);
      metrics.ready.set(ready ? 1 : 0);
      return {
        ready,
        status: ready ? 'ready' : 'not_ready',
        gates: now,
        alpaca_market_data_ws: {
          state: market.state,
          subscribed_symbol_count: parts.symbols.length,
          subscribed_symbols: parts.symbols,
        },
      };
    },
    status: () => ({
      run_id: parts.runId,
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
