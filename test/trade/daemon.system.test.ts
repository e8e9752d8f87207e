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
    expect(metrics).toMatch(/torghut_trading_decision_reject_reason_total\{reason="cooldown_active"\} [1-9]/);
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
