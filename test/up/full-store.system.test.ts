/**
 * The disk of the store alone runs full under the running pipeline, three times for three reasons: the sink opens its circuit,
 * everything before it goes on, the plan frees what it says, writing goes on by itself, and no row is missing at the end.
 * Needs root, which may mount a small filesystem.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { ClickHouseClient } from '@clickhouse/client';
import { describe, expect, onTestFinished, test } from 'vitest';
import * as diskCommand from '../../src/commands/clickhouse-disk.ts';
import { findService, homePaths } from '../../src/lib/service/home.ts';
import { reserveBytes, reservePath } from '../../src/lib/signals/disk/reserve.ts';
import { clientOf, rowsOf, until } from '../embedded/rig.ts';
import { runCommand } from '../signals/command.ts';
import { freshHome, startTorghut, torghut } from '../support/torghut.ts';
import { readOracle } from './oracle.ts';
import { dataFile, expectBars, storedBars } from './verdict.ts';

const MiB = 1024 * 1024;
/** What the sink leaves free, and a little for the pipeline to fill. */
const leftFree = 24 * MiB + 2 * MiB;

function smallDisk(path: string, megabytes: number): void {
  mkdirSync(path, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path]);
  } catch (error) {
    throw new Error(
      `this test needs a small filesystem: run it as root (sudo ./bin/test): ${(error as Error).message}`,
    );
  }
  onTestFinished(() => void execFileSync('umount', ['-l', path]));
}

const freeOf = (path: string) => statfsSync(path).bavail * statfsSync(path).bsize;

/** A table that fills the disk until so much is left: random numbers do not compress, and no merge doubles them. */
async function fillTable(client: ClickHouseClient, disk: string, table: string): Promise<void> {
  await client.command({ query: `CREATE TABLE ${table} (n UInt64) ENGINE = MergeTree ORDER BY tuple()` });
  await client.command({ query: `SYSTEM STOP MERGES ${table}` });
  for (let missing = freeOf(disk) - leftFree; missing > MiB; missing = freeOf(disk) - leftFree) {
    const rows = Math.floor(Math.min(missing, 32 * MiB) / 8);
    await client.command({
      query: `INSERT INTO ${table} SELECT rand64() FROM numbers(${rows}) SETTINGS max_block_size = 8000000`,
    });
  }
}

async function status(home: string, name: 'sink' | 'ta' | 'trade'): Promise<Record<string, unknown>> {
  const url = findService(home, name)?.url;
  if (url === undefined) return {};
  try {
    return (await (await fetch(`${url}/status`)).json()) as Record<string, unknown>;
  } catch {
    return {};
  }
}

const storedRows = async (home: string) =>
  ((await status(home, 'sink')).rows as { microbars: number } | undefined)?.microbars ?? 0;
const barsOut = async (home: string) => Number((await status(home, 'ta')).bars_out ?? 0);

