/** What guards the account goes on whatever else fails: stops that latch and close, signals that stop, a store that is away. */
import { Decimal } from 'decimal.js';
import { describe, expect, it } from 'vitest';
import { unreachableError } from '../../src/lib/service/errors.ts';
import { FakeWorld, openMs } from './fakes.ts';

const statuses = (world: FakeWorld) => world.rows.decisions.map((row) => `${row.status} ${row.reasons.join()}`.trim());
const stopOf = (world: FakeWorld) => world.rows.controls.emergencyStopReason;
const storeAway = () => unreachableError({ code: 'signal_store_unreachable', what: 'the store does not answer' });

describe('a loss', () => {
  it.each([
    ['of the day', new Decimal(98_900), 'daily_loss_stop:0.0110'],
    ['of the day and of the highest', new Decimal(94_000), 'daily_loss_stop:0.0600;drawdown_stop:0.0600'],
  ])('%s latches the stop and closes everything, by reduce-only orders alone', async (_what, equity, reason) => {
    const world = new FakeWorld();
    world.positions.set('IBM', new Decimal(40)).set('AIG', new Decimal(-7));
    const { run } = await world.start();
    await run();
    world.equity = equity;
    world.nowMs += 20_000;
    await run();
    expect(stopOf(world)).toBe(reason);
    // The very cycle that latches it closes: it does not wait for an operator, a strategy or the next signal.
    expect(world.reduced.map(({ terms }) => `${terms.side} ${terms.quantity} ${terms.symbol}`)).toEqual([
      'buy 7 AIG',
      'sell 40 IBM',
    ]);
    expect(world.submitted).toEqual([]);
    world.nowMs += 1_000;
    await run();
    expect(world.rows.flatten.map(({ cause, state, actor }) => [cause, state, actor])).toEqual([
      ['stop', 'done', 'trade'],
    ]);
    expect(world.reduced).toHaveLength(2);
  });

  it('is recorded with every decision that it holds, and counted by its reason', async () => {
    const world = new FakeWorld();
    world.rows.controls.emergencyStopReason = 'daily_loss_stop:0.0110';
    const { run, ports, cycle } = await world.start();
    for (let second = 1; second <= 3; second++) {
      world.nowMs += 1_000;
      world.signal('IBM', world.nowMs - 500, 'buy');
      await run();
    }
    expect(statuses(world)).toEqual(Array(3).fill('blocked emergency_stop_active'));
    expect(ports.counters.blockReasons).toEqual({ emergency_stop_active: 3 });
    expect(cycle.status().stop).toMatchObject({ emergencyStop: 'daily_loss_stop:0.0110', recoveryStreak: 0 });
  });

  it('closes what a restart finds still held: the request outlives the process', async () => {
    const world = new FakeWorld();
    world.positions.set('IBM', new Decimal(40));
    const submit = world.desk.submitReduction;
    Object.assign(world.desk, {
      submitReduction: () => Promise.reject(unreachableError({ code: 'ledger_unreachable', what: 'died' })),
    });
    const first = await world.start();
    await first.run();
    world.equity = new Decimal(98_000);
    world.nowMs += 20_000;
    await expect(first.run()).rejects.toThrow('died');
    expect(world.rows.flatten[0]?.state).toBe('running');
    Object.assign(world.desk, { submitReduction: submit });
    const second = await world.start();
    await second.run();
    expect(world.positions.get('IBM')?.toFixed()).toBe('0');
    world.nowMs += 1_000;
    await second.run();
    expect(world.rows.flatten[0]?.state).toBe('done');
  });

  it('is not closed twice while the first order is pending, nor while the market is closed', async () => {
    const world = new FakeWorld();
    world.positions.set('IBM', new Decimal(40));
    world.rows.controls.emergencyStopReason = 'daily_loss_stop:0.0110';
    const life = { requestedAtMs: openMs, expiresAtMs: openMs + 900_000 };
    const targets = [{ symbol: 'IBM', quantity: new Decimal(40) }];
    world.rows.flatten.push({
      id: 'f1',
      accountLabel: 'paper',
      cause: 'stop',
      state: 'running',
      targets,
      reason: 'r',
      actor: 'trade',
      ...life,
    });
    world.isOpen = false;
    const { run } = await world.start();
    await run();
    expect(world.reduced).toEqual([]);
    world.isOpen = true;
    world.nowMs += 10_000;
    world.openOrders.push({
      clientOrderId: 'c',
      symbol: 'IBM',
      side: 'sell',
      type: 'market',
      remainingQty: new Decimal(40),
      stage: 'broker_io',
    });
    await run();
    expect(world.reduced).toEqual([]);
    world.openOrders = [];
    world.nowMs += 10_000;
    await run();
    expect(world.reduced).toHaveLength(1);
  });

  it.each([
    ['expired', 900_000, {}],
    ['cancelled', 1_000, { release: true }],
  ])('a request that is %s closes nothing more', async (state, laterMs, change) => {
    const world = new FakeWorld();
    world.positions.set('IBM', new Decimal(40));
    const controls = world.rows.controls;
    if (!('release' in change)) controls.killSwitch = true;
    const life = { requestedAtMs: openMs, expiresAtMs: openMs + 900_000 };
    const targets = [{ symbol: 'IBM', quantity: new Decimal(40) }];
    world.rows.flatten.push({
      id: 'f1',
      accountLabel: 'paper',
      cause: 'operator',
      state: 'running',
      targets,
      reason: 'r',
      actor: 'anna',
      ...life,
    });
    world.nowMs += laterMs;
    const { run } = await world.start();
    await run();
    expect([world.rows.flatten[0]?.state, world.reduced.length]).toEqual([state, 0]);
  });
});

