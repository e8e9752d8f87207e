import { randomUUID } from 'node:crypto';
import { Decimal } from 'decimal.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConnection } from '../../src/lib/ledger/connection.ts';
import type { Leadership } from '../../src/lib/ledger/contract.ts';
import { toJsonb } from '../../src/lib/ledger/jsonb.ts';
import { checkSchema, expectedVersion, migrate, migrationPlan, migrations } from '../../src/lib/ledger/migrator.ts';
import { type OrderLedger, openLedger } from '../../src/lib/ledger/open.ts';
import { TorghutError } from '../../src/lib/service/errors.ts';
import { addStrategy, decisionOf, sessionMs, testClock } from './support/fixtures.ts';
import { query, startTestPostgres, type TestPostgres } from './support/postgres.ts';

let postgres: TestPostgres;
let dsn: string;
let ledger: OrderLedger;
let leadership: Leadership;
let strategyId: string;

beforeAll(async () => {
  postgres = await startTestPostgres();
  dsn = await postgres.newLedgerDatabase();
  ledger = openLedger({ dsn, clock: testClock() });
  leadership = await ledger.acquireLeadership({ accountLabel: 'paper' });
  strategyId = await addStrategy(ledger, leadership);
});

afterAll(async () => {
  await leadership?.release();
  await ledger?.close();
  await postgres?.close();
});

const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
    return 'no error';
  } catch (error) {
    if (error instanceof TorghutError) return error.code;
    throw error;
  }
};

describe('migrations', () => {
  it('apply once, from two migrators at the same time, and record a checksum each', async () => {
    const empty = await postgres.newDatabase();
    const applied = await Promise.all([migrate(empty), migrate(empty)]);
    expect(applied.flat().sort()).toEqual(migrations.map((migration) => migration.name));
    expect(await migrate(empty)).toEqual([]);
    const { db, close } = openConnection({ dsn: empty, applicationName: 'test' });
    expect((await migrationPlan(db)).every((step) => step.isApplied)).toBe(true);
    expect(await checkSchema(db)).toEqual({ version: expectedVersion });
    await close();
  });

  it('are checked at start: pending, newer and edited schemas are named', async () => {
    const empty = await postgres.newDatabase();
    const { db, close } = openConnection({ dsn: empty, applicationName: 'test' });
    expect(await codeOf(checkSchema(db))).toBe('ledger_schema_pending');
    await migrate(empty);
    await query(empty, `update schema_migration_checksums set checksum = repeat('0', 64) where name = '0002_orders'`);
    expect(await codeOf(checkSchema(db))).toBe('ledger_schema_edited');
    expect(await codeOf(migrate(empty))).toBe('ledger_schema_edited');
    await query(empty, `insert into schema_migrations (name, timestamp) values ('9999_future', 'now')`);
    await query(empty, `delete from schema_migrations where name = '0002_orders'`);
    expect(await codeOf(checkSchema(db))).toBe('ledger_schema_newer');
    await close();
  });

  it('give no market time a default of the database clock', async () => {
    const defaults = await query<{ name: string }>(
      dsn,
      `select table_name || '.' || column_name as name from information_schema.columns
       where table_schema = 'public' and column_default is not null and data_type like 'timestamp%' order by 1`,
    );
    const recordTimes = /\.(created_at|updated_at|recorded_at|applied_at)$/;
    expect(defaults.map((row) => row.name).filter((name) => !recordTimes.test(name))).toEqual([]);
    expect(defaults.length).toBeGreaterThan(5);
  });
});

