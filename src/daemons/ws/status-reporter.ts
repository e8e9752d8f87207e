/**
 * Our own records on the status topic (spec ingest 2.7 and 5): one on each change of state of a stream, a heartbeat every 15
 * machine seconds, one for each gap. Never a secret: details come from the provider's codes and our own words.
 */
import type { StateChange } from '../../lib/alpaca/reconnect.ts';
import { sessionOf } from '../../lib/market/calendar.ts';
import type { EnvelopeWriter } from '../../lib/market/envelope-text.ts';
import { formatTimestampNs } from '../../lib/market/time.ts';
import type { Clock } from '../../lib/service/clock.ts';
import type { Publisher } from './publisher.ts';
import type { Slots } from './records.ts';

export const HEARTBEAT_MS = 15_000;

export interface StatusFacts {
  authOk: boolean;
  subscriptionOk: boolean;
  kafkaReady: boolean;
  subscribedSymbols: number;
  lagMs: number | undefined;
  lastEventTs: string | undefined;
}

export interface GapFacts {
  channel: string;
  symbol: string;
  fromNs: bigint;
  toNs: bigint;
  count: number;
  repaired: boolean;
}

export interface StatusReporter {
  change(component: string, change: StateChange): void;
  heartbeat(component: string): void;
  gap(component: string, gap: GapFacts, detail?: string): void;
  say(component: string, status: string, detail: { errorClass?: string; code?: number; detail?: string }): void;
}

const statusOfState = {
  disconnected: 'disconnected',
  connecting: 'connecting',
  authenticating: 'connecting',
  subscribing: 'authenticated',
  ready: 'ready',
  degraded: 'degraded',
  blocked: 'blocked',
  draining: 'stopping',
} as const;

export function createStatusReporter(options: {
  feed: string;
  clock: Clock;
  slots: Slots;
  envelopes: EnvelopeWriter;
  publisher: Publisher;
  facts(component: string): StatusFacts;
}): StatusReporter {
  const { clock, slots, envelopes, publisher, feed } = options;
  let lastSuccessTs: string | null = null;

  const write = (component: string, payload: Record<string, unknown>) => {
    const facts = options.facts(component);
    const text = envelopes.status(component, {
      component: 'ws',
      provider: 'alpaca',
      feed,
      auth_ok: facts.authOk,
      subscription_ok: facts.subscriptionOk,
      kafka_ready: facts.kafkaReady,
      error_class: null,
      error_code: null,
      detail: null,
      attempt: null,
      lag_ms: facts.lagMs ?? null,
      subscribed_symbol_count: facts.subscribedSymbols,
      session_state: sessionOf(clock.nowNs()),
      last_event_ts: facts.lastEventTs ?? null,
      last_success_ts: lastSuccessTs,
      heartbeat: false,
      schema_version: 1,
      ...payload,
    });
    publisher.enqueue({
      slot: slots.of('status', slots.partitionOf(component)),
      key: component,
      value: Buffer.from(text, 'utf8'),
      timestampMs: clock.nowMs(),
    });
  };

  return {
    change: (component, change) => {
      if (change.to === 'ready' || change.to === 'degraded') lastSuccessTs = formatTimestampNs(clock.nowNs());
      const missing =
        change.missing === undefined ? 0 : [...change.missing.values()].reduce((n, set) => n + set.size, 0);
      write(component, {
        status: statusOfState[change.to],
        attempt: change.attempt,
        error_class: change.end?.errorClass ?? null,
        error_code: change.end?.code === undefined ? null : String(change.end.code),
        detail: change.end?.detail ?? (missing > 0 ? `${missing} symbol-channel pairs were not granted` : null),
      });
    },
    heartbeat: (component) => write(component, { status: 'heartbeat', heartbeat: true }),
    gap: (component, gap, detail) =>
      write(component, {
        status: 'gap',
        detail: detail ?? null,
        gap: {
          channel: gap.channel,
          symbol: gap.symbol,
          from: formatTimestampNs(gap.fromNs),
          to: formatTimestampNs(gap.toNs),
          count: gap.count,
          repaired: gap.repaired,
        },
      }),
    say: (component, status, detail) =>
      write(component, {
        status,
        error_class: detail.errorClass ?? null,
        error_code: detail.code === undefined ? null : String(detail.code),
        detail: detail.detail ?? null,
      }),
  };
}
