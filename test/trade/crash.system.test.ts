/**
 * kill -9 of everything that trade leans on, while it trades: it finds each again by itself, and at the end broker and ledger
 * agree. What happens when trade itself is killed is the matter of crash-matrix.system.test.ts.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectAgreement } from './agreement.ts';
import { TradeRig } from './rig.ts';

const rig = new TradeRig();

beforeAll(async () => {
  await rig.startStores();
  rig.clock.setSpeed(3);
  rig.startFeeding();
});
afterAll(() => rig.close());

const submitted = async () => (await rig.status())?.decisions.submitted ?? 0;
/** Trades on until this many further orders were accepted. */
const trade = async (more: number) => {
  const before = await submitted();
  await rig.until(async () => (await submitted()) >= before + more, 90_000, `${more} further orders`);
};

describe('while it trades', () => {
  it('finds Postgres, engine and broker again after each was killed', async () => {
    rig.startTrade();
    await rig.until(async () => ((await rig.status())?.cycles ?? 0) > 1, 40_000, 'cycles');
    for (const [name, start] of [
      ['postgres', () => rig.startPostgres()],
      ['clickhouse', () => rig.startEngine()],
      ['simulator', () => rig.startSimulator()],
    ] as const) {
      await rig.kill(name);
      start();
      await rig.until(() => rig.service(name), 40_000, `${name} is back`);
      const cycles = (await rig.status())?.cycles ?? 0;
      await rig.until(async () => ((await rig.status())?.cycles ?? 0) > cycles + 1, 40_000, `cycles after ${name}`);
    }
    await trade(1);
  });

  it('ends with broker and ledger in agreement and no decision open', async () => {
    await rig.drain();
    const orders = await expectAgreement(rig);
    expect(orders.length).toBeGreaterThanOrEqual(5);
  });
});
