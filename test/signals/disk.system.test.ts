/** torghut clickhouse disk: the real engine on a real small filesystem. Needs root, which may mount one. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { ClickHouseClient } from '@clickhouse/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as diskCommand from '../../src/commands/clickhouse-disk.ts';
import { planPurge } from '../../src/lib/signals/disk/plan.ts';
import { queryStore } from '../../src/lib/signals/query.ts';
import { migrateSignalStore } from '../../src/lib/signals/schema.ts';
import { clientOf, rowsOf, type StoreProcess, startStore } from '../embedded/rig.ts';
import { freshHome } from '../support/torghut.ts';
import { runCommand } from './command.ts';
import { everything, oneNode } from './disk-facts.ts';

const mount = join(freshHome(), 'disk');
const home = join(mount, 'run');
let store: StoreProcess;
let client: ClickHouseClient;

const resize = (size: string) => execFileSync('mount', ['-o', `remount,size=${size}`, mount]);
const disk = (...args: string[]) => runCommand(diskCommand, ['--home', home, '-o', 'json', ...args]);

beforeAll(async () => {
  mkdirSync(mount);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=12g', 'tmpfs', mount]);
  } catch (error) {
    throw new Error(
      `this test needs a small filesystem: run it as root (sudo ./bin/test): ${(error as Error).message}`,
    );
  }
  mkdirSync(home);
  store = await startStore('clickhouse', home);
  client = clientOf(store.endpoint);
  await migrateSignalStore(client, { database: 'torghut', runId: 'r1', ttlDays: undefined });
});

afterAll(async () => {
  await client?.close();
  await store?.stop();
  execFileSync('umount', ['-l', mount]);
});

/** A table that takes about so many MiB: random bytes do not compress. */
async function fillTable(name: string, mebibytes: number): Promise<void> {
  await client.command({ query: `CREATE TABLE ${name} (n UInt64) ENGINE = MergeTree ORDER BY tuple()` });
  await client.command({ query: `INSERT INTO ${name} SELECT rand64() FROM numbers(${mebibytes * 131_072})` });
}

/** Detaches the parts of a table and names them as the server would for this reason. */
async function detach(table: string, reason: string): Promise<void> {
  await client.command({ query: `ALTER TABLE ${table} DETACH PARTITION ID 'all'` });
  const parts = await rowsOf<{ path: string }>(
    client,
    `SELECT path FROM system.detached_parts WHERE concat(database, '.', table) = '${table}' AND reason = ''`,
  );
  expect(parts.length).toBeGreaterThan(0);
  for (const { path } of parts) {
    if (reason !== '') renameSync(path, join(dirname(path), `${reason}_${basename(path)}`));
  }
}

function fillDisk(name = 'ballast'): void {
  const file = openSync(join(mount, name), 'w');
  const block = Buffer.alloc(1024 * 1024);
  try {
    for (;;) writeSync(file, block);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    closeSync(file);
  }
}

