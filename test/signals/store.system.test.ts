/** Schema, writer and reader on the real engine. */
import type { ClickHouseClient } from '@clickhouse/client';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSignalReader } from '../../src/lib/signals/reader.ts';
import { rowOfRecord } from '../../src/lib/signals/rows.ts';
import { changeTtl, checkSignalStore, migrateSignalStore, type SchemaTarget } from '../../src/lib/signals/schema.ts';
import { createSignalWriter } from '../../src/lib/signals/writer.ts';
import { clientOf, rowsOf, type StoreProcess, startStore } from '../embedded/rig.ts';
import { freshHome } from '../support/torghut.ts';
import { bar, logRecord, signal } from './records.ts';

let store: StoreProcess;
let client: ClickHouseClient;
let made = 0;

beforeAll(async () => {
  store = await startStore('clickhouse', freshHome());
  client = clientOf(store.endpoint);
});

afterAll(async () => {
  await client.close();
  await store.stop();
});

async function freshDatabase(changes: Partial<SchemaTarget> = {}): Promise<SchemaTarget> {
  const database = `test_${made++}`;
  await client.command({ query: `CREATE DATABASE ${database}` });
  return { database, runId: 'r1', ttlDays: undefined, ...changes };
}

const second = 1381239001;

describe('migrations', () => {
  test('may run twice and twice at once, and the second time there is nothing to do', async () => {
    const target = await freshDatabase();
    const both = await Promise.all([migrateSignalStore(client, target), migrateSignalStore(client, target)]);
    expect(both.flatMap(({ applied }) => applied)).toContain(1);
    expect(await migrateSignalStore(client, target)).toEqual({ applied: [] });
    await checkSignalStore(client, target);
    const tables = await rowsOf<{ name: string; engine: string; sorting_key: string; partition_key: string }>(
      client,
      "SELECT name, engine, sorting_key, partition_key FROM system.tables WHERE database = {d:String} AND name LIKE 'ta%' AND name NOT LIKE 'ta_latest%' ORDER BY name",
      { query_params: { d: target.database } },
    );
    const common = { engine: 'ReplacingMergeTree', partition_key: 'toDate(event_ts)' };
    expect(tables).toEqual([
      { ...common, name: 'ta_microbars', sorting_key: 'symbol, window_size, event_ts' },
      { ...common, name: 'ta_signal_log', sorting_key: 'run_id, window_size, src_partition, src_offset' },
      { ...common, name: 'ta_signals', sorting_key: 'symbol, window_size, event_ts' },
    ]);
  });

  test('of two runs that want the same database one gets it and the other is refused', async () => {
    const target = await freshDatabase();
    const results = await Promise.allSettled(
      ['r1', 'r2'].map((runId) => migrateSignalStore(client, { ...target, runId })),
    );
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const refused = results.find((result) => result.status === 'rejected');
    expect(refused?.reason).toMatchObject({ code: 'run_mismatch', exitCode: 4 });
  });

  test('a newer database, a hand-changed column and a changed migration are refused, and nothing is touched', async () => {
    const newer = await freshDatabase();
    await migrateSignalStore(client, newer);
    await client.command({ query: `INSERT INTO ${newer.database}.torghut_migrations VALUES (99, 'future', 'x')` });
    await expect(migrateSignalStore(client, newer)).rejects.toMatchObject({ code: 'schema_newer', exitCode: 4 });
    await expect(checkSignalStore(client, newer)).rejects.toMatchObject({ code: 'schema_newer' });

    const changed = await freshDatabase();
    await migrateSignalStore(client, changed);
    await client.command({ query: `ALTER TABLE ${changed.database}.ta_signals MODIFY COLUMN rsi14 Nullable(Float32)` });
    await expect(checkSignalStore(client, changed)).rejects.toMatchObject({
      code: 'schema_drift',
      why: expect.stringContaining('column rsi14 is Nullable(Float32)'),
    });

    const other = await freshDatabase();
    await migrateSignalStore(client, other);
    await client.command({ query: `INSERT INTO ${other.database}.torghut_migrations VALUES (1, 'other', 'sum')` });
    await expect(migrateSignalStore(client, other)).rejects.toMatchObject({ code: 'schema_drift' });
  });

  test('an empty database is not taken for a schema by a check', async () => {
    await expect(checkSignalStore(client, await freshDatabase())).rejects.toMatchObject({ code: 'schema_missing' });
  });

  test('a TTL is part of the schema: a recorded day is gone under it, and a virtual clock refuses such a database', async () => {
    const target = await freshDatabase({ ttlDays: 35 });
    await migrateSignalStore(client, target);
    await expect(checkSignalStore(client, { ...target, ttlDays: undefined })).rejects.toMatchObject({
      code: 'ttl_mismatch',
      exitCode: 4,
    });
    const writer = createSignalWriter({ client: async () => client, database: target.database });
    await writer.write([rowOfRecord(logRecord(bar('MU', second), 0, 0n), 'bar')], second * 1000);
    await client.command({ query: `OPTIMIZE TABLE ${target.database}.ta_microbars FINAL` });
    expect(await rowsOf(client, `SELECT count() AS n FROM ${target.database}.ta_microbars`)).toEqual([{ n: 0 }]);

    const kept = { ...target, ttlDays: undefined };
    await changeTtl(client, kept);
    await changeTtl(client, kept);
    await checkSignalStore(client, kept);
    await writer.write([rowOfRecord(logRecord(bar('MU', second), 0, 0n), 'bar')], second * 1000);
    await client.command({ query: `OPTIMIZE TABLE ${target.database}.ta_microbars FINAL` });
    expect(await rowsOf(client, `SELECT count() AS n FROM ${target.database}.ta_microbars`)).toEqual([{ n: 1 }]);
  });
});

