/** `trade stop --cancel-open` with no loop running: real Postgres, the simulator's broker, the operator's own leadership. */
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
const home = mkdtempSync(join(tmpdir(), 'torghut-stop-'));

beforeAll(async () => {
  postgres = await startTestPostgres();
  dsn = await postgres.newLedgerDatabase();
  const tape = new FakeTape(['IBM']);
  exchange = await startExchange({ tape, directory: home });
  tape.quote('IBM', [184.2, 100], [184.25, 100]);
  clock = ownClockFile(join(home, 'clock'), tape.nowNs(), 0);
  const loop = await openTestDesk({ dsn, brokerUrl: exchange.url, clock });
  const strategyId = await addStrategy(loop.ledger, loop.leadership);
  for (const limitPrice of ['180', '181']) {
    const decision = decisionOf(strategyId, { orderType: 'limit', limitPrice: new Decimal(limitPrice) });
    const order = await approvedOrder(loop.ledger, loop.leadership, decision, clock.nowMs());
    expect((await loop.desk.submit(order)).kind).toBe('submitted');
  }
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
    wait: true,
    timeoutMs: 5_000,
    cancelOpen: true,
    flatten: false,
    tell: (line) => told.push(line),
    ...change,
  });
const openOrders = async () => {
  const headers = { 'APCA-API-KEY-ID': KEY, 'APCA-API-SECRET-KEY': SECRET };
  return ((await (await fetch(`${exchange.url}/v2/orders?status=open`, { headers })).json()) as unknown[]).length;
};

it('shows both plans first and changes nothing', async () => {
  const { report } = await stop({ dryRun: true });
  expect(report).toMatchObject({ applied: false, kill_switch: false });
  expect(told.filter((line) => line.includes(': cancel buy 10 IBM'))).toHaveLength(2);
  expect(await openOrders()).toBe(2);
});

it('turns the kill switch on with --yes, but cancels only with the id of the cancel plan', async () => {
  await expect(stop({ confirm: ['an-old-id'] })).rejects.toMatchObject({ code: 'plan_changed', exitCode: 4 });
  expect(await query(dsn, 'select kill_switch from trading_controls')).toEqual([{ kill_switch: true }]);
  await expect(stop({})).rejects.toMatchObject({ code: 'confirmation_needed', exitCode: 4 });
  expect(await openOrders()).toBe(2);
});

it('cancels every open order as the leader itself, verified at the broker and in the ledger', async () => {
  const plan = (await stop({ dryRun: true })).report.cancel_plan_id as string;
  const { report, exitCode } = await stop({ confirm: [plan] });
  expect([exitCode, report.checks.find((check) => check.id === 'cancelled')?.verdict]).toEqual([0, 'ok']);
  expect(await openOrders()).toBe(0);
  expect(await query(dsn, 'select status, count(*)::int as n from executions group by status')).toEqual([
    { status: 'canceled', n: 2 },
  ]);
  const audit = await query(dsn, `select actor, after from audit_events where action = 'cancel_open'`);
  expect(audit).toMatchObject([{ actor: 'anna', after: { left: 0, unknown: 0 } }]);
  // The leadership was given back: the next loop need not wait.
  expect((await operator.control.leader('paper'))?.isLive).toBe(false);
});

it('says which switch another operator moved meanwhile, and leaves it', async () => {
  const before = await operator.ledger.read.account.controls('paper');
  await stop({ yes: true, cancelOpen: false, wait: false });
  const why = { reason: 'drill', actor: 'bert', atMs: 0 };
  await operator.control.changeControls('paper', { paused: true }, why);
  await expect(operator.control.changeControls('paper', { killSwitch: false }, why, before)).rejects.toMatchObject({
    code: 'controls_changed',
    exitCode: 4,
  });
  expect((await operator.ledger.read.account.controls('paper')).killSwitch).toBe(true);
});

it('loses no switch when the loop and an operator change different ones at the same time', async () => {
  const write = (change: object, actor: string) =>
    operator.control.changeControls('race', change, { reason: 'race', actor, atMs: 0 });
  const other = await openOperator({ home, env: { DB_DSN: dsn } });
  try {
    for (let round = 0; round < 10; round++) {
      await write({ killSwitch: false, emergencyStopReason: null }, 'reset');
      await Promise.all([
        write({ killSwitch: true }, 'operator'),
        other.control.changeControls('race', { emergencyStopReason: 'loss' }, { reason: 'r', actor: 'trade', atMs: 0 }),
      ]);
      expect(await operator.ledger.read.account.controls('race')).toMatchObject({
        killSwitch: true,
        emergencyStopReason: 'loss',
      });
    }
  } finally {
    await other.close();
  }
});
