/**
 * torghut clickhouse replicas on the real engine with a real ZooKeeper: what is wrong is named, and a restore keeps every row.
 * The engine as it is keeps replicated tables read-only, which is enough for every diagnosis; the restore itself runs on a copy
 * of the same engine (test/support/replicated-engine.ts says which) and is left out, by name, where there is none.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClickHouseClient } from '@clickhouse/client';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import * as replicasCommand from '../../src/commands/clickhouse-replicas.ts';
import { createTableSql, tableSettings, tables } from '../../src/lib/signals/tables.ts';
import { clientOf, rowsOf, until } from '../embedded/rig.ts';
import { permissiveAddon, type ReplicatedEngine, startReplicatedEngine } from '../support/replicated-engine.ts';
import { freshHome } from '../support/torghut.ts';
import { startZooKeeper, type ZooKeeperServer } from '../support/zookeeper-server.ts';
import { pointAt, runCommand } from './command.ts';

const home = freshHome();
let keeper: ZooKeeperServer;

beforeAll(async () => {
  keeper = await startZooKeeper();
});

afterEach(() => void vi.unstubAllEnvs());

afterAll(async () => {
  await keeper?.stop();
});

const replicas = async (engine: ReplicatedEngine, ...args: string[]) => {
  pointAt(engine.endpoint, 'torghut');
  const ran = await runCommand(replicasCommand, ['--home', home, '-o', 'json', ...args]);
  const report: unknown = ran.stdout === '' ? undefined : JSON.parse(ran.stdout);
  return {
    ...ran,
    report: report as Record<string, unknown> & { diagnosis: string[]; checks: { id: string; verdict: string }[] },
  };
};

const problems = (report: { checks: { id: string; verdict: string }[] }) =>
  report.checks.filter(({ verdict }) => verdict !== 'ok').map(({ id }) => id);

/** Our tables as a cluster has them, made on this host without the cluster's queue, which the embedded engine has not. */
async function makeTables(client: ClickHouseClient): Promise<void> {
  for (const table of tables) {
    const sql = createTableSql('torghut', table, undefined, {
      layout: { cluster: 'default' },
      settings: tableSettings,
    });
    await client.command({ query: sql.replace(' ON CLUSTER default', '') });
  }
}

describe('the engine as it is', () => {
  let engine: ReplicatedEngine;
  let client: ClickHouseClient;

  beforeAll(async () => {
    engine = await startReplicatedEngine({ keeperPort: keeper.port });
    client = clientOf(engine.endpoint);
  });

  afterAll(async () => {
    await client?.close();
    await engine?.stop();
  });

  test('a node without replicated tables is n/a, never ok', async () => {
    const { code, report } = await replicas(engine);
    expect(report).toMatchObject({ status: 'n/a', diagnosis: [], checks: [] });
    expect(code).toBe(0);
  });

  test('read-only, keeper stopped, and metadata wiped are each named, and nothing is restored without a keeper', async () => {
    await makeTables(client);
    const asIs = await replicas(engine, '--keeper', keeper.address);
    expect(asIs.report).toMatchObject({ status: 'problem', diagnosis: ['read_only'] });
    expect(problems(asIs.report)).toEqual(['writable']);
    expect(asIs.code).toBe(10);

    await keeper.kill();
    const away = await replicas(engine, '--keeper', keeper.address);
    expect(away.report.diagnosis).toEqual(['keeper_unreachable']);
    expect(away.report.checks.map(({ id, verdict }) => `${id} ${verdict}`)).toEqual([
      'servers ok',
      'keeper problem',
      'session problem',
      'metadata unknown',
      'writable problem',
      'parts unknown',
      'lag unknown',
    ]);
    expect(away.report.next).toContain('bring the keeper back');
    expect((await replicas(engine, '--keeper', keeper.address, '--restore', '--dry-run')).error).toMatchObject({
      code: 'keeper_unreachable',
      exitCode: 4,
    });
    // Without an address the session of the server tells.
    await until(
      'the server notices',
      async () => (await replicas(engine)).report.diagnosis[0] === 'keeper_unreachable',
    );

    await keeper.restart();
    const over = await until('the keeper answers, the tables have not noticed', async () => {
      const ran = await replicas(engine, '--keeper', keeper.address);
      return ran.report.diagnosis[0] !== 'keeper_unreachable' && ran;
    });
    expect(over.report.diagnosis).toEqual(['session_expired']);
    // Whether the metadata are there, nobody can say before the tables have asked.
    expect(problems(over.report)).toEqual(['session', 'metadata', 'writable', 'parts', 'lag']);
    for (const { name } of tables) await client.command({ query: `SYSTEM RESTART REPLICA torghut.${name}` });
    expect((await replicas(engine)).report.diagnosis).toEqual(['read_only']);

    keeper.wipe('/clickhouse/tables');
    const wiped = await replicas(engine, '--keeper', keeper.address);
    expect(wiped.report.diagnosis).toEqual(['metadata_lost']);
    expect(wiped.report.findings).toMatchObject(tables.map(() => ({ action: 'restore', refused: null })));
    expect(problems(wiped.report)).toEqual(['metadata', 'writable']);
    const plan = await replicas(engine, '--keeper', keeper.address, '--restore', '--dry-run');
    expect((plan.report.steps as { statement: string }[]).map(({ statement }) => statement).slice(0, 4)).toEqual([
      'SYSTEM RESTORE REPLICA torghut.ta_signals',
      'SYSTEM SYNC REPLICA torghut.ta_signals',
      'SYSTEM RESTORE REPLICA torghut.ta_microbars',
      'SYSTEM SYNC REPLICA torghut.ta_microbars',
    ]);
    expect((await replicas(engine, '--restore', '--confirm', 'abc')).error).toMatchObject({ code: 'plan_changed' });
    expect((await replicas(engine, '--confirm', 'abc')).error).toMatchObject({
      code: 'option_needs_restore',
      exitCode: 2,
    });
  });

  test('a server that does not answer leaves the question open', async () => {
    const gone = { ...engine, endpoint: { ...engine.endpoint, url: 'http://127.0.0.1:9' } };
    const { code, report } = await replicas(gone);
    expect(report).toMatchObject({ status: 'unknown', diagnosis: ['replica_unreachable'] });
    expect(code).toBe(11);
  });
});

