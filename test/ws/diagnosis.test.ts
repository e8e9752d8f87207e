/** The decision table in the order of its steps, where two causes could both be named. Pure; facts in the test's hand. */
import { describe, expect, test } from 'vitest';
import { judgeCredentials } from '../../src/daemons/ws/diagnosis/credential-step.ts';
import { decide } from '../../src/daemons/ws/diagnosis/decide.ts';
import type { DiagnosisFacts } from '../../src/daemons/ws/diagnosis/facts.ts';
import type { WsFacts } from '../../src/daemons/ws/status-client.ts';
import type { CredentialAnswer } from '../../src/lib/alpaca/credential-test.ts';
import type { ClusterFacts, PodFacts } from '../../src/lib/cluster/ws-deployment.ts';

const nowMs = Date.parse('2026-03-10T15:00:00Z');

function ws(change: { readiness?: object; connection?: object; status?: object } = {}): WsFacts {
  return {
    url: 'http://x',
    healthz: 200,
    metrics: '',
    readiness: {
      ready: true, error_class: null, degraded: false, restart_reason: null,
      gates: { alpaca_ws: true, kafka: true, market_data_channels: true, trade_updates: true },
      alpaca_market_data_ws: {
        state: 'ready', attempt: 0, error_class: null, error_code: null, missing_subscription_symbols_by_channel: {},
      },
      trade_updates: null, kafka: { failures: 0, error_code: null }, market_data_channels: [],
      ...change.readiness,
    },
    status: {
      run_id: 'r', feed: 'iex', state: 'ready', orders_state: null, symbols: ['NVDA'], market_now: '', received: {},
      acknowledged: {}, queued: 0, spooled: 0, spooled_bytes: 0, gaps: { open: 0, repaired: 0, unrepaired: 0 },
      last_event_ts: null, lag_ms: null, reconnects: 0, uptime_ms: 1, loop_lag_ms: 1,
      identity: {
        key_mark: 'aaaaaaaa', market_url: 'wss://x/v2/iex', channels: ['trades', 'quotes'], shard: { index: 0, count: 1 },
        connection_limit: 1, pair_limit: 30, log: 'kafka', kafka_security: 'SASL_SSL', version: null, commit: null,
      },
      connection: {
        active_sockets: 1, reconnects_10m: 0, last_end: null, last_unclean_age_ms: null, notice: null, ...change.connection,
      },
      ...change.status,
    },
  } as WsFacts; // biome-ignore format: one list
}

const down = (errorClass: string, code: number | null = null, more: object = {}) =>
  ws({
    ...more,
    readiness: {
      ready: false, error_class: errorClass,
      gates: { alpaca_ws: false, kafka: true, market_data_channels: true, trade_updates: true },
      alpaca_market_data_ws: {
        state: 'blocked', attempt: 3, error_class: errorClass, error_code: code, missing_subscription_symbols_by_channel: {},
      },
    },
  }); // biome-ignore format: one list

const pod = (change: Partial<PodFacts> = {}): PodFacts => ({
  name: 'p', phase: 'Running', ready: true, is_terminating: false, restarts: 0, last_exit_reason: null, last_exit_at: null,
  waiting_reason: null, started_at: null, ...change,
}); // biome-ignore format: one list

const cluster = (change: Partial<ClusterFacts> = {}): ClusterFacts => ({
  namespace: 'torghut', deployment: 'torghut-ws', exists: true, generation: 1, replicas: 1, ready: 1, rollout: false,
  strategy: 'Recreate', last_restart_at: null, limits: {}, pods: [pod()], holders: [], secrets: [], port: 8080, unread: [],
  ...change,
}); // biome-ignore format: one list

const facts = (change: Partial<DiagnosisFacts>): DiagnosisFacts => ({
  ws: undefined, wsSilence: undefined, cluster: undefined, logged: [], localHolders: [], hasDied: false,
  credentials: undefined, nowMs, ...change,
}); // biome-ignore format: one list
const caseOf = (change: Partial<DiagnosisFacts>) => {
  const { case: id, exitCode, certainty } = decide(facts(change));
  return `${id} ${exitCode} ${certainty}`;
};

const ok: CredentialAnswer = { code: 200, outcome: 'ok' };
const refused: CredentialAnswer = { code: 401, outcome: 'refused' };
const away: CredentialAnswer = { code: null, outcome: 'unreachable' };

