import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openEmbeddedLog } from '../../src/lib/log/embedded/event-log.ts';
import { topicSpec } from '../../src/lib/log/topics.ts';
import { testClock } from '../ledger/support/fixtures.ts';
import { query, startTestPostgres, type TestPostgres } from '../ledger/support/postgres.ts';
import { runTrader, symbols } from './support/crash-case.ts';
import { startFakeBroker } from './support/fake-broker.ts';

const traderFile = fileURLToPath(new URL('./support/trader.ts', import.meta.url));
let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => postgres?.close());

describe('two processes, one account', () => {
  it('a paused leader that wakes after its lease sends nothing twice and writes nothing more', async () => {
    const home = mkdtempSync(join(tmpdir(), 'torghut-kill-'));
    const clock = testClock();
    const dsn = await postgres.newLedgerDatabase();
    const log = openEmbeddedLog({ home, clock });
    await log.ensureTopics([topicSpec('tradeUpdatesV2', { clock: 'virtual' })]);
    const broker = await startFakeBroker(clock.nowMs);
    broker.fillPlanOf = () => ['rest'];
    const argument = { dsn, brokerUrl: broker.url, home, symbols };
    const launch = () => spawn(process.execPath, [traderFile, JSON.stringify(argument)], { stdio: 'ignore' });
    const first = launch();
    try {
      // In the middle of its list: some orders are out, some not.
      for (let i = 0; broker.posts.length < 2; i++) {
        if (i > 2_000) throw new Error('the first process did not begin');
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      first.kill('SIGSTOP');
      const second = await runTrader(traderFile, argument, {});
      expect(second.code, second.errors).toBe(0);
      const before = await query(dsn, 'select * from decision_events');
      const firstEnd = once(first, 'exit') as Promise<[number | null]>;
      first.kill('SIGCONT');
      expect((await firstEnd)[0], 'the woken process is refused').not.toBe(0);
      expect(await query(dsn, 'select * from decision_events')).toHaveLength(before.length);
      expect(new Set(broker.posts).size).toBe(broker.posts.length);
      // Paused between broker_io and the POST, one order was never sent: it is refused as unconfirmed.
      const refused = await query(dsn, `select * from order_claims where state = 'rejected'`);
      expect(broker.posts.length + refused.length).toBe(symbols.length);
      expect(refused.length).toBeLessThanOrEqual(1);
      expect(await query(dsn, `select * from executions where status = 'filled'`)).toHaveLength(broker.orders.length);
      expect(await query(dsn, `select * from order_claims where state in ('claimed', 'broker_io')`)).toEqual([]);
      const [leader] = await query<{ epoch: string }>(dsn, 'select epoch from trading_leader');
      expect(leader?.epoch).toBe('2');
    } finally {
      first.kill('SIGKILL');
      await broker.close();
      await log.close();
      rmSync(home, { recursive: true, force: true });
    }
  });
});
