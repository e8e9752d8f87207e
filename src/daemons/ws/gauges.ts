/**
 * Brings the gauges of /metrics up to date once a machine second, from what the parts know. Guarantee: a scrape shows the state
 * of at most a second ago also when nobody asks for readiness.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Clock } from '../../lib/service/clock.ts';
import type { ChannelFreshness, ChannelHealth } from './channel-freshness.ts';
import type { Forwarder } from './forwarder.ts';
import type { WsMetrics } from './metrics.ts';
import type { RecordMaker } from './records.ts';
import type { StreamHealth } from './stream-health.ts';

export interface GaugeParts {
  feed: string;
  clock: Clock;
  metrics: WsMetrics;
  market: StreamHealth;
  freshness: ChannelFreshness;
  forwarder: Pick<Forwarder, 'gaps' | 'lagMs' | 'received'>;
  records: Pick<RecordMaker, 'duplicates'>;
  isSessionActive(): boolean;
  /** Class that keeps ws from being ready; null when it is. */
  errorClass(): string | null;
  openSockets(): number;
}

const NS_PER_SECOND = 1e9;

export interface Gauges {
  tick(): void;
  /** Worst delay of the event loop in the last seconds (machine s). */
  readonly loopLagSeconds: number;
  close(): void;
}

export function createGauges(parts: GaugeParts): Gauges {
  const { metrics, feed, market } = parts;
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const told = new Map<string, number>();
  let lastClass: string | null = null;
  let ticks = 0;
  let lagSeconds = 0;

  /** Adds what a plain count has grown by to a counter. */
  const follow = (kind: string, counts: Readonly<Record<string, number>>, add: (name: string, by: number) => void) => {
    for (const [name, count] of Object.entries(counts)) {
      const key = `${kind} ${name}`;
      const by = count - (told.get(key) ?? 0);
      if (by > 0) add(name, by);
      told.set(key, count);
    }
  };

  const tellChannel = (health: ChannelHealth) => {
    const set = (field: string, value: number | null) =>
      metrics.channel.set({ feed, channel: health.channel, field }, value ?? -1);
    set('ready', health.ready ? 1 : 0);
    set('lag_ms', health.lag_ms);
    set('latest_provider_event_at_ms', health.latest_provider_event_at_ms);
    set('latest_kafka_success_at_ms', health.latest_kafka_success_at_ms);
    set('latest_subscription_ack_at_ms', health.latest_subscription_ack_at_ms);
    set('subscription_ack_lag_ms', health.subscription_ack_lag_ms);
    set('subscribed_symbol_count', health.subscribed_symbol_count);
    set('observed_symbol_count', health.observed_symbol_count);
    set('fresh_symbol_count', health.fresh_symbol_count);
    set('missing_symbol_count', health.missing_symbols.length);
    set('stale_symbol_count', health.stale_symbols.length);
  };

  return {
    get loopLagSeconds() {
      return lagSeconds;
    },
    tick: () => {
      follow('received', parts.forwarder.received, (channel, by) =>
        metrics.providerMessages.inc({ feed, channel }, by),
      );
      follow('duplicate', parts.records.duplicates, (channel, by) => metrics.duplicates.inc({ feed, channel }, by));
      for (const health of parts.freshness.judge(parts.clock.nowMs(), parts.forwarder.gaps.open > 0))
        tellChannel(health);
      metrics.sessionActive.set(parts.isSessionActive() ? 1 : 0);
      metrics.activeSockets.set({ feed }, parts.openSockets());
      metrics.clockSkew.set(Math.max(0, -(parts.forwarder.lagMs ?? 0)));
      metrics.lastCloseCode.set(market.lastEnd?.code ?? 0);
      metrics.lastErrorCode.reset();
      if (market.lastEnd?.code !== undefined) metrics.lastErrorCode.set({ code: String(market.lastEnd.code) }, 1);
      const errorClass = parts.errorClass();
      if (errorClass !== lastClass) {
        metrics.readinessClass.reset();
        if (errorClass !== null) {
          metrics.readinessErrors.inc({ error_class: errorClass });
          metrics.readinessClass.set({ error_class: errorClass }, 1);
        }
        lastClass = errorClass;
      }
      lagSeconds = delay.max / NS_PER_SECOND;
      metrics.loopLag.set(lagSeconds);
      ticks += 1;
      if (ticks % 10 === 0) delay.reset();
    },
    close: () => void delay.disable(),
  };
}
