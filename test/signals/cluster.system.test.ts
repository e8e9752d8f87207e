/**
 * Everything that the embedded engine cannot run as it is, by the exact statements that leave this program: migrations and
 * conversion on a cluster (through a front that records them and passes them on without the cluster's queue to a copy of the
 * engine whose replicated tables work), the restore over two servers, and the users. Each statement is one that the unmodified
 * engine's parser accepts (EXPLAIN AST).
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClickHouseClient } from '@clickhouse/client';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import * as grantsCommand from '../../src/commands/clickhouse-grants.ts';
import * as migrateCommand from '../../src/commands/clickhouse-migrate.ts';
import * as replicasCommand from '../../src/commands/clickhouse-replicas.ts';
import * as schemaCommand from '../../src/commands/clickhouse-schema.ts';
import { clientOf, rowsOf, type StoreProcess, startStore } from '../embedded/rig.ts';
import { permissiveAddon, type ReplicatedEngine, startReplicatedEngine } from '../support/replicated-engine.ts';
import { freshHome } from '../support/torghut.ts';
import { startZooKeeper, type ZooKeeperServer } from '../support/zookeeper-server.ts';
import { pointAt, runCommand } from './command.ts';
import { fillFormerTables, makeFormerTables } from './former-tables.ts';
import { type Answer, answeringFront, passingFront, type RecordingFront } from './front.ts';

const home = freshHome();
let store: StoreProcess;
let parser: ClickHouseClient;

beforeAll(async () => {
  store = await startStore('clickhouse', home);
  parser = clientOf(store.endpoint);
});

afterEach(() => void vi.unstubAllEnvs());

afterAll(async () => {
  await parser?.close();
  await store?.stop();
});

/** The unmodified engine takes the text for a statement. */
async function expectParsed(statements: readonly string[]): Promise<void> {
  for (const statement of new Set(statements)) {
    const query = `EXPLAIN AST ${statement}`;
    const query_params = { run: 'r1', day: '2026-08-03' };
    const refused = await parser.query({ query, query_params, format: 'TabSeparated' }).then(
      async (result) => ((await result.text()) === '' ? 'no tree' : undefined),
      (error: Error) => error.message,
    );
    expect(refused, statement).toBeUndefined();
  }
}

