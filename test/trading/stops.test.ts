/** Account stops, interrupted signals, poor batches, the end of a live session: pure, one rule at a time. */
import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { featureSchemaVersion } from '../../src/lib/ta/record.ts';
import { closeoutAt, isEntryCutoff } from '../../src/lib/trading/closeout.ts';
import { type Continuity, type CycleSight, nextContinuity, startContinuity } from '../../src/lib/trading/continuity.ts';
import { judgeQuality } from '../../src/lib/trading/quality.ts';
import { equityStops, isRecoverable, signalStops, stepLatch, stopKinds } from '../../src/lib/trading/stops.ts';
import { FakeWorld, openMs, settings } from './fakes.ts';

const { stops, continuity: signals, quality } = settings();
const usd = (value: number) => new Decimal(value);

describe('account stops', () => {
  it.each([
    [99_000.01, 100_000, 100_000, []],
    [99_000, 100_000, 100_000, ['daily_loss_stop:0.0100']],
    [95_000, 95_100, 100_000, ['drawdown_stop:0.0500']],
    [94_000, 100_000, 110_000, ['daily_loss_stop:0.0600', 'drawdown_stop:0.1455']],
    [0, 0, 0, []],
  ])('equity %d after %d at the opening and %d at its highest: %j', (equity, first, highest, expected) => {
    expect(equityStops({ equity: usd(equity), first: usd(first), highest: usd(highest) }, stops)).toEqual(expected);
  });

  it('are none where no limit is set, and none before the first snapshot', () => {
    const none = { ...stops, dailyLossPct: undefined, drawdownPct: undefined };
    expect(equityStops({ equity: usd(1), first: usd(100), highest: usd(100) }, none)).toEqual([]);
    expect(equityStops({ equity: usd(1), first: undefined, highest: undefined }, stops)).toEqual([]);
  });

  it('name only kinds that the runbook lists', () => {
    const found = [
      ...equityStops({ equity: usd(1), first: usd(100), highest: usd(100) }, stops),
      ...signalStops(
        {
          continuity: { ...startContinuity(0), lagSeconds: 601, reason: 'cursor_ahead_of_stream', streak: 3 },
          isSessionOpen: true,
          criticalReasons: signals.criticalReasons,
          universeFailure: 'error:http_error',
        },
        stops,
      ),
    ].map((reason) => reason.split(':')[0]);
    expect(found).toEqual(stopKinds.filter((kind) => kind !== 'closeout_failed'));
  });
});

describe('the latch', () => {
  const lag = 'signal_lag_exceeded:601';
  const loss = 'daily_loss_stop:0.0100';

  it('holds the first figures, and adds what is new in kind', () => {
    expect(stepLatch(null, [lag], 0, stops).change).toBe(lag);
    expect(stepLatch(lag, ['signal_lag_exceeded:700'], 0, stops).change).toBeUndefined();
    expect(stepLatch(lag, [loss], 2, stops)).toEqual({ change: `${lag};${loss}`, recoveryStreak: 0 });
  });

  it('lets go after three clean cycles in a row, of what signals caused only', () => {
    let streak = 0;
    const changes: (string | null | undefined)[] = [];
    for (const found of [[], [], [lag], [], [], []]) {
      const step = stepLatch(lag, found, streak, stops);
      streak = step.recoveryStreak;
      changes.push(step.change);
    }
    expect(changes).toEqual([undefined, undefined, undefined, undefined, undefined, null]);
    for (const kind of [
      loss,
      `${lag};${loss}`,
      'drawdown_stop:0.05',
      'closeout_failed',
      'universe_source_unavailable:error:x',
    ]) {
      expect(isRecoverable(kind)).toBe(false);
      for (let i = 0; i < 10; i++) expect(stepLatch(kind, [], i, stops).change).toBeUndefined();
    }
  });

  it('never goes by itself once it holds a reason of money, whatever comes in whatever order', () => {
    const reason = fc.constantFrom(lag, loss, 'drawdown_stop:0.06', 'signal_staleness_streak_exceeded:x:3');
    fc.assert(
      fc.property(fc.array(fc.array(reason, { maxLength: 2 }), { maxLength: 40 }), (cycles) => {
        let latched: string | null = null;
        let streak = 0;
        let hadMoney = false;
        for (const found of cycles) {
          const step = stepLatch(latched, found, streak, stops);
          streak = step.recoveryStreak;
          if (step.change !== undefined) latched = step.change;
          hadMoney ||= found.some((one) => !isRecoverable(one));
          if (found.length > 0) expect(latched).not.toBeNull();
          if (hadMoney) expect(latched).not.toBeNull();
        }
      }),
    );
  });
});

