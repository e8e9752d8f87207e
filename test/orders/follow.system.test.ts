import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRequestBudget } from '../../src/lib/alpaca/trading-budget.ts';
import { openTradingReads } from '../../src/lib/alpaca/trading-rest.ts';
import type { ExecutionRow } from '../../src/lib/ledger/contract.ts';
import { openEmbeddedLog } from '../../src/lib/log/embedded/event-log.ts';
import type { EventLog, LogWriter } from '../../src/lib/log/port.ts';
import { topicSpec } from '../../src/lib/log/topics.ts';
import { listOrders } from '../../src/lib/orders/broker-lists.ts';
import { clientOrderIdOf } from '../../src/lib/orders/client-order-id.ts';
import { createLogger } from '../../src/lib/service/logging.ts';
import { sleep } from '../../src/lib/service/machine.ts';
import { addStrategy, approvedOrder, decisionOf, sessionMs, testClock } from '../ledger/support/fixtures.ts';
import { query, startTestPostgres, type TestPostgres } from '../ledger/support/postgres.ts';
import { openTestDesk, type TestDesk } from './support/desk.ts';
import { type FakeBroker, startFakeBroker } from './support/fake-broker.ts';

const topic = 'torghut.trade-updates.v2';
let postgres: TestPostgres;
let dsn: string;
let home: string;
let log: EventLog;
let writer: LogWriter;
let broker: FakeBroker;
let test: TestDesk;
let strategyId: string;
let seq = 0;
const clock = testClock();

beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => {
  await endTest();
  await postgres?.close();
});
async function endTest() {
  await test?.close();
  await broker?.close();
  await writer?.close();
  await log?.close();
  if (home) rmSync(home, { recursive: true, force: true });
}

beforeEach(async () => {
  await endTest();
  clock.set(sessionMs);
  dsn = await postgres.newLedgerDatabase();
  home = mkdtempSync(join(tmpdir(), 'torghut-follow-'));
  log = openEmbeddedLog({ home, clock });
  await log.ensureTopics([topicSpec('tradeUpdatesV2', { clock: 'virtual' })]);
  writer = await log.openWriter({ owner: 'ws' });
  broker = await startFakeBroker(clock.nowMs);
  test = await openDesk();
  strategyId = await addStrategy(test.ledger, test.leadership);
});

const openDesk = () =>
  openTestDesk({
    dsn,
    brokerUrl: broker.url,
    clock,
    feed: { eventLog: log, topic, runId: 'run-1' },
    reconcileMs: 3_600_000,
  });

/** Writes trade updates as ws does. */
async function publish(...payloads: Record<string, unknown>[]): Promise<void> {
  await writer.commit({
    records: payloads.map((payload) => {
      const symbol = (payload.order as { symbol: string }).symbol;
      const envelope = {
        ingest_ts: new Date(clock.nowMs()).toISOString(),
        event_ts: payload.timestamp,
        feed: 'alpaca',
        channel: 'trade_updates',
        symbol,
        seq: ++seq,
        payload,
        account_label: 'paper',
        is_final: true,
        source: 'ws',
        window: null,
        version: 2,
      };
      return { topic, key: symbol, value: Buffer.from(JSON.stringify(envelope)), timestampMs: clock.nowMs() };
    }),
  });
}

async function submit(symbol = 'IBM') {
  const decision = decisionOf(strategyId, { symbol });
  const order = await approvedOrder(test.ledger, test.leadership, decision, clock.nowMs());
  const outcome = await test.desk.submit(order);
  const clientOrderId = clientOrderIdOf(decision.hash);
  return { decision, outcome, clientOrderId, order: broker.order(clientOrderId) as { id: string } };
}

/** Lets the desk run until a condition holds. */
async function runUntil(condition: () => Promise<boolean>, desk = test.desk): Promise<void> {
  const stop = new AbortController();
  const running = desk.run(stop.signal);
  try {
    for (let i = 0; !(await condition()); i++) {
      if (i > 400) throw new Error('did not happen');
      await sleep(20);
    }
  } finally {
    stop.abort();
    await running;
  }
}

const executionOf = async (clientOrderId: string): Promise<ExecutionRow | undefined> =>
  (await test.ledger.read.orders.executions({ limit: 100 })).find((row) => row.clientOrderId === clientOrderId);

