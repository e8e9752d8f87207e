/**
 * The acceptance list of the specification (trading 13.1), point by point. What other files already show is named with file
 * and test, and looked up there, so that a renamed or removed test is noticed; the rest is here and in
 * acceptance.system.test.ts. Point 8 is shown for the place of the reviewer, which takes a word and no order; there is no
 * reviewer yet. Point 14 (states of Knative) has no part of the program yet that it could be asked of.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeWorld, openMs } from './fakes.ts';

/** Point → where it is shown: file under test/, and how the name of the test begins. */
const elsewhere: readonly (readonly [point: string, file: string, test: string])[] = [
  [
    '1 kill -9 at each step of the submit',
    'trade/crash-matrix.system.test.ts',
    'killed anywhere, nothing is lost, doubled or left open',
  ],
  ['1 kill -9 at each step of the cycle', 'trade/crash-matrix.system.test.ts', 'killed anywhere, nothing is lost'],
  ['1 the matrix of the whole loop', 'trade/crash-matrix.system.test.ts', 'killed anywhere, nothing is lost'],
  ['1 the matrix can fail', 'trade/crash-matrix.system.test.ts', 'a build that posts before the claim fails it'],
  [
    '1 the matrix of the desk can fail',
    'orders/wrong-order.system.test.ts',
    'a desk that posts before the claim fails the matrix',
  ],
  [
    '2 a frozen loop beside its successor',
    'orders/two-processes.system.test.ts',
    'a paused leader that wakes after its lease',
  ],
  ['2 two and three replicas', 'trade/replicas.system.test.ts', 'one submitter in each epoch'],
  ['2 two loops in parallel', 'trading/acceptance.system.test.ts', '(2) two loops in parallel'],
  ['3 time-out after the broker accepted', 'orders/simulator.system.test.ts', 'agrees with it after the fault %s %o'],
  ['4 refusals', 'orders/submit.system.test.ts', '%s is a definite refusal with the code %s'],
  ['4 refused as a day trade', 'orders/submit.system.test.ts', 'ends the entries of the day, also after a restart'],
  ['4 losses', 'orders/submit.system.test.ts', '%s is unknown, and refused as unconfirmed only after'],
  ['7 fuzz of toJsonb', 'ledger/jsonb.test.ts', 'either throws json_not_storable or gives JSON'],
  ['7 every JSON column', 'ledger/uuid-crash.system.test.ts', 'anything at all, into a column at a time'],
  ['8 a reviewer never enlarges', 'review/reviewer.test.ts', 'never makes a decision larger'],
  ['8 a reviewer never bypasses', 'risk/paths.test.ts', 'a reviewer that makes an order'],
  ['9 the clock of the broker away', 'trading/session.test.ts', "goes by the broker's calendar when its clock is away"],
  ['9 daylight saving', 'market/calendar.test.ts', 'the next bells skip weekends and follow daylight saving'],
  ['9 half days', 'market/calendar.test.ts', 'half days close at 13:00'],
  ['9 holidays', 'market/calendar.test.ts', 'unscheduled closures, moved holidays'],
  ['10 partial fill, then cancel', 'orders/state.test.ts', 'keeps the fills of a cancelled order'],
  ['10 the position of it', 'orders/simulator.system.test.ts', 'follows fills, partial fills and cancels'],
  ['11 emergency stop and restart', 'trading/cycle.test.ts', 'latches an emergency stop after the daily loss'],
  ['11 kept in Postgres', 'trading/acceptance.system.test.ts', '(11) an emergency stop survives'],
  ['11 closes what is held', 'trading/guard.test.ts', 'closes what a restart finds still held'],
  ['12 garbage', 'strategy/catalog.test.ts', 'lists every mistake of a file at once'],
  ['12 empty', 'strategy/reload.test.ts', 'refuses in sync mode an empty file'],
  ['12 kept through garbage', 'strategy/reload.test.ts', 'keeps the last good catalog through a broken file'],
  ['13 hosts and modes', 'alpaca-trading/meaning.test.ts', 'the broker address'],
  ['13 the pinned account', 'runbook/arm-live.system.test.ts', 'does not start without %s'],
  ['13 at boot', 'trading/acceptance.system.test.ts', '(13) paper keys with the live host'],
  ['15 bars and signals', 'ta/engine.system.test.ts', 'gives the same records per key when it is killed'],
];

