/** `trade stop --flatten` with no loop running: real Postgres, the simulator's broker, the operator's own leadership. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Decimal } from 'decimal.js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ChangeOptions, changeControls } from '../../src/daemons/trade/operate.ts';
import { type Operator, openOperator } from '../../src/daemons/trade/operator.ts';
import { type ClockOwner, ownClockFile } from '../../src/lib/service/clock.ts';
import { addStrategy, approvedOrder, decisionOf } from '../ledger/support/fixtures.ts';
import { query, startTestPostgres, type TestPostgres } from '../ledger/support/postgres.ts';
import { openTestDesk } from '../orders/support/desk.ts';
import { FakeTape } from '../simulator/trading/fake-tape.ts';
import { KEY, SECRET, startExchange, type TestExchange } from '../simulator/trading/test-exchange.ts';

let postgres: TestPostgres;
let exchange: TestExchange;
let operator: Operator;
let dsn: string;
let clock: ClockOwner;
let tape: FakeTape;
const home = mkdtempSync(join(tmpdir(), 'torghut-flatten-'));

beforeAll(async () => {
  postgres = await startTestPostgres();
  dsn = await postgres.newLedgerDatabase();
  tape = new FakeTape(['IBM', 'AIG']);
  exchange = await startExchange({ tape, directory: home });
  tape.quote('IBM', [184.2, 1_000], [184.25, 1_000]);
  tape.quote('AIG', [48.2, 1_000], [48.25, 1_000]);
  clock = ownClockFile(join(home, 'clock'), tape.nowNs(), 0);
  const loop = await openTestDesk({ dsn, brokerUrl: exchange.url, clock });
  const strategyId = await addStrategy(loop.ledger, loop.leadership);
  const orders = [
    { symbol: 'IBM', quantity: new Decimal(10) },
    { symbol: 'AIG', quantity: new Decimal(7) },
    // Rests at the broker: it would open again what is being closed.
    { symbol: 'AIG', quantity: new Decimal(5), orderType: 'limit' as const, limitPrice: new Decimal('40') },
  ];
  for (const terms of orders) {
    const order = await approvedOrder(loop.ledger, loop.leadership, decisionOf(strategyId, terms), clock.nowMs());
    expect((await loop.desk.submit(order)).kind).toBe('submitted');
  }
  await loop.desk.reconcile();
  await loop.close();
  operator = await openOperator({
    home,
    env: { DB_DSN: dsn, APCA_API_BASE_URL: exchange.url, APCA_API_KEY_ID: KEY, APCA_API_SECRET_KEY: SECRET },
  });
});
afterAll(async () => {
  await operator?.close();
  clock?.close();
  await exchange?.close();
  await postgres?.close();
  rmSync(home, { recursive: true, force: true });
});

const told: string[] = [];
const stop = (change: Partial<ChangeOptions>) =>
  changeControls('stop', operator, {
    reason: 'drill',
    actor: 'anna',
    confirm: [],
    yes: true,
    dryRun: false,
    wait: false,
    timeoutMs: 20_000,
    cancelOpen: false,
    flatten: true,
    tell: (line) => told.push(line),
    ...change,
  });
const headers = { 'APCA-API-KEY-ID': KEY, 'APCA-API-SECRET-KEY': SECRET };
const held = async () =>
  ((await (await fetch(`${exchange.url}/v2/positions`, { headers })).json()) as { symbol: string; qty: string }[])
    .map(({ symbol, qty }) => `${symbol} ${qty}`)
    .sort();

it('shows the very orders first and changes nothing', async () => {
  const { report } = await stop({ dryRun: true });
  expect(report).toMatchObject({ applied: false, kill_switch: false });
  expect(report.positions).toBe('sell 7 AIG at market; sell 10 IBM at market');
  expect(told.filter((line) => line.startsWith(`plan ${String(report.flatten_plan_id)}: sell`))).toHaveLength(2);
  expect(await held()).toEqual(['AIG 7', 'IBM 10']);
});

it('turns the kill switch on with --yes, but closes only with the id of the flatten plan', async () => {
  await expect(stop({})).rejects.toMatchObject({ code: 'confirmation_needed', exitCode: 4 });
  expect(await query(dsn, 'select kill_switch from trading_controls')).toEqual([{ kill_switch: true }]);
  expect(await held()).toEqual(['AIG 7', 'IBM 10']);
});

it('closes exactly what is held, with the kill switch on, and leaves every decision and its risk record', async () => {
  const plan = (await stop({ dryRun: true })).report.flatten_plan_id as string;
  const { report, exitCode } = await stop({ confirm: [plan] });
  expect(report.checks.map(({ id, verdict }) => [id, verdict])).toEqual([
    ['market_open', 'ok'],
    ['flattened', 'ok'],
  ]);
  expect(exitCode).toBe(0);
  expect(await held()).toEqual([]);
  const decisions = await query<Record<string, unknown>>(
    dsn,
    `select symbol, action, intent, qty::float as qty, status, rationale, decision_json -> 'risk' ->> 'outcome' as risk
     from trade_decisions where strategy_name = 'operator.flatten' order by symbol`,
  );
  const about = { action: 'sell', intent: 'exit', status: 'filled', rationale: 'flatten_operator', risk: 'approved' };
  expect(decisions).toEqual([
    { symbol: 'AIG', qty: 7, ...about },
    { symbol: 'IBM', qty: 10, ...about },
  ]);
  // The resting order was taken back first.
  expect(await query(dsn, "select status from executions where order_type = 'limit'")).toEqual([
    { status: 'canceled' },
  ]);
  expect(await query(dsn, 'select cause, state, actor from flatten_requests')).toEqual([
    { cause: 'operator', state: 'done', actor: 'anna' },
  ]);
  const actions = await query<{ action: string }>(
    dsn,
    "select action from audit_events where action like 'flatten%' order by id",
  );
  expect(actions.map(({ action }) => action)).toEqual(['flatten_requested', 'flatten_ended']);
  expect((await operator.control.leader('paper'))?.isLive).toBe(false);
});

it('has nothing to do when nothing is held, and says so', async () => {
  const { report, exitCode } = await stop({});
  expect([exitCode, report.positions]).toEqual([0, '']);
});