describe('the decision table', () => {
  test('well is well, also in a cluster', () => {
    expect(caseOf({ ws: ws(), cluster: cluster() })).toBe('null 0 certain');
  });

  test('406: an extra pod comes before a foreign holder, that before a zombie slot, and nobody seen is somebody elsewhere', () => {
    const second = down('alpaca_406_second_connection', 406, { connection: { last_unclean_age_ms: 10_000 } });
    const holders = [
      {
        kind: 'Deployment',
        namespace: 'x',
        name: 'y',
        by: 'secret' as const,
        is_active: true,
        opens_market_data: true,
      },
    ];
    expect(caseOf({ ws: second, cluster: cluster({ holders, pods: [pod(), pod({ name: 'q' })] }) })).toBe(
      'A 10 certain',
    );
    expect(caseOf({ ws: second, cluster: cluster({ holders }) })).toBe('B 10 certain');
    expect(caseOf({ ws: second, cluster: cluster() })).toBe('C 10 certain');
    const clean = down('alpaca_406_second_connection', 406);
    expect(caseOf({ ws: clean, cluster: cluster() })).toBe('B 10 likely');
    const asleep = holders.map((holder) => ({ ...holder, is_active: false }));
    expect(caseOf({ ws: clean, cluster: cluster({ holders: asleep }) })).toBe('B 10 likely');
    const leak = down('alpaca_406_second_connection', 406, { connection: { active_sockets: 2 } });
    expect(caseOf({ ws: leak })).toBe('C 10 certain');
    const old = down('alpaca_406_second_connection', 406, { connection: { last_unclean_age_ms: 300_000 } });
    expect(caseOf({ ws: old })).toBe('B 10 likely');
  });

  test('a pod that completed leaves no zombie, one that was killed does', () => {
    const clean = down('alpaca_406_second_connection', 406);
    const ended = (reason: string) =>
      cluster({ pods: [pod({ last_exit_reason: reason, last_exit_at: '2026-03-10T14:58:00Z' })] });
    expect(caseOf({ ws: clean, cluster: ended('Completed') })).toBe('B 10 likely');
    expect(caseOf({ ws: clean, cluster: ended('Error') })).toBe('C 10 certain');
  });

  test('every entitlement and limit code is F, also when the session goes on', () => {
    for (const [errorClass, code] of [
      ['alpaca_entitlement', 409],
      ['alpaca_entitlement', 411],
      ['alpaca_entitlement', 408],
    ] as const) {
      expect(caseOf({ ws: down(errorClass, code) })).toBe('F 12 certain');
    }
    expect(caseOf({ ws: ws({ connection: { notice: { errorClass: 'alpaca_protocol', code: 410 } } }) })).toBe(
      'F 12 certain',
    );
    expect(caseOf({ ws: ws({ connection: { notice: { errorClass: 'alpaca_symbol_limit', code: 405 } } }) })).toBe(
      'F 12 certain',
    );
  });

  test('a refused key without a test is likely bad; with one it is D or E', () => {
    const stream = down('alpaca_auth', 402);
    expect(caseOf({ ws: stream })).toBe('D 11 likely');
    expect(caseOf({ ws: stream, credentials: { account: refused, bars: refused, probe: null } })).toBe('D 11 certain');
    expect(caseOf({ ws: stream, credentials: { account: null, bars: refused, probe: null } })).toBe('D 11 certain');
    expect(caseOf({ ws: stream, credentials: { account: refused, bars: ok, probe: null } })).toBe('E 11 certain');
    expect(caseOf({ ws: stream, credentials: { account: ok, bars: ok, probe: null } })).toBe('E 11 likely');
    expect(caseOf({ ws: stream, credentials: { account: away, bars: away, probe: null } })).toBe('J 18 certain');
    expect(judgeCredentials({ account: ok, bars: ok, probe: refused }).certainty).toBe('certain');
  });

  test('the log: refused, away, standing still', () => {
    const gate = (errorClass: string) =>
      ws({ readiness: { ready: false, error_class: errorClass, gates: { alpaca_ws: true, kafka: false } } });
    expect(caseOf({ ws: gate('kafka_auth') })).toBe('G 13 certain');
    expect(caseOf({ ws: gate('kafka_metadata') })).toBe('H 14 certain');
    expect(caseOf({ ws: gate('kafka_produce') })).toBe('H 15 certain');
    expect(caseOf({ ws: gate('backpressure') })).toBe('H 15 certain');
  });

  test('a gap under repair is no case; no symbol is its own exit code', () => {
    const gates = { alpaca_ws: true, kafka: true, market_data_channels: false };
    const repairing = ws({
      readiness: { ready: false, error_class: 'gap_open', gates },
      status: { gaps: { open: 1, repaired: 0, unrepaired: 0 } },
    });
    expect(caseOf({ ws: repairing })).toBe('null 20 certain');
    expect(caseOf({ ws: down('symbols_empty') })).toBe('null 17 certain');
  });

  test('no way out, a loop that stands, a process that was killed', () => {
    const lost = down('connection_lost');
    expect(caseOf({ ws: lost, credentials: { account: away, bars: away, probe: null } })).toBe('J 18 certain');
    expect(caseOf({ ws: lost, credentials: { account: ok, bars: ok, probe: null } })).toBe('null 20 certain');
    expect(caseOf({ ws: down('connection_lost', null, { status: { loop_lag_ms: 6_000 } }) })).toBe('J 18 certain');
    expect(caseOf({ hasDied: true, wsSilence: 'x' })).toBe('J 18 certain');
  });
});
