/** Readiness by the session calendar, liveness only for what a restart can cure; every clock is in the test's hand. */
import { describe, expect, test } from 'vitest';
import { ChannelFreshness, feedSessionStartMs, STALE_MS, WARM_UP_MS } from '../../src/daemons/ws/channel-freshness.ts';
import { createEndpoint, type EndpointParts } from '../../src/daemons/ws/endpoint.ts';
import { wsIdentity } from '../../src/daemons/ws/identity.ts';
import { createWsMetrics } from '../../src/daemons/ws/metrics.ts';
import { LoopWatch, logErrorClass, StreamHealth } from '../../src/daemons/ws/stream-health.ts';
import { loadWsConfig } from '../../src/daemons/ws/variables.ts';
import { retryDelayMs, type StreamErrorClass } from '../../src/lib/alpaca/stream-errors.ts';
import { keyMark } from '../../src/lib/cluster/holders.ts';
import type { Clock } from '../../src/lib/service/clock.ts';
import { machineMs } from '../../src/lib/service/machine.ts';

const at = (text: string) => Date.parse(text);
const opening = at('2024-07-02T13:30:00Z');
const symbols = ['AMD', 'MU', 'NVDA'];
const channels = ['trades', 'quotes', 'bars', 'updated_bars'];
const of = (freshness: ChannelFreshness, channel: string, nowMs: number, isGapOpen = false) => {
  const found = freshness.judge(nowMs, isGapOpen).find((item) => item.channel === channel);
  if (!found) throw new Error(`no channel ${channel}`);
  return found;
};

describe('the session of a feed', () => {
  test('iex begins with the bell in summer and in winter; sip at four in New York', () => {
    expect(feedSessionStartMs('iex', at('2024-07-02T13:29:59Z'))).toBeUndefined();
    expect(feedSessionStartMs('iex', at('2024-07-02T15:00:00Z'))).toBe(opening);
    expect(feedSessionStartMs('iex', at('2024-12-02T15:00:00Z'))).toBe(at('2024-12-02T14:30:00Z'));
    expect(feedSessionStartMs('sip', at('2024-07-02T13:00:00Z'))).toBe(at('2024-07-02T08:00:00Z'));
  });

  test('a half day, a holiday and a weekend bring nothing', () => {
    expect(feedSessionStartMs('iex', at('2024-07-03T16:59:00Z'))).toBe(at('2024-07-03T13:30:00Z'));
    expect(feedSessionStartMs('iex', at('2024-07-03T17:01:00Z'))).toBeUndefined();
    expect(feedSessionStartMs('sip', at('2024-07-04T15:00:00Z'))).toBeUndefined();
    expect(feedSessionStartMs('sip', at('2024-07-06T15:00:00Z'))).toBeUndefined();
  });

  test('the night begins at eight in the evening, also seen from after midnight', () => {
    expect(feedSessionStartMs('overnight', at('2024-07-02T05:00:00Z'))).toBe(at('2024-07-02T00:00:00Z'));
    expect(feedSessionStartMs('overnight', at('2024-07-02T01:00:00Z'))).toBe(at('2024-07-02T00:00:00Z'));
    expect(feedSessionStartMs('overnight', at('2024-07-02T15:00:00Z'))).toBeUndefined();
  });
});