describe('writer and reader', () => {
  const open = async () => {
    const target = await freshDatabase();
    await migrateSignalStore(client, target);
    const given = { client: async () => client, database: target.database };
    return {
      database: target.database,
      writer: createSignalWriter(given),
      reader: createSignalReader({ ...given, runId: 'r1', partitions: 3 }),
    };
  };

  test('doubles come back bit by bit, sizes keep their fractions, nulls stay unknown', async () => {
    const { database, writer, reader } = await open();
    const macd = 0.1 + 0.2;
    const row = signal('MU', second, { revision: 3 });
    row.values.macd = macd;
    await writer.write([rowOfRecord(logRecord(row, 2, 41n), 'signal')], second * 1000 + 250);
    const [read] = await reader.read([{ windowSize: 'PT1S', partition: 2, from: 0n }], 10);
    expect(read).toMatchObject({
      symbol: 'MU',
      windowSize: 'PT1S',
      eventTsMs: second * 1000,
      revision: 3,
      macd,
      macdSignal: 0.05,
      rsi14: 57.441196,
      partition: 2,
      offset: 41n,
    });
    expect(read?.features).toMatchObject({
      imbalance_bid_sz: 2.5,
      boll_mid: null,
      stored_at: '2013-10-08 13:30:01.250',
    });
    expect(await rowsOf(client, `SELECT count() AS n FROM ${database}.ta_signals FINAL`)).toEqual([{ n: 1 }]);
  });

  test('the log shows a signal only when the bars of the batch are there, also when their insert fails or is slow', async () => {
    const { database } = await open();
    const batch = (at: bigint) => [
      rowOfRecord(logRecord(bar('MU', second + Number(at)), 0, at), 'bar'),
      rowOfRecord(logRecord(signal('MU', second + Number(at)), 0, at), 'signal'),
    ];
    const counts = async () => {
      const [found] = await rowsOf(
        client,
        `SELECT (SELECT count() FROM ${database}.ta_microbars) AS bars, (SELECT count() FROM ${database}.ta_signal_log) AS logged`,
      );
      return found;
    };
    let before = async () => undefined as unknown;
    const watched = new Proxy(client, {
      get: (target, name) => {
        if (name !== 'exec') return Reflect.get(target, name);
        return async (query: Parameters<ClickHouseClient['exec']>[0]) => {
          if (query.query.includes('ta_microbars')) await before();
          return target.exec(query);
        };
      },
    });
    const writer = createSignalWriter({ client: async () => watched, database });
    const reset = Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
    before = () => Promise.reject(reset);
    await expect(writer.write(batch(0n), 0)).rejects.toBe(reset);
    expect(await counts()).toEqual({ bars: 0, logged: 0 });
    let beside: unknown;
    before = async () => {
      // The insert of the signals, which runs beside, is over long before.
      for (let n = 0; n < 2; )
        n = Number((await rowsOf<{ n: number }>(client, `SELECT count() AS n FROM ${database}.ta_signals`))[0]?.n);
      beside = await counts();
    };
    await writer.write(batch(1n), 0);
    expect(beside).toEqual({ bars: 0, logged: 0 });
    expect(await counts()).toEqual({ bars: 1, logged: 1 });
  });

  test('the current tables hold the highest revision whatever comes last, the log holds each once', async () => {
    const { database, writer, reader } = await open();
    const revisions = [0, 2, 1].map((revision, i) =>
      rowOfRecord(logRecord(signal('MU', second, { revision }), 0, BigInt(i)), 'signal'),
    );
    const bars = [0, 2, 1].map((revision, i) =>
      rowOfRecord(logRecord(bar('MU', second, { revision, close: 100 + revision }), 0, BigInt(i)), 'bar'),
    );
    for (const row of [...revisions, ...bars, ...revisions]) await writer.write([row], second * 1000);
    expect(await rowsOf(client, `SELECT revision FROM ${database}.ta_signals FINAL`)).toEqual([{ revision: 2 }]);
    const log = await reader.read([{ windowSize: 'PT1S', partition: 0, from: 0n }], 10);
    expect(log.map(({ offset, revision }) => [offset, revision])).toEqual([
      [0n, 0],
      [1n, 2],
      [2n, 1],
    ]);
    const prices = await reader.newestPrices(['MU', 'NONE'], second * 1000, 60_000);
    expect([...prices].map(([symbol, { price, asOfMs }]) => [symbol, price.toString(), asOfMs])).toEqual([
      ['MU', '102', second * 1000],
    ]);
  });

  test('a price is never from the future, never too old, and never one that a revision took back', async () => {
    const { writer, reader } = await open();
    const none = { open: Number.NaN, high: Number.NaN, low: Number.NaN, close: Number.NaN, vwap: null };
    const bars = [
      bar('MU', second, { close: 100.1 }),
      bar('MU', second + 1, { close: 100.2 }),
      bar('MU', second + 2, { close: 100.3 }),
      bar('MU', second + 2, { revision: 1, ...none }),
    ];
    await writer.write(
      bars.map((output, i) => rowOfRecord(logRecord(output, 0, BigInt(i)), 'bar')),
      second * 1000,
    );
    const priceAt = async (ms: number, lookback: number) =>
      (await reader.newestPrices(['MU'], ms, lookback)).get('MU')?.price.toString();
    expect(await priceAt((second + 5) * 1000, 60_000)).toBe('100.2');
    expect(await priceAt(second * 1000 + 999, 60_000)).toBe('100.1');
    expect(await priceAt(second * 1000 - 1, 60_000)).toBeUndefined();
    expect(await priceAt((second + 5) * 1000, 1_000)).toBeUndefined();
    expect(await reader.newestEventMs()).toBe((second + 2) * 1000);
  });

  test('every row of random batches, repeats, merges and midnights is read once and in order, forwards and backwards', async () => {
    const batches = fc.array(
      fc.record({
        size: fc.integer({ min: 1, max: 30 }),
        repeats: fc.boolean(),
        merges: fc.boolean(),
        limit: fc.integer({ min: 1, max: 40 }),
      }),
      { minLength: 2, maxLength: 4 },
    );
    const { database, writer } = await open();
    let run = 0;
    await fc.assert(
      fc.asyncProperty(batches, async (plan) => {
        // One database for all, a run of its own for each: the log is read by run.
        const runId = `run-${run++}`;
        const reader = createSignalReader({ client: async () => client, database, runId, partitions: 3 });
        const seen = new Map<string, bigint[]>();
        const cursors = [0, 1, 2].flatMap((partition) =>
          (['PT1S', 'PT1M'] as const).map((windowSize) => ({ windowSize, partition, from: 0n })),
        );
        const next = [0n, 0n, 0n];
        const expected = new Map<string, bigint[]>();
        let count = 0;
        for (const { size, repeats, merges, limit } of plan) {
          const rows = Array.from({ length: size }, () => {
            const partition = count % 3;
            const windowSeconds = count % 4 === 0 ? (60 as const) : (1 as const);
            const offset = next[partition] as bigint;
            next[partition] = offset + 1n;
            const key = `${windowSeconds === 1 ? 'PT1S' : 'PT1M'} ${partition}`;
            expected.set(key, [...(expected.get(key) ?? []), offset]);
            // Ends jump over midnight and back, as revisions do.
            const end = 1381276800 + ((count >> 3) % 2) * 60 - 30;
            count += 1;
            return rowOfRecord(
              logRecord(signal('MU', end, { windowSeconds, revision: count }), partition, offset, runId),
              'signal',
            );
          });
          await writer.write(rows, 0);
          if (repeats) await writer.write(rows.slice(size >> 1), 0);
          if (merges) await client.command({ query: `OPTIMIZE TABLE ${database}.ta_signal_log FINAL` });
          for (const row of await reader.read(cursors, limit)) {
            const key = `${row.windowSize} ${row.partition}`;
            seen.set(key, [...(seen.get(key) ?? []), row.offset]);
            const cursor = cursors.find((place) => `${place.windowSize} ${place.partition}` === key);
            if (cursor) cursor.from = row.offset + 1n;
          }
        }
        for (let isMore = true; isMore; ) {
          const rest = await reader.read(cursors, 7);
          isMore = rest.length > 0;
          for (const row of rest) {
            const key = `${row.windowSize} ${row.partition}`;
            seen.set(key, [...(seen.get(key) ?? []), row.offset]);
            const cursor = cursors.find((place) => `${place.windowSize} ${place.partition}` === key);
            if (cursor) cursor.from = row.offset + 1n;
          }
        }
        expect(seen).toEqual(expected);
        const back = await reader.readBefore(cursors, 3);
        for (const [key, offsets] of expected) {
          const found = back.filter((row) => `${row.windowSize} ${row.partition}` === key).map(({ offset }) => offset);
          expect(found).toEqual(offsets.slice(-3));
        }
      }),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 60 : 3 },
    );
  });

  test('a store that is gone, or has no tables yet, is an error that may be retried; a changed table is not', async () => {
    const { database, reader } = await open();
    const read = () => reader.read([{ windowSize: 'PT1S', partition: 0, from: 0n }], 1);
    await client.command({ query: `ALTER TABLE ${database}.ta_signal_log DROP COLUMN rsi14` });
    await expect(read()).rejects.toMatchObject({ code: 'signal_store_rejects', canRetry: false });
    await client.command({ query: `DROP TABLE ${database}.ta_signal_log SYNC` });
    await expect(read()).rejects.toMatchObject({ code: 'signal_tables_missing', canRetry: true });
    const nowhere = clientOf({ ...store.endpoint, url: 'http://127.0.0.1:1' });
    const lost = createSignalReader({ client: async () => nowhere, database, runId: 'r1', partitions: 3 });
    await expect(lost.newestEventMs()).rejects.toMatchObject({ code: 'signal_store_unreachable', canRetry: true });
    await nowhere.close();
  });
});
