/** The embedded log: the contract, and what only files on a disk can show. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openEventLog } from '../../src/lib/log/open.ts';
import type { EventLog, LogWriter, NewRecord } from '../../src/lib/log/port.ts';
import { openClock, ownClockFile, systemClock } from '../../src/lib/service/clock.ts';
import { peerPool } from './children/driver.ts';
import { describeLogContract, killInsideCommits, readAll, startAt, topic } from './contract.ts';

describeLogContract('LMDB', async () => {
  const home = mkdtempSync(join(tmpdir(), 'torghut-log-'));
  return {
    argument: { home, env: {} },
    cleaningMs: 20_000,
    sessionTimeoutMs: 1_500,
    takeoverMs: 2_000,
    close: async () => rmSync(home, { recursive: true, force: true }),
  };
});

describe('the embedded log on its files', () => {
  const isFull = Boolean(process.env.TORGHUT_TEST_FULL);
  let home = '';
  let log: EventLog;
  const pool = peerPool(() => ({ home, env: {} }));
  const open = () => openEventLog({ home, env: {}, clock: systemClock() });

  beforeEach(async () => {
    home = mkdtempSync(join(tmpdir(), 'torghut-log-'));
    log = await open();
  });

  afterEach(async () => {
    await pool.endAll();
    await log.close();
    rmSync(home, { recursive: true, force: true });
  });

  test('a reader may be there before the topic, its environment and its writer', async () => {
    const peer = await pool.start();
    await peer.call('openReader', 'early', startAt('later', 2, 'earliest'));
    const polled = peer.call('poll', 'early', 10, 20_000);
    await delay(100);
    await log.ensureTopics([topic('later', { partitions: 2, owner: 'someone' })]);
    const writer = await log.openWriter({ owner: 'someone' });
    await writer.commit({
      records: [{ topic: 'later', partition: 1, key: 'k', value: Buffer.from('x'), timestampMs: 1 }],
    });
    expect((await polled).map((one) => [one.partition, one.offset])).toEqual([[1, 0n]]);
  });

  test('one process reads, then writes, then reads the same environment', async () => {
    await log.ensureTopics([topic('own', { owner: 'own' })]);
    const peer = await pool.start();
    await peer.call('openWriter', 'own');
    const reader = await log.openReader(startAt('own', 1, 'earliest'));
    const record: NewRecord = { topic: 'own', key: 'k', value: Buffer.from('x'), timestampMs: 1 };
    await peer.call('commit', 'own', { records: [record] });
    expect(await reader.poll({ maxRecords: 10, waitMs: 5_000 })).toHaveLength(1);
    const writer = await log.openWriter({ owner: 'own' });
    await writer.commit({ records: [record, record] });
    expect(await reader.poll({ maxRecords: 10, waitMs: 5_000 })).toHaveLength(2);
    await expect(peer.call('commit', 'own', { records: [record] })).rejects.toMatchObject({ code: 'fenced' });
  });

  test('kill -9 loses nothing acknowledged on a virtual clock either, where commits are not flushed', async () => {
    const clock = join(home, 'clock');
    ownClockFile(clock, 1_381_239_000_000_000_000n, 1).close();
    const adapter = { home, env: {}, clock };
    const virtual = peerPool(() => adapter);
    try {
      const open = () => openEventLog({ home, env: {}, clock: openClock(clock) });
      await killInsideCommits({ open, pool: virtual, rounds: isFull ? 50 : 5, takeoverMs: 2_000 });
    } finally {
      await virtual.endAll();
    }
  }, 900_000);

  test('logs of one process may close and open the same environment at once', async () => {
    await log.ensureTopics([topic('again', { owner: 'again' })]);
    const record: NewRecord = { topic: 'again', key: 'k', value: Buffer.from('x'), timestampMs: 1 };
    const closing: Promise<void>[] = [];
    for (let i = 0; i < 20; i++) {
      const other = await open();
      const reader = await other.openReader(startAt('again', 1, 'earliest'));
      const writer = await other.openWriter({ owner: 'again' });
      await writer.commit({ records: [record] });
      let seen = 0;
      while (seen <= i) seen += (await reader.poll({ maxRecords: 100, waitMs: 5_000 })).length;
      expect(seen).toBe(i + 1);
      closing.push(other.close());
      if (i % 3 === 0) await Promise.all(closing);
    }
    await Promise.all(closing);
    const peer = await pool.start();
    expect((await peer.call('describeTopics', ['again']))[0]?.partitions[0]?.latest).toBe(20n);
  });

  test('a writer refuses the partitions of another owner', async () => {
    await log.ensureTopics([topic('bars', { partitions: 2, owner: 'ta-{p}' })]);
    const writer = await log.openWriter({ owner: 'ta-1' });
    const record = (partition: number): NewRecord => ({
      topic: 'bars',
      partition,
      key: 'k',
      value: null,
      timestampMs: 1,
    });
    await expect(writer.commit({ records: [record(1), record(0)] })).rejects.toMatchObject({
      code: 'topic_not_owned',
      exitCode: 4,
    });
    await writer.commit({ records: [record(1)] });
    expect(await readAll(log, 'bars', 2)).toHaveLength(1);
  });

  test('who waits two seconds for a writer that stands still inside its transaction kills it and goes on', async () => {
    const environment = join(home, 'log', 'stuck');
    const child = spawn(
      process.execPath,
      [fileURLToPath(new URL('./children/frozen.ts', import.meta.url)), environment],
      { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: '' } },
    );
    const ended = once(child, 'exit');
    await once(child.stdout, 'data');
    await log.ensureTopics([topic('stuck', { owner: 'stuck' })]);
    // Readers do not wait for the writer.
    const reader = await log.openReader(startAt('stuck', 1, 'earliest'));
    expect(await reader.poll({ maxRecords: 1, waitMs: 20 })).toEqual([]);
    const since = performance.now();
    const writer = await log.openWriter({ owner: 'stuck' });
    expect(performance.now() - since).toBeGreaterThan(1_900);
    expect(await ended).toEqual([null, 'SIGKILL']);
    await writer.commit({ records: [{ topic: 'stuck', key: 'k', value: null, timestampMs: 1 }] });
    expect(await reader.poll({ maxRecords: 1, waitMs: 5_000 })).toHaveLength(1);
  });

  test('a lock left by a dead process is taken over, one of another container is reported with its pid', async () => {
    await log.ensureTopics([topic('left', { owner: 'left' })]);
    const folder = join(home, 'log', 'left', 'writer');
    mkdirSync(folder, { recursive: true });
    const namespace = readlinkSync('/proc/self/ns/pid').replace(/\D/g, '');
    // Its pid lives, but with another start time: not the process that took the lock.
    symlinkSync(`${process.ppid}:1:${namespace}:5`, join(folder, 'holder'));
    const writer = await log.openWriter({ owner: 'left' });
    await writer.commit({ records: [{ topic: 'left', key: 'k', value: null, timestampMs: 1 }] });
    symlinkSync('4242:77:1:5', join(folder, 'holder'));
    const commit = writer.commit({ records: [{ topic: 'left', key: 'k', value: null, timestampMs: 1 }] });
    await expect(commit).rejects.toMatchObject({
      code: 'log_locked',
      exitCode: 3,
      what: expect.stringContaining('process 4242'),
    });
    rmSync(join(folder, 'holder'));
    await writer.commit({ records: [{ topic: 'left', key: 'k', value: null, timestampMs: 1 }] });
    expect(await readAll(log, 'left')).toHaveLength(2);
  });

  test('readers killed with -9 while they read do not make the file grow', async () => {
    // Retention keeps about 10 commits of 200 kB, so pages are freed and used again all the time.
    await log.ensureTopics([topic('steady', { owner: 'steady', retentionMs: 10 })]);
    const writer = await log.openWriter({ owner: 'steady' });
    const sizes: number[] = [];
    let now = 1_000;
    const churn = async () => {
      const until = performance.now() + 1_200;
      while (performance.now() < until) {
        now += 1;
        const records = Array.from({ length: 100 }, (_, i): NewRecord => {
          return { topic: 'steady', key: `k${i}`, value: Buffer.alloc(2_000, i), timestampMs: now };
        });
        await writer.commit({ records });
        await delay(100);
      }
    };
    await churn();
    // All are there before the first round: a process that opens the environment clears dead readers away by itself.
    const perRound = isFull ? 5 : 1;
    const readers = await Promise.all(Array.from({ length: 10 * perRound }, () => pool.start()));
    for (const reader of readers) {
      await reader.call('openReader', 'r', startAt('steady', 1, 'earliest'));
      await reader.call('poll', 'r', 1, 5_000);
    }
    for (let round = 0; round < 10; round++) {
      const doomed = readers.slice(round * perRound, (round + 1) * perRound);
      for (const reader of doomed) {
        reader.begin('readForEver', 'r', { topic: 'steady', partition: 0 });
        await reader.until((events) => events.length > 0);
        await delay(20);
      }
      await Promise.all(doomed.map((reader) => reader.kill()));
      await churn();
      sizes.push(statSync(join(home, 'log', 'steady', 'data.mdb')).size);
    }
    const early = Math.max(...sizes.slice(0, 3));
    expect(sizes.at(-1), `sizes ${sizes.join(' ')}`).toBeLessThanOrEqual(early * 1.1);
  });
});

describe('a full disk', () => {
  let mount = '';

  beforeEach(() => {
    mount = mkdtempSync(join(tmpdir(), 'torghut-small-'));
    const args = ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', mount];
    try {
      execFileSync('mount', args, { stdio: 'pipe' });
    } catch (error) {
      rmSync(mount, { recursive: true });
      throw new Error(`this test needs a small file system; run as root: mount ${args.join(' ')} (${error})`);
    }
  });

  afterEach(() => {
    execFileSync('umount', ['-l', mount]);
    rmSync(mount, { recursive: true });
  });

  test('the writer says log_full, readers go on, and writing goes on when there is space', async () => {
    const ballast = join(mount, 'ballast');
    writeFileSync(ballast, Buffer.alloc(4 * 1_048_576));
    mkdirSync(join(mount, 'home'));
    const home = join(mount, 'home');
    const pool = peerPool(() => ({ home, env: {} }));
    const log = await openEventLog({ home, env: {}, clock: systemClock() });
    try {
      await log.ensureTopics([topic('full', { owner: 'full' })]);
      const writer = await log.openWriter({ owner: 'full' });
      const peer = await pool.start();
      await peer.call('openReader', 'r', startAt('full', 1, 'earliest'));
      const fill = async (upTo: number) => {
        let acknowledged = 0;
        while (acknowledged < upTo) {
          const record: NewRecord = { topic: 'full', key: 'k', value: Buffer.alloc(50_000, 1), timestampMs: 1 };
          await writer.commit({ records: [record] });
          acknowledged += 1;
        }
        return acknowledged;
      };
      let written = 0;
      const until = async (writer: LogWriter) => {
        for (;;) {
          await writer.commit({
            records: [{ topic: 'full', key: 'k', value: Buffer.alloc(50_000, 1), timestampMs: 1 }],
          });
          written += 1;
        }
      };
      await expect(until(writer)).rejects.toMatchObject({ code: 'log_full', canRetry: true });
      expect(written).toBeGreaterThan(10);
      await expect(fill(20)).rejects.toMatchObject({ code: 'log_full' });
      const beforeSpace = await readAll(log, 'full');
      expect(beforeSpace.length).toBeGreaterThanOrEqual(written);
      let seen = 0;
      while (seen < beforeSpace.length) {
        const records = await peer.call('poll', 'r', 1_000, 1_000);
        if (records.length === 0) break;
        seen += records.length;
      }
      expect(seen).toBe(beforeSpace.length);
      truncateSync(ballast, 0);
      expect(await fill(20)).toBe(20);
      expect(await readAll(log, 'full')).toHaveLength(beforeSpace.length + 20);
      expect(await peer.call('poll', 'r', 1_000, 5_000)).not.toHaveLength(0);
    } finally {
      await pool.endAll();
      await log.close();
    }
  });
});