/** Everything that must hold between ledger and broker, order by order and fill by fill. */
async function expectAgreement(): Promise<void> {
  const executions = await test.ledger.read.orders.executions({ limit: 1_000 });
  const orders = broker.orders.filter((order) => order.client_order_id.startsWith('tg1-'));
  expect(executions.map((row) => [row.brokerOrderId, row.brokerStatus, row.filledQty.toFixed()]).sort()).toEqual(
    orders.map((order) => [order.id, order.status, order.filled_qty]).sort(),
  );
  const ours = new Set(orders.map((order) => order.id));
  const fills = await test.ledger.read.orders.fills({ accountLabel: 'paper' });
  expect(
    fills
      .map((fill) => [
        fill.brokerOrderId,
        fill.brokerExecutionId,
        fill.quantity.toFixed(),
        fill.price.toFixed(),
        fill.cumulativeQty.toFixed(),
      ])
      .sort(),
  ).toEqual(
    broker.fills
      .filter((fill) => ours.has(fill.orderId))
      .map((fill) => [fill.orderId, fill.executionId, fill.qty, fill.price, fill.cumQty])
      .sort(),
  );
  const sums = await query(
    dsn,
    `select 1 from executions e where filled_qty <> coalesce((select sum(qty) from execution_fills f where f.execution_id = e.id), 0)`,
  );
  expect(sums).toEqual([]);
}

