import { Decimal } from 'decimal.js';
import { describe, expect, it } from 'vitest';
import { unreachableError } from '../../src/lib/service/errors.ts';
import { FakeWorld, openMs } from './fakes.ts';

const statuses = (world: FakeWorld) => world.rows.decisions.map((row) => `${row.status} ${row.reasons.join()}`.trim());

describe('the trading cycle', () => {
  it('turns a signal into one submitted order and moves the cursor past it', async () => {
    const world = new FakeWorld();
    const row = world.signal('IBM', openMs - 1_000, 'buy');
    const { run, cycle } = await world.start();
    await run();
    expect(world.submitted.map((order) => order.terms.symbol)).toEqual(['IBM']);
    expect(world.rows.cursor).toEqual(new Map([['PT1S:0', row.offset + 1n]]));
    expect(cycle.status().atEnd['PT1S:0']).toBe(true);
    await run();
    expect(world.submitted).toHaveLength(1);
  });

  it('keeps inputs and results of both risk passes with the decision', async () => {
    const world = new FakeWorld();
    world.signal('IBM', openMs - 1_000, 'buy');
    const { run } = await world.start();
    await run();
    expect(world.rows.events.map((event) => event.stage)).toEqual(['risk_1', 'risk_2']);
  });

  it.each([
    ['a quantity beyond every column', '{quantities: {IBM: 1000000000000000}, quantity: 1}', []],
    ['what JSON cannot hold', '{quantity: 1}', ['rejected decision_handler_error_json_not_storable']],
  ])(
    '%s costs its own decision alone: the others of the batch go on, and so does the cursor',
    async (what, params, of) => {
      const world = new FakeWorld();
      world.catalogText = `- {name: s, enabled: true, base_timeframe: 1Sec, params: ${params}}`;
      const mad = what.startsWith('what JSON') ? { features: { mad: Number.NaN } } : {};
      world.signal('IBM', openMs - 2_000, 'buy', mad);
      const row = world.signal('AIG', openMs - 1_000, 'buy');
      const { run, ports } = await world.start();
      await run();
      await run();
      expect(world.submitted.map((order) => order.terms.symbol)).toEqual(['AIG']);
      expect(statuses(world).filter((status) => status.startsWith('rejected'))).toEqual(of);
      expect(ports.counters.strategyErrors).toEqual(of.length === 0 ? { s: 1 } : {});
      expect(world.rows.cursor.get('PT1S:0')).toBe(row.offset + 1n);
    },
  );

  it('a catalog that the ledger cannot hold changes nothing: the one in force goes on trading', async () => {
    const world = new FakeWorld();
    const { run, ports } = await world.start();
    await run();
    world.catalogText = '- {name: s, enabled: true, base_timeframe: 1Sec, params: {quantity: 9}}';
    world.nowMs += 10_000;
    world.failNextWrite = Object.assign(new Error('numeric field overflow'), { code: '22003' });
    await run();
    expect(ports.catalog.failure).toContain('numeric field overflow');
    world.signal('IBM', world.nowMs - 1_000, 'buy');
    await run();
    expect(world.submitted.map(({ terms }) => terms.quantity.toNumber())).toEqual([1]);
    // Good again as soon as it can be held.
    world.nowMs += 10_000;
    world.signal('AIG', world.nowMs - 1_000, 'buy');
    await run();
    expect([ports.catalog.failure, world.submitted.at(-1)?.terms.quantity.toNumber()]).toEqual([null, 9]);
  });

  it('reads every row once, also when a batch is smaller than what is there', async () => {
    const world = new FakeWorld();
    for (let i = 0; i < 25; i++) {
      world.signal(i % 2 === 0 ? 'IBM' : 'AIG', openMs - 25_000 + i * 1_000, 'none', { partition: i % 2 });
    }
    const { run, ports } = await world.start({ batchSize: 4 });
    for (let i = 0; i < 6; i++) await run();
    expect(ports.counters.rows).toBe(25);
    expect(ports.counters.notes).toEqual({ signal_revised: 0, signal_late: 0, signal_skipped_stale: 0 });
  });

  it('records a revision, a late row and a row that is too old, and trades none of them', async () => {
    const world = new FakeWorld();
    const { run } = await world.start();
    world.signal('IBM', openMs - 2_000, 'none');
    await run();
    world.signal('IBM', openMs - 2_000, 'buy', { revision: 1 });
    world.signal('IBM', openMs - 3_000, 'buy');
    world.signal('AIG', openMs - 31_000, 'buy');
    await run();
    expect(world.rows.notes.map(({ kind, wouldDiffer }) => [kind, wouldDiffer])).toEqual([
      ['signal_revised', true],
      ['signal_late', undefined],
      ['signal_skipped_stale', undefined],
    ]);
    expect(world.rows.decisions).toEqual([]);
  });

  it('evaluates a window at the revision that it first meets', async () => {
    const world = new FakeWorld();
    world.signal('IBM', openMs - 1_000, 'buy', { revision: 2 });
    const { run } = await world.start();
    await run();
    expect(world.submitted).toHaveLength(1);
  });

  it('sells what is held as an exit and, from flat, as an entry that shorts_not_allowed refuses', async () => {
    const world = new FakeWorld();
    world.positions.set('IBM', new Decimal(1));
    world.signal('IBM', openMs - 1_000, 'sell');
    world.signal('AIG', openMs - 1_000, 'sell');
    const { run } = await world.start();
    await run();
    expect(world.rows.decisions.map((row) => row.decision.intent)).toEqual(['exit', 'entry']);
    expect(statuses(world)).toEqual(['submitted', 'rejected shorts_not_allowed']);
  });

  it('never takes its own row for an earlier entry, and counts the entries of the same batch', async () => {
    const world = new FakeWorld();
    for (const second of [3, 2, 1]) world.signal('IBM', openMs - second * 1_000, 'buy');
    const { run } = await world.start({ cooldownSeconds: 5 });
    await run();
    expect(statuses(world)).toEqual(['submitted', 'rejected cooldown_active', 'rejected cooldown_active']);
    world.nowMs += 5_000;
    world.signal('IBM', world.nowMs - 1_000, 'buy');
    await run();
    expect(statuses(world).at(-1)).toBe('submitted');
  });

  it('counts what the same batch has submitted against the position limit', async () => {
    const world = new FakeWorld();
    for (const second of [3, 2, 1]) world.signal('IBM', openMs - second * 1_000, 'buy');
    // Two shares at 100 fit into 0.0025 of 100,000; the third does not.
    const { run } = await world.start({ maxPositionPctEquity: new Decimal('0.0025') });
    await run();
    expect(statuses(world)).toEqual(['submitted', 'submitted', 'rejected max_position_pct_exceeded']);
  });

  it('rejects the one decision whose handling fails and goes on with the others', async () => {
    const world = new FakeWorld();
    world.signal('IBM', openMs - 2_000, 'buy');
    world.signal('AIG', openMs - 1_000, 'buy');
    const submit = world.onSubmit;
    world.onSubmit = (order) => {
      if (order.terms.symbol === 'IBM') throw new RangeError('boom');
      return submit(order);
    };
    const { run } = await world.start();
    await run();
    expect(statuses(world)).toEqual(['rejected decision_handler_error_RangeError', 'submitted']);
  });

  it('leaves rows unread when the transaction fails, and decides them once when it works', async () => {
    const world = new FakeWorld();
    const { run } = await world.start();
    await run();
    world.signal('IBM', openMs - 1_000, 'buy');
    world.failNextWrite = unreachableError({ code: 'ledger_unreachable', what: 'gone' });
    await expect(run()).rejects.toThrow('gone');
    expect(world.rows.cursor.size).toBe(0);
    await run();
    await run();
    expect(statuses(world)).toEqual(['submitted']);
  });

  it('leaves rows unread while the broker does not say what we hold', async () => {
    const world = new FakeWorld();
    const { run } = await world.start();
    await run();
    world.signal('IBM', openMs - 1_000, 'sell');
    world.isBrokerDown = true;
    await expect(run()).rejects.toThrow('did not answer');
    expect(world.rows.decisions).toEqual([]);
    world.isBrokerDown = false;
    world.positions.set('IBM', new Decimal(1));
    await run();
    expect(world.decision(0).decision.intent).toBe('exit');
  });

  it('finishes after a restart what was planned, and refuses what has become too old meanwhile', async () => {
    for (const [waitMs, expected] of [
      [5_000, 'submitted'],
      [40_000, 'rejected decision_too_old'],
    ] as const) {
      const world = new FakeWorld();
      world.signal('IBM', openMs - 1_000, 'buy');
      world.onSubmit = () => {
        throw unreachableError({ code: 'ledger_unreachable', what: 'died before the claim' });
      };
      const first = await world.start();
      await expect(first.run()).rejects.toThrow('died');
      expect(statuses(world)).toEqual(['planned']);
      world.onSubmit = new FakeWorld().onSubmit;
      world.nowMs += waitMs;
      world.prices.set('IBM', { price: new Decimal(100), asOfMs: world.nowMs });
      const second = await world.start();
      await second.run();
      expect(statuses(world)).toEqual([expected]);
    }
  });

  it('counts an order whose outcome is not known as pending', async () => {
    const world = new FakeWorld();
    world.signal('IBM', openMs - 2_000, 'buy');
    world.signal('IBM', openMs - 1_000, 'buy');
    world.onSubmit = () => ({ kind: 'unknown', clientOrderId: 'c', why: 'timeout' });
    const { run, ports } = await world.start({ maxPositionPctEquity: new Decimal('0.0015') });
    await run();
    expect(ports.counters.unknown).toBe(1);
    expect(statuses(world)).toEqual(['planned', 'rejected max_position_pct_exceeded']);
  });

  it.each([
    ['the kill switch of the environment', { killSwitch: true }, {}, 'blocked kill_switch_enabled'],
    ['the kill switch of the ledger', {}, { killSwitch: true }, 'blocked kill_switch_enabled'],
    ['a latched emergency stop', {}, { emergencyStopReason: 'x' }, 'blocked emergency_stop_active'],
  ])('blocks decisions by %s', async (_what, change, controls, expected) => {
    const world = new FakeWorld();
    Object.assign(world.rows.controls, controls);
    world.signal('IBM', openMs - 1_000, 'buy');
    const { run } = await world.start(change);
    await run();
    expect(statuses(world)).toEqual([expected]);
    expect(world.submitted).toEqual([]);
  });

  it('cancels open orders while the kill switch is on', async () => {
    const world = new FakeWorld();
    world.openOrders.push({
      clientOrderId: 'c', symbol: 'IBM', side: 'buy', type: 'market', remainingQty: new Decimal(1), stage: 'open',
    }); // biome-ignore format: one list
    world.rows.controls.killSwitch = true;
    const { run } = await world.start();
    await run();
    expect(world.openOrders).toEqual([]);
  });

  it.each([
    ['disabled', { isEnabled: false }, false],
    ['paused', {}, true],
  ])('takes no signals while %s', async (_what, change, paused) => {
    const world = new FakeWorld();
    world.rows.controls.paused = paused;
    world.signal('IBM', openMs - 1_000, 'buy');
    const { run } = await world.start(change);
    await run();
    expect(world.rows.cursor.size).toBe(0);
    expect(world.rows.decisions).toEqual([]);
  });

  it('goes on reading outside the session without deciding', async () => {
    const world = new FakeWorld();
    world.isOpen = false;
    world.signal('IBM', openMs - 1_000, 'buy');
    const { run, ports } = await world.start();
    await run();
    expect(world.rows.decisions).toEqual([]);
    expect(ports.counters.closedWishes).toBe(1);
    expect(world.rows.cursor.size).toBe(1);
  });

  it('latches an emergency stop after the daily loss, and a restart does not clear it', async () => {
    const world = new FakeWorld();
    const { run } = await world.start();
    await run();
    world.equity = new Decimal(98_900);
    world.nowMs += 20_000;
    await run();
    expect(world.rows.controls.emergencyStopReason).toBe('daily_loss_stop:0.0110');
    world.signal('IBM', world.nowMs - 1_000, 'buy');
    const again = await world.start();
    await again.run();
    expect(statuses(world)).toEqual(['blocked emergency_stop_active']);
  });

  it('blocks what is still planned when it drains', async () => {
    const world = new FakeWorld();
    world.signal('IBM', openMs - 1_000, 'buy');
    world.onSubmit = () => {
      throw unreachableError({ code: 'ledger_unreachable', what: 'gone' });
    };
    const { run, cycle } = await world.start();
    await expect(run()).rejects.toThrow('gone');
    await cycle.drain();
    expect(statuses(world)).toEqual(['blocked draining']);
  });

  it('remembers across a restart on which side of the signal line a symbol was', async () => {
    const world = new FakeWorld();
    world.catalogText = '- {name: s, enabled: true, base_timeframe: 1Sec, params: {quantity: 1, require_cross: true}}';
    world.signal('IBM', openMs - 3_000, 'sell');
    await (await world.start()).run();
    world.signal('IBM', openMs - 1_000, 'buy');
    await (await world.start()).run();
    expect(world.rows.decisions.map((row) => row.decision.action)).toEqual(['buy']);
  });
});
