import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openEmbeddedLog } from '../../src/lib/log/embedded/event-log.ts';
import type { NewRecord } from '../../src/lib/log/port.ts';
import { topicSpec } from '../../src/lib/log/topics.ts';
import { type CrashPoint, crashPoints } from '../../src/lib/service/crash-point.ts';
import { sessionMs, testClock } from '../ledger/support/fixtures.ts';
import { query, startTestPostgres, type TestPostgres } from '../ledger/support/postgres.ts';
import { type PostBehaviour, startFakeBroker } from './support/fake-broker.ts';

const traderFile = fileURLToPath(new URL('./support/trader.ts', import.meta.url));
const topic = 'torghut.trade-updates.v2';
const symbols = ['IBM', 'REST', 'AAPL', 'GE', 'MSFT', 'REST'];
/** What happens to the POSTs: enough that every point of the desk is passed. */
const faults: PostBehaviour[] = ['accept', 'accept_500', 'refuse_429', 'fail_reset', 'accept_silent', 'accept'];
/** The cycle belongs to lib/trading, which has a matrix of its own. */
const points = crashPoints.filter((point) => !point.startsWith('cycle.'));
const seed = process.env.TORGHUT_TEST_FULL ? 0 : Math.floor(process.hrtime()[0] / 60);
const sample: readonly CrashPoint[] = process.env.TORGHUT_TEST_FULL
  ? points
  : Array.from({ length: 3 }, (_, i) => points[(seed * 3 + i) % points.length] as CrashPoint);

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => postgres?.close());

async function runTrader(
  argument: object,
  env: Record<string, string>,
): Promise<{ code: number | null; signal: string | null; errors: string }> {
  const child = spawn(process.execPath, [traderFile, JSON.stringify(argument)], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  return { code, signal, errors };
}

describe(`a kill -9 at any point of the desk (seed ${seed})`, () => {
  it.each(sample.map((point) => [point]))(
    '%s: no order twice, none unknown, fills and positions equal',
    async (point) => {
      const home = mkdtempSync(join(tmpdir(), 'torghut-kill-'));
      const clock = testClock();
      const dsn = await postgres.newLedgerDatabase();
      const log = openEmbeddedLog({ home, clock });
      await log.ensureTopics([topicSpec('tradeUpdatesV2', { clock: 'virtual' })]);
      const writer = await log.openWriter({ owner: 'ws' });
      const broker = await startFakeBroker(clock.nowMs);
      const shift = points.indexOf(point) % faults.length;
      broker.script = [...faults.slice(shift), ...faults.slice(0, shift)];
      broker.fillPlanOf = (order) => (order.symbol === 'REST' ? [2] : [3, 'rest']);
      const records: NewRecord[] = [];
      let seq = 0;
      broker.onUpdate = (payload) => {
        const { symbol } = payload.order as { symbol: string };
        const envelope = {
          event_ts: payload.timestamp,
          channel: 'trade_updates',
          symbol,
          seq: ++seq,
          payload: structuredClone(payload),
          account_label: 'paper',
        };
        records.push({ topic, key: symbol, value: Buffer.from(JSON.stringify(envelope)), timestampMs: sessionMs });
      };
      // Every third update is lost, every fourth comes twice: reconcile has work too.
      let told = 0;
      const publishing = setInterval(() => {
        const batch = records.splice(0).flatMap((record) => {
          told += 1;
          return told % 3 === 0 ? [] : told % 4 === 0 ? [record, record] : [record];
        });
        if (batch.length > 0) void writer.commit({ records: batch });
      }, 20);
      const report = join(home, 'hits');
      const env = { TORGHUT_CRASH_AT: point, TORGHUT_CRASH_REPORT: report };
      try {
        const argument = { dsn, brokerUrl: broker.url, home, symbols };
        const first = await runTrader(argument, env);
        expect(first.signal, first.errors).toBe('SIGKILL');
        expect(readFileSync(report, 'utf8')).toMatch(new RegExp(`^${point.replace('.', '\\.')} \\d+\n$`));
        const second = await runTrader(argument, env);
        expect([second.code, second.signal], second.errors).toEqual([0, null]);

        expect(new Set(broker.posts).size, 'one POST per claim').toBe(broker.posts.length);
        expect(broker.orders.length).toBeGreaterThanOrEqual(3);
        const executions = await query<{ alpaca_order_id: string; broker_status: string; filled_qty: string }>(
          dsn,
          'select * from executions',
        );
        expect(
          executions.map((row) => [row.alpaca_order_id, row.broker_status, Number(row.filled_qty)]).sort(),
        ).toEqual(broker.orders.map((order) => [order.id, order.status, Number(order.filled_qty)]).sort());
        const fills = await query<{ broker_execution_id: string; qty: string; price: string }>(
          dsn,
          'select * from execution_fills',
        );
        expect(fills.map((row) => [row.broker_execution_id, Number(row.qty), Number(row.price)]).sort()).toEqual(
          broker.fills.map((fill) => [fill.executionId, Number(fill.qty), Number(fill.price)]).sort(),
        );
        expect(await query(dsn, `select * from order_claims where state in ('claimed', 'broker_io')`)).toEqual([]);
        expect(
          await query(dsn, `select * from trade_decisions where status in ('planned', 'submitted', 'partial')`),
        ).toEqual([]);
        expect(await query(dsn, 'select * from trade_decisions')).toHaveLength(symbols.length);
        expect(await query(dsn, `select * from reconcile_findings where resolved_at is null`)).toEqual([]);
      } finally {
        clearInterval(publishing);
        await broker.close();
        await writer.close();
        await log.close();
        rmSync(home, { recursive: true, force: true });
      }
    },
  );
});

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
      const second = await runTrader(argument, {});
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
