/**
 * The desk against the real simulator's broker: its REST, its trade updates over the socket, its journal as the judge.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Decimal } from 'decimal.js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { openEmbeddedLog } from '../../src/lib/log/embedded/event-log.ts';
import type { EventLog, LogWriter } from '../../src/lib/log/port.ts';
import { topicSpec } from '../../src/lib/log/topics.ts';
import type { Decision } from '../../src/lib/risk/order.ts';
import type { Clock } from '../../src/lib/service/clock.ts';
import { sleep } from '../../src/lib/service/machine.ts';
import { addStrategy, approvedOrder, decisionOf } from '../ledger/support/fixtures.ts';
import { query, startTestPostgres, type TestPostgres } from '../ledger/support/postgres.ts';
import { FakeTape, tapeClock } from '../simulator/trading/fake-tape.ts';
import { KEY, SECRET, startExchange, type TestExchange } from '../simulator/trading/test-exchange.ts';
import { openTestDesk, type TestDesk } from './support/desk.ts';

const topic = 'torghut.trade-updates.v2';
let postgres: TestPostgres;
let dsn: string;
let home: string;
let tape: FakeTape;
let clock: Clock;
let exchange: TestExchange;
let log: EventLog;
let writer: LogWriter;
let socket: WebSocket;
let test: TestDesk;
let strategyId: string;

beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => {
  await endTest();
  await postgres?.close();
});
async function endTest() {
  socket?.terminate();
  await test?.close();
  await exchange?.close();
  await writer?.close();
  await log?.close();
  if (home) rmSync(home, { recursive: true, force: true });
}

beforeEach(async () => {
  await endTest();
  home = mkdtempSync(join(tmpdir(), 'torghut-desk-'));
  tape = new FakeTape(['IBM', 'AIG', 'GE']);
  clock = tapeClock(tape);
  exchange = await startExchange({ tape, directory: home });
  tape.quote('IBM', [184.2, 100], [184.25, 100]);
  tape.quote('AIG', [48.1, 500], [48.11, 500]);
  log = openEmbeddedLog({ home, clock });
  await log.ensureTopics([topicSpec('tradeUpdatesV2', { clock: 'virtual' })]);
  writer = await log.openWriter({ owner: 'ws' });
  await listenToUpdates();
  dsn = await postgres.newLedgerDatabase();
  test = await openTestDesk({
    dsn,
    brokerUrl: exchange.url,
    clock,
    feed: { eventLog: log, topic, runId: 'r' },
    reconcileMs: 3_600_000,
  });
  strategyId = await addStrategy(test.ledger, test.leadership);
});

/** What ws does in small: every update of the socket becomes a record. */
async function listenToUpdates(): Promise<void> {
  socket = new WebSocket(`${exchange.url.replace('http', 'ws')}/stream`);
  let seq = 0;
  let writing: Promise<unknown> = Promise.resolve();
  const ready = new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.on('message', (data) => {
      const frame = JSON.parse(data.toString()) as { stream: string; data: Record<string, unknown> };
      if (frame.stream === 'listening') resolve();
      if (frame.stream !== 'trade_updates') return;
      const { symbol } = frame.data.order as { symbol: string };
      const envelope = {
        event_ts: frame.data.timestamp ?? new Date(clock.nowMs()).toISOString(),
        channel: 'trade_updates',
        symbol,
        seq: ++seq,
        payload: frame.data,
        account_label: 'paper',
      };
      const value = Buffer.from(JSON.stringify(envelope));
      writing = writing.then(() =>
        writer.commit({ records: [{ topic, key: symbol, value, timestampMs: clock.nowMs() }] }),
      );
    });
  });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  socket.send(JSON.stringify({ action: 'auth', key: KEY, secret: SECRET }));
  socket.send(JSON.stringify({ action: 'listen', data: { streams: ['trade_updates'] } }));
  await ready;
}

async function submit(change: Partial<Decision> = {}) {
  const decision = decisionOf(strategyId, { price: new Decimal('184.25'), ...change });
  const order = await approvedOrder(test.ledger, test.leadership, decision, clock.nowMs());
  return { decision, outcome: await test.desk.submit(order) };
}

const statusOf = async (decision: Decision) => (await test.ledger.read.decisions.byId(decision.id))?.status;

async function untilTrue(condition: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 300; i++) {
    if (await condition()) return;
    await sleep(20);
  }
  throw new Error('did not happen');
}

/** The simulator's own orders and fills equal the ledger's. */
async function expectAgreement(): Promise<{ orders: number; fills: number }> {
  const headers = { 'APCA-API-KEY-ID': KEY, 'APCA-API-SECRET-KEY': SECRET };
  const get = async (path: string) =>
    (await (await fetch(`${exchange.url}${path}`, { headers })).json()) as Record<string, string>[];
  const orders = await get('/v2/orders?status=all&limit=500');
  const fills = await get('/v2/account/activities/FILL?page_size=100');
  const executions = await query<Record<string, string>>(dsn, 'select * from executions');
  expect(
    executions
      .map((row) => [row.alpaca_order_id, row.client_order_id, row.broker_status, Number(row.filled_qty)])
      .sort(),
  ).toEqual(orders.map((order) => [order.id, order.client_order_id, order.status, Number(order.filled_qty)]).sort());
  const recorded = await query<Record<string, string>>(
    dsn,
    'select f.*, e.alpaca_order_id from execution_fills f join executions e on e.id = f.execution_id',
  );
  expect(
    recorded.map((row) => [row.alpaca_order_id, row.broker_execution_id, Number(row.qty), Number(row.price)]).sort(),
  ).toEqual(fills.map((fill) => [fill.order_id, fill.id?.split('::')[1], Number(fill.qty), Number(fill.price)]).sort());
  return { orders: orders.length, fills: fills.length };
}

