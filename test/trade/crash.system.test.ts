/**
 * kill -9 of trade at every named point of its cycle and of the desk's submit path, and of everything it leans on, while it
 * trades. After each kill the next process needs no help; at the end broker and ledger agree and nothing is left open.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectAgreement } from './agreement.ts';
import { TradeRig } from './rig.ts';

const points = [
  'cycle.before#3',
  'cycle.decided#2',
  'cycle.committed#2',
  'cycle.risk_done#2',
  'claim.committed#2',
  'broker_io.committed',
  'post.before',
  'post.after#2',
  'settle.in_transaction',
  'settle.committed',
  'cycle.submitted#2',
];
/** Half of the points in each ordinary run, all of them in a full one. */
const chosen = process.env.TORGHUT_TEST_FULL
  ? points
  : ['cycle.decided#2', 'cycle.committed#2', 'cycle.risk_done#2', 'post.after#2', 'cycle.submitted#2'];

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

describe('killed at any point, trade', () => {
  it.each(chosen)('loses and doubles nothing: %s', async (point) => {
    const report = join(rig.home, 'crashes');
    rig.startTrade({ TORGHUT_CRASH_AT: point, TORGHUT_CRASH_REPORT: report });
    await rig.until(() => rig.lastExit !== undefined, 40_000, `death at ${point}`);
    expect(rig.lastExit?.signal).toBe('SIGKILL');
    expect(rig.report('crashes')).toContain(`${point} `);
    rig.startTrade();
    await rig.until(async () => ((await rig.status())?.cycles ?? 0) > 1, 40_000, 'cycles after the kill');
    await rig.kill('trade');
  });

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