describe('trade updates from the log', () => {
  it('carry an order to filled, fill by fill, and the decision with it', async () => {
    const { clientOrderId, order, decision } = await submit();
    const first = broker.fill(order.id, 4, '185.31');
    await publish(
      broker.update('new', { ...first.order, status: 'new', filled_qty: '0' }),
      broker.update('partial_fill', first.order, first.fill),
    );
    await runUntil(async () => (await executionOf(clientOrderId))?.state === 'partial');
    expect((await test.ledger.read.decisions.byId(decision.id))?.status).toBe('partial');
    const second = broker.fill(order.id, 6, '185.41');
    await publish(broker.update('fill', second.order, second.fill));
    await runUntil(async () => (await executionOf(clientOrderId))?.state === 'filled');
    await expectAgreement();
    const row = await executionOf(clientOrderId);
    expect(row?.avgFillPrice?.toFixed()).toBe('185.37');
    const stored = await test.ledger.read.decisions.byId(decision.id);
    expect([stored?.status, stored?.executedAtMs]).toEqual(['filled', sessionMs]);
    const [cost] = await query<{ slippage_bps: string; signed_qty: string }>(
      dsn,
      'select * from execution_tca_metrics',
    );
    expect(Number(cost?.slippage_bps)).toBeCloseTo(((185.37 - 185.25) / 185.25) * 10_000, 6);
    expect(Number(cost?.signed_qty)).toBe(10);
  });

  it('that the ledger cannot hold, or nobody can read, are passed alone and kept as findings', async () => {
    const { clientOrderId, order } = await submit();
    const first = broker.fill(order.id, 4, '185.31');
    const good = broker.update('partial_fill', first.order, first.fill);
    const beyond = { ...(first.order as object), filled_avg_price: '1000000000000000', status: 'suspended' };
    const poison = broker.update('suspended', { ...first.order, ...beyond });
    const nonsense = { ...good, event: '', order: first.order };
    await publish(poison, nonsense, good);
    await runUntil(async () => (await executionOf(clientOrderId))?.filledQty.toNumber() === 4);
    // One run of the desk: the poison did not end it, and it is not read again.
    await runUntil(async () => test.desk.status().feed.reduce((sum, at) => sum + at.nextOffset, 0n) === 3n);
    const findings = await query<{ kind: string; detail: { why: string; record: string } }>(
      dsn,
      `select kind, detail from reconcile_findings where kind = 'unreadable_update'`,
    );
    expect(findings.map(({ detail }) => detail.why).join('\n')).toMatch(/numeric field overflow/);
    expect(findings).toHaveLength(2);
    expect(findings.every(({ detail }) => detail.record.includes(order.id))).toBe(true);
  });

  it('of an order that the ledger cannot hold: a pass names it, and goes on with the others', async () => {
    const { order } = await submit();
    const second = await submit('AAPL');
    broker.setStatus(order.id, 'suspended');
    Object.assign(order, { filled_qty: '1000000000000000' });
    broker.fill(second.order.id, 10);
    const pass = await test.desk.reconcile();
    expect(pass.findings.map(({ kind, subject, isPaging }) => [kind, subject, isPaging])).toContainEqual([
      'unstorable_order',
      order.id,
      true,
    ]);
    expect((await executionOf(second.clientOrderId))?.state).toBe('filled');
  });

  it('count once however often they come, in whatever order, also after a restart in between', async () => {
    const { clientOrderId, order } = await submit();
    const updates: Record<string, unknown>[] = [
      broker.update('new', { ...(broker.order(clientOrderId) as never as FakeBroker['orders'][number]) }),
    ];
    for (const qty of [3, 2, 5]) {
      const { order: after, fill } = broker.fill(order.id, qty);
      updates.push(broker.update(after.status === 'filled' ? 'fill' : 'partial_fill', after, fill));
    }
    const shuffled =
      fc.sample(fc.shuffledSubarray([...updates, ...updates, ...updates], { minLength: 12 }), {
        numRuns: 1,
        seed: 5,
      })[0] ?? [];
    await publish(...shuffled.slice(0, 7));
    await runUntil(async () => (await query(dsn, 'select 1 from order_feed_cursor')).length > 0);
    await test.close();
    test = await openDesk();
    await publish(...shuffled.slice(7));
    await runUntil(async () => (await executionOf(clientOrderId))?.filledQty.toNumber() === 10);
    expect((await executionOf(clientOrderId))?.state).toBe('filled');
    await runUntil(async () => test.desk.status().feed.reduce((sum, at) => sum + at.nextOffset, 0n) === 12n);
    await expectAgreement();
    expect(await query(dsn, 'select 1 from execution_order_events')).toHaveLength(4);
  });

  it('settle a claim whose POST had no answer', async () => {
    broker.script = ['accept_500'];
    const { decision, clientOrderId } = await submit();
    const order = broker.order(clientOrderId) as FakeBroker['orders'][number];
    // The look-up cannot help: only the update says that the order is there.
    broker.hidden.add(clientOrderId);
    await publish(broker.update('new', order));
    await runUntil(async () => (await executionOf(clientOrderId)) !== undefined);
    broker.hidden.clear();
    expect((await test.ledger.read.decisions.byId(decision.id))?.status).toBe('submitted');
    expect(broker.posts).toHaveLength(1);
  });

  it('pass what cannot be read and what belongs to others', async () => {
    const { clientOrderId, order } = await submit();
    await writer.commit({
      records: [
        { topic, key: 'IBM', value: Buffer.from('{"half'), timestampMs: 1 },
        { topic, key: 'IBM', value: Buffer.from('{}'), timestampMs: 1 },
      ],
    });
    const foreign = {
      ...(broker.order(clientOrderId) as FakeBroker['orders'][number]),
      id: 'f1',
      client_order_id: 'by-hand',
    };
    await publish(broker.update('new', foreign));
    const { order: after, fill } = broker.fill(order.id, 10);
    await publish(broker.update('fill', after, fill));
    await runUntil(async () => (await executionOf(clientOrderId))?.state === 'filled');
    expect(await test.ledger.read.orders.executions({ limit: 10 })).toHaveLength(1);
    expect(
      await query(dsn, `select 1 from reconcile_findings where kind = 'foreign_order' and subject = 'f1'`),
    ).toHaveLength(1);
  });
});

it('a topic that is not there yet is told once, not with every look', async () => {
  await test.close();
  const told: string[] = [];
  const note = (fields: { code?: string }, message: string) => void told.push(`${message} ${fields.code}`);
  const quiet = createLogger('desk-test', 'silent');
  const absent = 'torghut.trade-updates.absent';
  test = await openTestDesk({
    dsn,
    brokerUrl: broker.url,
    clock,
    feed: { eventLog: log, topic: absent, runId: 'run-1' },
    reconcileMs: 3_600_000,
    log: Object.assign(quiet, { warn: note, info: (text: unknown) => void told.push(String(text)) }),
  });
  const looks = () => describes.length;
  const describes: string[] = [];
  const describeTopics = log.describeTopics.bind(log);
  Object.assign(log, {
    describeTopics: (names: string[]) => {
      describes.push(...names);
      return describeTopics(names);
    },
  });
  // The feed asks about four times a second: five looks, one line.
  await runUntil(() => Promise.resolve(looks() >= 5));
  expect(told.filter((line) => line.startsWith('reading trade updates'))).toEqual([
    'reading trade updates failed topic_unknown',
  ]);
});