describe('interrupted signals', () => {
  it('latch after ten minutes in the session and let go by themselves after three clean cycles', async () => {
    const world = new FakeWorld();
    const { run } = await world.start();
    world.signal('IBM', openMs - 1_000, 'none');
    await run();
    world.nowMs += 601_000;
    await run();
    expect(stopOf(world)).toBe('signal_lag_exceeded:602');
    const seen: (string | undefined)[] = [];
    for (let i = 0; i < 4; i++) {
      world.nowMs += 1_000;
      world.signal('IBM', world.nowMs - 500, 'buy');
      await run();
      seen.push(stopOf(world));
    }
    expect(seen).toEqual(['signal_lag_exceeded:602', 'signal_lag_exceeded:602', undefined, undefined]);
    expect(statuses(world).map((status) => status.split(' ')[0])).toEqual([
      'blocked',
      'blocked',
      'submitted',
      'submitted',
    ]);
  });

  it('close nothing, and leave open what is held', async () => {
    const world = new FakeWorld();
    world.positions.set('IBM', new Decimal(40));
    const { run } = await world.start();
    world.signal('IBM', openMs - 1_000, 'none');
    await run();
    world.nowMs += 601_000;
    await run();
    expect(world.rows.flatten).toEqual([]);
    expect(world.reduced).toEqual([]);
  });

  it('are no stop while the market is closed', async () => {
    const world = new FakeWorld();
    world.signal('IBM', openMs - 1_000, 'none');
    const { run } = await world.start();
    await run();
    world.isOpen = false;
    world.nowMs += 3_600_000;
    await run();
    expect(stopOf(world)).toBeUndefined();
  });

  it('of a pause are no stop either: nobody read them', async () => {
    const world = new FakeWorld();
    world.signal('IBM', openMs - 1_000, 'none');
    const { run } = await world.start();
    await run();
    world.rows.controls.paused = true;
    world.nowMs += 3_600_000;
    await run();
    expect(stopOf(world)).toBeUndefined();
  });
});

describe('a store that does not answer', () => {
  it('stops no cycle: the loss is seen and everything closed without it', async () => {
    const world = new FakeWorld();
    world.positions.set('IBM', new Decimal(40));
    const { run, cycle } = await world.start();
    await run();
    world.storeFailure = storeAway();
    world.equity = new Decimal(98_000);
    world.nowMs += 20_000;
    await run();
    expect(cycle.status().continuity).toMatchObject({ freshness: 'unavailable' });
    expect(stopOf(world)).toBe('daily_loss_stop:0.0200');
    expect(world.reduced).toHaveLength(1);
  });

  it('loses no row: they are read when it is back', async () => {
    const world = new FakeWorld();
    const { run } = await world.start();
    world.signal('IBM', openMs - 1_000, 'buy');
    world.storeFailure = storeAway();
    await run();
    expect(world.rows.cursor.size).toBe(0);
    world.storeFailure = undefined;
    await run();
    expect(statuses(world)).toEqual(['submitted']);
  });
});