describe('channel freshness', () => {
  const make = (upMs = opening - 3_600_000) => {
    const freshness = new ChannelFreshness('iex', symbols, channels);
    freshness.up(upMs);
    return freshness;
  };

  test('yesterday’s data do not make the first minutes of a session stale', () => {
    const freshness = make();
    for (const symbol of symbols) freshness.acked('trades', symbol, opening - 60_000_000, opening - 60_000_000);
    expect(of(freshness, 'trades', opening - 1)).toMatchObject({ ready: true, gate_active: false });
    expect(of(freshness, 'trades', opening + WARM_UP_MS - 1).gate_active).toBe(false);
    expect(of(freshness, 'trades', opening + STALE_MS)).toMatchObject({ ready: true, gate_active: true });
    expect(of(freshness, 'trades', opening + STALE_MS + 1)).toMatchObject({
      ready: false,
      reason: 'market_data_channel_stale_symbol_coverage',
    });
  });

  test('what never came is missing, not stale', () => {
    expect(of(make(), 'quotes', opening + STALE_MS + 1)).toMatchObject({
      ready: false,
      reason: 'market_data_channel_missing_symbol_coverage',
      missing_symbols: symbols,
    });
  });

  test('one quiet symbol of three is degraded, two are not ready, a halted one is excused', () => {
    const freshness = make();
    const now = opening + 3_600_000;
    for (const symbol of symbols) freshness.acked('trades', symbol, now - STALE_MS - 1, undefined);
    freshness.acked('trades', 'AMD', now, now);
    expect(of(freshness, 'trades', now).ready).toBe(false);
    freshness.acked('trades', 'MU', now, now);
    expect(of(freshness, 'trades', now)).toMatchObject({ ready: true, degraded: true, stale_symbols: ['NVDA'] });
    freshness.status('NVDA', 'H');
    expect(of(freshness, 'trades', now)).toMatchObject({ degraded: false, halted_symbols: ['NVDA'] });
    freshness.status('NVDA', 'T');
    expect(of(freshness, 'trades', now).degraded).toBe(true);
  });

  test('a stream that is minutes behind is stale although it is busy', () => {
    const freshness = make();
    const now = opening + 3_600_000;
    for (const symbol of symbols) freshness.acked('quotes', symbol, now, now - STALE_MS - 1);
    expect(of(freshness, 'quotes', now).ready).toBe(false);
    const delayed = new ChannelFreshness('delayed_sip', symbols, channels);
    delayed.up(opening);
    for (const symbol of symbols) delayed.acked('quotes', symbol, now, now - 900_000);
    expect(of(delayed, 'quotes', now).ready).toBe(true);
  });

  test('a symbol that joins has the time of a silent one to bring its first record', () => {
    const freshness = make();
    const now = opening + 3_600_000;
    for (const symbol of symbols) freshness.acked('trades', symbol, now, now);
    freshness.setSymbols(['NVDA', 'TSLA', 'INTC', 'QCOM'], now);
    expect(of(freshness, 'trades', now)).toMatchObject({
      ready: true,
      missing_symbols: [],
      subscribed_symbol_count: 4,
    });
    expect(of(freshness, 'trades', now + STALE_MS + 1)).toMatchObject({
      ready: false,
      missing_symbols: ['TSLA', 'INTC', 'QCOM'],
    });
  });

  test('bars are judged as a channel, updated bars never', () => {
    const freshness = make();
    const now = opening + 3_600_000;
    freshness.acked('bars', 'AMD', now - 1_000, undefined);
    expect(of(freshness, 'bars', now)).toMatchObject({ ready: true, reason: 'market_data_channel_fresh' });
    expect(of(freshness, 'bars', now + STALE_MS).ready).toBe(false);
    expect(of(freshness, 'updated_bars', now)).toMatchObject({
      ready: true,
      required: false,
      reason: 'market_data_channel_conditional_no_events',
    });
  });

  test('the bell of a half day ends the judging, silence after it is no fault', () => {
    const half = at('2024-07-03T17:00:00Z');
    const freshness = make(at('2024-07-03T12:00:00Z'));
    for (const symbol of symbols) freshness.acked('trades', symbol, half - 1_000, half - 1_000);
    expect(of(freshness, 'trades', half + 600_000)).toMatchObject({ ready: true, gate_active: false });
  });

  test('a subscription starts its own warm-up, a lost one is not judged here', () => {
    const freshness = make(opening + 3_600_000);
    expect(of(freshness, 'trades', opening + 3_600_000 + WARM_UP_MS - 1).gate_active).toBe(false);
    freshness.down();
    expect(of(freshness, 'trades', opening + 9_000_000).gate_active).toBe(false);
    expect(of(freshness, 'trades', opening, true).reason).toBe('market_data_channel_gap_open');
  });
});