it('costs are measured against the price of the decision, and churn against what the strategy held', async () => {
  const buy = await submit();
  broker.fill(buy.order.id, 10, '185.30');
  await test.desk.reconcile();
  clock.set(sessionMs + 60_000);
  const sellDecision = decisionOf(strategyId, {
    action: 'sell',
    intent: 'exit',
    quantity: new Decimal(4),
    price: new Decimal('186'),
  });
  const sell = await approvedOrder(test.ledger, test.leadership, sellDecision, clock.nowMs());
  expect((await test.desk.submit(sell)).kind).toBe('submitted');
  const order = broker.order(clientOrderIdOf(sellDecision.hash)) as { id: string };
  const unfilled = await submit('AAPL');
  await test.desk.reconcile();
  broker.fill(order.id, 4, '185.50');
  await test.desk.reconcile();
  const rows = await query<Record<string, string | null>>(
    dsn,
    `select side, symbol, slippage_bps::float, shortfall_notional::float, churn_qty::float, churn_ratio::float, signed_qty::float
     from execution_tca_metrics order by symbol desc, side`,
  );
  expect(rows).toEqual([
    // Paid five cents more than was meant: 0.05 / 185.25, on ten shares.
    {
      side: 'buy',
      symbol: 'IBM',
      slippage_bps: expect.closeTo((0.05 / 185.25) * 10_000, 5),
      shortfall_notional: expect.closeTo(0.5, 8),
      churn_qty: 0,
      churn_ratio: 0,
      signed_qty: 10,
    },
    // Got fifty cents less, on four of the ten that the strategy held: all of it is churn.
    {
      side: 'sell',
      symbol: 'IBM',
      slippage_bps: expect.closeTo((0.5 / 186) * 10_000, 5),
      shortfall_notional: expect.closeTo(2, 8),
      churn_qty: 4,
      churn_ratio: 1,
      signed_qty: -4,
    },
    ...rows.filter(({ symbol }) => symbol === 'AAPL'),
  ]);
  // Without a fill there is nothing to measure.
  expect(unfilled.outcome.kind).toBe('submitted');
  for (const row of rows.filter(({ symbol }) => symbol === 'AAPL')) expect(row.slippage_bps).toBeNull();
});