describe('decisions', () => {
  it('are stored once per account and hash, and come back as they were', async () => {
    const decision = decisionOf(strategyId, {
      orderType: 'limit',
      limitPrice: new Decimal('185.27'),
      quantity: new Decimal('0.12345678'),
      priceAsOfMs: sessionMs - 500,
      signal: { ...decisionOf(strategyId).signal, sourceOffset: 2n ** 60n },
    });
    const row = { decision, decidedAtMs: sessionMs, detail: toJsonb({ why: 'x' }) };
    expect(await ledger.write(leadership, (tx) => tx.decisions.insert(row))).toEqual({
      inserted: true,
      id: decision.id,
      status: 'planned',
    });
    const again = { ...row, decision: { ...decision, id: randomUUID(), quantity: new Decimal(99) } };
    expect(await ledger.write(leadership, (tx) => tx.decisions.insert(again))).toEqual({
      inserted: false,
      id: decision.id,
      status: 'planned',
    });
    const stored = await ledger.read.decisions.byId(decision.id);
    expect(JSON.parse(toJsonb(stored?.decision))).toEqual(JSON.parse(toJsonb(decision)));
    expect(stored?.status).toBe('planned');
  });

  it('can be refused only while planned, with at least one reason, and keep their history', async () => {
    const decision = decisionOf(strategyId);
    await ledger.write(leadership, (tx) =>
      tx.decisions.insert({ decision, decidedAtMs: sessionMs, detail: toJsonb({}) }),
    );
    const refusal = { reasons: ['cooldown_active', 'max_notional_exceeded'], origin: 'risk' as const, atMs: sessionMs };
    await expect(
      ledger.write(leadership, (tx) => tx.decisions.reject(decision.id, { ...refusal, reasons: [] })),
    ).rejects.toThrow();
    expect(await ledger.write(leadership, (tx) => tx.decisions.reject(decision.id, refusal))).toBe(true);
    expect(await ledger.write(leadership, (tx) => tx.decisions.reject(decision.id, refusal))).toBe(false);
    expect(
      await ledger.write(leadership, (tx) => tx.decisions.block(decision.id, { reasons: ['x'], atMs: sessionMs })),
    ).toBe(false);
    const history = await query<{ stage: string }>(
      dsn,
      'select stage from decision_events where decision_id = $1 order by id',
      [decision.id],
    );
    expect(history.map((event) => event.stage)).toEqual(['planned', 'rejected']);
    await expect(query(dsn, 'delete from decision_events where decision_id = $1', [decision.id])).rejects.toThrow(
      'append-only',
    );
    await expect(
      query(dsn, `update decision_events set stage = 'x' where decision_id = $1`, [decision.id]),
    ).rejects.toThrow('append-only');
    await expect(query(dsn, 'delete from strategies where id = $1', [strategyId])).rejects.toThrow();
    const counts = await ledger.read.decisions.counts('paper');
    expect(counts.rejectReasons).toMatchObject({ cooldown_active: 1, max_notional_exceeded: 1 });
  });

  it('count for the cooldown unless refused, scoped by strategy and symbol, the own row left out', async () => {
    const other = await addStrategy(ledger, leadership, 'cooldown');
    const first = decisionOf(other, { symbol: 'AAPL' });
    const second = decisionOf(other, { symbol: 'AAPL' });
    const exit = decisionOf(other, { symbol: 'AAPL', intent: 'exit', action: 'sell' });
    await ledger.write(leadership, async (tx) => {
      await tx.decisions.insert({ decision: first, decidedAtMs: sessionMs, detail: toJsonb({}) });
      await tx.decisions.insert({ decision: second, decidedAtMs: sessionMs + 1_000, detail: toJsonb({}) });
      await tx.decisions.insert({ decision: exit, decidedAtMs: sessionMs + 2_000, detail: toJsonb({}) });
      await tx.decisions.reject(second.id, { reasons: ['x'], origin: 'risk', atMs: sessionMs });
    });
    const scope = { accountLabel: 'paper', strategyId: other, symbol: 'AAPL' };
    expect(await ledger.read.decisions.newestEntryAtMs(scope)).toBe(sessionMs);
    expect(await ledger.read.decisions.newestEntryAtMs({ ...scope, exceptId: first.id })).toBeUndefined();
    expect(await ledger.read.decisions.newestEntryAtMs({ ...scope, symbol: 'IBM' })).toBeUndefined();
    expect((await ledger.read.decisions.newestEntries('paper')).get(`${other} AAPL`)).toBe(sessionMs);
  });
});

describe('the signal cursor', () => {
  const key = { accountLabel: 'paper', runId: 'run-1', windowSize: 'PT1S' as const, partition: 1 };

  it('moves only from where its reader stood', async () => {
    await ledger.write(leadership, (tx) => tx.cursors.advance(key, undefined, 5n, sessionMs));
    await ledger.write(leadership, (tx) => tx.cursors.advance(key, 5n, 9n, sessionMs));
    expect(await codeOf(ledger.write(leadership, (tx) => tx.cursors.advance(key, 5n, 12n, sessionMs)))).toBe(
      'cursor_moved',
    );
    expect(await codeOf(ledger.write(leadership, (tx) => tx.cursors.advance(key, undefined, 12n, sessionMs)))).toBe(
      'cursor_moved',
    );
    expect(await codeOf(ledger.write(leadership, (tx) => tx.cursors.advance(key, 9n, 8n, sessionMs)))).toBe(
      'cursor_moved',
    );
    expect(await ledger.read.cursors.positions('paper', 'run-1')).toEqual([{ ...key, nextOffset: 9n }]);
    expect(await ledger.read.cursors.positions('paper', 'run-2')).toEqual([]);
  });

  it('commits with its decisions or not at all', async () => {
    const decision = decisionOf(strategyId);
    await expect(
      ledger.write(leadership, async (tx) => {
        await tx.decisions.insert({ decision, decidedAtMs: sessionMs, detail: toJsonb({}) });
        await tx.cursors.advance(key, 5n, 10n, sessionMs);
      }),
    ).rejects.toThrow('cursor');
    expect(await ledger.read.decisions.byId(decision.id)).toBeUndefined();
  });

  it('keeps the greatest evaluated time per symbol and window, and notes what was not traded', async () => {
    const row = (symbol: string, ms: number) => ({ symbol, windowSize: 'PT1S' as const, eventTsMs: sessionMs + ms });
    await ledger.write(leadership, async (tx) => {
      await tx.cursors.setEvaluated('paper', 'run-1', [row('IBM', 1_000), row('IBM', 3_000), row('AAPL', 1_000)]);
      await tx.cursors.setEvaluated('paper', 'run-1', [row('IBM', 2_000)]);
      const note = { ...key, sourceOffset: 7n, symbol: 'IBM', eventTsMs: sessionMs, revision: 1, atMs: sessionMs };
      await tx.cursors.recordSignals([
        { ...note, kind: 'signal_revised', wouldDiffer: true },
        { ...note, kind: 'signal_late' },
      ]);
      await tx.cursors.recordSignals([{ ...note, kind: 'signal_late' }]);
    });
    const evaluated = await ledger.read.cursors.lastEvaluated('paper', 'run-1');
    expect([...evaluated].sort()).toEqual([
      ['AAPL PT1S', sessionMs + 1_000],
      ['IBM PT1S', sessionMs + 3_000],
    ]);
    expect(await query(dsn, 'select 1 from signal_notes')).toHaveLength(2);
  });
});

