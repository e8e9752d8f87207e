/** Points of the acceptance list (trading 13.1) that need real processes and a real Postgres; see acceptance.test.ts. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openLedger } from '../../src/lib/ledger/open.ts';
import { openEmbeddedLog } from '../../src/lib/log/embedded/event-log.ts';
import { topicSpec } from '../../src/lib/log/topics.ts';
import { sessionMs, testClock } from '../ledger/support/fixtures.ts';
import { startTestPostgres, type TestPostgres } from '../ledger/support/postgres.ts';
import { runTrader, symbols } from '../orders/support/crash-case.ts';
import { startFakeBroker } from '../orders/support/fake-broker.ts';
import { disagreements } from '../orders/support/verdict.ts';

const traderFile = fileURLToPath(new URL('../orders/support/trader.ts', import.meta.url));
const entry = fileURLToPath(new URL('../trade/entry.ts', import.meta.url));

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => postgres?.close());

describe('the acceptance list, with real processes', () => {
  it('(2) two loops in parallel on one database make one order per intent', async () => {
    const home = mkdtempSync(join(tmpdir(), 'torghut-two-'));
    const clock = testClock();
    const dsn = await postgres.newLedgerDatabase();
    const log = openEmbeddedLog({ home, clock });
    await log.ensureTopics([topicSpec('tradeUpdatesV2', { clock: 'virtual' })]);
    const broker = await startFakeBroker(clock.nowMs);
    broker.fillPlanOf = () => ['rest'];
    const argument = { dsn, brokerUrl: broker.url, home, symbols };
    try {
      const both = await Promise.all([runTrader(traderFile, argument, {}), runTrader(traderFile, argument, {})]);
      for (const { code, errors } of both) expect(code, errors).toBe(0);
      expect(broker.posts).toHaveLength(symbols.length);
      expect(await disagreements(dsn, broker, symbols.length)).toEqual([]);
    } finally {
      await broker.close();
      await log.close();
      rmSync(home, { recursive: true, force: true });
    }
  });

  it('(11) an emergency stop survives the end of its process: it is in Postgres', async () => {
    const dsn = await postgres.newLedgerDatabase();
    const clock = testClock();
    const first = openLedger({ dsn, clock });
    const leadership = await first.acquireLeadership({ accountLabel: 'paper' });
    const latched = { emergencyStopReason: 'daily_loss_stop:0.0110' };
    const why = { reason: latched.emergencyStopReason, actor: 'trade', atMs: sessionMs };
    await first.write(leadership, (tx) => tx.account.setControls('paper', latched, why));
    await leadership.release();
    await first.close();
    const second = openLedger({ dsn, clock });
    try {
      expect(await second.read.account.controls('paper')).toMatchObject({
        emergencyStopReason: 'daily_loss_stop:0.0110',
        actor: 'trade',
      });
      expect(await second.read.account.stopMarks('paper')).toEqual({ latchedAtMs: sessionMs });
    } finally {
      await second.close();
    }
  });

  it.each([
    [
      '(13) paper keys with the live host',
      { APCA_API_BASE_URL: 'https://api.alpaca.markets', APCA_API_KEY_ID: 'PKTEST' },
    ],
    ['a simulator key with the paper host', { APCA_API_KEY_ID: 'SIM-TEST' }],
    ['a real key with a broker on loopback', { APCA_API_BASE_URL: 'http://127.0.0.1:9', APCA_API_KEY_ID: 'PKTEST' }],
  ])('%s: the daemon refuses to boot', async (_what, settings) => {
    const home = mkdtempSync(join(tmpdir(), 'torghut-boot-'));
    const clean = Object.entries(process.env).filter(([name]) => !/^(TRADING|TA|KAFKA|APCA|DB|TORGHUT)_/.test(name));
    const child = spawn(process.execPath, [entry, 'trade', '--port', '0', '--home', home], {
      env: {
        ...Object.fromEntries(clean),
        APCA_API_SECRET_KEY: 'not-to-be-shown',
        TRADING_ENABLED: 'true',
        ...settings,
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let errors = '';
    child.stderr.on('data', (text: Buffer) => {
      errors += text;
    });
    const [code] = (await once(child, 'close')) as [number | null];
    rmSync(home, { recursive: true, force: true });
    expect([code, errors]).toEqual([4, expect.stringContaining('broker_host_refused')]);
    expect(errors).not.toContain('not-to-be-shown');
  });
});
