import { Decimal } from 'decimal.js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { clientOrderIdOf } from '../../src/lib/orders/client-order-id.ts';
import type { SubmitOutcome } from '../../src/lib/orders/contract.ts';
import type { Decision } from '../../src/lib/risk/order.ts';
import { TorghutError } from '../../src/lib/service/errors.ts';
import { sleep } from '../../src/lib/service/machine.ts';
import { addStrategy, approvedOrder, decisionOf, sessionMs, testClock } from '../ledger/support/fixtures.ts';
import { query, startTestPostgres, type TestPostgres } from '../ledger/support/postgres.ts';
import { openTestDesk, type TestDesk } from './support/desk.ts';
import { type FakeBroker, type PostBehaviour, startFakeBroker } from './support/fake-broker.ts';

let postgres: TestPostgres;
let dsn: string;
let broker: FakeBroker;
let test: TestDesk;
let strategyId: string;
const clock = testClock();

beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => {
  await test?.close();
  await broker?.close();
  await postgres?.close();
});

beforeEach(async () => {
  await test?.close();
  await broker?.close();
  clock.set(sessionMs);
  dsn = await postgres.newLedgerDatabase();
  broker = await startFakeBroker(clock.nowMs);
  test = await openTestDesk({ dsn, brokerUrl: broker.url, clock });
  strategyId = await addStrategy(test.ledger, test.leadership);
});

async function submit(
  change: Partial<Decision> = {},
): Promise<{ outcome: SubmitOutcome; decision: Decision; clientOrderId: string }> {
  const decision = decisionOf(strategyId, change);
  const order = await approvedOrder(test.ledger, test.leadership, decision, clock.nowMs());
  const outcome = await test.desk.submit(order);
  return { outcome, decision, clientOrderId: clientOrderIdOf(decision.hash) };
}

const claimOf = async (id: string) =>
  (
    await query<{ state: string; reject_reasons: string[] | null; recovery_outcome: string | null }>(
      dsn,
      'select * from order_claims where decision_id = $1',
      [id],
    )
  )[0];
const statusOf = async (id: string) => (await test.ledger.read.decisions.byId(id))?.status;
const reasonsOf = async (id: string) => (await test.ledger.read.decisions.byId(id))?.reasons;

describe('an approved order', () => {
  it('is claimed, posted once and settled in the ledger', async () => {
    const { outcome, decision, clientOrderId } = await submit();
    expect(outcome).toMatchObject({ kind: 'submitted', clientOrderId, state: 'open', adopted: false });
    expect(broker.posts).toEqual([clientOrderId]);
    expect(broker.order(clientOrderId)).toMatchObject({
      symbol: 'IBM',
      side: 'buy',
      qty: '10',
      type: 'market',
      time_in_force: 'day',
    });
    expect(await claimOf(decision.id)).toMatchObject({ state: 'submitted' });
    expect(await statusOf(decision.id)).toBe('submitted');
    const [execution] = await test.ledger.read.orders.executions({ limit: 10 });
    expect(execution).toMatchObject({ decisionId: decision.id, clientOrderId, state: 'open', isFinal: false });
    const stages = await query<{ stage: string }>(
      dsn,
      'select stage from decision_events where decision_id = $1 order by id',
      [decision.id],
    );
    expect(stages.map((row) => row.stage)).toEqual(['planned', 'submit_requested', 'submitted']);
  });

  it('is never posted a second time for the same decision', async () => {
    const decision = decisionOf(strategyId);
    const order = await approvedOrder(test.ledger, test.leadership, decision);
    const outcomes = await Promise.all([test.desk.submit(order), test.desk.submit(order), test.desk.submit(order)]);
    expect(outcomes.map((outcome) => outcome.kind).sort()).toEqual(['duplicate', 'duplicate', 'submitted']);
    expect(broker.posts).toHaveLength(1);
  });

  it('counts as open exposure from the claim on, and its fills once recorded as position', async () => {
    broker.fillPlan = [4];
    await submit({ symbol: 'AAPL' });
    const open = () => test.ledger.read.orders.openOrders('paper');
    // The broker says 4 are filled, the fill itself is not known yet: all 10 still count.
    expect((await open()).map((order) => [order.symbol, order.remainingQty.toNumber(), order.stage])).toEqual([
      ['AAPL', 10, 'open'],
    ]);
    await test.desk.reconcile();
    expect((await open()).map((order) => order.remainingQty.toNumber())).toEqual([6]);
    expect(
      (await test.ledger.read.orders.positions('paper')).map((held) => [
        held.symbol,
        held.quantity.toNumber(),
        held.avgEntryPrice.toNumber(),
      ]),
    ).toEqual([['AAPL', 4, 185.3]]);
  });
});

