/** Tables of the former system, and tables in another engine or order, become ours on the real engine, which is also killed. */
import type { ClickHouseClient } from '@clickhouse/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type MigrationWish, planMigration } from '../../src/lib/signals/migration-plan.ts';
import { runMigration } from '../../src/lib/signals/migration-run.ts';
import { migrateSignalStore } from '../../src/lib/signals/schema.ts';
import { reportSchema } from '../../src/lib/signals/schema-report.ts';
import { clientOf, rowsOf, type StoreProcess, startStore } from '../embedded/rig.ts';
import { freshHome } from '../support/torghut.ts';
import { fillFormerTables, makeFormerTables } from './former-tables.ts';
import { recording, sampled } from './recording.ts';

const home = freshHome();
let store: StoreProcess;
let client: ClickHouseClient;
let made = 0;

beforeAll(async () => {
  store = await startStore('clickhouse', home);
  client = clientOf(store.endpoint);
});

afterAll(async () => {
  await client.close();
  await store.stop();
});

const wishFor = (database: string, changes: Partial<MigrationWish> = {}): MigrationWish => ({
  database,
  runId: undefined,
  ttl: undefined,
  defaults: { runId: 'r1', ttlDays: undefined },
  ...changes,
});

/** A database as the former system left it; its writer has been quiet for longer than a minute. */
async function formerDatabase(perDay?: number): Promise<string> {
  const database = `conv_${made++}`;
  await client.command({ query: `CREATE DATABASE ${database}` });
  await makeFormerTables(client, database);
  await fillFormerTables(client, database, perDay);
  // Merged parts are what a writer that has been quiet for long leaves.
  for (const table of ['ta_microbars', 'ta_signals'])
    await client.command({
      query: `OPTIMIZE TABLE ${database}.${table} FINAL SETTINGS optimize_skip_merged_partitions = 0`,
    });
  return database;
}

const convert = async (of: ClickHouseClient, database: string) =>
  runMigration(of, await planMigration(of, wishFor(database)), wishFor(database));

/** Counted from the old tables by other means than the conversion's own. */
async function expectedKeys(database: string): Promise<Record<string, unknown>[]> {
  const end = "if(window_size = 'PT1M', event_ts + toIntervalMinute(1), event_ts)";
  return rowsOf(
    client,
    `SELECT * FROM (SELECT 'bars' AS what, uniqExact(symbol, event_ts) AS keys, toString(sum(cityHash64(symbol, event_ts))) AS digest
FROM (SELECT DISTINCT symbol, event_ts FROM ${database}.ta_microbars)
UNION ALL SELECT window_size, uniqExact(symbol, at), toString(sum(cityHash64(symbol, at)))
FROM (SELECT DISTINCT window_size, symbol, ${end} AS at FROM ${database}.ta_signals) GROUP BY window_size) ORDER BY what`,
  );
}

async function presentKeys(database: string): Promise<Record<string, unknown>[]> {
  return rowsOf(
    client,
    `SELECT * FROM (SELECT 'bars' AS what, count() AS keys, toString(sum(cityHash64(symbol, event_ts))) AS digest FROM ${database}.ta_microbars FINAL
UNION ALL SELECT window_size, count(), toString(sum(cityHash64(symbol, event_ts))) FROM ${database}.ta_signals FINAL GROUP BY window_size) ORDER BY what`,
  );
}

