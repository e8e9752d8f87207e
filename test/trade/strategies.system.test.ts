/** Versions of the catalog and the way back, on a real ledger, with the keeper of the loop that takes the file over. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openOperator } from '../../src/daemons/trade/operator.ts';
import { catalogSide, type RollbackOptions, rollbackStrategies } from '../../src/daemons/trade/strategies.ts';
import type { Leadership } from '../../src/lib/ledger/contract.ts';
import { toJsonb } from '../../src/lib/ledger/jsonb.ts';
import { type OrderLedger, openLedger } from '../../src/lib/ledger/open.ts';
import { TorghutError } from '../../src/lib/service/errors.ts';
import { createLogger } from '../../src/lib/service/logging.ts';
import { catalogDifferences } from '../../src/lib/strategy/compare.ts';
import { catalogFile } from '../../src/lib/trading/catalog-file.ts';
import { type CatalogKeeper, catalogKeeper } from '../../src/lib/trading/catalog-keeper.ts';
import { decisionOf, sessionMs, testClock } from '../ledger/support/fixtures.ts';
import { query, startTestPostgres, type TestPostgres } from '../ledger/support/postgres.ts';

const one =
  '# the first\nstrategies:\n  - name: a\n    enabled: true # since March\n    max_notional_per_trade: "100"\n  - {name: b, enabled: true}\n';
const two = '- {name: a, enabled: true, max_notional_per_trade: "90000"}\n- {name: c, enabled: true}\n';

let postgres: TestPostgres;
let home: string;
let path: string;
let dsn: string;
let ledger: OrderLedger;
let leadership: Leadership;
let keeper: CatalogKeeper;
let nowMs = sessionMs;
const clock = testClock();

beforeAll(async () => {
  postgres = await startTestPostgres();
  home = mkdtempSync(join(tmpdir(), 'torghut-strategies-'));
  path = join(home, 'catalog.yaml');
  dsn = await postgres.newLedgerDatabase();
  ledger = openLedger({ dsn, clock });
  leadership = await ledger.acquireLeadership({ accountLabel: 'paper' });
  keeper = catalogKeeper(
    catalogFile(path),
    { catalogMode: 'sync', catalogReloadSeconds: 1 },
    createLogger('t', 'silent'),
  );
});
afterAll(async () => {
  await leadership?.release();
  await ledger?.close();
  await postgres?.close();
  rmSync(home, { recursive: true, force: true });
});

/** What the loop does every few market seconds. */
async function take(text?: string) {
  if (text !== undefined) writeFileSync(path, text);
  nowMs += 2_000;
  clock.set(nowMs);
  await keeper.refresh(nowMs, ledger, leadership);
}

const told: string[] = [];
async function rollback(options: Partial<RollbackOptions>) {
  const env = { DB_DSN: dsn, TRADING_STRATEGY_CONFIG_PATH: path };
  const operator = await openOperator({ home, env, account: 'paper' });
  told.length = 0;
  try {
    return await rollbackStrategies(operator, {
      to: undefined, disable: undefined, file: undefined, reason: 'the test wants it', actor: 'tester', confirm: [],
      yes: false, dryRun: false, wait: false, timeoutMs: 1_000, tell: (line) => void told.push(line), ...options,
    }); // biome-ignore format: one list
  } finally {
    await operator.close();
  }
}
const codeOf = async (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    (error: unknown) => (error instanceof TorghutError ? error.code : String(error)),
  );

describe('versions of the catalog', () => {
  it('are written when a catalog is taken over, with its text; a broken file makes none and the last good one stays', async () => {
    await take(one);
    await take(two);
    await take('- nonsense: true');
    expect(keeper.version).toBe(2);
    expect(keeper.entries.map((entry) => entry.name)).toEqual(['a', 'c']);
    const versions = await ledger.read.strategies.versions(10);
    expect(versions.map(({ version, cause, inserted, disabled }) => [version, cause, inserted, disabled])).toEqual([
      [2, 'file', 1, 1],
      [1, 'file', 2, 0],
    ]);
    expect((await ledger.read.strategies.version(1))?.content).toBe(one);
    await take(two);
    expect(await ledger.read.strategies.versions(10), 'a restart with the same file is no version').toHaveLength(2);
  });

  it('can be compared with each other and with a file, field by field', async () => {
    const side = (text: string) => catalogSide(text, () => Promise.resolve(ledger));
    const differences = catalogDifferences((await side('1')).strategies, (await side('now')).strategies);
    expect(differences.map(({ strategy, change, field, from, to }) => [strategy, change, field, from, to])).toEqual([
      ['a', 'changed', 'max_notional_per_trade', '100', '90000'],
      ['b', 'removed', '', 'macd_rsi enabled', '-'],
      ['c', 'added', '', '-', 'macd_rsi enabled'],
    ]);
    expect(catalogDifferences((await side(path)).strategies, (await side('2')).strategies)).toEqual([]);
    expect(await codeOf(side('77'))).toBe('strategy_version_unknown');
  });
});