describe('what the broker answers', () => {
  const refused: [PostBehaviour, string][] = [
    ['refuse_429', 'broker_rate_limited'],
    ['refuse_403_money', 'broker_insufficient_buying_power'],
    ['refuse_401', 'broker_auth'],
    ['refuse_422', 'broker_unprocessable'],
  ];
  it.each(refused)('%s is a definite refusal with the code %s', async (behaviour, code) => {
    broker.script = [behaviour];
    const { outcome, decision } = await submit();
    expect(outcome).toMatchObject({ kind: 'rejected', reasons: [code] });
    expect(await claimOf(decision.id)).toMatchObject({ state: 'rejected', reject_reasons: [code] });
    expect(await statusOf(decision.id)).toBe('rejected');
    expect(await reasonsOf(decision.id)).toEqual([code]);
    expect(broker.posts).toHaveLength(1);
    expect(broker.orders).toHaveLength(0);
  });

  const accepted: PostBehaviour[] = ['accept_silent', 'accept_500', 'accept_cut', 'accept_garbled'];
  it.each(accepted)(
    '%s is unknown, and the order is found by its client id, without a second POST',
    async (behaviour) => {
      broker.script = [behaviour];
      const { outcome, decision, clientOrderId } = await submit();
      expect(outcome.kind).toBe('unknown');
      expect(await claimOf(decision.id)).toMatchObject({ state: 'broker_io' });
      expect(await statusOf(decision.id)).toBe('planned');
      expect((await test.ledger.read.orders.openOrders('paper')).map((order) => order.stage)).toEqual(['broker_io']);
      expect(await test.desk.recover()).toMatchObject({ claims: 1, adopted: 1 });
      expect(await claimOf(decision.id)).toMatchObject({ state: 'submitted', recovery_outcome: 'found' });
      expect(await statusOf(decision.id)).toBe('submitted');
      expect(broker.posts).toEqual([clientOrderId]);
    },
  );

  const lost: PostBehaviour[] = ['fail_503', 'fail_reset', 'refuse_403_html'];
  it.each(lost)('%s is unknown, and refused as unconfirmed only after the look-up time', async (behaviour) => {
    broker.script = [behaviour];
    const { outcome, decision } = await submit();
    expect(outcome.kind).toBe('unknown');
    expect(await test.desk.recover()).toMatchObject({ unknown: 1, rejected: 0 });
    expect(await claimOf(decision.id)).toMatchObject({ state: 'broker_io', recovery_outcome: 'indeterminate' });
    await sleep(900);
    expect(await test.desk.recover()).toMatchObject({ rejected: 1 });
    expect(await reasonsOf(decision.id)).toEqual(['submit_unconfirmed_expired']);
    expect(broker.posts).toHaveLength(1);
  });

  it('a spent client id means that the order is there: it is adopted', async () => {
    broker.script = ['accept_then_duplicate'];
    const { outcome } = await submit();
    expect(outcome).toMatchObject({ kind: 'submitted', adopted: true });
    expect(broker.posts).toHaveLength(1);
  });

  it('no answer to the look-up either keeps the claim open, however late it is', async () => {
    broker.script = ['accept_500'];
    const { decision } = await submit();
    broker.readFailure = 500;
    await sleep(900);
    expect(await test.desk.recover()).toMatchObject({ unknown: 1, rejected: 0 });
    expect(await claimOf(decision.id)).toMatchObject({ state: 'broker_io' });
    broker.readFailure = undefined;
    expect(await test.desk.recover()).toMatchObject({ adopted: 1 });
  });

  it('401 holds everything until a read works again', async () => {
    broker.script = ['refuse_401'];
    await submit();
    expect(test.desk.status().isBrokerAuthLatched).toBe(true);
    const { outcome } = await submit();
    expect(outcome).toEqual({ kind: 'blocked', reasons: ['broker_auth'] });
    expect(broker.posts).toHaveLength(1);
    await test.desk.reconcile();
    expect((await submit()).outcome.kind).toBe('submitted');
  });
});

describe('the pattern-day-trader protection of the broker', () => {
  const held = { kind: 'blocked', reasons: ['pattern_day_trader_protection'] };

  it('ends the entries of the day, also after a restart; exits go on, and so does tomorrow', async () => {
    broker.script = ['refuse_403_day_trade'];
    const refused = await submit();
    expect(refused.outcome).toMatchObject({ kind: 'rejected', reasons: ['broker_pattern_day_trader'] });
    expect((await submit()).outcome).toEqual(held);

    await test.close();
    test = await openTestDesk({ dsn, brokerUrl: broker.url, clock });
    await test.desk.recover();
    expect(test.desk.status().isDayTradeHeld).toBe(true);
    expect((await submit()).outcome).toEqual(held);
    expect((await submit({ intent: 'exit', action: 'sell' })).outcome.kind).toBe('submitted');

    clock.advance(24 * 3_600_000);
    expect(test.desk.status().isDayTradeHeld).toBe(false);
    expect((await submit({ eventTsMs: clock.nowMs() })).outcome.kind).toBe('submitted');
    expect(broker.posts).toHaveLength(3);
  });
});