describe('tables of the former system', () => {
  test('become ours: one row a key, the newest, minutes stamped with their end, nothing made up', async () => {
    const database = await formerDatabase();
    const before = await expectedKeys(database);
    expect(before.map(({ what }) => what)).toEqual(['PT1M', 'PT1S', 'bars']);
    await expect(migrateSignalStore(client, { database, runId: 'r1', ttlDays: undefined })).rejects.toMatchObject({
      code: 'schema_drift',
    });
    const plan = await planMigration(client, wishFor(database));
    expect(plan.conversions).toMatchObject([
      { table: 'ta_microbars', kind: 'v1', stage: 'fill', from_sorting_key: 'symbol, event_ts, seq' },
      { table: 'ta_signals', kind: 'v1', stage: 'fill' },
    ]);
    const done = await runMigration(client, plan, wishFor(database));
    expect(done).toEqual({ applied: [1, 2], converted: ['ta_microbars', 'ta_signals'] });
    expect(await presentKeys(database)).toEqual(before);
    expect((await reportSchema(client, database)).drift).toEqual([]);
    // Second 14:30:00 was written twice, the second time with another close and without a macd.
    const bars = await rowsOf(
      client,
      `SELECT revision, c, vwap, seq, run_id, src_offset, is_warm FROM ${database}.ta_microbars AS b
LEFT JOIN (SELECT symbol, event_ts, is_warm, macd FROM ${database}.ta_signals FINAL) AS s USING (symbol, event_ts)
WHERE symbol = 'S7' AND event_ts = '2026-08-03 14:30:00'`,
    );
    expect(bars).toEqual([
      { revision: 1, c: 8.15, vwap: null, seq: 1785767400, run_id: 'r1', src_offset: -1, is_warm: 0 },
    ]);
    const [signal] = await rowsOf<Record<string, unknown>>(
      client,
      `SELECT macd, rsi14, imbalance_bid_sz, revision, feature_schema_version FROM ${database}.v_ta_signals_current
WHERE symbol = 'S7' AND event_ts = '2026-08-03 14:30:00' AND window_size = 'PT1S'`,
    );
    expect(signal).toEqual({ macd: null, rsi14: 1, imbalance_bid_sz: 7, revision: 1, feature_schema_version: 'v1' });
    const minutes = await rowsOf(
      client,
      `SELECT toString(min(event_ts)) AS first, toString(max(event_ts)) AS last FROM ${database}.ta_signals WHERE window_size = 'PT1M'`,
    );
    expect(minutes).toEqual([{ first: '2026-08-03 23:51:00.000', last: '2026-08-04 00:10:00.000' }]);
    expect(await rowsOf(client, `SELECT count() AS n FROM ${database}.ta_signal_log`)).toEqual([{ n: 0 }]);
    const latest = await rowsOf(client, `SELECT count() AS n FROM ${database}.v_ta_latest`);
    expect(latest, 'the newest row of each symbol and window size').toEqual([{ n: 24 }]);
    expect((await planMigration(client, wishFor(database))).statements).toEqual([]);
  });

  test('are not touched while somebody writes, with columns of an unknown kind, or beside a foreign shadow', async () => {
    const database = await formerDatabase(20);
    await client.command({
      query: `INSERT INTO ${database}.ta_signals (symbol, event_ts, seq, window_size) VALUES ('S1', '2026-08-03 14:30:00', 1, 'PT1S')`,
    });
    const early = await planMigration(client, wishFor(database)).then(
      () => 'no refusal',
      (error: unknown) => error,
    );
    expect(early).toMatchObject({ code: 'conversion_writer_active' });
    await client.command({ query: `OPTIMIZE TABLE ${database}.ta_signals FINAL` });
    await client.command({ query: `ALTER TABLE ${database}.ta_signals ADD COLUMN mine UInt8` });
    await expect(planMigration(client, wishFor(database))).rejects.toMatchObject({
      code: 'conversion_impossible',
      why: expect.stringContaining('mine'),
    });
    await client.command({ query: `ALTER TABLE ${database}.ta_signals DROP COLUMN mine` });
    await client.command({
      query: `CREATE TABLE ${database}.ta_signals__replicated_migration_v2 (x UInt8) ENGINE = MergeTree ORDER BY x`,
    });
    await expect(planMigration(client, wishFor(database))).rejects.toMatchObject({ code: 'conversion_impossible' });
  });

  test(
    'kill -9 of the engine at each step, and rows that come in meanwhile: a repeat ends it, no row is missing',
    async () => {
      const first = await formerDatabase(20);
      const statements: string[] = [];
      await convert(
        recording(client, (query) => void statements.push(query)),
        first,
      );
      // Of the steps that belong to the conversion; migrate.system.test.ts has the others.
      const own = [...statements.keys()].filter((i) => /__replicated_migration/.test(statements[i] as string));
      expect(own.length).toBeGreaterThanOrEqual(12);
      for (const step of process.env.TORGHUT_TEST_FULL ? own : sampled(own, 4)) {
        const text = `step ${step}: ${(statements[step] as string).slice(0, 90)}`;
        const database = await formerDatabase(20);
        let before = await expectedKeys(database);
        const plan = await planMigration(client, wishFor(database));
        let done = 0;
        const dying = recording(client, async (query) => {
          if (query.startsWith(`EXCHANGE TABLES ${database}.ta_microbars`)) {
            // The last rows of a writer that was told to stop.
            await client.command({
              query: `INSERT INTO ${database}.ta_microbars (symbol, event_ts, seq, ingest_ts, window_size, c) VALUES ('LATE', '2026-08-05 15:00:00', 7, '2026-08-05 15:00:02', 'PT1S', 5)`,
            });
            before = await expectedKeys(database);
          }
          if (done++ !== step) return;
          if (step % 2 === 0) await store.kill();
          else void store.kill();
        });
        const outcome = await runMigration(dying, plan, wishFor(database)).then(
          () => 'done',
          () => 'cut off',
        );
        expect(done, text).toBeGreaterThan(step);
        if (step % 2 === 0) expect(outcome, text).toBe('cut off');
        await store.kill();
        await client.close();
        store = await startStore('clickhouse', home);
        client = clientOf(store.endpoint);
        // The engine may have taken the late row without saying so before it died: a merged part is not a writer of this minute.
        await client.command({ query: `OPTIMIZE TABLE ${database}.ta_microbars FINAL` }).catch(() => undefined);
        await convert(client, database);
        expect(await presentKeys(database), text).toEqual(before);
        expect((await reportSchema(client, database)).drift, text).toEqual([]);
        await client.command({ query: `DROP DATABASE ${database} SYNC` });
      }
    },
    process.env.TORGHUT_TEST_FULL ? 900_000 : 180_000,
  );
});