describe('strategies, account, controls', () => {
  it('sync disables what the catalog drops, merge leaves it, nothing is deleted', async () => {
    const other = await postgres.newLedgerDatabase();
    const fresh = openLedger({ dsn: other, clock: testClock() });
    const lead = await fresh.acquireLeadership({ accountLabel: 'paper' });
    await addStrategy(fresh, lead, 'a');
    await addStrategy(fresh, lead, 'b');
    const entries = [
      {
        name: 'b',
        enabled: true,
        baseTimeframe: '1Sec',
        universeType: 'static',
        universeSymbols: ['IBM'],
        maxNotionalPerTrade: new Decimal('0'),
        catalogMeta: toJsonb({}),
      },
    ];
    const synced = await fresh.write(lead, (tx) =>
      tx.strategies.applyCatalog({ entries, digest: 'd'.repeat(64), mode: 'sync', actor: 'test' }),
    );
    expect(synced).toMatchObject({ inserted: 0, updated: 1, disabled: 1 });
    expect(synced.rows.map((row) => [row.name, row.enabled, row.maxNotionalPerTrade?.toNumber()])).toEqual([
      ['a', false, undefined],
      ['b', true, 0],
    ]);
    const again = await fresh.write(lead, (tx) =>
      tx.strategies.applyCatalog({ entries, digest: 'd'.repeat(64), mode: 'sync', actor: 'test' }),
    );
    expect(again).toMatchObject({ inserted: 0, updated: 0, disabled: 0 });
    await lead.release();
    await fresh.close();
  });

  it('writes a snapshot when something changed or a minute passed', async () => {
    const snapshot = {
      accountLabel: 'paper',
      asOfMs: sessionMs,
      equity: new Decimal('100000.01'),
      cash: new Decimal(5),
      buyingPower: new Decimal(7),
      positions: toJsonb({ b: 1, a: [1, 2] }),
    };
    const save = (change: object) =>
      ledger.write(leadership, (tx) => tx.account.saveSnapshot({ ...snapshot, ...change }));
    expect(await save({})).toBe(true);
    expect(await save({ asOfMs: sessionMs + 59_000, positions: toJsonb({ a: [1, 2], b: 1 }) })).toBe(false);
    expect(await save({ asOfMs: sessionMs + 59_000, cash: new Decimal('5.00000001') })).toBe(true);
    expect(await save({ asOfMs: sessionMs + 200_000 })).toBe(true);
    expect((await ledger.read.account.newestSnapshot('paper'))?.equity.toFixed()).toBe('100000.01');
    expect((await ledger.read.account.firstSnapshotSince('paper', sessionMs + 1))?.asOfMs).toBe(sessionMs + 59_000);
  });

  it('keeps controls with an audit row of before and after', async () => {
    expect(await ledger.read.account.controls('paper')).toEqual({
      accountLabel: 'paper',
      killSwitch: false,
      paused: false,
    });
    const why = { reason: 'drill', actor: 'me', atMs: sessionMs };
    await ledger.write(leadership, (tx) =>
      tx.account.setControls('paper', { killSwitch: true, emergencyStopReason: 'x' }, why),
    );
    const after = await ledger.write(leadership, (tx) =>
      tx.account.setControls('paper', { emergencyStopReason: null }, why),
    );
    expect(after).toEqual({ accountLabel: 'paper', killSwitch: true, paused: false, reason: 'drill', actor: 'me' });
    const audit = await query<{ before: { killSwitch: boolean }; after: { killSwitch: boolean } }>(
      dsn,
      `select before, after from audit_events where action = 'trading_controls_changed' order by id`,
    );
    expect(audit.map((row) => [row.before.killSwitch, row.after.killSwitch])).toEqual([
      [false, true],
      [true, true],
    ]);
    await ledger.write(leadership, (tx) => tx.account.setControls('paper', { killSwitch: false }, why));
  });
});
