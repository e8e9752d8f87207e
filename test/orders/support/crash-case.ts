/**
 * One case of the crash matrix: a trader that is killed at a point, and one that goes on after it, at a broker that
 * misbehaves and whose updates get lost or come twice.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEmbeddedLog } from '../../../src/lib/log/embedded/event-log.ts';
import type { NewRecord } from '../../../src/lib/log/port.ts';
import { topicSpec } from '../../../src/lib/log/topics.ts';
import { sessionMs, testClock } from '../../ledger/support/fixtures.ts';
import type { TestPostgres } from '../../ledger/support/postgres.ts';
import { type PostBehaviour, startFakeBroker } from './fake-broker.ts';
import { disagreements } from './verdict.ts';

const topic = 'torghut.trade-updates.v2';
export const symbols = ['IBM', 'REST', 'AAPL', 'GE', 'MSFT', 'REST'];

export interface Ended {
  code: number | null;
  signal: string | null;
  errors: string;
}

export async function runTrader(traderFile: string, argument: object, env: Record<string, string>): Promise<Ended> {
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

export interface CrashCase {
  traderFile: string;
  point: string;
  /** What happens to the POSTs, in order. */
  script: readonly PostBehaviour[];
  limitMs?: number;
}

export interface CrashResult {
  first: Ended;
  second: Ended;
  /** What the points reported of their hits. */
  hits: string;
  orders: number;
  /** The verdict on what the killed process left: an order whose settling it never saw is no mistake yet. */
  left: string[];
  /** The verdict at the end: empty when broker and ledger agree. */
  wrong: string[];
}

export async function crashCase(
  postgres: TestPostgres,
  { traderFile, point, script, limitMs }: CrashCase,
): Promise<CrashResult> {
  const home = mkdtempSync(join(tmpdir(), 'torghut-kill-'));
  const clock = testClock();
  const dsn = await postgres.newLedgerDatabase();
  const log = openEmbeddedLog({ home, clock });
  await log.ensureTopics([topicSpec('tradeUpdatesV2', { clock: 'virtual' })]);
  const writer = await log.openWriter({ owner: 'ws' });
  const broker = await startFakeBroker(clock.nowMs);
  broker.script = [...script];
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
    const argument = { dsn, brokerUrl: broker.url, home, symbols, limitMs };
    const first = await runTrader(traderFile, argument, env);
    const left = await disagreements(dsn, broker, symbols.length);
    const second = await runTrader(traderFile, argument, env);
    const hits = readFileSync(report, 'utf8');
    const wrong = await disagreements(dsn, broker, symbols.length);
    return { first, second, hits, orders: broker.orders.length, left, wrong };
  } finally {
    clearInterval(publishing);
    await broker.close();
    await writer.close();
    await log.close();
    rmSync(home, { recursive: true, force: true });
  }
}