describe('torghut clickhouse disk', () => {
  test('exits by the level of the disk, with the reason', async () => {
    for (const [size, code, level] of [
      ['12g', 0, 'ok'],
      ['9g', 10, 'warn'],
      ['4g', 11, 'critical'],
      ['1g', 12, 'emergency'],
    ] as const) {
      resize(size);
      const ran = await disk();
      expect(ran.error).toBeUndefined();
      expect(ran.code, size).toBe(code);
      const report = JSON.parse(ran.stdout);
      expect(report).toMatchObject({ level, exit_code: code, replicas: { status: 'n/a' }, keeper: { status: 'n/a' } });
      expect(report.reasons.length > 0, size).toBe(level !== 'ok');
      expect(Math.abs(report.disks[0].free_bytes - statfsSync(mount).bavail * statfsSync(mount).bsize)).toBeLessThan(
        8 * 1024 * 1024,
      );
    }
  });

  test('on a full disk it reads, frees what the plan said within 5 %, keeps what an operator put there, and rows go in again', async () => {
    resize('400m');
    await fillTable('system.trace_log_3', 40);
    for (const name of ['ignored', 'mine', 'broken']) await fillTable(`torghut.${name}`, 10);
    await detach('torghut.ignored', 'ignored');
    await detach('torghut.mine', '');
    await detach('torghut.broken', 'broken');
    fillDisk();
    const insert = () => client.command({ query: "INSERT INTO torghut.ta_microbars (symbol) VALUES ('MU')" });
    await expect(insert()).rejects.toThrow(/space/i);

    const ran = await disk('--target-free', '99%');
    expect(ran).toMatchObject({ code: 12, error: undefined });
    const { plan, nodes } = JSON.parse(ran.stdout);
    const [{ detached }] = nodes;
    const reasons = detached.map(({ table, reason }: Record<string, string>) => `${table}: ${reason}`);
    expect([...new Set(reasons)]).toEqual(['broken: broken', 'ignored: ignored', 'mine: ']);
    const kinds = plan.steps.map(
      ({ class: order, is_automatic }: Record<string, unknown>) => `${order} ${is_automatic}`,
    );
    expect([...new Set(kinds)]).toEqual(['1 true', '2 true']);
    // Another target is another plan; the wrong id changes nothing.
    expect((await disk('--confirm', plan.id)).error).toMatchObject({ code: 'plan_changed', exitCode: 4 });
    expect((await disk('--confirm', 'yes')).error).toMatchObject({ code: 'plan_too_old', exitCode: 4 });
    expect(statfsSync(mount).bavail * statfsSync(mount).bsize).toBeLessThan(8 * 1024 * 1024);

    const free = statfsSync(mount).bavail * statfsSync(mount).bsize;
    const done = await disk('--target-free', '99%', '--confirm', plan.id);
    expect(done.error).toBeUndefined();
    expect(done.code, 'still an emergency: the ballast is not ours').toBe(12);
    const result = JSON.parse(done.stdout);
    expect(result).toMatchObject({
      is_verified: true,
      canary: { local: 'ok' },
      freed_bytes: plan.freed_bytes,
      journal_unwritten: 0,
    });
    const freed = statfsSync(mount).bavail * statfsSync(mount).bsize - free;
    expect(Math.abs(freed - plan.freed_bytes) / plan.freed_bytes, `freed ${freed} of ${plan.freed_bytes}`).toBeLessThan(
      0.05,
    );
    await insert();
    const left = await rowsOf<{ table: string }>(
      client,
      'SELECT DISTINCT table FROM system.detached_parts ORDER BY table',
    );
    expect(left.map(({ table }) => table)).toEqual(['broken', 'mine']);
    const journal = readFileSync(result.journal, 'utf8').split('\n').filter(Boolean);
    expect(journal.map((line) => JSON.parse(line).phase)).toEqual(['before', 'after']);

    // Without a free byte: what the runbook says works and does not.
    await fillTable('torghut.scratch', 2);
    fillDisk('ballast2');
    await expect(client.command({ query: 'TRUNCATE TABLE torghut.scratch SYNC' })).rejects.toThrow(/space/i);
    const [broken] = await rowsOf<{ name: string }>(
      client,
      "SELECT name FROM system.detached_parts WHERE reason = 'broken'",
    );
    await client.command({
      query: `ALTER TABLE torghut.broken DROP DETACHED PART '${broken?.name}' SETTINGS allow_drop_detached = 1`,
    });
    fillDisk('ballast3');
    await client.command({ query: 'DROP TABLE torghut.scratch SYNC' });
    for (const name of ['ballast', 'ballast2', 'ballast3']) rmSync(join(mount, name));
  }, 60_000);

  test('live days go only when told, oldest first, with what was stored of them in the journal; the newest three stay', async () => {
    resize('2g');
    await client.command({ query: 'TRUNCATE TABLE torghut.ta_microbars SYNC' });
    for (let day = 1; day <= 5; day++) {
      for (const table of ['ta_signals', 'ta_microbars']) {
        const column = table === 'ta_signals' ? 'macd' : 'c';
        await client.command({
          query: `INSERT INTO torghut.${table} (symbol, window_size, event_ts, ${column}) SELECT 'MU', 'PT1S',
            addMilliseconds(toDateTime64('2013-10-0${day} 13:30:00', 3, 'UTC'), number), rand64() / 1e9 FROM numbers(100000)`,
        });
      }
    }
    expect(JSON.parse((await disk('--plan', '--target-free', '99%')).stdout).freed_bytes).toBe(0);
    const wish = ['--live-days', '--target-free', '99%'];
    const plan = JSON.parse((await disk('--plan', ...wish)).stdout);
    expect(plan.steps.map(({ what }: { what: string }) => what)).toEqual([
      'torghut.ta_signals of 2013-10-01',
      'torghut.ta_signals of 2013-10-02',
      'torghut.ta_microbars of 2013-10-01',
      'torghut.ta_microbars of 2013-10-02',
    ]);
    const free = statfsSync(mount).bavail * statfsSync(mount).bsize;
    // A row more is another fact.
    const insert = (second: string) =>
      client.command({
        query: `INSERT INTO torghut.ta_signals (symbol, window_size, event_ts) VALUES ('MU', 'PT1S', '2013-10-01 23:00:0${second}')`,
      });
    await insert('1');
    expect((await disk(...wish, '--confirm', plan.id)).error).toMatchObject({ code: 'plan_changed', exitCode: 4 });
    const again = JSON.parse((await disk('--plan', ...wish)).stdout);
    const done = await disk(...wish, '--confirm', again.id);
    expect(done.error).toBeUndefined();
    const result = JSON.parse(done.stdout);
    expect(result).toMatchObject({ is_verified: true, canary: { local: 'ok' } });
    const freed = statfsSync(mount).bavail * statfsSync(mount).bsize - free;
    // A small part of many columns occupies whole blocks of the filesystem besides.
    expect(freed / again.freed_bytes, `${freed} of ${again.freed_bytes}`).toBeGreaterThan(0.95);
    const journal = readFileSync(result.journal, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
    const coverage = journal.filter(({ phase }) => phase === 'coverage');
    expect(coverage.map(({ what, rows }) => [what, rows[0].rows])).toContainEqual([
      'torghut.ta_signals of 2013-10-01',
      100_001,
    ]);
    const left = await rowsOf<{ day: string }>(
      client,
      'SELECT DISTINCT toString(toDate(event_ts)) AS day FROM torghut.ta_signals ORDER BY day',
    );
    expect(left.map(({ day }) => day)).toEqual(['2013-10-03', '2013-10-04', '2013-10-05']);
  }, 180_000);

  test('a store that cannot be asked is unknown, never ok', async () => {
    const url = process.env.TA_CLICKHOUSE_URL;
    process.env.TA_CLICKHOUSE_URL = 'http://127.0.0.1:1/torghut';
    try {
      const ran = await disk();
      expect(ran).toMatchObject({ code: 13, error: undefined });
      expect(JSON.parse(ran.stdout)).toMatchObject({ level: 'unknown', replicas: { status: 'unknown' }, plan: null });
    } finally {
      if (url === undefined) delete process.env.TA_CLICKHOUSE_URL;
      else process.env.TA_CLICKHOUSE_URL = url;
    }
  });

  test('every statement that a plan can name is one for the engine', async () => {
    const { steps } = planPurge(oneNode(), everything);
    expect([...new Set(steps.map(({ class: order }) => order))]).toEqual([1, 2, 4, 5, 6, 7, 8, 9]);
    for (const { statement } of steps) {
      expect(await queryStore(client, { sql: `EXPLAIN AST ${statement}` })).not.toEqual([]);
    }
  });

  test('a person sees the bar, the level and the plan', async () => {
    const ran = await runCommand(diskCommand, ['--home', home]);
    expect(ran.stdout).toMatch(/^level: \w+/);
    expect(ran.stdout).toMatch(/default {2}\[[#.]{40}\] free \d+\.\d %/);
    expect(ran.stdout).toContain('replicas: n/a');
  });
});