const changes = (statements: readonly string[]): string[] =>
  statements.filter((text) => /^(CREATE|ALTER|DROP|EXCHANGE|RENAME|SYSTEM|INSERT INTO \S+ \(|GRANT)/.test(text));

/** First words of a statement, enough to tell which it is. */
const head = (statement: string): string =>
  statement
    .replace(/ \([\s\S]*$/, '')
    .replace(/ (AS|MODIFY COMMENT|SETTINGS) [\s\S]*$/, ' $1')
    .replace(/\b[0-9a-f]{32}\b/g, 'ID');

const addon = permissiveAddon();

describe.skipIf(addon === undefined)('a cluster', () => {
  let keeper: ZooKeeperServer;
  let engine: ReplicatedEngine;
  let direct: ClickHouseClient;
  let front: RecordingFront;

  beforeAll(async () => {
    keeper = await startZooKeeper();
    engine = await startReplicatedEngine({ keeperPort: keeper.port, addon: addon as string });
    direct = clientOf(engine.endpoint);
    front = await passingFront(engine.endpoint, (statement) =>
      statement.replaceAll(' ON CLUSTER default', '').replaceAll(/clusterAllReplicas\('default', ([\w.]+)\)/g, '$1'),
    );
  });

  afterAll(async () => {
    await front?.close();
    await direct?.close();
    await engine?.stop();
    await keeper?.stop();
  });

  const on = (database: string) => pointAt(front.endpoint, database);
  const run = (...args: string[]) => runCommand(migrateCommand, ['--home', home, '-o', 'json', ...args]);

  test('gets the tables of one definition, replicated, and a repeat or another layout is told from drift', async () => {
    on('torghut');
    front.statements.length = 0;
    const made = await run('--cluster', 'default', '--ttl-days', 'none', '--yes');
    expect(made.error).toBeUndefined();
    const sent = changes(front.statements);
    expect(sent.map(head)).toEqual([
      'CREATE DATABASE IF NOT EXISTS torghut ON CLUSTER default',
      'CREATE TABLE torghut.torghut_migration_lock ON CLUSTER default',
      'CREATE TABLE IF NOT EXISTS torghut.torghut_migrations ON CLUSTER default',
      'CREATE TABLE IF NOT EXISTS torghut.torghut_run ON CLUSTER default',
      // The sink's way, which asks again and changes nothing.
      'CREATE TABLE IF NOT EXISTS torghut.torghut_migrations ON CLUSTER default',
      'CREATE TABLE IF NOT EXISTS torghut.torghut_run ON CLUSTER default',
      'CREATE TABLE IF NOT EXISTS torghut.ta_microbars ON CLUSTER default',
      'CREATE TABLE IF NOT EXISTS torghut.ta_signals ON CLUSTER default',
      'CREATE TABLE IF NOT EXISTS torghut.ta_signal_log ON CLUSTER default',
      'ALTER TABLE torghut.ta_microbars ON CLUSTER default MODIFY SETTING ttl_only_drop_parts = 1',
      'ALTER TABLE torghut.ta_signals ON CLUSTER default MODIFY SETTING ttl_only_drop_parts = 1',
      'ALTER TABLE torghut.ta_signal_log ON CLUSTER default MODIFY SETTING ttl_only_drop_parts = 1',
      'CREATE TABLE IF NOT EXISTS torghut.ta_latest ON CLUSTER default',
      'CREATE MATERIALIZED VIEW IF NOT EXISTS torghut.ta_latest_feed ON CLUSTER default TO torghut.ta_latest AS',
      'CREATE VIEW IF NOT EXISTS torghut.v_ta_signals_current ON CLUSTER default AS',
      'CREATE VIEW IF NOT EXISTS torghut.v_ta_latest ON CLUSTER default AS',
      'CREATE VIEW IF NOT EXISTS torghut.v_ta_coverage_daily ON CLUSTER default AS',
      'INSERT INTO torghut.ta_latest',
      'DROP TABLE IF EXISTS torghut.torghut_migration_lock ON CLUSTER default SYNC',
    ]);
    expect(sent.find((text) => text.includes('torghut.ta_signals ON CLUSTER default ('))).toContain(
      "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{cluster}/{shard}/ta_signals', '{replica}', revision)",
    );
    await expectParsed(sent);
    const again = await run('--yes');
    expect(JSON.parse(again.stdout)).toMatchObject({ cluster: 'default', statements: [], conversions: [] });
    const schema = await runCommand(schemaCommand, ['--home', home, '-o', 'json']);
    expect(JSON.parse(schema.stdout)).toMatchObject({ cluster: 'default', drift: [] });
    expect((await run('--cluster', 'other', '--plan')).error).toMatchObject({ code: 'layout_mismatch', exitCode: 4 });
    expect((await run('--cluster', "x' y", '--plan')).error).toMatchObject({
      code: 'cluster_name_invalid',
      exitCode: 4,
    });
  });

  test('converts unreplicated tables of the former system from every host, in this order, and keeps every key', async () => {
    const database = 'former';
    await direct.command({ query: `CREATE DATABASE ${database}` });
    await makeFormerTables(direct, database);
    await fillFormerTables(direct, database, 20);
    for (const table of ['ta_microbars', 'ta_signals'])
      await direct.command({
        query: `OPTIMIZE TABLE ${database}.${table} FINAL SETTINGS optimize_skip_merged_partitions = 0`,
      });
    const keys = (final: string) =>
      rowsOf(direct, `SELECT uniqExact(symbol, event_ts) AS n FROM ${database}.ta_microbars ${final}`);
    const before = await keys('');
    on(database);
    const plan = JSON.parse((await run('--cluster', 'default', '--ttl-days', 'none', '--plan')).stdout);
    expect(plan.conversions).toMatchObject([{ table: 'ta_microbars' }, { table: 'ta_signals' }]);
    expect((await run('--cluster', 'default', '--ttl-days', 'none', '--yes')).error).toMatchObject({
      code: 'confirmation_needed',
    });
    front.statements.length = 0;
    const done = await run('--cluster', 'default', '--ttl-days', 'none', '--confirm', plan.plan_id);
    expect(done.error).toBeUndefined();
    const sent = changes(front.statements);
    const own = sent.filter((text) => /ta_signals/.test(text) && /__replicated|SYNC/.test(text));
    const days = ['2026-08-03', '2026-08-04', '2026-08-05'];
    expect(own.map(head)).toEqual([
      `CREATE TABLE IF NOT EXISTS ${database}.ta_signals__replicated_migration_v2 ON CLUSTER default`,
      ...days.map(() => `INSERT INTO ${database}.ta_signals__replicated_migration_v2`),
      `SYSTEM SYNC REPLICA ON CLUSTER default ${database}.ta_signals__replicated_migration_v2`,
      `EXCHANGE TABLES ${database}.ta_signals AND ${database}.ta_signals__replicated_migration_v2 ON CLUSTER default`,
      `DROP TABLE ${database}.ta_signals__replicated_migration_v2 ON CLUSTER default SYNC SETTINGS`,
    ]);
    expect(own[0]).toContain("'/clickhouse/tables/{cluster}/{shard}/former_ta_signals__replicated_migration_v2'");
    expect(own[1]).toContain(`FROM clusterAllReplicas('default', ${database}.ta_signals)`);
    expect(front.statements.some((text) => text.includes("clusterAllReplicas('default', system.tables)"))).toBe(true);
    await expectParsed(sent);
    expect(await keys('FINAL')).toEqual(before);
    const schema = await runCommand(schemaCommand, ['--home', home, '-o', 'json']);
    expect(JSON.parse(schema.stdout)).toMatchObject({ cluster: 'default', drift: [] });
  });

  test('converts replicated tables of the former system from one host, twice, on keeper paths that are free', async () => {
    const database = 'replicated';
    await direct.command({ query: `CREATE DATABASE ${database}` });
    await makeFormerTables(
      direct,
      database,
      (table) =>
        `ReplicatedReplacingMergeTree('/clickhouse/tables/{cluster}/{shard}/${database}_${table}', '{replica}', ingest_ts)`,
    );
    await fillFormerTables(direct, database, 20);
    for (const table of ['ta_microbars', 'ta_signals'])
      await direct.command({
        query: `OPTIMIZE TABLE ${database}.${table} FINAL SETTINGS optimize_skip_merged_partitions = 0`,
      });
    on(database);
    const keys = async () =>
      rowsOf(direct, `SELECT uniqExact(symbol, event_ts) AS n FROM ${database}.ta_microbars FINAL`);
    const pathOf = async () =>
      rowsOf(
        direct,
        `SELECT zookeeper_path AS path FROM system.replicas WHERE database = '${database}' AND table = 'ta_microbars'`,
      );
    const before = await keys();
    const convert = async () => {
      const args = ['--cluster', 'default', '--ttl-days', 'none'];
      const plan = JSON.parse((await run(...args, '--plan')).stdout);
      front.statements.length = 0;
      const done = await run(...args, '--confirm', plan.plan_id);
      expect(done.error).toBeUndefined();
      const sent = changes(front.statements);
      await expectParsed(sent);
      return sent.filter((text) => text.includes('ta_microbars') && !/^(ALTER|CREATE VIEW)/.test(text)).map(head);
    };
    const shadow = `${database}.ta_microbars__replicated_migration_v2`;
    const days = ['2026-08-03', '2026-08-04', '2026-08-05'];
    expect((await convert()).filter((text) => !text.includes(`EXISTS ${database}.ta_microbars ON`))).toEqual([
      `CREATE TABLE IF NOT EXISTS ${shadow} ON CLUSTER default`,
      `SYSTEM SYNC REPLICA ON CLUSTER default ${database}.ta_microbars`,
      ...days.map(() => `INSERT INTO ${shadow}`),
      `SYSTEM SYNC REPLICA ON CLUSTER default ${shadow}`,
      `EXCHANGE TABLES ${database}.ta_microbars AND ${shadow} ON CLUSTER default`,
      `DROP TABLE ${shadow} ON CLUSTER default SYNC SETTINGS`,
    ]);
    expect(await keys()).toEqual(before);
    expect(await pathOf()).toEqual([
      { path: `/clickhouse/tables/default/0/${database}_ta_microbars__replicated_migration_v2` },
    ]);
    // Somebody makes it anew in another order on the path that it has now.
    await direct.command({
      query: `CREATE TABLE ${database}.other AS ${database}.ta_microbars ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{cluster}/{shard}/other__replicated_migration_v2', '{replica}', revision) PARTITION BY toDate(event_ts) ORDER BY (symbol, event_ts)`,
    });
    await direct.command({ query: `INSERT INTO ${database}.other SELECT * FROM ${database}.ta_microbars` });
    await direct.command({ query: `EXCHANGE TABLES ${database}.other AND ${database}.ta_microbars` });
    await direct.command({ query: `DROP TABLE ${database}.other SYNC` });
    await convert();
    expect(await pathOf()).toEqual([{ path: `/clickhouse/tables/default/0/${database}_ta_microbars` }]);
    expect(await keys()).toEqual(before);
  });

  test('takes in what began on a single node: tables, bookkeeping and views become replicated', async () => {
    const database = 'grown';
    on(database);
    await run('--ttl-days', 'none', '--yes');
    await direct.command({
      query: `INSERT INTO ${database}.ta_signals (symbol, window_size, event_ts, macd) SELECT 'MU', 'PT1S', toDateTime64('2026-08-03 14:30:00', 3, 'UTC') + toIntervalSecond(number), number FROM numbers(100)`,
    });
    await direct.command({ query: `OPTIMIZE TABLE ${database}.ta_signals FINAL` });
    const plan = JSON.parse((await run('--cluster', 'default', '--plan')).stdout);
    expect(plan.conversions.map(({ table }: { table: string }) => table)).toEqual([
      'ta_microbars',
      'ta_signals',
      'ta_signal_log',
    ]);
    const done = await run('--cluster', 'default', '--confirm', plan.plan_id);
    expect(done.error).toBeUndefined();
    const engines = await rowsOf<{ name: string; engine: string }>(
      direct,
      `SELECT name, engine FROM system.tables WHERE database = '${database}' AND engine LIKE '%MergeTree' AND name != 'torghut_run' ORDER BY name`,
    );
    expect(engines.filter(({ engine: name }) => !name.startsWith('Replicated'))).toEqual([]);
    expect(engines).toHaveLength(5);
    expect(await rowsOf(direct, `SELECT count() AS n FROM ${database}.v_ta_signals_current`)).toEqual([{ n: 100 }]);
    expect(await rowsOf(direct, `SELECT macd FROM ${database}.v_ta_latest`)).toEqual([{ macd: 99 }]);
    const schema = await runCommand(schemaCommand, ['--home', home, '-o', 'json']);
    expect(JSON.parse(schema.stdout)).toMatchObject({ cluster: 'default', drift: [], version: 2 });
  });
});

describe('a restore over two servers', () => {
  interface TableState {
    isReadOnly: boolean;
    hasPath: boolean;
    keys: number;
  }

  /** A server with three replicated tables, as far as the command asks it. */
  function serverOf(replica: string, state: Map<string, TableState>, order: string[]): (statement: string) => Answer {
    return (statement) => {
      const [, action, name] = /^SYSTEM (RESTART|RESTORE|SYNC) REPLICA (\S+)/.exec(statement) ?? [];
      if (action !== undefined) {
        order.push(`${replica}: ${statement}`);
        const table = state.get(name as string) as TableState;
        if (action === 'RESTART' && !table.hasPath) table.isReadOnly = true;
        if (action === 'RESTORE') {
          if (!table.isReadOnly) return { code: 36, text: 'Replica must be readonly' };
          Object.assign(table, { isReadOnly: false, hasPath: true, keys: 10 });
        }
        return undefined;
      }
      if (/FROM system.replicas/.test(statement)) {
        return [...state].map(([table, { isReadOnly }]) => ({
          database: table.split('.')[0],
          table: table.split('.')[1],
          is_readonly: Number(isReadOnly),
          is_session_expired: 0,
          zookeeper_path: `/clickhouse/tables/default/0/${table}`,
          replica_name: replica,
          ...{ queue_size: 0, inserts_in_queue: 0, absolute_delay: 0, lost_part_count: 0 },
          ...{ total_replicas: 2, active_replicas: 2, zookeeper_exception: '', last_queue_update_exception: '' },
          replica_is_active: { a: 1, b: 1 },
        }));
      }
      if (/FROM system.zookeeper\b/.test(statement)) {
        const table = [...state.keys()].find((each) => statement.includes(`/${each}/replicas`)) as string;
        if (!state.get(table)?.hasPath) return { code: 999, text: 'Coordination error: No node' };
        return [{ name: 'a' }, { name: 'b' }];
      }
      if (/FROM system.tables WHERE database = 'system'/.test(statement)) return [{ name: 'zookeeper' }];
      if (/ZooKeeperSession/.test(statement)) return [{ metric: 'ZooKeeperSession', value: 1 }];
      if (/SELECT sorting_key/.test(statement)) return [{ sorting_key: 'symbol' }];
      if (/system.merges/.test(statement)) return [{ seconds: 0 }];
      const digested = [...state.keys()].find((each) => statement.includes(`FROM ${each})`));
      if (digested !== undefined) {
        const keys = state.get(digested)?.keys ?? 0;
        return keys === 0 ? [] : [{ partition: '20260803', keys, digest: String(keys) }];
      }
      return [];
    };
  }

  const names = ['torghut.options_features', 'torghut.ta_microbars', 'torghut.ta_signals'];
  const stateOf = (changed: Partial<TableState>) =>
    new Map(names.map((name) => [name, { isReadOnly: true, hasPath: false, keys: 10, ...changed }]));

  async function twoServers(a: Map<string, TableState>, b: Map<string, TableState>) {
    const order: string[] = [];
    const fronts = [
      await answeringFront(serverOf('a', a, order)),
      await answeringFront(serverOf('b', b, order)),
    ] as const;
    pointAt(fronts[0].endpoint, 'torghut');
    vi.stubEnv('TA_CLICKHOUSE_REPLICA_URLS', fronts.map(({ endpoint }) => endpoint.url).join(','));
    const run = (...args: string[]) => runCommand(replicasCommand, ['--home', home, '-o', 'json', ...args]);
    return { order, run, close: () => Promise.all(fronts.map((front) => front.close())), fronts };
  }

  test('goes table by table, the fuller server first, and is verified by keys that are equal afterwards', async () => {
    // Server b holds more of every table, and a has not noticed yet that its metadata are gone.
    const { order, run, close, fronts } = await twoServers(stateOf({ isReadOnly: false, keys: 7 }), stateOf({}));
    const report = JSON.parse((await run()).stdout);
    expect(report).toMatchObject({ status: 'problem', diagnosis: ['metadata_lost'] });
    const plan = JSON.parse((await run('--restore', '--dry-run')).stdout);
    const done = await run('--restore', '--confirm', plan.id);
    expect(done.error).toBeUndefined();
    expect(JSON.parse(done.stdout)).toMatchObject({ is_verified: true, problems: [] });
    expect(order).toEqual(
      ['ta_signals', 'ta_microbars', 'options_features'].flatMap((table) => [
        `b: SYSTEM RESTORE REPLICA torghut.${table}`,
        `a: SYSTEM RESTART REPLICA torghut.${table}`,
        `a: SYSTEM RESTORE REPLICA torghut.${table}`,
        `b: SYSTEM SYNC REPLICA torghut.${table}`,
        `a: SYSTEM SYNC REPLICA torghut.${table}`,
      ]),
    );
    // Nothing else changed anything on either server.
    expect(fronts.flatMap(({ statements }) => changes(statements))).toHaveLength(order.length);
    await expectParsed(order.map((line) => line.slice(3)));
    await close();
  });

  test('only restarts where the metadata are there', async () => {
    const { order, run, close } = await twoServers(
      stateOf({ hasPath: true }),
      stateOf({ hasPath: true, isReadOnly: false }),
    );
    const plan = JSON.parse((await run('--restore', '--dry-run')).stdout);
    await run('--restore', '--timeout', '1', '--confirm', plan.id);
    expect(order.slice(0, 2)).toEqual([
      'a: SYSTEM RESTART REPLICA torghut.ta_signals',
      'a: SYSTEM SYNC REPLICA torghut.ta_signals',
    ]);
    expect(order.some((line) => line.includes('RESTORE'))).toBe(false);
    await close();
  });

  test('is refused while a healthy server has the table, and while a server is silent', async () => {
    const healthy = await twoServers(stateOf({}), stateOf({ hasPath: true, isReadOnly: false }));
    const refused = await healthy.run('--restore', '--dry-run');
    expect(refused.error).toMatchObject({
      code: 'restore_unsafe',
      exitCode: 4,
      why: expect.stringContaining('another keeper'),
    });
    expect(healthy.order).toEqual([]);
    const { endpoint } = healthy.fronts[0];
    vi.stubEnv('TA_CLICKHOUSE_REPLICA_URLS', `${endpoint.url},http://127.0.0.1:9`);
    const silent = await healthy.run('--restore', '--dry-run');
    expect(silent.error).toMatchObject({ code: 'restore_unsafe', why: expect.stringContaining('does not answer') });
    await healthy.close();
  });
});

describe('users', () => {
  test('are a plan of statements that the engine takes, with no password and no hash in it', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'torghut-passwords-'));
    const secret = 'correct horse battery';
    for (const name of ['torghut_ta', 'torghut_ops', 'torghut_ddl', 'torghut_read', 'torghut_notebook', 'bayn'])
      writeFileSync(join(folder, name), `${secret}\n`);
    const front = await answeringFront((statement) => (/system.users/.test(statement) ? [{ name: 'bayn' }] : []));
    pointAt(front.endpoint, 'torghut');
    const run = (...args: string[]) =>
      runCommand(grantsCommand, ['--home', home, '-o', 'json', '--passwords-dir', folder, ...args]);
    const plan = await run('--cluster', 'default');
    const report = JSON.parse(plan.stdout);
    expect(report).toMatchObject({ done: false, cluster: 'default', without_password: ['signal_publisher'] });
    expect(changes(front.statements)).toEqual([]);
    expect((await run('--apply')).error).toMatchObject({ code: 'confirmation_needed' });
    const done = await run('--cluster', 'default', '--apply', '--yes');
    expect(JSON.parse(done.stdout)).toMatchObject({ done: true });
    const sent = changes(front.statements);
    const ofPublisher = report.statements.filter((text: string) => text.includes('signal_publisher'));
    expect(ofPublisher.length, 'shown, not run').toBeGreaterThan(0);
    expect(sent).toHaveLength(report.statements.length - ofPublisher.length);
    await expectParsed(sent);
    expect(sent.join('\n')).not.toContain(secret);
    const made = sent.filter((text) => text.startsWith('CREATE USER'));
    expect(made.map((text) => text.split(' ')[5])).toEqual([
      'torghut_ta',
      'torghut_read',
      'torghut_ops',
      'torghut_ddl',
      'torghut_notebook',
    ]);
    const hashes = made.map((text) => /BY '([0-9A-F]{64})' SALT '([0-9a-f]{32})'/.exec(text)?.slice(1));
    expect(new Set(hashes.map(String)).size).toBe(5);
    for (const hash of hashes.flat()) expect(`${plan.stdout}${done.stdout}`).not.toContain(hash);
    expect(sent).toContain('GRANT ON CLUSTER default INSERT ON torghut.ta_signals TO torghut_ta');
    expect(sent.filter((text) => text.includes('torghut_ta')).join('\n')).not.toMatch(/DROP|ALTER|SYSTEM/);
    await front.close();
    vi.unstubAllEnvs();
    const embedded = await run('--apply', '--yes');
    expect(embedded.error).toMatchObject({ code: 'grants_not_here', exitCode: 4 });
  });
});