describe.skipIf(!process.env.TORGHUT_DATA)('a full disk under the store (needs TORGHUT_DATA)', () => {
  test('filled by leftovers, by detached parts, by logs: it is named, freed as planned, and nothing is missing', async () => {
    const root = freshHome();
    const home = join(root, 'runs', 'now');
    const disk = homePaths.clickhouse(home);
    smallDisk(disk, 170);
    const env = { TORGHUT_HOME: root };
    // Long enough that ta still has something to do in the last episode, also on a busy machine.
    const range = ['--from', '09:30', '--to', '09:38'];
    const up = startTorghut(
      [
        'up',
        '--data',
        dataFile('trades.ndjson.gz'),
        ...range,
        '--speed',
        '10',
        '--exit-at-end',
        '-o',
        'json',
        '--home',
        home,
      ],
      env,
    );
    onTestFinished(() => void up.child.kill('SIGKILL'));
    await until('the first rows', async () => (await storedRows(home)) > 0, 90_000);
    const guard = startTorghut(['clickhouse', 'guard', '--home', home, '--port', '0'], {
      ...env,
      SCRAPE_INTERVAL_SECONDS: '0.5',
    });
    onTestFinished(() => void guard.child.kill('SIGKILL'));
    const endpoint = findService(home, 'clickhouse');
    if (!endpoint) throw new Error('the engine is not announced');
    const client = clientOf(endpoint);
    onTestFinished(() => client.close());
    const command = (...args: string[]) => runCommand(diskCommand, ['--home', home, '-o', 'json', ...args]);

    /** The pipeline fills what is left; then report, plan, purge, and rows again. */
    const episode = async (name: string, order: number, hasNoByteLeft: boolean) => {
      await until(`${name}: the circuit opens`, async () => (await status(home, 'sink')).circuit === 'open', 90_000);
      const before = await barsOut(home);
      await until(`${name}: ta goes on`, async () => (await barsOut(home)) > before, 60_000);
      if (hasNoByteLeft) fill(join(disk, 'ballast'));
      const rows = await storedRows(home);
      const ran = await command('--target-free', '60%');
      expect(ran, name).toMatchObject({ code: 12, error: undefined });
      const { plan, level, pipeline } = JSON.parse(ran.stdout);
      expect(level).toBe('emergency');
      expect(pipeline).toMatchObject({ ta: { state: 'running' }, trade: { state: 'running' } });
      expect(['open', 'half_open']).toContain(pipeline.sink.circuit);
      expect(
        plan.steps.map((step: { class: number }) => step.class),
        name,
      ).toEqual([order]);
      const free = freeOf(disk);
      const freed = watchFreed(home);
      const done = await command('--target-free', '60%', '--confirm', plan.id).finally(() => freed.stop());
      expect(done, name).toMatchObject({ code: 12, error: undefined });
      expect(JSON.parse(done.stdout), name).toMatchObject({
        is_verified: true,
        canary: { local: 'ok' },
        journal_unwritten: 0,
      });
      return { plan, freed: freed.most() - free, rows };
    };
    /** Within 5 % of what the plan said. */
    const expectFreed = ({ plan, freed }: { plan: { freed_bytes: number }; freed: number }, name: string) => {
      expect(
        Math.abs(freed - plan.freed_bytes) / plan.freed_bytes,
        `${name}: ${freed} of ${plan.freed_bytes}`,
      ).toBeLessThan(0.05);
    };
    const expectRowsAgain = (name: string, rows: number) =>
      until(
        `${name}: rows go in again`,
        async () => (await storedRows(home)) > rows && (await status(home, 'sink')).circuit === 'closed',
        60_000,
      );

    // Leftovers of a simulation whose run has finished.
    finishedRun(join(root, 'runs', 'old'), 'sim-old');
    await client.command({ query: 'CREATE DATABASE torghut_sim_old' });
    await client.command({
      query: `CREATE TABLE torghut_sim_old.torghut_run (run_id String) ENGINE = MergeTree ORDER BY run_id COMMENT '{"run_id":"sim-old","ttl_days":null}'`,
    });
    process.env.TORGHUT_HOME = root;
    onTestFinished(() => void delete process.env.TORGHUT_HOME);
    await fillTable(client, disk, 'torghut_sim_old.x');
    const leftovers = await episode('leftovers', 4, false);
    expectFreed(leftovers, 'leftovers');
    await expectRowsAgain('leftovers', leftovers.rows);
    await until('trade opens nothing', async () => (await status(home, 'trade')).store_emergency !== null, 30_000);

    // Detached parts that are not needed.
    await fillTable(client, disk, 'torghut.put_aside');
    await client.command({ query: "ALTER TABLE torghut.put_aside DETACH PARTITION ID 'all'" });
    const parts = await rowsOf<{ path: string }>(
      client,
      "SELECT path FROM system.detached_parts WHERE table = 'put_aside'",
    );
    const [largest, ...rest] = parts.map(({ path }) => path);
    for (const path of rest) rmSync(path, { recursive: true });
    if (largest === undefined) throw new Error('nothing was detached');
    renameSync(largest, join(dirname(largest), `ignored_${basename(largest)}`));
    fill(join(disk, 'filler'), leftFree);
    const detached = await episode('detached parts', 2, false);
    expectFreed(detached, 'detached parts');
    await expectRowsAgain('detached parts', detached.rows);
    rmSync(join(disk, 'filler'));

    // A log of the server itself, and not one byte left: TRUNCATE needs the reserve.
    await fillTable(client, disk, 'system.text_log');
    const logs = await episode('logs', 1, true);
    // The reserve was given up and made again.
    expectFreed(logs, 'logs');
    expect(statSync(reservePath(home)).size).toBe(reserveBytes);
    rmSync(join(disk, 'ballast'));
    await expectRowsAgain('logs', logs.rows);

    const finished = await up.done;
    expect(finished.code, finished.stderr + finished.stdout).toBe(0);
    const oracle = await readOracle([dataFile('trades.ndjson.gz')], '2013-10-08T13:30:00Z', '2013-10-08T13:38:00Z');
    expectBars(await storedBars(home), oracle);
    const verified = await torghut(['ta', 'verify', '--home', home, '-o', 'json'], env);
    expect(verified.code, verified.stdout + verified.stderr).toBe(0);
  }, 420_000);
});

/**
 * The most that was free while the plan ran: as soon as there is room the sink writes what it held back, which is no part of the
 * plan and may be many MiB on a busy machine. The reserve counts as there all the time: it is given up for a moment and made again.
 */
function watchFreed(home: string): { most(): number; stop(): void } {
  let most = 0;
  const look = () => {
    const kept = [reservePath(home), `${reservePath(home)}.new`].map(
      (path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0,
    );
    most = Math.max(
      most,
      freeOf(homePaths.clickhouse(home)) - reserveBytes + Math.min(reserveBytes, Math.max(...kept)),
    );
  };
  const timer = setInterval(look, 5);
  return {
    most: () => most,
    stop: () => {
      look();
      clearInterval(timer);
    },
  };
}

/** Fills the filesystem until so much is left. */
function fill(path: string, leave = 0): void {
  const file = openSync(path, 'w');
  const block = Buffer.alloc(MiB / 4);
  try {
    while (freeOf(dirname(path)) > leave) writeSync(file, block);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    closeSync(file);
  }
}

/** A home whose run has ended. */
function finishedRun(home: string, runId: string): void {
  mkdirSync(home, { recursive: true });
  const run = {
    version: 1,
    run_id: runId,
    arguments_hash: 'x',
    arguments: {},
    restarts: [],
    stopped_cleanly: true,
    wall_seconds: 1,
    finished: {},
  };
  writeFileSync(homePaths.run(home), JSON.stringify(run));
}
