/** The commands clickhouse migrate and schema on the real engine, which is also killed in the middle. */
import type { ClickHouseClient } from '@clickhouse/client';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import * as migrateCommand from '../../src/commands/clickhouse-migrate.ts';
import * as schemaCommand from '../../src/commands/clickhouse-schema.ts';
import { planMigration } from '../../src/lib/signals/migration-plan.ts';
import { runMigration } from '../../src/lib/signals/migration-run.ts';
import { reportSchema } from '../../src/lib/signals/schema-report.ts';
import { clientOf, rowsOf, type StoreProcess, startStore } from '../embedded/rig.ts';
import { freshHome } from '../support/torghut.ts';
import { pointAt, runCommand } from './command.ts';
import { recording, sampled } from './recording.ts';

const home = freshHome();
let store: StoreProcess;
let client: ClickHouseClient;
let made = 0;

beforeAll(async () => {
  store = await startStore('clickhouse', home);
  client = clientOf(store.endpoint);
});

afterEach(() => void vi.unstubAllEnvs());

afterAll(async () => {
  await client.close();
  await store.stop();
});

/** A database that does not exist yet; the commands are pointed at it. */
function newDatabase(): string {
  const database = `mig_${made++}`;
  pointAt(store.endpoint, database);
  return database;
}

const wishFor = (database: string) => ({
  database,
  runId: undefined,
  ttl: undefined,
  defaults: { runId: 'r1', ttlDays: undefined },
});

const migrate = (...args: string[]) => runCommand(migrateCommand, ['--home', home, '-o', 'json', ...args]);
const schema = () => runCommand(schemaCommand, ['--home', home, '-o', 'json']);

