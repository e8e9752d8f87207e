/**
 * pause, resume, stop, positions and reconcile as an operator runs them: processes of their own against a trading loop with
 * real Postgres, engine and simulator; the broker's REST and SQL of the test's own are the judges.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TradeRig } from '../trade/rig.ts';

const entry = fileURLToPath(new URL('../trade/entry.ts', import.meta.url));
const rig = new TradeRig();

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

interface Report {
  applied: boolean;
  plan_id: string;
  flatten_plan_id: string;
  positions: string;
  agreed: boolean | null;
  changes: string | null;
  missing_local: number;
  foreign: number;
  by: string;
  differences: { class: string; subject: string }[];
  checks: { id: string; verdict: string }[];
}

async function run(name: string, ...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, [entry, name, ...args, '--home', rig.home, '-o', 'json'], {
    env: rig.env({ LOG_LEVEL: 'error' }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended: Ended = { code: null, stdout: '', stderr: '' };
  child.stdout.on('data', (text: Buffer) => {
    ended.stdout += text;
  });
  child.stderr.on('data', (text: Buffer) => {
    ended.stderr += text;
  });
  [ended.code] = (await once(child, 'close')) as [number | null];
  return ended;
}

async function report(expected: number, name: string, ...args: string[]): Promise<Report> {
  const ended = await run(name, ...args);
  expect(ended.code, `${name}: ${ended.stderr}${ended.stdout}`).toBe(expected);
  return JSON.parse(ended.stdout) as Report;
}

const why = ['--reason', 'drill'];
const controls = async () =>
  (await rig.sql<{ kill_switch: boolean; paused: boolean; actor: string }>('select * from trading_controls'))[0];
const submitted = async () => (await rig.status())?.decisions.submitted ?? 0;

/** An order that somebody else places for the same account. */
async function placeForeign(terms: Record<string, string>): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${rig.simulatorPort}/v2/orders`, {
    method: 'POST',
    headers: { 'APCA-API-KEY-ID': 'SIM-TEST', 'APCA-API-SECRET-KEY': 'SIM-TEST-SECRET' },
    body: JSON.stringify({ symbol: 'BAC', qty: '1', side: 'buy', time_in_force: 'day', ...terms }),
  });
  expect(answer.status, await answer.text()).toBe(200);
}

beforeAll(async () => {
  await rig.startStores();
  rig.startTrade();
  await rig.until(async () => (await rig.status())?.leader, 40_000, 'the loop leads');
  rig.clock.setSpeed(3);
  rig.startFeeding();
  await rig.until(async () => (await submitted()) >= 2, 60_000, 'orders');
});
afterAll(() => rig.close());

describe('an operator', () => {
  it('cannot pause without consent, with an old plan, or without a reason', async () => {
    const bare = await run('trade-pause', ...why);
    expect([bare.code, bare.stderr]).toEqual([4, expect.stringContaining('confirmation_needed')]);
    const old = await run('trade-pause', ...why, '--confirm', 'abc');
    expect([old.code, old.stderr]).toEqual([4, expect.stringContaining('plan_changed')]);
    expect((await run('trade-pause', '--yes')).stderr).toContain('--reason');
    expect(await report(0, 'trade-pause', ...why, '--dry-run', '--yes')).toMatchObject({ applied: false });
    expect(await controls()).toBeUndefined();
  });

  it('pauses within one cycle: no decision over two further ones', async () => {
    const done = await report(0, 'trade-pause', ...why, '--actor', 'anna', '--yes', '--wait', '--timeout', '30');
    expect(done.checks.map((check) => [check.id, check.verdict])).toEqual([
      ['paused', 'ok'],
      ['decisions_flat', 'ok'],
    ]);
    expect(await controls()).toMatchObject({ paused: true, kill_switch: false, actor: 'anna' });
    const audit = await rig.sql<{ actor: string; reason: string; after: { paused: boolean } }>(
      "select * from audit_events where action = 'trading_controls_changed'",
    );
    expect(audit).toMatchObject([{ actor: 'anna', reason: 'drill', after: { paused: true } }]);
    expect(await report(0, 'trade-pause', ...why, '--yes')).toMatchObject({ applied: false });
  });

  it('reconciles through the running loop, and sees positions agree', async () => {
    const done = await report(0, 'trade-reconcile', ...why, '--yes');
    expect(done).toMatchObject({ applied: true, agreed: true, by: 'the running loop' });
    expect(done.changes).toMatch(/ 0$/);
    const positions = await run('trade-positions');
    expect([positions.code, positions.stderr]).toEqual([0, '']);
    const rows = JSON.parse(positions.stdout) as { symbol: string; broker_qty: string; agrees: boolean }[];
    const held = await rig.broker<{ symbol: string; qty: string }[]>('/v2/positions');
    expect(rows.map((row) => [row.symbol, Number(row.broker_qty), row.agrees])).toEqual(
      held.map((row) => [row.symbol, Number(row.qty), true]).sort(),
    );
  });

  it('resumes when all conditions hold, and orders go on', async () => {
    const before = await submitted();
    const done = await report(0, 'trade-resume', ...why, '--yes', '--wait', '--timeout', '30');
    expect(done.checks.every((check) => check.verdict === 'ok')).toBe(true);
    await rig.until(async () => (await submitted()) > before, 60_000, 'orders after the resume');
  });

  it('stops: nothing is sent any more; the same person cannot release it, another one can', async () => {
    const done = await report(0, 'trade-stop', ...why, '--actor', 'anna', '--yes', '--wait', '--timeout', '60');
    expect(done.checks.map((check) => [check.id, check.verdict])).toEqual([
      ['kill_switch', 'ok'],
      ['orders_open', 'ok'],
      ['reconcile_clean', 'ok'],
      ['submits_flat', 'ok'],
    ]);
    const orders = (await rig.brokerOrders()).length;
    const same = await run('trade-resume', ...why, '--actor', 'anna');
    expect([same.code, same.stderr]).toEqual([4, expect.stringMatching(/resume_refused[\s\S]*different_actor/)]);
    const easy = await run('trade-resume', ...why, '--actor', 'bert', '--yes');
    expect([easy.code, easy.stderr]).toEqual([4, expect.stringContaining('confirmation_needed')]);
    expect((await rig.brokerOrders()).length).toBe(orders);
    const plan = await report(0, 'trade-resume', ...why, '--actor', 'bert', '--dry-run');
    await report(0, 'trade-resume', ...why, '--actor', 'bert', '--confirm', plan.plan_id);
    expect(await controls()).toMatchObject({ kill_switch: false, actor: 'bert' });
  });

  it('closes every position through the running loop, which sends nothing else', async () => {
    const positions = () =>
      rig.sql<{ symbol: string }>(
        "select symbol from execution_fills group by 1 having sum(case side when 'buy' then qty else -qty end) <> 0",
      );
    const release = async () => {
      const plan = await report(0, 'trade-resume', ...why, '--actor', 'bert', '--dry-run');
      await report(0, 'trade-resume', ...why, '--actor', 'bert', '--confirm', plan.plan_id);
    };
    const stopped = async (): Promise<Report> => {
      await rig.until(async () => (await positions()).length > 0, 60_000, 'something is held');
      await report(0, 'trade-stop', ...why, '--actor', 'anna', '--yes', '--wait', '--timeout', '60');
      return report(0, 'trade-stop', ...why, '--actor', 'anna', '--flatten', '--dry-run');
    };
    let plan = await stopped();
    // What was held may have been sold in the second before the stop: once more then.
    for (let i = 0; plan.positions === '' && i < 4; i++) {
      await release();
      plan = await stopped();
    }
    const before = await submitted();
    const held = plan.positions.split('; ').length;
    const flat = ['--flatten', '--yes', '--confirm', plan.flatten_plan_id, '--timeout', '60'];
    const done = await report(0, 'trade-stop', ...why, '--actor', 'anna', ...flat);
    expect(done.checks).toMatchObject([
      { id: 'market_open', verdict: 'ok' },
      { id: 'flattened', verdict: 'ok' },
    ]);
    await rig.until(async () => (await positions()).length === 0, 30_000, 'the fills of the closing orders');
    expect(
      await rig.sql("select distinct strategy_name, intent from trade_decisions where rationale = 'flatten_operator'"),
    ).toEqual([{ strategy_name: 'operator.flatten', intent: 'exit' }]);
    // The loop sent the closing orders and nothing else.
    expect((await submitted()) - before).toBe(held);
    expect(await rig.sql('select cause, state from flatten_requests')).toEqual([{ cause: 'operator', state: 'done' }]);
    await release();
  });

  it('reconciles after an outage without a loop: what was sent is found, a second run changes nothing', async () => {
    rig.startTrade({ TORGHUT_CRASH_AT: 'post.after', TORGHUT_CRASH_REPORT: join(rig.home, 'crashes') });
    await rig.until(() => rig.lastExit !== undefined, 60_000, 'death between POST and settle');
    await placeForeign({ type: 'limit', limit_price: '1' });
    const plan = await report(10, 'trade-reconcile', ...why, '--dry-run');
    expect(plan).toMatchObject({ applied: false, foreign: 1 });
    expect(plan.missing_local).toBeGreaterThanOrEqual(1);

    const done = await report(0, 'trade-reconcile', ...why, '--yes');
    expect(done).toMatchObject({ applied: true, agreed: true, by: 'this command' });
    const ledger = await rig.sql<{ alpaca_order_id: string; filled_qty: string }>(
      'select alpaca_order_id, filled_qty::text from executions',
    );
    const ours = (await rig.brokerOrders()).filter((order) => order.client_order_id.startsWith('tg1-'));
    expect(ledger.map((row) => [row.alpaca_order_id, Number(row.filled_qty)]).sort()).toEqual(
      ours.map((order) => [order.id, Number(order.filled_qty)]).sort(),
    );
    expect(await rig.sql("select 1 from order_claims where state in ('claimed', 'broker_io')")).toEqual([]);
    const again = await report(0, 'trade-reconcile', ...why, '--since', '2026-03-10T13:40:00Z', '--yes');
    expect(again).toMatchObject({ changes: '0 0', missing_local: 0, foreign: 1 });
  });

  it('is told of a position that the ledger cannot explain, and refused the resume with every condition named', async () => {
    await placeForeign({ type: 'market' });
    await rig.until(async () => (await run('trade-positions')).code === 10, 30_000, 'positions differ');
    const done = await report(10, 'trade-reconcile', ...why, '--yes', '--timeout', '5');
    expect(done).toMatchObject({ applied: true, agreed: false });
    expect(done.differences.filter((row) => row.class === 'position_drift')).toMatchObject([{ subject: 'BAC' }]);
    await report(0, 'trade-pause', ...why, '--yes');
    const from = rig.clock.nowMs();
    rig.clock.setSpeed(60);
    await rig.until(() => rig.clock.nowMs() > from + 20_000, 20_000, 'some market seconds without a pass');
    const refused = await run('trade-resume', ...why, '--yes');
    expect(refused.code).toBe(4);
    for (const id of ['position_drift: BAC', 'reconcile_lag']) expect(refused.stderr).toContain(id);
    expect(await controls()).toMatchObject({ paused: true });
  });
});