describe('liveness', () => {
  const failed = (errorClass: StreamErrorClass, retryMs = 1_000) => ({
    from: 'connecting' as const, to: 'disconnected' as const, attempt: 1, end: { errorClass, detail: '' }, retryMs,
  }); // biome-ignore format: one list
  const dial = { from: 'disconnected' as const, to: 'connecting' as const, attempt: 1 };

  test('auth, entitlement, symbol limit, server and connection faults never ask for a restart while attempts go on', () => {
    for (const errorClass of [
      'alpaca_auth', 'alpaca_entitlement', 'alpaca_symbol_limit', 'alpaca_server', 'connection_lost', 'alpaca_auth_timeout',
    ] as const) {
      const health = new StreamHealth(0);
      let now = 0;
      for (let attempt = 1; attempt <= 50; attempt++) {
        health.onState(dial, now);
        now += 10_000;
        expect(health.faultToCure(now)).toBeUndefined();
        const retryMs = retryDelayMs(errorClass, attempt, { baseMs: 500, maxMs: 30_000, refusedMs: 60_000, random: () => 1 });
        health.onState(failed(errorClass, retryMs), now);
        now += retryMs;
        expect(health.faultToCure(now)).toBeUndefined();
      }
    } // biome-ignore format: one list
  });

  test('406 and unknown faults do after ten minutes without a success, and a success begins anew', () => {
    const health = new StreamHealth(0);
    const fail = (now: number) => {
      health.onState(dial, now);
      health.onState(failed('alpaca_406_second_connection', 60_000), now);
    };
    for (let now = 0; now <= 600_000; now += 60_000) fail(now);
    expect(health.faultToCure(600_000)).toBeUndefined();
    expect(health.faultToCure(600_001)).toMatch('alpaca_406_second_connection');
    health.onState({ from: 'subscribing', to: 'ready', attempt: 1 }, 600_002);
    fail(700_000);
    expect(health.faultToCure(700_001)).toBeUndefined();
  });

  test('a stream that is neither connected nor about to reconnect does after two minutes', () => {
    const health = new StreamHealth(0);
    health.onState(failed('alpaca_entitlement', 300_000), 0);
    expect(health.faultToCure(420_000)).toBeUndefined();
    expect(health.faultToCure(420_001)).toMatch('neither connected');
    health.onState({ from: 'blocked', to: 'draining', attempt: 1 }, 420_002);
    expect(health.faultToCure(9e9)).toBeUndefined();
  });

  test('a stalled loop does after thirty seconds', () => {
    const loop = new LoopWatch(0);
    expect(loop.isStalled(30_000)).toBe(false);
    expect(loop.isStalled(30_001)).toBe(true);
    loop.beat(30_001);
    expect(loop.isStalled(30_002)).toBe(false);
  });
});

const keys = { APCA_API_KEY_ID: 'AK-SECRET-ID', APCA_API_SECRET_KEY: 'very-secret' };