describe('the continuity of signals', () => {
  const seen: CycleSight = {
    nowMs: openMs,
    isSessionOpen: true,
    rows: 1,
    newestEventMs: openMs,
    fault: undefined,
    isUniverseBlocked: false,
  };
  /** Well past the grace after a start. */
  const old: Continuity = { ...startContinuity(openMs - 3_600_000) };
  const run = (...steps: Partial<CycleSight>[]) => {
    let now = old;
    for (const step of steps) now = nextContinuity(now, { ...seen, ...step }, signals);
    return now;
  };

  it('alerts when a reason repeats, and ends after two healthy cycles', () => {
    expect(run({ rows: 0 })).toMatchObject({ isAlert: false, reason: 'cursor_tail_stable', streak: 1 });
    expect(run({ rows: 0 }, { rows: 0 })).toMatchObject({ isAlert: true, state: 'actionable_source_fault' });
    expect(run({ rows: 0 }, { rows: 0 }, {}).isAlert).toBe(true);
    expect(run({ rows: 0 }, { rows: 0 }, {}, {})).toMatchObject({ isAlert: false, state: 'signals_present' });
  });

  it('alerts when the newest signal is too old, although rows come', () => {
    expect(run({ newestEventMs: openMs - 299_999 }).isAlert).toBe(false);
    expect(run({ newestEventMs: openMs - 300_000 })).toMatchObject({ isAlert: true, freshness: 'stale' });
  });

  it('expects silence while the market is closed, but never a critical reason', () => {
    const closed = { isSessionOpen: false, rows: 0, newestEventMs: openMs - 7_200_000 };
    expect(run(closed, closed, closed)).toMatchObject({ isAlert: false, state: 'expected_market_closed_staleness' });
    const blocked = { ...closed, isUniverseBlocked: true };
    expect(run(blocked, blocked)).toMatchObject({ isAlert: true, state: 'universe_fail_safe_block' });
  });

  it('is quiet for the grace after a start', () => {
    let now = startContinuity(openMs);
    for (let i = 0; i < 5; i++) now = nextContinuity(now, { ...seen, nowMs: openMs + i, rows: 0 }, signals);
    expect(now.isAlert).toBe(false);
    expect(
      nextContinuity(now, { ...seen, nowMs: openMs + 180_000, rows: 0, newestEventMs: openMs + 179_000 }, signals)
        .isAlert,
    ).toBe(true);
  });

  it('calls a store that does not answer unavailable, and no signal at all missing', () => {
    expect(run({ rows: undefined, fault: 'clickhouse_signal_query_failed' }).freshness).toBe('unavailable');
    expect(nextContinuity(old, { ...seen, rows: 0, newestEventMs: undefined }, signals).freshness).toBe('missing');
  });
});

describe('the quality of a batch', () => {
  const world = new FakeWorld();
  const rows = Array.from({ length: 100 }, (_, i) => world.signal('IBM', openMs - 100_000 + i * 1_000, 'none'));
  const judge = (change: (row: (typeof rows)[number], at: number) => object, nowMs = openMs) =>
    judgeQuality(
      rows.map((row, at) => ({ ...row, ...change(row, at) })),
      nowMs,
      quality,
    );

  it('passes what is in order, also its revisions', () => {
    expect(judge(() => ({})).verdict).toBe('pass');
    expect(judge((row, at) => (at % 2 === 0 ? {} : { eventTsMs: row.eventTsMs - 1_000, revision: 1 })).verdict).toBe(
      'pass',
    );
  });

  it('leaves unread what is out of order, doubled, or of another schema', () => {
    expect(judge((_row, at) => (at === 50 ? { offset: rows[49]?.offset } : {}))).toMatchObject({
      verdict: 'hold',
      reasons: ['non_monotonic_progression'],
    });
    // Two in a hundred may be there twice, three may not.
    const doubled = (n: number) => judge((_row, at) => (at > 0 && at <= n ? { eventTsMs: rows[0]?.eventTsMs } : {}));
    expect(doubled(2).verdict).toBe('pass');
    expect(doubled(3)).toMatchObject({ verdict: 'hold', reasons: ['duplicate_ratio_exceeds_threshold'] });
    const schema = (version: string) =>
      judge((_row, at) => (at === 7 ? { features: { feature_schema_version: version } } : {}));
    expect(schema(featureSchemaVersion).verdict).toBe('pass');
    expect(schema('torghut.ta.features.v9')).toMatchObject({ verdict: 'hold', reasons: ['schema_mismatch'] });
  });

  it('passes over what is stale by its 95th percentile', () => {
    expect(judge(() => ({}), openMs + 205_000).verdict).toBe('pass');
    expect(judge(() => ({}), openMs + 205_001)).toMatchObject({
      verdict: 'skip',
      reasons: ['feature_staleness_exceeds_budget'],
    });
  });

  it('only tells that required features are missing', () => {
    expect(judge((_row, at) => (at < 4 ? { macd: null } : {}))).toMatchObject({
      verdict: 'pass',
      warnings: ['required_feature_null_rate_exceeds_threshold'],
    });
    expect(judge((_row, at) => (at < 3 ? { macd: null } : {})).warnings).toEqual([]);
  });

  it('is not asked when it is switched off', () => {
    expect(judgeQuality([...rows].reverse(), openMs, { ...quality, isEnabled: false }).verdict).toBe('pass');
  });
});

describe('the end of a live session', () => {
  const closeMs = openMs + 4 * 3_600_000;
  const session = { state: 'open', source: 'broker', closeMs } as const;
  const minutes = (left: number) => closeMs - left * 60_000;

  it('opens nothing in the last half hour, closes in the last quarter, and must be flat ten minutes before', () => {
    expect([minutes(30) - 1, minutes(30)].map((at) => isEntryCutoff(session, at))).toEqual([false, true]);
    expect([minutes(15) - 1, minutes(15), minutes(10) - 1, minutes(10)].map((at) => closeoutAt(session, at))).toEqual([
      undefined,
      'flatten',
      'flatten',
      'failed',
    ]);
  });

  it('says nothing outside the session', () => {
    expect(isEntryCutoff({ state: 'closed', source: 'broker' }, minutes(1))).toBe(false);
    expect(closeoutAt({ state: 'unknown', source: 'calendar' }, minutes(1))).toBeUndefined();
  });
});