describe('an order that appears after it was given up', () => {
  it('is kept as late accepted, cancelled, its fills count, and the decision stays refused', async () => {
    broker.script = ['later'];
    broker.fillPlan = [3];
    const { decision, clientOrderId } = await submit();
    await sleep(900);
    await test.desk.recover();
    expect(await statusOf(decision.id)).toBe('rejected');
    broker.appear();
    const pass = await test.desk.reconcile();
    expect(pass).toMatchObject({ adopted: 1, fillsAdded: 1 });
    expect(pass.findings).toMatchObject([{ kind: 'late_accepted', isPaging: true }]);
    const stop = new AbortController();
    const running = test.desk.run(stop.signal);
    await waitUntil(() => broker.order(clientOrderId)?.status === 'canceled');
    await waitUntil(async () => (await test.ledger.read.orders.executions({ limit: 1 }))[0]?.state === 'canceled');
    stop.abort();
    await running;
    const [execution] = await test.ledger.read.orders.executions({ limit: 1 });
    expect(execution).toMatchObject({ isLateAccepted: true, decisionId: decision.id });
    expect(execution?.filledQty.toNumber()).toBe(3);
    expect((await test.ledger.read.orders.positions('paper')).map((held) => held.quantity.toNumber())).toEqual([3]);
    expect(await statusOf(decision.id)).toBe('rejected');
    expect(await reasonsOf(decision.id)).toEqual(['submit_unconfirmed_expired']);
  });
});

describe('switches and ages', () => {
  it('the kill switch of the process blocks before anything is written or sent', async () => {
    test.switches.killSwitch = true;
    const { outcome, decision } = await submit();
    expect(outcome).toEqual({ kind: 'blocked', reasons: ['kill_switch_enabled'] });
    expect(await statusOf(decision.id)).toBe('blocked');
    expect(await claimOf(decision.id)).toBeUndefined();
    expect(broker.posts).toEqual([]);
  });

  it.each([
    ['killSwitch', 'kill_switch_enabled'],
    ['paused', 'trading_paused'],
  ] as const)('the control %s in the database blocks the POST', async (control, reason) => {
    await test.ledger.write(test.leadership, (tx) =>
      tx.account.setControls('paper', { [control]: true }, { reason: 'drill', actor: 'me', atMs: sessionMs }),
    );
    const { outcome, decision } = await submit();
    expect(outcome).toEqual({ kind: 'blocked', reasons: [reason] });
    expect(await claimOf(decision.id)).toMatchObject({ state: 'rejected', reject_reasons: [reason] });
    expect(await statusOf(decision.id)).toBe('blocked');
    expect(broker.posts).toEqual([]);
  });

  it('an approval that is too old is not sent', async () => {
    const decision = decisionOf(strategyId);
    const order = await approvedOrder(test.ledger, test.leadership, decision);
    clock.advance(30_001);
    expect(await test.desk.submit(order)).toEqual({ kind: 'rejected', reasons: ['decision_too_old'] });
    expect(await reasonsOf(decision.id)).toEqual(['decision_too_old']);
    expect(broker.posts).toEqual([]);
  });

  it('a drain holds further orders and cancels the open ones', async () => {
    const first = await submit();
    const second = await submit({ symbol: 'AAPL' });
    broker.fill(broker.order(second.clientOrderId)?.id as string, 10);
    test.desk.beginDrain();
    expect((await submit()).outcome).toEqual({ kind: 'blocked', reasons: ['draining'] });
    const cancelled = await test.desk.cancelOpenOrders('drain');
    expect(cancelled).toMatchObject({ requested: 1, confirmed: 2, stillOpen: [] });
    let passes = 0;
    while ((await test.desk.reconcile()).changes > 0) passes += 1;
    expect(passes).toBeLessThan(4);
    expect(await statusOf(first.decision.id)).toBe('canceled');
    expect(await statusOf(second.decision.id)).toBe('filled');
    expect(await test.ledger.read.orders.openOrders('paper')).toEqual([]);
  });

  it('a payload that does not fit its type is refused before it leaves', async () => {
    const { outcome } = await submit({ orderType: 'limit', limitPrice: new Decimal('185.273') });
    expect(outcome).toEqual({ kind: 'rejected', reasons: ['order_firewall_payload'] });
    expect((await submit({ quantity: new Decimal('NaN') }).catch((error: unknown) => error)) instanceof Error).toBe(
      true,
    );
    expect(broker.posts).toEqual([]);
  });

  it('without the leadership nothing is written or sent', async () => {
    const decision = decisionOf(strategyId);
    const order = await approvedOrder(test.ledger, test.leadership, decision);
    await query(dsn, 'select pg_terminate_backend(backend_pid) from trading_leader');
    await waitUntil(() => !test.leadership.isHeld());
    const failure = await test.desk.submit(order).catch((error: unknown) => error);
    expect(failure instanceof TorghutError && failure.code).toBe('leadership_lost');
    expect(broker.posts).toEqual([]);
    expect(await claimOf(decision.id)).toBeUndefined();
  });
});

async function waitUntil(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 300; i++) {
    if (await condition()) return;
    await sleep(20);
  }
  throw new Error('did not happen');
}
