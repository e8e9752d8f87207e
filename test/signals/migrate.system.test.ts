/** The commands clickhouse migrate and schema on the real engine, which is also killed in the middle. */
import type { ClickHouseClient } from '@clickhouse/client';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import * as migrateCommand from '../../src/commands/clickhouse-migrate.ts';
import * as schemaCommand from '../../src/commands/clickhouse-schema.ts';
import { planMigration, reportSchema, runMigration } from '../../src/lib/signals/migration-plan.ts';
import { clientOf, rowsOf, type StoreProcess, startStore } from '../embedded/rig.ts';
import { freshHome } from '../support/torghut.ts';
import { pointAt, runCommand } from './command.ts';

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
    expect(plan.pending).toMatchObject([{ version: 1 }]);
    expect(plan.statements[0]).toBe(`CREATE DATABASE IF NOT EXISTS ${database}`);
    expect(await rowsOf(client, `SELECT name FROM system.databases WHERE name = '${database}'`)).toEqual([]);

    expect((await migrate()).error).toMatchObject({ code: 'confirmation_needed', exitCode: 4 });
    expect((await migrate('--confirm', 'abc')).error).toMatchObject({ code: 'plan_changed', exitCode: 4 });
    expect((await schema()).code).toBe(10);

    const done = await migrate('--confirm', plan.plan_id);
    expect(JSON.parse(done.stdout)).toMatchObject({ done: true, applied_now: [1] });
    const again = await migrate('--yes');
    expect(JSON.parse(again.stdout)).toMatchObject({ done: true, applied_now: [], statements: [], pending: [] });
    expect(JSON.parse(again.stdout).applied).toMatchObject([
      { version: 1, checksum: expect.stringMatching(/^[0-9a-f]{64}$/) },
    ]);
    const report = await schema();
    expect(report).toMatchObject({ code: 0 });
    expect(JSON.parse(report.stdout)).toMatchObject({ version: 1, run_id: 'live', ttl_days: 35, drift: [] });
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

  test('two migrators at once both end well, and the schema is whole', async () => {
    const database = newDatabase();
    await client.command({ query: `CREATE DATABASE ${database}` });
    const second = clientOf(store.endpoint);
    const clients = [client, second];
    const plans = await Promise.all(clients.map((each) => planMigration(each, wishFor(database))));
    expect(plans[0]?.id).toBe(plans[1]?.id);
    await Promise.all(clients.map((each, i) => runMigration(each, plans[i] as (typeof plans)[number])));
    await second.close();
    expect((await reportSchema(client, database)).drift).toEqual([]);
  });

  test('a newer schema and a hand-changed table are refused by name, and schema names every difference', async () => {
    const changed = newDatabase();
    await migrate('--yes');
    await client.command({ query: `ALTER TABLE ${changed}.ta_signals MODIFY COLUMN rsi14 Nullable(Float32)` });
    await client.command({ query: `ALTER TABLE ${changed}.ta_signals ADD COLUMN mine UInt8` });
    await client.command({ query: `ALTER TABLE ${changed}.ta_microbars REMOVE TTL` });
    const refused = await migrate('--yes');
    expect(refused.error).toMatchObject({ code: 'schema_drift', exitCode: 4 });
    const report = await schema();
    expect(report.code).toBe(10);
    expect(JSON.parse(report.stdout).drift).toEqual([
      'ta_microbars: TTL is none, expected toDateTime(event_ts) + toIntervalDay(35)',
      'ta_signals: type of column rsi14 is Nullable(Float32), expected Nullable(Float64)',
      'ta_signals: column mine UInt8 is not ours',
    ]);
    const newer = newDatabase();
    await migrate('--yes');
    await client.command({ query: `INSERT INTO ${newer}.torghut_migrations VALUES (99, 'future', 'x')` });
    expect((await migrate('--yes')).error).toMatchObject({ code: 'schema_newer', exitCode: 4 });
    expect(JSON.parse((await schema()).stdout).drift).toEqual([
      'schema version 99 is newer than this torghut knows (1)',
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
    ]);
  });

  test('kill -9 of the engine at each step: a repeat finishes the migration', async () => {
    // Steps: two bookkeeping tables, three tables, the record of the migration.
    for (let step = 0; step < 6; step++) {
      const database = newDatabase();
      await client.command({ query: `CREATE DATABASE ${database}` });
      const plan = await planMigration(client, wishFor(database));
      let calls = 0;
      const dying = new Proxy(client, {
        get: (target, name) => {
          if (name !== 'command' && name !== 'insert') return Reflect.get(target, name).bind(target);
          return async (params: never) => {
            if (calls++ === step) {
              // Even steps die before the statement, odd ones while it is on its way.
              if (step % 2 === 0) await store.kill();
              else void store.kill();
            }
            return target[name](params);
          };
        },
      });
      const outcome = await runMigration(dying, plan).then(
        () => 'done',
        () => 'cut off',
      );
      expect(calls, 'the step was reached').toBeGreaterThan(step);
      if (step % 2 === 0) expect(outcome).toBe('cut off');
      await store.kill();
      await client.close();
      store = await startStore('clickhouse', home);
      client = clientOf(store.endpoint);
      const rest = await planMigration(client, wishFor(database));
      await runMigration(client, rest);
      expect((await reportSchema(client, database)).drift, `after step ${step}`).toEqual([]);
    }
  }, 60_000);
});
