/** The trade daemon with real Postgres, engine and simulator: trades, agrees with the broker, and drains. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectAgreement } from './agreement.ts';
import { TradeRig } from './rig.ts';

const rig = new TradeRig();

beforeAll(() => rig.startStores());
afterAll(() => rig.close());

describe('the trade daemon', () => {
  it('trades on signals, refuses what the limits refuse, and agrees with the broker to the share', async () => {
    rig.startTrade();
    await rig.until(async () => (await rig.status())?.leader, 90_000);
    rig.clock.setSpeed(4);
    rig.startFeeding();
    await rig.until(async () => ((await rig.status())?.decisions.submitted ?? 0) >= 8, 120_000);
    await rig.drain();
    const orders = await expectAgreement(rig);
    expect(orders.length).toBeGreaterThanOrEqual(8);
    const status = await rig.status();
    for (const reason of ['shorts_not_allowed', 'cooldown_active', 'max_notional_exceeded']) {
      expect(status?.reject_reasons[reason] ?? 0, reason).toBeGreaterThan(0);
    }
    expect(status?.orders_open).toBe(0);
    expect(status?.unknown_claims).toBe(0);
  });

  it('serves decisions and executions, health and metrics', async () => {
    const url = rig.service('trade')?.url ?? '';
    const decisions = (await (await fetch(`${url}/trading/decisions?symbol=AAPL&limit=5`)).json()) as {
      items: { symbol: string; status: string; decision_hash: string }[];
    };
    expect(decisions.items).toHaveLength(5);
    expect(decisions.items.every((item) => item.symbol === 'AAPL' && /^[0-9a-f]{64}$/.test(item.decision_hash))).toBe(
      true,
    );
    const executions = (await (await fetch(`${url}/trading/executions`)).json()) as { items: unknown[] };
    expect(executions.items.length).toBeGreaterThan(0);
    expect((await fetch(`${url}/trading/decisions?limit=0`)).status).toBe(400);
    expect((await fetch(`${url}/trading/decisions?colour=red`)).status).toBe(400);
    expect(await (await fetch(`${url}/healthz`)).json()).toEqual({ status: 'ok', service: 'torghut' });
    const metrics = await (await fetch(`${url}/metrics`)).text();
    for (const line of [
      'decision_reject_reason_total\\{reason="cooldown_active"\\} [1-9]',
      'execution_submit_attempt_total\\{adapter="alpaca",side="buy",asset_class="us_equity"\\} [1-9]',
      'execution_submit_result_total\\{adapter="alpaca",status="submitted"\\} [1-9]',
      'qty_resolution_total\\{reason="\\w+"\\} [1-9]',
      'strategy_intents_total\\{strategy="[^"]+"\\} [1-9]',
      'reconcile_updates_total [1-9]',
      'tca_order_count [1-9]',
      'tca_avg_abs_slippage_bps [0-9]',
      'broker_ratelimit_remaining [1-9]',
      'db_pool_in_use [0-9]',
      'cursor_lag_seconds [0-9]',
    ]) {
      expect(metrics).toMatch(new RegExp(`^torghut_trading_${line}`, 'm'));
    }
  });

  it('keeps what it knew over a restart and goes on where it stood', async () => {
    const before = await rig.status();
    await rig.kill('trade');
    rig.startTrade();
    await rig.until(async () => ((await rig.status())?.cycles ?? 0) > 2, 90_000);
    const after = await rig.status();
    expect(BigInt(after?.epoch ?? 0)).toBeGreaterThan(BigInt(before?.epoch ?? 0));
    expect(after?.decisions.submitted).toBeGreaterThanOrEqual(before?.decisions.submitted ?? 0);
    await rig.drain();
    await expectAgreement(rig);
  });
});