describe('the desk at the simulator', () => {
  it('follows fills, partial fills and cancels by the updates alone', async () => {
    const stop = new AbortController();
    const running = test.desk.run(stop.signal);
    const whole = await submit();
    expect(whole.outcome).toMatchObject({ kind: 'submitted' });
    const parts = await submit({ symbol: 'IBM', quantity: new Decimal(300) });
    const rests = await submit({ symbol: 'GE', quantity: new Decimal(5) });
    for (let i = 0; i < 4; i++) {
      tape.pass(1_000);
      tape.quote('IBM', [184.2, 100], [184.25 + i / 100, 100]);
    }
    await untilTrue(
      async () => (await statusOf(whole.decision)) === 'filled' && (await statusOf(parts.decision)) === 'filled',
    );
    expect(await statusOf(rests.decision)).toBe('submitted');
    test.desk.beginDrain();
    expect(await test.desk.cancelOpenOrders('drain')).toMatchObject({ stillOpen: [] });
    await untilTrue(async () => (await statusOf(rests.decision)) === 'canceled');
    stop.abort();
    await running;
    const agreed = await expectAgreement();
    expect(agreed.orders).toBe(3);
    expect(agreed.fills).toBeGreaterThan(3);
    expect(test.desk.status().counters.updatesApplied).toBeGreaterThan(4);
    let changes = 1;
    for (let i = 0; i < 3 && changes > 0; i++) changes = (await test.desk.reconcile()).changes;
    expect(changes).toBe(0);
    expect((await test.ledger.read.orders.counts('paper')).partiallyFilled).toBe(1);
    expect(
      (await test.ledger.read.orders.positions('paper')).map((held) => [held.symbol, held.quantity.toNumber()]),
    ).toEqual([['IBM', 310]]);
  });

  it('takes the refusals of the broker at their word', async () => {
    const short = await submit({ symbol: 'IBM', quantity: new Decimal(10_000_000) });
    expect(short.outcome).toMatchObject({
      kind: 'rejected',
      reasons: ['broker_insufficient_buying_power'],
      brokerStatus: 403,
    });
    const unknown = await submit({ symbol: 'ZZZZ' });
    expect(unknown.outcome.kind).toBe('rejected');
    expect(await expectAgreement()).toEqual({ orders: 0, fills: 0 });
  });

  const post = { method: 'POST' };
  it.each([
    ['http_5xx_after', post],
    ['http_5xx_before', post],
    ['post_timeout_after', post],
    ['http_429', post],
    ['html_error', post],
    // Acts after the time-out of the POST and, with luck, after the look-up time: late accepted.
    ['slow', { ...post, ms: 1_500 }],
    ['slow', { ...post, ms: 500, when: 'after' }],
    ['updates_drop', { event: 'fill' }],
    ['updates_duplicate', { copies: 3 }],
    ['updates_delay', { ms: 300 }],
  ])('agrees with it after the fault %s %o', async (name, parameters) => {
    exchange.faults.add({ name, count: name.startsWith('updates') ? 2 : 1, ...parameters });
    const stop = new AbortController();
    const running = test.desk.run(stop.signal);
    const { decision } = await submit();
    tape.pass(1_000);
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    await untilTrue(async () => {
      if (name === 'updates_drop') await test.desk.reconcile();
      return ['filled', 'rejected'].includes((await statusOf(decision)) ?? '');
    });
    if (name === 'slow') await sleep(1_600);
    for (let i = 0; i < 3; i++) await test.desk.reconcile();
    stop.abort();
    await running;
    expect(exchange.faults.list().filter((fault) => fault.hits === 0)).toEqual([]);
    const { orders } = await expectAgreement();
    expect(orders).toBeLessThanOrEqual(1);
    expect((await test.ledger.read.orders.counts('paper')).unknownClaims).toBe(0);
    const held = (await test.ledger.read.orders.positions('paper')).map((position) => position.quantity.toNumber());
    expect(held).toEqual(orders === 1 ? [10] : []);
  });

  it('records the fill that wins against a cancel', async () => {
    exchange.faults.add({ name: 'late_fill', count: 1, ms: 50 });
    const { decision, outcome } = await submit({ orderType: 'limit', limitPrice: new Decimal('184.2') });
    expect(outcome).toMatchObject({ kind: 'submitted', state: 'open' });
    const cancelling = test.desk.cancelOpenOrders('kill switch', 3_000);
    await sleep(200);
    tape.pass(100);
    tape.quote('IBM', [184.19, 100], [184.2, 100]);
    expect((await cancelling).confirmed).toBe(1);
    for (let i = 0; i < 3; i++) await test.desk.reconcile();
    expect(await statusOf(decision)).toBe('filled');
    expect((await expectAgreement()).fills).toBe(1);
  });
});
