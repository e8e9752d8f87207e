import { describe, expect, test } from 'vitest';
import { type ConnectionEvent, nextConnectionState } from '../../src/lib/alpaca/connection-state.ts';
import { retryDelayMs, streamErrorRule, upgradeErrorClass } from '../../src/lib/alpaca/stream-errors.ts';
import { missingFrom, subscribeMessages } from '../../src/lib/alpaca/subscription.ts';

const walk = (...events: ConnectionEvent[]) => events.reduce(nextConnectionState, 'disconnected');

describe('connection states', () => {
  test('dial, greeting, authentication and the whole subscription lead to ready', () => {
    const up = [{ kind: 'dial' }, { kind: 'greeted' }, { kind: 'authenticated' }] as const;
    expect(walk(...up)).toBe('subscribing');
    expect(walk(...up, { kind: 'subscribed', missing: 0 })).toBe('ready');
    expect(walk(...up, { kind: 'subscribed', missing: 2 })).toBe('degraded');
    expect(walk(...up, { kind: 'subscribed', missing: 2 }, { kind: 'subscribed', missing: 0 })).toBe('ready');
  });

  test('what no reconnect cures blocks, everything else disconnects, and both may dial again', () => {
    for (const [errorClass, state] of [
      ['alpaca_auth', 'blocked'],
      ['alpaca_entitlement', 'blocked'],
      ['alpaca_406_second_connection', 'blocked'],
      ['alpaca_slow_client', 'disconnected'],
      ['connection_lost', 'disconnected'],
    ] as const) {
      expect(walk({ kind: 'dial' }, { kind: 'failed', errorClass })).toBe(state);
      expect(walk({ kind: 'dial' }, { kind: 'failed', errorClass }, { kind: 'dial' })).toBe('connecting');
    }
  });

  test('draining is final', () => {
    expect(walk({ kind: 'drain' }, { kind: 'dial' })).toBe('draining');
    expect(walk({ kind: 'dial' }, { kind: 'drain' }, { kind: 'failed', errorClass: 'unknown' })).toBe('draining');
  });

  test('an event out of place is a programming error', () => {
    expect(() => walk({ kind: 'greeted' })).toThrow('greeted cannot happen while disconnected');
    expect(() => walk({ kind: 'dial' }, { kind: 'subscribed', missing: 0 })).toThrow();
    expect(() => walk({ kind: 'dial' }, { kind: 'dial' })).toThrow();
  });
});

describe('stream errors', () => {
  test.each([
    [400, 'alpaca_protocol', 'reconnect'],
    [401, 'alpaca_auth', 'reconnect'],
    [402, 'alpaca_auth', 'reconnect'],
    [403, 'already_authenticated', 'ignore'],
    [404, 'alpaca_auth_timeout', 'reconnect'],
    [405, 'alpaca_symbol_limit', 'keep'],
    [406, 'alpaca_406_second_connection', 'reconnect'],
    [407, 'alpaca_slow_client', 'reconnect'],
    [408, 'alpaca_entitlement', 'reconnect'],
    [409, 'alpaca_entitlement', 'reconnect'],
    [410, 'alpaca_protocol', 'dropChannel'],
    [411, 'alpaca_entitlement', 'reconnect'],
    [412, 'alpaca_protocol', 'reconnect'],
    [413, 'alpaca_protocol', 'reconnect'],
    [500, 'alpaca_server', 'reconnect'],
    [499, 'unknown', 'reconnect'],
  ])('%i is %s: %s', (code, errorClass, action) => {
    expect(streamErrorRule(code, '')).toEqual({ errorClass, action });
  });

  test('without a code the text decides', () => {
    expect(streamErrorRule(undefined, 'Connection limit exceeded').errorClass).toBe('alpaca_406_second_connection');
    expect(streamErrorRule(undefined, 'forbidden').errorClass).toBe('alpaca_auth');
    expect(streamErrorRule(undefined, 'boo').errorClass).toBe('unknown');
  });

  test('a refused upgrade has a class too', () => {
    expect([401, 403, 406, 429, 502, 418].map(upgradeErrorClass)).toEqual([
      'alpaca_auth', 'alpaca_auth', 'alpaca_406_second_connection', 'rate_limited', 'alpaca_server', 'unknown',
    ]); // biome-ignore format: one list
  });

  test('406 waits 5 s and doubles to 60 s; bad keys wait a minute; the rest backs off from the base with jitter', () => {
    const at = (random: number) => ({ baseMs: 500, maxMs: 30_000, refusedMs: 60_000, random: () => random });
    expect([1, 2, 3, 9].map((attempt) => retryDelayMs('alpaca_406_second_connection', attempt, at(0.5)))).toEqual([
      5_000, 10_000, 20_000, 60_000,
    ]);
    expect(retryDelayMs('alpaca_auth', 1, at(0))).toBe(60_000);
    expect(retryDelayMs('alpaca_entitlement', 7, at(0))).toBe(300_000);
    expect(retryDelayMs('connection_lost', 3, at(0))).toBe(1_600);
    expect(retryDelayMs('connection_lost', 3, at(1))).toBeCloseTo(2_400);
    expect(retryDelayMs('connection_lost', 20, at(1))).toBe(30_000);
  });
});

describe('subscription', () => {
  const wanted = new Map([
    ['trades', new Set(['A', 'B', 'C'])],
    ['corrections', new Set(['A', 'B', 'C'])],
    ['bars', new Set(['A'])],
  ] as const);

  test('asks in batches, each symbol under its channels, and never by name for what comes with trades', () => {
    expect(subscribeMessages(wanted, 2)).toEqual([
      { action: 'subscribe', trades: ['A', 'B'], bars: ['A'] },
      { action: 'subscribe', trades: ['C'] },
    ]);
  });

  test('knows what is missing per channel', () => {
    const missing = missingFrom(wanted, { trades: ['A', 'C'], corrections: ['*'], bars: [] });
    expect(missing).toEqual(
      new Map([
        ['trades', new Set(['B'])],
        ['bars', new Set(['A'])],
      ]),
    );
    expect(missingFrom(wanted, { trades: ['A', 'B', 'C'], corrections: ['A', 'B', 'C'], bars: ['A', 'Z'] }).size).toBe(
      0,
    );
  });
});