describe('the way back', () => {
  it('shows its plan and writes nothing without consent; --yes is not enough for what switches something on', async () => {
    const { report } = await rollback({ to: 1, dryRun: true });
    expect(report).toMatchObject({ applied: false, from_version: 2, to_version: 1 });
    expect(told.join('\n')).toContain('a: max_notional_per_trade 90000 → 100');
    expect(await codeOf(rollback({ to: 1 }))).toBe('confirmation_needed');
    expect(await codeOf(rollback({ to: 1, yes: true }))).toBe('confirmation_needed');
    expect(await codeOf(rollback({ to: 1, confirm: ['0123456789ab'] }))).toBe('plan_changed');
    expect(readFileSync(path, 'utf8')).toBe(two);
  });

  it('writes the earlier text as it was, and the next version says who and why, once', async () => {
    const { report } = await rollback({ to: 1, dryRun: true });
    const done = await rollback({ to: 1, confirm: [String(report.plan_id)], wait: true });
    expect(done.report.applied).toBe(true);
    expect(done.exitCode, 'no loop could be asked').toBe(11);
    expect(readFileSync(path, 'utf8')).toBe(one);
    await take();
    const [newest] = await ledger.read.strategies.versions(1);
    expect(newest).toMatchObject({ version: 3, cause: 'rollback', actor: 'tester', reason: 'the test wants it' });
    await take(two);
    await take(one);
    expect((await ledger.read.strategies.versions(1))[0]).toMatchObject({ version: 5, cause: 'file', actor: 'trade' });
    expect((await rollback({ to: 1, yes: true })).report.applied, 'it is there already').toBe(false);
  });

  it('switches one strategy off with --yes, keeps the comments, and names what it still holds', async () => {
    const strategyId = (await ledger.read.strategies.all()).find((row) => row.name === 'a')?.id ?? '';
    const decision = decisionOf(strategyId, { strategyName: 'a' });
    await ledger.write(leadership, (tx) =>
      tx.decisions.insert({ decision, decidedAtMs: sessionMs, detail: toJsonb({}) }),
    );
    const execution = '00000000-0000-4000-8000-0000000000e1';
    await query(
      dsn,
      `insert into executions (id, trade_decision_id, alpaca_account_label, alpaca_order_id, client_order_id, symbol, side,
         order_type, time_in_force, submitted_qty, status, broker_status, last_update_at, raw_order, fencing_epoch)
       values ($1, $2, 'paper', 'o', 'c', 'IBM', 'buy', 'market', 'day', 4, 'filled', 'filled', now(), '{}', 1)`,
      [execution, decision.id],
    );
    await query(
      dsn,
      `insert into execution_fills (id, execution_id, alpaca_account_label, broker_execution_id, symbol, side, qty, price,
         cumulative_qty, executed_at, source)
       values (gen_random_uuid(), $1, 'paper', 'f', 'IBM', 'buy', 4, 10, 4, $2, 'activity')`,
      [execution, new Date(sessionMs)],
    );
    const { report, exitCode } = await rollback({ disable: 'a', yes: true, wait: true });
    expect(report).toMatchObject({ applied: true, positions: [{ strategy: 'a', symbol: 'IBM', qty: '4' }] });
    expect(exitCode).toBe(10);
    expect(readFileSync(path, 'utf8')).toBe(one.replace('enabled: true #', 'enabled: false #'));
    await take();
    expect(keeper.entries.find((entry) => entry.name === 'a')?.enabled).toBe(false);
    expect(await codeOf(rollback({ disable: 'nobody', yes: true }))).toBe('strategy_unknown');
    expect(await codeOf(rollback({}))).toBe('strategy_rollback_unclear');
  });

  it('says what to do where the file cannot be written', async () => {
    const file = join(home, 'nowhere', 'catalog.yaml');
    const { report } = await rollback({ to: 1, file, dryRun: true });
    expect(await codeOf(rollback({ to: 1, file, confirm: [String(report.plan_id)] }))).toBe(
      'strategy_catalog_readonly',
    );
    const audits = await query(dsn, `select 1 from audit_events where action = 'strategy_rollback'`);
    expect(audits, 'what was not written was not asked for').toHaveLength(2);
  });
});