describe('a batch of poor quality', () => {
  it('that is out of order leaves the cursor where it is, and is decided on when it is not', async () => {
    const world = new FakeWorld();
    world.signal('IBM', openMs - 2_000, 'none', { offset: 9n });
    world.signal('IBM', openMs - 1_000, 'buy', { offset: 9n });
    const { run, ports, cycle } = await world.start();
    await run();
    expect([world.rows.cursor.size, world.rows.decisions.length]).toEqual([0, 0]);
    expect(cycle.status().quality?.reasons).toEqual(['non_monotonic_progression']);
    expect(ports.counters.qualityReasons).toEqual({ non_monotonic_progression: 1 });
    world.log = [];
    world.signal('IBM', openMs - 1_000, 'buy');
    await run();
    expect(statuses(world)).toEqual(['submitted']);
  });

  it('that is stale moves the cursor and decides nothing', async () => {
    const world = new FakeWorld();
    world.signal('IBM', openMs - 301_000, 'buy');
    const { run, cycle } = await world.start({ maxDecisionAgeSeconds: 3_600 });
    await run();
    expect(cycle.status().quality?.verdict).toBe('skip');
    expect([world.rows.cursor.size, world.rows.decisions.length]).toEqual([1, 0]);
  });

  it('is judged by what enabled strategies look at', async () => {
    const world = new FakeWorld();
    world.signal('IBM', openMs - 400_000, 'none', { windowSize: 'PT1M' });
    world.signal('IBM', openMs - 1_000, 'buy');
    const { run } = await world.start();
    await run();
    expect(statuses(world)).toEqual(['submitted']);
  });

  it('of a source that may not be listened to is passed over', async () => {
    const world = new FakeWorld();
    world.signal('IBM', openMs - 1_000, 'buy', { features: { source: 'backfill' } });
    world.signal('AIG', openMs - 1_000, 'buy', { features: { source: 'TA' } });
    const { run, ports } = await world.start({ signalSources: ['ta'] });
    await run();
    expect(world.submitted.map(({ terms }) => terms.symbol)).toEqual(['AIG']);
    expect(ports.counters.rows).toBe(2);
  });
});

describe('a live session near its end', () => {
  const live = { simpleSubmitEnabled: true, liveSubmitEnabled: true, accountId: 'account-1', confirmationKey: 'k' };
  const atMinutes = async (left: number) => {
    const world = new FakeWorld();
    world.closeMs = openMs + left * 60_000;
    world.rows.controls.liveArmedUntilMs = world.closeMs;
    world.confirmation = 'valid';
    world.lastReconcileAtMs = openMs;
    world.positions.set('AIG', new Decimal(5));
    world.signal('IBM', openMs - 1_000, 'buy');
    const { run } = await world.start({ mode: 'live', live, maxNotionalPerTrade: new Decimal(1_000) });
    await run();
    return world;
  };

  it('opens nothing in its last half hour', async () => {
    expect(statuses(await atMinutes(31))).toEqual(['submitted']);
    expect(statuses(await atMinutes(30))).toEqual(['blocked new_exposure_cutoff_active']);
  });

  it('closes everything in its last quarter, and stops when something is left ten minutes before', async () => {
    const closing = await atMinutes(15);
    expect([closing.rows.flatten[0]?.cause, closing.reduced.length, stopOf(closing)]).toEqual([
      'closeout',
      1,
      undefined,
    ]);
    const late = await atMinutes(10);
    expect([late.reduced.length, stopOf(late)]).toEqual([1, 'closeout_failed']);
  });

  it('opens nothing while the last reconcile pass is too long ago', async () => {
    const world = new FakeWorld();
    world.closeMs = openMs + 3_600_000;
    world.rows.controls.liveArmedUntilMs = world.closeMs;
    world.confirmation = 'valid';
    world.lastReconcileAtMs = openMs - 45_001;
    world.signal('IBM', openMs - 1_000, 'buy');
    const { run } = await world.start({ mode: 'live', live, maxNotionalPerTrade: new Decimal(1_000) });
    await run();
    expect(statuses(world)).toEqual(['blocked reconcile_stale']);
  });
});

it('orders that are not ours hold entries where that was asked for', async () => {
  for (const [blockOnForeignOrders, expected] of [
    [false, 'submitted'],
    [true, 'blocked foreign_order_open'],
  ] as const) {
    const world = new FakeWorld();
    world.findings = { foreign_order: 1 };
    world.signal('IBM', openMs - 1_000, 'buy');
    const { run } = await world.start({ blockOnForeignOrders });
    await run();
    expect(statuses(world)).toEqual([expected]);
  }
});

it('after a refused day trade the day is for closing alone', async () => {
  const world = new FakeWorld();
  world.isDayTradeHeld = true;
  world.positions.set('AIG', new Decimal(5));
  world.signal('IBM', openMs - 1_000, 'buy');
  world.signal('AIG', openMs - 1_000, 'sell');
  const { run } = await world.start();
  await run();
  expect(statuses(world).sort()).toEqual(['blocked pattern_day_trader_protection', 'submitted']);
});
