/** torghut clickhouse coverage on the real engine. */
import type { ClickHouseClient } from '@clickhouse/client';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import * as coverageCommand from '../../src/commands/clickhouse-coverage.ts';
import { rowOfRecord } from '../../src/lib/signals/rows.ts';
import { migrateSignalStore } from '../../src/lib/signals/schema.ts';
import { createSignalWriter } from '../../src/lib/signals/writer.ts';
import { clientOf, type StoreProcess, startStore } from '../embedded/rig.ts';
import { freshHome } from '../support/torghut.ts';
import { pointAt, runCommand } from './command.ts';
import { bar, logRecord, signal } from './records.ts';

const home = freshHome();
let store: StoreProcess;
let client: ClickHouseClient;

beforeAll(async () => {
  store = await startStore('clickhouse', home);
  client = clientOf(store.endpoint);
});
afterEach(() => void vi.unstubAllEnvs());
afterAll(async () => {
  await client.close();
  await store.stop();
});

/** 2013-10-08 09:30 New York, in seconds. */
const open = Date.UTC(2013, 9, 8, 13, 30) / 1000;

async function filled(name: string, outputs: (ReturnType<typeof bar> | ReturnType<typeof signal>)[]): Promise<void> {
  const target = { database: name, runId: 'r1', ttlDays: undefined };
  await client.command({ query: `CREATE DATABASE ${name}` });
  await migrateSignalStore(client, target);
  const writer = createSignalWriter({ client: async () => client, database: name });
  const rows = outputs.map((output, i) => rowOfRecord(logRecord(output, 0, BigInt(i)), output.kind));
  if (rows.length > 0) await writer.write(rows, open * 1000);
  pointAt(store.endpoint, name);
}

const coverage = (...args: string[]) => runCommand(coverageCommand, ['--home', home, '-o', 'json', ...args]);
const seconds = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => open + from + i);
const minutes = ['--from', '2013-10-08T13:30:00Z', '--to', '2013-10-08T13:32:00Z'];

describe('torghut clickhouse coverage', () => {
  test('counts keys once, names stretches at the open, in the middle and at the end, and exits 10', async () => {
    await filled('cov_a', [
      // Windows that end at 5..40 and 80..100 seconds after the open.
      ...[...seconds(5, 40), ...seconds(80, 100)].map((end) => bar('MU', end)),
      bar('MU', open + 40, { revision: 1, vwap: null }),
      bar('MU', open - 100),
      ...seconds(1, 120).map((end) => signal('MU', end)),
    ]);
    const ran = await coverage(...minutes, '--gap', '3');
    expect(ran.error).toBeUndefined();
    expect(ran.code).toBe(10);
    const report = JSON.parse(ran.stdout);
    expect(report.sessions).toEqual(['2013-10-08']);
    expect(report.gaps.map(({ table, from, to, seconds: n }: Record<string, unknown>) => [table, from, to, n])).toEqual(
      [
        ['ta_microbars', '2013-10-08T13:30:40.000Z', '2013-10-08T13:31:19.000Z', 39],
        ['ta_microbars', '2013-10-08T13:31:40.000Z', '2013-10-08T13:32:00.000Z', 20],
        ['ta_microbars', '2013-10-08T13:30:00.000Z', '2013-10-08T13:30:04.000Z', 4],
      ],
    );
    expect(report.rows[0]).toEqual({
      table: 'ta_microbars',
      symbol: 'MU',
      window_size: 'PT1S',
      rows: 57,
      distinct_seconds: 57,
      first: '2013-10-08T13:30:05.000Z',
      last: '2013-10-08T13:31:40.000Z',
      gaps: 3,
      longest_gap_seconds: 39,
      revised: 1,
      max_revision: 1,
      null_rates: expect.objectContaining({ vwap: 0.0175 }),
    });
    expect(report.rows[1]).toMatchObject({ table: 'ta_signals', rows: 120, gaps: 0, null_rates: { boll_mid: 1 } });
    expect((await coverage(...minutes, '--gap', '39')).code).toBe(0);
  });

  test('a symbol that was asked for and has no row is a gap; the time outside the session is none', async () => {
    await filled('cov_b', [bar('MU', open + 1), signal('MU', open + 1)]);
    const asked = await coverage(...minutes, '--symbols', 'MU,JNPR', '--gap', '119');
    expect(asked.code).toBe(10);
    expect(JSON.parse(asked.stdout).gaps).toMatchObject([
      { table: 'ta_microbars', symbol: 'JNPR', seconds: 120 },
      { table: 'ta_signals', symbol: 'JNPR', seconds: 120 },
    ]);
    const before = ['--from', '2013-10-08T12:00:00Z', '--to', '2013-10-08T13:30:02Z'];
    expect((await coverage(...before, '--gap', '1')).code).toBe(0);
    // A day: the stretch to the close counts.
    const day = await coverage('--from', '2013-10-08', '--to', '2013-10-08');
    expect(JSON.parse(day.stdout).gaps[0]).toMatchObject({ to: '2013-10-08T20:00:00.000Z', seconds: 6.5 * 3600 - 1 });
  });

  test('without rows or without a store it cannot tell; a wrong range is the caller’s mistake', async () => {
    await filled('cov_c', []);
    expect(await coverage(...minutes)).toMatchObject({ code: 11, error: undefined });
    expect(await coverage('--from', '2013-10-08', '--to', '2013-10-01')).toMatchObject({ code: 2 });
    expect((await coverage(...minutes, '--gap', '0')).error).toMatchObject({ code: 'gap_invalid', exitCode: 2 });
    pointAt(store.endpoint, 'cov_missing');
    expect(await coverage(...minutes)).toMatchObject({ code: 11, error: { code: 'signal_tables_missing' } });
    pointAt({ ...store.endpoint, url: 'http://127.0.0.1:1' }, 'cov_c');
    expect(await coverage(...minutes)).toMatchObject({ code: 11, error: { code: 'signal_store_unreachable' } });
  });
});
