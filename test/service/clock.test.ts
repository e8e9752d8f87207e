import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  marketAt,
  openClock,
  ownClockFile,
  readClockFile,
  systemClock,
  virtualClock,
} from '../../src/lib/service/clock.ts';
import { sleep } from '../../src/lib/service/machine.ts';

const start = 1_381_239_000_000_000_000n; // 2013-10-08T13:30:00Z
const folder = () => mkdtempSync(join(tmpdir(), 'torghut-clock-'));

test('market time stands still within 100 machine ms when nobody renews it, and a resume starts at until', async () => {
  const path = join(folder(), 'clock');
  const owner = ownClockFile(path, start, 10);
  owner.renew();
  const reader = virtualClock(path);
  await sleep(150);
  const stopped = reader.nowNs();
  await sleep(50);
  expect(reader.nowNs()).toBe(stopped);
  const until = readClockFile(path)?.untilNs as bigint;
  expect(stopped).toBe(until);
  // 100 machine ms at ten times the speed are one market second.
  expect(Number(until - start) / 1e9).toBeGreaterThan(0.9);
  expect(Number(until - start) / 1e9).toBeLessThan(1.5);
  owner.close();
  const next = ownClockFile(path, start, 10);
  expect(next.nowNs()).toBe(until);
  next.close();
});

test('a reader follows a change of speed and never goes back', async () => {
  const path = join(folder(), 'clock');
  const owner = ownClockFile(path, start, 1);
  owner.renew();
  const reader = virtualClock(path);
  let last = reader.nowNs();
  for (let i = 0; i < 40; i++) {
    if (i % 10 === 0) owner.setSpeed([1, 60, 0, 5][i / 10] as number);
    else owner.renew();
    await sleep(3);
    const now = reader.nowNs();
    expect(now).toBeGreaterThanOrEqual(last);
    last = now;
  }
  expect(last).toBeGreaterThan(start);
  owner.close();
});

test('the ceiling holds whatever the speed', async () => {
  const path = join(folder(), 'clock');
  const owner = ownClockFile(path, start, 1000);
  owner.setCeiling(start + 5_000_000_000n);
  for (let i = 0; i < 5; i++) {
    owner.renew();
    await sleep(10);
  }
  expect(virtualClock(path).nowNs()).toBe(start + 5_000_000_000n);
  owner.close();
});

test('a torn clock file is not believed', () => {
  const path = join(folder(), 'clock');
  ownClockFile(path, start, 1).close();
  const bytes = readFileSync(path);
  bytes[3] = (bytes[3] as number) ^ 0xff;
  writeFileSync(path, bytes);
  expect(readClockFile(path)).toBeUndefined();
  expect(() => openClock(path)).toThrow(/clock file/);
});

test('market time is monotonic in machine time and bounded by until, for any state', () => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: 10n ** 15n }),
      fc.bigInt({ min: 0n, max: 10n ** 12n }),
      fc.integer({ min: 0, max: 1000 }),
      fc.bigInt({ min: 0n, max: 10n ** 12n }),
      (machine, elapsed, speed, lease) => {
        const state = { machineNs: machine, marketNs: start, speed, untilNs: start + lease };
        const a = marketAt(state, machine + elapsed);
        const b = marketAt(state, machine + elapsed + 1000n);
        expect(b).toBeGreaterThanOrEqual(a);
        expect(b).toBeLessThanOrEqual(state.untilNs);
        expect(a).toBeGreaterThanOrEqual(start);
      },
    ),
  );
});

test('the system clock is market time where nothing else is set', async () => {
  const clock = systemClock();
  const before = Date.now();
  const now = clock.nowMs();
  expect(Math.abs(now - before)).toBeLessThan(1000);
  const started = clock.nowNs();
  await clock.sleepUntil(started + 20_000_000n);
  expect(clock.nowNs() - started).toBeGreaterThanOrEqual(20_000_000n);
  expect(openClock('system').kind).toBe('system');
  expect(openClock(undefined).kind).toBe('system');
});