describe('/readyz', () => {
  const setUp = () => {
    const now = { ms: opening + 3_600_000 };
    const clock: Clock = {
      kind: 'virtual',
      nowNs: () => BigInt(now.ms) * 1_000_000n,
      nowMs: () => now.ms,
      sleepUntil: async () => undefined,
    };
    const market = new StreamHealth(machineMs());
    const orders = new StreamHealth(machineMs());
    const publisher = {
      failures: 0,
      isStuck: false,
      lastErrorCode: undefined as string | undefined,
      queued: 0,
      queuedBytes: 0,
    };
    const forwarder = {
      gaps: { open: 0, repaired: 3, unrepaired: 0 },
      received: {},
      lastEvent: undefined,
      lagMs: undefined,
    };
    const freshness = new ChannelFreshness('iex', symbols, channels);
    const desired = { symbols, failure: undefined as string | undefined, isPolled: false };
    const identity = wsIdentity(loadWsConfig({ ...keys, SYMBOLS: symbols.join() }, 'system'), {});
    const parts: EndpointParts = {
      runId: 'r', feed: 'iex', desired, universe: undefined, identity, loopLagSeconds: () => 0, openSockets: () => 1,
      testCredentials: async () => undefined, clock, market, orders, freshness, loop: new LoopWatch(machineMs()), publisher,
      forwarder, lanes: [], journal: { pending: 0 }, metrics: createWsMetrics(), acknowledged: new Map(),
      spooledBytes: () => 0, reconnects: () => 0, isStopping: () => false,
    }; // biome-ignore format: one list
    for (const health of [market, orders])
      health.onState({ from: 'subscribing', to: 'ready', attempt: 0 }, machineMs());
    freshness.up(now.ms);
    return { endpoint: createEndpoint(parts), market, orders, publisher, forwarder, freshness, now, desired };
  };

  test('is ready when all gates are open', () => {
    const { endpoint } = setUp();
    expect(endpoint.readiness()).toMatchObject({ ready: true, status: 'ready', error_class: null });
    expect(endpoint.isAlive()).toBe(true);
  });

  test('names the first closed gate in the order of the spec, and none of them ends the process', () => {
    const { endpoint, market, orders, publisher, forwarder, now } = setUp();
    const end = { errorClass: 'connection_lost' as const, detail: 'x' };
    orders.onState({ from: 'ready', to: 'disconnected', attempt: 1, end, retryMs: 500 }, machineMs());
    expect(endpoint.readiness()).toMatchObject({
      ready: false,
      error_class: 'connection_lost',
      gates: { trade_updates: false },
    });
    now.ms += STALE_MS + 1;
    expect(endpoint.readiness()).toMatchObject({ error_class: 'market_data_channel_starvation' });
    forwarder.gaps.open = 1;
    expect(endpoint.readiness()).toMatchObject({ error_class: 'gap_open' });
    publisher.failures = 3;
    publisher.lastErrorCode = 'kafka_auth';
    expect(endpoint.readiness()).toMatchObject({ error_class: 'kafka_auth' });
    const refused = { errorClass: 'alpaca_auth' as const, detail: 'x', code: 402 };
    market.onState({ from: 'authenticating', to: 'blocked', attempt: 1, end: refused, retryMs: 60_000 }, machineMs());
    expect(endpoint.readiness()).toMatchObject({
      error_class: 'alpaca_auth',
      gates: { alpaca_ws: false, kafka: false, market_data_channels: false, trade_updates: false },
      alpaca_market_data_ws: { auth_ok: false, error_code: 402 },
    });
    expect(endpoint.isAlive()).toBe(true);
  });

  test('symbols that were not granted are told, by channel', () => {
    const { endpoint, market } = setUp();
    const missing = new Map([['quotes' as const, new Set(['MU'])]]);
    market.onState({ from: 'ready', to: 'degraded', attempt: 0, missing }, machineMs());
    expect(endpoint.readiness()).toMatchObject({
      ready: true,
      degraded: true,
      alpaca_market_data_ws: { subscription_ok: false, missing_subscription_symbols_by_channel: { quotes: ['MU'] } },
    });
  });

  test('without a symbol it is idle: not ready, and no restart is asked for', () => {
    const { endpoint, desired, market } = setUp();
    desired.symbols = [];
    market.onState({ from: 'ready', to: 'disconnected', attempt: 0 }, machineMs() - 10_000_000);
    expect(endpoint.readiness()).toMatchObject({ ready: false, error_class: 'symbols_empty', restart_reason: null });
    expect(endpoint.isAlive()).toBe(true);
  });

  test('a refusal for the limit degrades until everything is granted again', () => {
    const { endpoint, market } = setUp();
    market.refused('alpaca_symbol_limit', 405);
    expect(endpoint.readiness()).toMatchObject({ ready: true, degraded: true });
    expect(endpoint.status()).toMatchObject({ connection: { notice: { code: 405 } } });
    market.onState({ from: 'degraded', to: 'ready', attempt: 0 }, machineMs());
    expect(endpoint.readiness()).toMatchObject({ degraded: false });
  });

  test('how the last connection ended is told: without a handshake the slot may still be held', () => {
    const { endpoint, market } = setUp();
    const end = { errorClass: 'connection_lost' as const, detail: 'x', code: 1006 };
    market.onState({ from: 'ready', to: 'disconnected', attempt: 1, end, retryMs: 500 }, machineMs());
    const connection = endpoint.status().connection as Record<string, unknown>;
    expect(connection).toMatchObject({ last_end: { clean: false, code: 1006 }, reconnects_10m: 1 });
    expect(connection.last_unclean_age_ms).toBeLessThan(10_000);
  });

  test('no answer holds a key; the key id is a mark', () => {
    const { endpoint } = setUp();
    const text = JSON.stringify([endpoint.readiness(), endpoint.status()]);
    expect(text).not.toMatch(/AK-SECRET-ID|very-secret/);
    expect(text).toContain(keyMark('AK-SECRET-ID'));
  });

  test('a log that stands still without an error is back-pressure', () => {
    expect(logErrorClass(undefined)).toBe('backpressure');
    expect(logErrorClass('log_unreachable')).toBe('kafka_metadata');
    expect(logErrorClass('log_full')).toBe('kafka_produce');
  });
});
