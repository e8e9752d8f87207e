/**
 * Every process of the pipeline dies by kill -9 once, at a seeded moment in the middle of its work. Nothing is lost or doubled,
 * and the next start needs no manual step.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { freshHome, type Running, startTorghut } from '../support/torghut.ts';
import { type OracleTotals, readOracle } from './oracle.ts';
import { dataFile, expectBars, expectBooks, readJournal, storedBars } from './verdict.ts';

const victims = ['simulator', 'ws', 'ta', 'sink', 'trade', 'clickhouse', 'postgres', 'up'] as const;
type Victim = (typeof victims)[number];

interface Service {
  pid: number;
  url: string;
}

function service(home: string, name: string): Service | undefined {
  const path = join(home, 'services', `${name}.json`);
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Service;
  } catch {
    return undefined;
  }
}

async function status(home: string, name: string): Promise<Record<string, unknown> | undefined> {
  const found = service(home, name);
  if (!found) return undefined;
  try {
    const path = name === 'simulator' ? '/_sim/status' : '/status';
    const response = await fetch(`${found.url}${path}`, { signal: AbortSignal.timeout(500) });
    return (await response.json()) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** A number that grows while the process works. */
async function counterOf(home: string, victim: Victim): Promise<string> {
  switch (victim) {
    case 'simulator':
    case 'up':
      return JSON.stringify((await status(home, 'simulator'))?.input);
    case 'ws':
      return JSON.stringify((await status(home, 'ws'))?.acknowledged);
    case 'ta':
      return JSON.stringify((await status(home, 'ta'))?.bars_out);
    case 'sink':
    case 'clickhouse':
      return JSON.stringify((await status(home, 'sink'))?.rows);
    case 'trade':
    case 'postgres':
      return JSON.stringify((await status(home, 'trade'))?.cursor);
  }
}

/** mulberry32: a small seeded generator for the moments. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Pids whose command line names this home: every child, wherever it hangs. */
function processesOf(home: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(home);
      } catch {
        return false;
      }
    })
    .map(Number)
    .filter((pid) => pid !== process.pid && isAlive(pid));
}

async function waitFor(what: string, limitMs: number, check: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`${what} did not happen in ${limitMs} ms`);
    await delay(20);
  }
}

async function killAtWork(home: string, victim: Victim): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const before = await counterOf(home, victim);
    await delay(100);
    const after = await counterOf(home, victim);
    const target = service(home, victim);
    if (target && before !== undefined && after !== undefined && before !== after && isAlive(target.pid)) {
      process.kill(target.pid, 'SIGKILL');
      return;
    }
    if (Date.now() > deadline) throw new Error(`${victim} was never seen at work`);
  }
}

async function runWithKills(seed: number, oracle: OracleTotals): Promise<void> {
  const home = join(freshHome(), 'run');
  const args = [
    'up',
    ...['--data', dataFile('trades.ndjson.gz'), '--data', dataFile('quotes.ndjson.gz')],
    ...['--from', '09:30', '--to', '09:35', '--speed', '8', '--exit-at-end', '-o', 'json', '--home', home],
  ];
  const random = seeded(seed);
  const moments = victims.map((victim) => ({ victim, at: 0.1 + 0.8 * random() })).sort((a, b) => a.at - b.at);
  console.log(`seed ${seed}: ${moments.map(({ victim, at }) => `${victim} ${at.toFixed(2)}`).join(', ')}`);
  let up: Running = startTorghut(args);
  for (const { victim, at } of moments) {
    await waitFor(`${Math.round(at * 100)} % of the input`, 120_000, async () => {
      if (up.child.exitCode !== null) throw new Error(`up ended early: ${up.stderr()}`);
      const input = (await status(home, 'simulator'))?.input as { trades?: number } | undefined;
      return (input?.trades ?? 0) >= at * oracle.trades;
    });
    await killAtWork(home, victim);
    if (victim !== 'up') continue;
    await up.done;
    await waitFor('the end of every child after up was killed', 3_500, () => processesOf(home).length === 0);
    up = startTorghut(args);
  }
  const finished = await up.done;
  expect(finished.code, finished.stderr + finished.stdout).toBe(0);
  const summary = JSON.parse(finished.stdout) as { ok: boolean; restarts: { process: string; cause: string }[] };
  expect(summary.ok).toBe(true);
  const counted = summary.restarts.filter(({ cause }) => cause === 'killed' || cause === 'resumed');
  expect(counted.map(({ process: name }) => name).sort()).toEqual([...victims].sort());
  expectBars(await storedBars(home), oracle);
  const journal = readJournal(home);
  expect(journal.orders.size).toBeGreaterThan(5);
  await expectBooks(home, journal);
}

const isFull = process.env.TORGHUT_TEST_FULL !== undefined;
const first = Number(process.env.TORGHUT_TEST_SEED ?? 1);
const seeds = Array.from({ length: isFull ? 10 : 1 }, (_, i) => first + i);

describe.skipIf(!process.env.TORGHUT_DATA)('kill -9 of every process (needs TORGHUT_DATA)', () => {
  test.each(seeds)(
    'seed %i: not one trade lost or doubled, orders and ledger agree',
    async (seed) => {
      const oracle = await readOracle(
        [dataFile('trades.ndjson.gz'), dataFile('quotes.ndjson.gz')],
        '2013-10-08T13:30:00Z',
        '2013-10-08T13:35:00Z',
      );
      expect(oracle.trades).toBeGreaterThan(5_000);
      await runWithKills(seed, oracle);
    },
    300_000,
  );

  test('ws and up at the same instant: both are counted although nobody saw the first die', async () => {
    const home = join(freshHome(), 'run');
    const args = ['up', '--data', dataFile('smoke.ndjson.gz')];
    args.push('--speed', '8', '--exit-at-end', '-o', 'json', '--home', home);
    const first = startTorghut(args);
    await waitFor('some trades', 60_000, async () => {
      const acknowledged = (await status(home, 'ws'))?.acknowledged as { trades?: number } | undefined;
      return (acknowledged?.trades ?? 0) > 1_000;
    });
    process.kill((service(home, 'ws') as Service).pid, 'SIGKILL');
    first.child.kill('SIGKILL');
    await first.done;
    const finished = await startTorghut(args).done;
    expect(finished.code, finished.stderr + finished.stdout).toBe(0);
    const { restarts } = JSON.parse(finished.stdout) as { restarts: { process: string; cause: string }[] };
    expect(restarts.map(({ process: name, cause }) => `${name} ${cause}`).sort()).toEqual(['up resumed', 'ws killed']);
    expectBars(await storedBars(home), await readOracle([dataFile('smoke.ndjson.gz')]));
    await expectBooks(home, readJournal(home));
  }, 180_000);
});