const root = join(import.meta.dirname, '..');

describe('the acceptance list, shown elsewhere', () => {
  it.each(elsewhere)('%s: %s, %s', (_point, file, test) => {
    expect(existsSync(join(root, file)), file).toBe(true);
    expect(readFileSync(join(root, file), 'utf8')).toContain(test);
  });
});

describe('the acceptance list, shown here', () => {
  it('(5) 600 rows of one instant, batch 500, in any order of arrival: every row once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 - 1 }), async (seed) => {
        const symbols = Array.from({ length: 600 }, (_, i) => `S${i}`);
        const order = [...symbols].sort((a, b) => rank(a, seed) - rank(b, seed));
        const world = new FakeWorld();
        for (const symbol of order) world.signal(symbol, openMs - 1_000, 'buy');
        const { run, ports } = await world.start({ batchSize: 500 });
        await run();
        expect(ports.counters.rows).toBe(500);
        await run();
        await run();
        expect(ports.counters.rows).toBe(600);
        expect(world.rows.decisions.map((row) => row.decision.symbol).sort()).toEqual([...symbols].sort());
        expect(world.rows.notes).toEqual([]);
      }),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 50 : 3 },
    );
  });

  it('(6) a row that comes 30 s late, behind newer rows of others, is read; it is traded only while it is fresh', async () => {
    const world = new FakeWorld();
    const { run } = await world.start({ maxDecisionAgeSeconds: 30 });
    world.signal('IBM', openMs - 1_000, 'none');
    await run();
    // Older than everything the cursor has passed, 30 s old to the millisecond, and one a millisecond over.
    world.signal('AIG', openMs - 30_000, 'buy');
    world.signal('GE', openMs - 30_001, 'buy');
    await run();
    expect(world.submitted.map((order) => order.terms.symbol)).toEqual(['AIG']);
    expect(world.rows.notes.map((note) => [note.symbol, note.kind])).toEqual([['GE', 'signal_skipped_stale']]);
  });

  it('(12) two entries of one name are a mistake, and the entries in force stay', async () => {
    const world = new FakeWorld();
    const { run, ports } = await world.start();
    world.catalogText = '- {name: s, enabled: true, base_timeframe: 1Sec}\n- {name: s, base_timeframe: 1Sec}';
    world.nowMs += 11_000;
    world.signal('IBM', world.nowMs - 1_000, 'buy');
    await run();
    expect(ports.catalog.failure).toMatch(/duplicate|twice|already/i);
    expect(world.submitted).toHaveLength(1);
  });

  it('(15) the same rows give the same decisions, notes and orders', async () => {
    const side = fc.constantFrom('buy', 'sell', 'none');
    const row = fc.record({
      symbol: fc.constantFrom('IBM', 'AIG', 'GE', 'MU'),
      seconds: fc.integer({ min: 0, max: 45 }),
      side,
      partition: fc.integer({ min: 0, max: 2 }),
    });
    const replay = async (rows: readonly { symbol: string; seconds: number; side: 'buy' | 'sell' | 'none' }[]) => {
      const world = new FakeWorld();
      for (const item of rows) world.signal(item.symbol, openMs - item.seconds * 1_000, item.side, partitionOf(item));
      const { run } = await world.start();
      await run();
      const decisions = world.rows.decisions.map(({ decision, status, reasons }) => {
        const { id, ...rest } = decision;
        return { ...rest, status, reasons };
      });
      const { notes, cursor, evaluated } = world.rows;
      const orders = world.submitted.map((order) => order.terms);
      return JSON.stringify({ decisions, notes, cursor: [...cursor], evaluated: [...evaluated], orders }, plain);
    };
    await fc.assert(
      fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 60 }), async (rows) => {
        expect(await replay(rows)).toBe(await replay(rows));
      }),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 500 : 40 },
    );
  });
});

const partitionOf = (row: object) => ('partition' in row ? { partition: row.partition as number } : {});
const plain = (_key: string, value: unknown) => (typeof value === 'bigint' ? value.toString() : value);

/** A number of a name and a seed: sorts names in an order of the seed's own. */
function rank(name: string, seed: number): number {
  let hash = seed;
  for (const character of name) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  return hash;
}
