/** The views against the live engine: the same rows as the tables give by other means, over random revisions and merges. */
import type { ClickHouseClient } from '@clickhouse/client';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { migrateSignalStore } from '../../src/lib/signals/schema.ts';
import { indicatorNames, signals } from '../../src/lib/signals/tables.ts';
import { latestRefillStatements } from '../../src/lib/signals/views.ts';
import { clientOf, rowsOf, type StoreProcess, startStore } from '../embedded/rig.ts';
import { freshHome } from '../support/torghut.ts';

const database = 'views';
let store: StoreProcess;
let client: ClickHouseClient;

beforeAll(async () => {
  store = await startStore('clickhouse', freshHome());
  client = clientOf(store.endpoint);
  await client.command({ query: `CREATE DATABASE ${database}` });
  await migrateSignalStore(client, { database, runId: 'r1', ttlDays: undefined });
});

afterAll(async () => {
  await client?.close();
  await store?.stop();
});

const columns = signals.columns.map(({ name }) => name).join(', ');
const all = (from: string) =>
  rowsOf(client, `SELECT ${columns} FROM ${database}.${from} ORDER BY symbol, window_size, event_ts`);

describe('the views', () => {
  test(
    'hold whole rows of the highest revision, unknown values too, and the newest row of each symbol and window',
    async () => {
      const row = fc.record({
        symbol: fc.constantFrom('MU', 'AAPL'),
        window_size: fc.constantFrom('PT1S', 'PT1M'),
        // 23:59:57 of one day to 00:00:03 of the next.
        second: fc.integer({ min: 0, max: 6 }),
        revision: fc.integer({ min: 0, max: 3 }),
        macd: fc.option(fc.integer({ min: -5, max: 5 })),
        rsi14: fc.option(fc.integer({ min: 0, max: 99 })),
      });
      const batches = fc.array(fc.array(row, { minLength: 1, maxLength: 25 }), { minLength: 1, maxLength: 4 });
      await fc.assert(
        fc.asyncProperty(batches, fc.boolean(), async (inserts, merges) => {
          await client.command({ query: `TRUNCATE TABLE ${database}.ta_signals` });
          await client.command({ query: `TRUNCATE TABLE ${database}.ta_latest` });
          // A revision of a key is one thing: what comes twice with it has the same values.
          const known = new Map<string, Record<string, unknown>>();
          for (const rows of inserts) {
            const values = rows.map(({ second, ...rest }) => {
              const event_ts = new Date(Date.UTC(2026, 7, 3, 23, 59, 57 + second)).toISOString().slice(0, 19);
              const key = `${rest.symbol} ${rest.window_size} ${event_ts} ${rest.revision}`;
              const value = known.get(key) ?? { ...rest, event_ts: event_ts.replace('T', ' ') };
              known.set(key, value);
              return value;
            });
            await client.insert({ table: `${database}.ta_signals`, values, format: 'JSONEachRow' });
          }
          if (merges) await client.command({ query: `OPTIMIZE TABLE ${database}.ta_signals FINAL` });
          const current = await all('ta_signals FINAL');
          expect(await all('v_ta_signals_current')).toEqual(current);
          const newest = await rowsOf(
            client,
            `SELECT ${columns} FROM ${database}.ta_signals FINAL ORDER BY symbol, window_size, event_ts DESC LIMIT 1 BY symbol, window_size`,
          );
          expect(await all('v_ta_latest')).toEqual(newest);
        }),
        { numRuns: process.env.TORGHUT_TEST_FULL ? 60 : 8 },
      );
    },
    process.env.TORGHUT_TEST_FULL ? 900_000 : 180_000,
  );

  test('a partition that is put in, and one that goes, are seen by the newest row', async () => {
    await client.command({ query: `TRUNCATE TABLE ${database}.ta_signals` });
    await client.command({ query: `TRUNCATE TABLE ${database}.ta_latest` });
    const insert = (table: string, at: string, macd: number) =>
      client.command({
        query: `INSERT INTO ${database}.${table} (symbol, window_size, event_ts, revision, macd) VALUES ('MU', 'PT1S', '${at}', 0, ${macd})`,
      });
    await insert('ta_signals', '2026-08-03 15:00:00', 1);
    await client.command({ query: `CREATE TABLE ${database}.replayed AS ${database}.ta_signals` });
    await insert('replayed', '2026-08-03 15:00:00', 2);
    const replace = () =>
      client.command({
        query: `ALTER TABLE ${database}.ta_signals REPLACE PARTITION '2026-08-03' FROM ${database}.replayed`,
      });
    await replace();
    const newest = () => rowsOf(client, `SELECT macd FROM ${database}.v_ta_latest`);
    expect(await newest()).toEqual([{ macd: 2 }]);
    await insert('replayed', '2026-08-03 15:00:05', 3);
    await replace();
    const refill = async () => {
      for (const query of latestRefillStatements(database)) await client.command({ query });
    };
    await refill();
    expect(await newest()).toEqual([{ macd: 3 }]);
    await insert('ta_signals', '2026-08-02 15:00:00', 4);
    await client.command({ query: `ALTER TABLE ${database}.ta_signals DROP PARTITION '2026-08-03'` });
    // The position that is remembered is gone, and nothing was inserted since.
    expect(await newest()).toEqual([]);
    await refill();
    expect(await newest()).toEqual([{ macd: 4 }]);
  });

  test('coverage counts rows, seconds and unknown values by New York day', async () => {
    await client.command({ query: `TRUNCATE TABLE ${database}.ta_signals` });
    const values = [
      // 19:59:59 and 20:00:01 in New York are one day there and two in UTC.
      ['2026-08-03 23:59:59', 0, 1],
      ['2026-08-04 00:00:01', 0, null],
      ['2026-08-04 00:00:01', 1, 5],
      ['2026-08-04 14:00:00', 0, null],
    ].map(([event_ts, revision, macd]) => ({ symbol: 'MU', window_size: 'PT1S', event_ts, revision, macd }));
    await client.insert({ table: `${database}.ta_signals`, values, format: 'JSONEachRow' });
    await client.command({
      query: `INSERT INTO ${database}.ta_microbars (symbol, window_size, event_ts, revision, c) VALUES ('MU', 'PT1S', '2026-08-04 14:00:00', 0, NULL)`,
    });
    const found = await rowsOf<Record<string, unknown>>(
      client,
      `SELECT * EXCEPT (first_event_ts), toString(first_event_ts) AS first_event_ts FROM ${database}.v_ta_coverage_daily ORDER BY table, day`,
    );
    expect(
      found.map(({ table, day, rows, distinct_seconds, revised_rows }) => [
        table,
        day,
        Number(rows),
        Number(distinct_seconds),
        Number(revised_rows),
      ]),
    ).toEqual([
      ['ta_microbars', '2026-08-04', 1, 1, 0],
      ['ta_signals', '2026-08-03', 2, 2, 1],
      ['ta_signals', '2026-08-04', 1, 1, 0],
    ]);
    expect(found[0]?.null_rates).toMatchObject({ c: 1, o: 1 });
    expect(found[1]).toMatchObject({ first_event_ts: '2026-08-03 23:59:59.000', null_rates: { macd: 0, rsi14: 1 } });
    expect(Object.keys(found[2]?.null_rates as object)).toEqual([...indicatorNames]);
    expect(found[2]?.null_rates).toMatchObject({ macd: 1 });
  });
});