describe('torghut clickhouse migrate', () => {
  test('plans without touching, refuses without consent, does it once, and then has nothing to do', async () => {
    const database = newDatabase();
    const planned = await migrate('--plan');
    const plan = JSON.parse(planned.stdout);
    expect(plan).toMatchObject({ done: false, database, database_exists: false, applied: [], ttl_days: 35 });
    expect(plan.pending).toMatchObject([{ version: 1 }, { version: 2 }]);
    expect(plan.statements[0]).toBe(`CREATE DATABASE IF NOT EXISTS ${database}`);
    expect(await rowsOf(client, `SELECT name FROM system.databases WHERE name = '${database}'`)).toEqual([]);

    expect((await migrate()).error).toMatchObject({ code: 'confirmation_needed', exitCode: 4 });
    expect((await migrate('--confirm', 'abc')).error).toMatchObject({ code: 'plan_changed', exitCode: 4 });
    expect((await schema()).code).toBe(10);

    const done = await migrate('--confirm', plan.plan_id);
    expect(JSON.parse(done.stdout)).toMatchObject({ done: true, applied_now: [1, 2], converted_now: [] });
    const again = await migrate('--yes');
    expect(JSON.parse(again.stdout)).toMatchObject({ done: true, applied_now: [], statements: [], pending: [] });
    expect(JSON.parse(again.stdout).applied).toMatchObject([
      // Databases of earlier versions hold this one: the text of the first migration must stay as it was.
      { version: 1, checksum: '7240e93227a1e534647cf0b83ade2a06ebba499526c2c947ceb38e16ada4e4d4' },
      { version: 2, checksum: expect.stringMatching(/^[0-9a-f]{64}$/) },
    ]);
    const report = await schema();
    expect(report).toMatchObject({ code: 0 });
    expect(JSON.parse(report.stdout)).toMatchObject({
      version: 2,
      run_id: 'live',
      ttl_days: 35,
      cluster: null,
      drift: [],
    });
  });

  test('a TTL that would delete stored rows is counted and needs the id of its plan', async () => {
    const database = newDatabase();
    await migrate('--ttl-days', 'none', '--yes');
    await client.command({
      query: `INSERT INTO ${database}.ta_microbars (symbol, window_size, event_ts) VALUES ('MU', 'PT1S', '2013-10-08 13:30:01')`,
    });
    const plan = JSON.parse((await migrate('--ttl-days', '35', '--plan')).stdout);
    expect(plan.rows_past_ttl).toBe(1);
    expect((await migrate('--ttl-days', '35', '--yes')).error).toMatchObject({ code: 'confirmation_needed' });
    expect(JSON.parse((await schema()).stdout).ttl_days).toBeNull();
    expect(await migrate('--ttl-days', '35', '--confirm', plan.plan_id)).toMatchObject({ code: 0 });
    expect(JSON.parse((await schema()).stdout)).toMatchObject({ ttl_days: 35, drift: [] });
    await migrate('--ttl-days', 'none', '--yes');
    expect(JSON.parse((await schema()).stdout)).toMatchObject({ ttl_days: null, drift: [] });
    expect((await migrate('--ttl-days', '0')).error).toMatchObject({ code: 'ttl_invalid', exitCode: 2 });
  });

  test('of two migrators at once one works and the other is refused by name; a repeat has nothing to do', async () => {
    const database = newDatabase();
    await client.command({ query: `CREATE DATABASE ${database}` });
    const second = clientOf(store.endpoint);
    const clients = [client, second];
    const wish = wishFor(database);
    const plans = await Promise.all(clients.map((each) => planMigration(each, wish)));
    expect(plans[0]?.id).toBe(plans[1]?.id);
    const results = await Promise.allSettled(
      clients.map((each, i) => runMigration(each, plans[i] as (typeof plans)[number], wish)),
    );
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    // The second one either meets the lock, or finds everything done.
    for (const reason of refused) expect(reason).toMatchObject({ code: 'migration_running', exitCode: 4 });
    expect(results.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThan(0);
    expect((await planMigration(second, wish)).statements).toEqual([]);
    await second.close();
    expect((await reportSchema(client, database)).drift).toEqual([]);

    const owner = { id: 'x', host: 'elsewhere', pid: 1, ticks: '1' };
    const lock = (ageSeconds: number) =>
      client.command({
        query: `CREATE TABLE ${database}.torghut_migration_lock (owner String) ENGINE = Memory COMMENT '${JSON.stringify({ ...owner, at: Math.floor(Date.now() / 1000) - ageSeconds })}'`,
      });
    await lock(5);
    await client.command({ query: `DROP VIEW ${database}.v_ta_latest` });
    const held = await migrate('--yes');
    expect(held.error).toMatchObject({ code: 'migration_running', why: 'process 1 on elsewhere holds its lock' });
    await client.command({ query: `DROP TABLE ${database}.torghut_migration_lock SYNC` });
    await lock(120);
    expect((await migrate('--yes')).code, 'a lock without a sign of life is taken over').toBe(0);
    expect(
      await rowsOf(client, `SELECT name FROM system.tables WHERE database = '${database}' AND name LIKE '%lock%'`),
    ).toEqual([]);
  });

  test('a newer schema and a hand-changed table are refused by name, and schema names every difference', async () => {
    const changed = newDatabase();
    await migrate('--yes');
    await client.command({ query: `ALTER TABLE ${changed}.ta_signals MODIFY COLUMN rsi14 Nullable(Float32)` });
    await client.command({ query: `ALTER TABLE ${changed}.ta_signals ADD COLUMN mine UInt8` });
    await client.command({ query: `ALTER TABLE ${changed}.ta_microbars REMOVE TTL` });
    await client.command({ query: `ALTER TABLE ${changed}.ta_signal_log MODIFY SETTING ttl_only_drop_parts = 0` });
    await client.command({ query: `DROP VIEW ${changed}.v_ta_latest` });
    await client.command({ query: `CREATE OR REPLACE VIEW ${changed}.v_ta_signals_current AS SELECT 1 AS mine` });
    const refused = await migrate('--yes');
    expect(refused.error).toMatchObject({ code: 'schema_drift', exitCode: 4 });
    const report = await schema();
    expect(report.code).toBe(10);
    expect(JSON.parse(report.stdout).drift).toEqual([
      'ta_microbars: TTL is none, expected toDateTime(event_ts) + toIntervalDay(35)',
      'ta_signals: type of column rsi14 is Nullable(Float32), expected Nullable(Float64)',
      'ta_signals: column mine UInt8 is not ours',
      'ta_signal_log: setting ttl_only_drop_parts is 0, expected 1',
      'v_ta_signals_current: the view has another SELECT than torghut gave it',
      'v_ta_latest: the view is missing',
    ]);
    const newer = newDatabase();
    await migrate('--yes');
    await client.command({ query: `INSERT INTO ${newer}.torghut_migrations VALUES (99, 'future', 'x')` });
    expect((await migrate('--yes')).error).toMatchObject({ code: 'schema_newer', exitCode: 4 });
    expect(JSON.parse((await schema()).stdout).drift).toEqual([
      'schema version 99 is newer than this torghut knows (2)',
    ]);

    const engine = newDatabase();
    await migrate('--yes');
    await client.command({ query: `DROP TABLE ${engine}.ta_signal_log SYNC` });
    await client.command({
      query: `CREATE TABLE ${engine}.ta_signal_log AS ${engine}.ta_signals ENGINE = MergeTree ORDER BY symbol`,
    });
    const other = await schema();
    expect(JSON.parse(other.stdout).drift).toEqual([
      'ta_signal_log: engine is MergeTree, expected ReplacingMergeTree',
      'ta_signal_log: sorting key is symbol, expected run_id, window_size, src_partition, src_offset',
      'ta_signal_log: TTL is none, expected toDateTime(event_ts) + toIntervalDay(35)',
      'ta_signal_log: setting ttl_only_drop_parts is the default, expected 1',
    ]);
  });

  test(
    'kill -9 of the engine at each step: a repeat finishes the migration',
    async () => {
      const made = newDatabase();
      await client.command({ query: `CREATE DATABASE ${made}` });
      const calls: string[] = [];
      await runMigration(
        recording(client, (query) => void calls.push(query)),
        await planMigration(client, wishFor(made)),
        wishFor(made),
      );
      const all = [...calls.keys()];
      const steps = process.env.TORGHUT_TEST_FULL ? all : sampled(all, 5);
      for (const step of steps) {
        const database = newDatabase();
        await client.command({ query: `CREATE DATABASE ${database}` });
        const plan = await planMigration(client, wishFor(database));
        let done = 0;
        const dying = recording(client, async () => {
          if (done++ !== step) return;
          // Even steps die before the statement, odd ones while it is on its way.
          if (step % 2 === 0) await store.kill();
          else void store.kill();
        });
        const outcome = await runMigration(dying, plan, wishFor(database)).then(
          () => 'done',
          () => 'cut off',
        );
        expect(done, 'the step was reached').toBeGreaterThan(step);
        // The last call gives the lock back, which may fail without harm.
        if (step % 2 === 0 && step < all.length - 1) expect(outcome, `step ${step}: ${calls[step]}`).toBe('cut off');
        await store.kill();
        await client.close();
        store = await startStore('clickhouse', home);
        client = clientOf(store.endpoint);
        const rest = await planMigration(client, wishFor(database));
        await runMigration(client, rest, wishFor(database));
        expect((await reportSchema(client, database)).drift, `after step ${step}: ${calls[step]}`).toEqual([]);
      }
    },
    process.env.TORGHUT_TEST_FULL ? 900_000 : 180_000,
  );
});