describe('our tables in another engine or order', () => {
  test('are converted as they are: every revision that counts, also of the signal log', async () => {
    const database = `conv_${made++}`;
    await client.command({ query: `CREATE DATABASE ${database}` });
    await migrateSignalStore(client, { database, runId: 'r1', ttlDays: undefined });
    for (const [table, order] of [
      ['ta_signals', 'symbol, event_ts, seq, revision'],
      ['ta_signal_log', 'symbol, src_partition, src_offset'],
    ]) {
      await client.command({
        query: `CREATE TABLE ${database}.old AS ${database}.${table} ENGINE = MergeTree PARTITION BY toDate(event_ts) ORDER BY (${order})`,
      });
      await client.command({
        query: `INSERT INTO ${database}.old (symbol, window_size, event_ts, revision, seq, run_id, src_partition, src_offset, macd)
SELECT concat('S', toString(number % 5)), 'PT1S', toDateTime64('2026-08-03 14:30:00', 3, 'UTC') + toIntervalSecond(number % 50), intDiv(number, 50), number, 'r1', number % 3, number, if(number > 100, NULL, number) FROM numbers(150)`,
      });
      await client.command({ query: `EXCHANGE TABLES ${database}.old AND ${database}.${table}` });
      await client.command({ query: `DROP TABLE ${database}.old SYNC` });
    }
    const plan = await planMigration(client, wishFor(database));
    expect(plan.conversions).toMatchObject([
      { table: 'ta_signals', kind: 'shape', from_engine: 'MergeTree' },
      { table: 'ta_signal_log', kind: 'shape' },
    ]);
    await runMigration(client, plan, wishFor(database));
    expect((await reportSchema(client, database)).drift).toEqual([]);
    const [current] = await rowsOf(
      client,
      `SELECT count() AS n, min(revision) AS low, countIf(isNull(macd)) AS unknown FROM ${database}.ta_signals FINAL`,
    );
    expect(current).toEqual({ n: 50, low: 2, unknown: 49 });
    expect(await rowsOf(client, `SELECT uniqExact(src_offset) AS n FROM ${database}.ta_signal_log`)).toEqual([
      { n: 150 },
    ]);
  });
});
