/** A full disk under the home in the middle of a run: it is named, nothing is lost, and all goes on when there is space. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { freshHome, startTorghut } from '../support/torghut.ts';
import { readOracle } from './oracle.ts';
import { dataFile, expectBars, expectBooks, readJournal, storedBars } from './verdict.ts';

function smallDisk(megabytes: number): string {
  const path = join(freshHome(), 'disk');
  mkdirSync(path);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path]);
  } catch (error) {
    throw new Error(
      `this test needs a small filesystem: run it as root (sudo ./bin/test): ${(error as Error).message}`,
    );
  }
  onTestFinished(() => void execFileSync('umount', ['-l', path]));
  return path;
}

function fill(path: string): void {
  const file = openSync(path, 'w');
  const block = Buffer.alloc(1024 * 1024);
  try {
    for (;;) writeSync(file, block);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    // A file that is still open keeps its space after it is removed.
    closeSync(file);
  }
}

async function until(what: string, limitMs: number, check: () => boolean): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!check()) {
    if (Date.now() > deadline) throw new Error(`${what} not within ${limitMs} ms`);
    await delay(50);
  }
}

describe.skipIf(!process.env.TORGHUT_DATA)('a full disk under the home (needs TORGHUT_DATA)', () => {
  test('the run waits, says why, and ends with every trade counted', async () => {
    const disk = smallDisk(420);
    const home = join(disk, 'run');
    const up = startTorghut([
      'up',
      ...['--data', dataFile('smoke.ndjson.gz'), '--speed', '8', '--exit-at-end', '-o', 'json', '--home', home],
    ]);
    await until('the first trades', 60_000, () => /trades [1-9]/.test(up.stderr()));
    fill(join(disk, 'ballast'));
    expect(statfsSync(disk).bavail).toBe(0);
    await until('the warning', 20_000, () => up.stderr().includes('disk_full'));
    await delay(3_000);
    expect(up.child.exitCode, 'up goes on').toBeNull();
    rmSync(join(disk, 'ballast'));
    await until('the space', 20_000, () => up.stderr().includes('there is space again'));
    const finished = await up.done;
    expect(finished.code, finished.stderr + finished.stdout).toBe(0);
    const oracle = await readOracle([dataFile('smoke.ndjson.gz')]);
    expectBars(await storedBars(home), oracle);
    await expectBooks(home, readJournal(home));
  }, 180_000);
});