describe('reconcile', () => {
  it('learns everything from the broker alone, and then has nothing to change', async () => {
    broker.fillPlan = [4, 'rest'];
    await submit('IBM');
    broker.fillPlan = [1];
    const partial = await submit('AAPL');
    broker.fillPlan = [];
    await submit('GE');
    broker.setStatus(partial.order.id, 'canceled');
    const pass = await test.desk.reconcile();
    expect(pass).toMatchObject({ fillsAdded: 3, openOrders: 1, unknownClaims: 0 });
    const passes = [await test.desk.reconcile(), await test.desk.reconcile()];
    expect(passes.at(-1)?.changes).toBe(0);
    await expectAgreement();
    expect((await executionOf(partial.clientOrderId))?.state).toBe('canceled');
    expect(await test.ledger.read.orders.counts('paper')).toMatchObject({
      executions: 3,
      fills: 3,
      partiallyFilled: 2,
      open: 1,
    });
  });

  it('agrees with updates that come late, twice, or not at all, in any interleaving', async () => {
    const runs = process.env.TORGHUT_TEST_FULL ? 25 : 3;
    for (let run = 0; run < runs; run++) {
      const { clientOrderId, order } = await submit();
      const pending: Record<string, unknown>[] = [];
      const steps =
        fc.sample(
          fc.array(fc.constantFrom('fill', 'publish', 'reconcile', 'repeat', 'lose'), { minLength: 8, maxLength: 14 }),
          { numRuns: 1, seed: 100 + run },
        )[0] ?? [];
      const stop = new AbortController();
      const running = test.desk.run(stop.signal);
      for (const step of steps) {
        const state = broker.order(clientOrderId)?.status;
        if (step === 'fill' && state !== 'filled') {
          const { order: after, fill } = broker.fill(order.id, 2);
          pending.push(broker.update(after.status === 'filled' ? 'fill' : 'partial_fill', after, fill));
        }
        if (step === 'publish') await publish(...pending.splice(0));
        if (step === 'repeat' && pending[0]) await publish(pending[0], pending[0]);
        if (step === 'lose') pending.shift();
        if (step === 'reconcile') await test.desk.reconcile();
      }
      const rest = pending.slice();
      await publish(...rest);
      if (broker.order(clientOrderId)?.status !== 'filled') broker.setStatus(order.id, 'canceled');
      let changes = 1;
      for (let i = 0; changes > 0 && i < 20; i++) changes = (await test.desk.reconcile()).changes;
      stop.abort();
      await running;
      expect(changes, `seed ${100 + run}`).toBe(0);
      await expectAgreement();
    }
  });

  it('adopts an order with our prefix that the ledger does not know, and only notes foreign ones', async () => {
    const { order, clientOrderId } = await submit();
    const template = broker.order(clientOrderId) as FakeBroker['orders'][number];
    broker.orders.push(
      { ...template, id: 'orphan', client_order_id: `tg1-${'a'.repeat(40)}-1` },
      { ...template, id: 'foreign', client_order_id: 'web' },
    );
    const pass = await test.desk.reconcile();
    expect(pass.adopted).toBe(1);
    expect(pass.findings.map((finding) => [finding.kind, finding.subject]).sort()).toEqual([
      ['foreign_order', 'foreign'],
      ['orphan_order', 'orphan'],
    ]);
    expect((await test.desk.reconcile()).changes).toBe(0);
    expect(
      (await test.ledger.read.orders.executions({ limit: 10 })).map((row) => [row.brokerOrderId, row.isOrphan]).sort(),
    ).toEqual(
      [
        [order.id, false],
        ['orphan', true],
      ].sort(),
    );
    broker.orders.splice(
      broker.orders.findIndex((candidate) => candidate.id === 'foreign'),
      1,
    );
    expect((await test.desk.reconcile()).findings.map((finding) => finding.kind)).toEqual(['orphan_order']);
  });

  it('gives an orphan to the decision that comes after it, as in a ledger that was put back', async () => {
    const decision = decisionOf(strategyId, { symbol: 'IBM' });
    const clientOrderId = clientOrderIdOf(decision.hash);
    broker.script = ['accept_silent'];
    broker.fillPlan = [4];
    // The order of the time before: at the broker, and nothing of it in the ledger.
    const body = { symbol: 'IBM', side: 'buy', qty: '10', type: 'market', time_in_force: 'day' };
    await fetch(`${broker.url}/v2/orders`, {
      method: 'POST',
      body: JSON.stringify({ ...body, client_order_id: clientOrderId }),
      signal: AbortSignal.timeout(300),
    }).catch(() => undefined);
    expect((await test.desk.reconcile()).findings.map(({ kind }) => kind)).toEqual(['orphan_order']);

    const outcome = await test.desk.submit(await approvedOrder(test.ledger, test.leadership, decision, clock.nowMs()));
    expect(outcome).toMatchObject({ kind: 'submitted', adopted: true });
    const row = await executionOf(clientOrderId);
    expect(row).toMatchObject({ decisionId: decision.id, isOrphan: false, isLateAccepted: false, state: 'partial' });
    expect((await test.ledger.orderRead.claims.byDecision(decision.id))?.state).toBe('submitted');
    expect((await test.ledger.read.decisions.byId(decision.id))?.status).toBe('partial');
    const costs = 'select arrival_price::text, filled_qty::text from execution_tca_metrics';
    expect(await query(dsn, costs)).toEqual([{ arrival_price: '185.25000000', filled_qty: '4.00000000' }]);
    expect(await test.ledger.orderRead.openCounts('paper')).toEqual({ open: 1, unknownClaims: 0 });
    expect((await test.desk.reconcile()).changes).toBe(0);
  });

  it('never goes back: a broker that forgets is a finding', async () => {
    broker.fillPlan = ['rest'];
    const { order, clientOrderId } = await submit();
    await test.desk.reconcile();
    expect((await executionOf(clientOrderId))?.state).toBe('filled');
    clock.advance(1_000);
    broker.setStatus(order.id, 'new');
    Object.assign(broker.order(clientOrderId) as object, { filled_qty: '0' });
    const pass = await test.desk.reconcile();
    expect(pass.findings.map((finding) => finding.kind)).toContain('state_drift');
    const row = await executionOf(clientOrderId);
    expect([row?.state, row?.filledQty.toNumber()]).toEqual(['filled', 10]);
  });

  it('reports an open order that the broker does not know, and positions that differ in two passes running', async () => {
    const { clientOrderId } = await submit();
    broker.hidden.add(clientOrderId);
    const held = {
      id: 'x::y',
      executionId: 'y',
      orderId: 'elsewhere',
      symbol: 'MSFT',
      side: 'buy',
      qty: '7',
      price: '1',
      cumQty: '7',
      at: new Date(sessionMs).toISOString(),
    };
    broker.fills.push(held);
    const first = await test.desk.reconcile();
    expect(first.findings.map((finding) => finding.kind)).toEqual(['missing_at_broker']);
    expect(first.changes).toBeGreaterThan(0);
    const second = await test.desk.reconcile();
    expect(second.findings).toContainEqual({
      kind: 'position_drift',
      subject: 'MSFT',
      isPaging: true,
      detail: { ledger_qty: '0', broker_qty: '7' },
    });
    expect((await test.desk.reconcile()).changes).toBe(0);
    broker.hidden.clear();
    broker.fills.length = 0;
    const later = await test.desk.reconcile();
    expect(later.findings).toEqual([]);
  });

  it('says that fills are missing until the broker shows them', async () => {
    broker.fillPlan = [5];
    broker.showsFills = false;
    const { clientOrderId } = await submit();
    const pass = await test.desk.reconcile();
    expect(pass.findings.map((finding) => finding.kind)).toContain('fills_missing');
    expect((await executionOf(clientOrderId))?.filledQty.toNumber()).toBe(0);
    expect((await test.desk.reconcile()).changes).toBeGreaterThan(0);
    broker.showsFills = true;
    expect(await test.desk.reconcile()).toMatchObject({ fillsAdded: 1 });
    await test.desk.reconcile();
    expect((await test.desk.reconcile()).changes).toBe(0);
    await expectAgreement();
  });

  it('follows an order that somebody replaced', async () => {
    const { order, clientOrderId, decision } = await submit();
    const original = broker.order(clientOrderId) as FakeBroker['orders'][number];
    broker.setStatus(order.id, 'replaced');
    broker.orders.push({
      ...original,
      id: 'replacement',
      client_order_id: 'made-by-the-broker',
      status: 'new',
      replaces: order.id,
    });
    broker.fill('replacement', 10);
    Object.assign(original, { replaced_by: 'replacement' });
    await test.desk.reconcile();
    const replacement = await executionOf('made-by-the-broker');
    expect(replacement).toMatchObject({ decisionId: decision.id, isOrphan: false, state: 'filled' });
    expect((await executionOf(clientOrderId))?.state).toBe('replaced');
    expect((await test.ledger.read.decisions.byId(decision.id))?.status).toBe('filled');
  });

  it('reads every page of the list, also where a page ends between orders of the same instant', async () => {
    const template = (await submit()).clientOrderId;
    const order = broker.order(template) as FakeBroker['orders'][number];
    broker.orders.length = 0;
    for (let i = 0; i < 1_203; i++) {
      // Three orders per instant.
      const at = new Date(sessionMs + Math.floor(i / 3)).toISOString();
      broker.orders.push({ ...order, id: `o${i}`, client_order_id: `c${i}`, submitted_at: at });
    }
    const reads = openTradingReads({
      baseUrl: broker.url,
      keyId: 'SIM',
      secretKey: 'secret',
      budget: createRequestBudget(1_000, 1),
    });
    const found = await listOrders({ broker: reads }, sessionMs - 1_000);
    expect(new Set(found.map((row) => row.id)).size).toBe(1_203);
    for (const row of broker.orders) row.submitted_at = new Date(sessionMs).toISOString();
    await expect(listOrders({ broker: reads }, sessionMs - 1_000)).rejects.toThrow('does not end');
  });
});