const addon = permissiveAddon();

describe.skipIf(addon === undefined)(
  'a copy of the engine in which replicated tables work (test/support/replicated-engine.ts)',
  () => {
    let engine: ReplicatedEngine;
    let client: ClickHouseClient;

    beforeAll(async () => {
      await keeper.restart({ isEmpty: true });
      engine = await startReplicatedEngine({ keeperPort: keeper.port, addon: addon as string });
      client = clientOf(engine.endpoint);
      await makeTables(client);
    });

    afterAll(async () => {
      await client?.close();
      await engine?.stop();
    });

    const insert = (from: number, count: number) =>
      client.command({
        query: `INSERT INTO torghut.ta_signals (symbol, window_size, event_ts, revision, macd)
SELECT 'MU', 'PT1S', toDateTime64('2026-08-03 14:30:00', 3, 'UTC') + toIntervalSecond(number * 1000), 0, number FROM numbers(${from}, ${count})`,
        clickhouse_settings: { insert_keeper_max_retries: '0' },
      });
    const count = async () =>
      (await rowsOf<{ n: number }>(client, 'SELECT toUInt32(count()) AS n FROM torghut.ta_signals'))[0]?.n;

    test('well, then wiped: the restore restarts, restores, keeps every row, and inserts work again', async () => {
      await insert(0, 200);
      const well = await replicas(engine, '--keeper', keeper.address);
      expect(well.report).toMatchObject({ status: 'ok', diagnosis: [] });
      expect(problems(well.report)).toEqual([]);
      expect(well.code).toBe(0);
      expect((await replicas(engine, '--restore', '--dry-run')).error).toMatchObject({ code: 'restore_not_needed' });

      keeper.wipe('/clickhouse/tables');
      await expect(insert(200, 1)).rejects.toMatchObject({ code: expect.stringMatching(/^(999|242)$/) });
      const wiped = await replicas(engine, '--keeper', keeper.address);
      expect(wiped.report.diagnosis).toEqual(['metadata_lost']);
      const plan = (await replicas(engine, '--restore', '--dry-run')).report as unknown as {
        id: string;
        steps: { statement: string }[];
      };
      expect(plan.steps.map(({ statement }) => statement).filter((text) => text.endsWith('.ta_signals'))).toEqual([
        // The table does not know yet that it must be read-only.
        'SYSTEM RESTART REPLICA torghut.ta_signals',
        'SYSTEM RESTORE REPLICA torghut.ta_signals',
        'SYSTEM SYNC REPLICA torghut.ta_signals',
      ]);
      const done = await replicas(engine, '--restore', '--confirm', plan.id);
      expect(done.report).toMatchObject({ is_verified: true, problems: [] });
      expect((done.report.steps as { error: unknown }[]).filter(({ error }) => error !== null)).toEqual([]);
      expect(await count()).toBe(200);
      await insert(200, 1);
      expect(await count()).toBe(201);
      expect((await replicas(engine)).report.status).toBe('ok');
      const journal = readFileSync(join(home, 'journal', 'clickhouse-replicas.ndjson'), 'utf8');
      const phases = journal
        .split('\n')
        .filter(Boolean)
        .map((line) => (JSON.parse(line) as { phase: string }).phase);
      expect([phases[0], phases.at(-1), phases.length]).toEqual(['before', 'after', plan.steps.length + 2]);
    });

    test('a session that is over while the keeper answers is named, and passes without a hand', async () => {
      keeper.freeze();
      try {
        // Longer than the session lives; the server's own clock ends it.
        const over = await until('the server gives its session up', async () => {
          const state = await rowsOf<{ expired: number }>(
            client,
            'SELECT toUInt8(max(is_session_expired)) AS expired FROM system.replicas',
          );
          return state[0]?.expired === 1 && state;
        });
        expect(over).toBeDefined();
        const away = await replicas(engine, '--keeper', keeper.address);
        expect(away.report.diagnosis).toEqual(['keeper_unreachable']);
      } finally {
        keeper.thaw();
      }
      const seen = new Set<string>();
      await until('the server has a session again', async () => {
        const { report } = await replicas(engine, '--keeper', keeper.address);
        for (const name of report.diagnosis) seen.add(name);
        return report.status === 'ok';
      });
      expect([...seen]).toContain('session_expired');
      await insert(300, 1);
    });
  },
);
