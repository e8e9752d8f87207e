/**
 * The crash matrix: `kill -9` of the trade daemon at every named point of cycle, claim, POST, settle, look-up, feed, cancel,
 * reconcile, recovery and leadership, crossed with the faults of the exchange. Each run has an account of its own; the next
 * process needs no help; then the exchange's own journal and the ledger agree to the last share.
 * The same run and verdict over a build that posts before it claims must come out bad.
 * An ordinary run takes a rotating sample, TORGHUT_TEST_FULL=1 all (14 rounds over every point).
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { MatrixAccount } from './matrix/account.ts';
import { type MatrixCase, matrixCases, tradePoints } from './matrix/profiles.ts';
import { type MatrixResult, problemsOf, runCase } from './matrix/run.ts';
import { postsOf } from './matrix/verdict.ts';
import { type MatrixWorld, openMatrixWorld } from './matrix/world.ts';

const isFull = Boolean(process.env.TORGHUT_TEST_FULL);
const ROUNDS = 14;
const SAMPLE = process.env.TORGHUT_MATRIX_RUNS ? Number(process.env.TORGHUT_MATRIX_RUNS) : 8;
/** Runs at once: a run waits for disks and deadlines most of the time. */
const LANES = 3;
const all = tradePoints.length * ROUNDS;
const seed = process.env.TORGHUT_MATRIX_SEED
  ? Number(process.env.TORGHUT_MATRIX_SEED)
  : Math.floor(process.hrtime()[0] / 60) % all;
const cases = isFull ? matrixCases(0, all) : matrixCases(seed * SAMPLE, SAMPLE);

let world: MatrixWorld;
beforeAll(async () => {
  world = await openMatrixWorld();
});
afterAll(async () => world?.close());

it(
  `killed anywhere, nothing is lost, doubled or left open (${cases.length} runs, seed ${seed})`,
  async () => {
    const results: MatrixResult[] = [];
    const waiting = [...cases];
    const lane = async () => {
      for (let next = waiting.shift(); next; next = waiting.shift()) {
        const result = await runCase(world, next);
        results.push(result);
        for (const problem of problemsOf(result)) process.stderr.write(`${problem}\n`);
        if (isFull && results.length % 36 === 0) process.stderr.write(`${summary(results)}\n`);
      }
    };
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: LANES }, lane));
    process.stderr.write(`${summary(results)} in ${((performance.now() - startedAt) / 1_000).toFixed(0)} s\n`);
    expect(results.flatMap(problemsOf)).toEqual([]);
    if (!isFull) return;
    const hits = new Map<string, number>();
    for (const { case: one } of results) hits.set(one.point, (hits.get(one.point) ?? 0) + 1);
    expect(hits.size).toBeGreaterThanOrEqual(25);
    expect([...hits].filter(([, count]) => count < 10)).toEqual([]);
  },
  isFull ? 7_200_000 : 600_000,
);

it('a build that posts before the claim fails it: the next process sends the same order again', async () => {
  const wrongWorld = await world.withPostBeforeClaim();
  const wrongCases: MatrixCase[] = [
    { point: 'post.after', profile: 'none', pass: 1 },
    { point: 'post.after', profile: 'accepted, then 5xx', pass: 2 },
    { point: 'post.after', profile: 'updates lost', pass: 3 },
  ];
  const hasPostedTwice = async (account: MatrixAccount) => {
    const ids = (await postsOf(account)).map((post) => post.client_order_id);
    return new Set(ids).size < ids.length;
  };
  const results = await Promise.all(wrongCases.map((one) => runCase(wrongWorld, one, hasPostedTwice)));
  for (const result of results) {
    const { point, profile, pass } = result.case;
    const name = `${point}#${pass} under ${profile}`;
    // It died where it was told to: what is wrong is the build, not the run.
    expect(result.hits, name).toMatch(/^post\.after#\d \d+\n$/);
    expect(problemsOf(result), result.failure).toContain(`${name}: posted_twice`);
  }
}, 300_000);

function summary(results: readonly MatrixResult[]): string {
  const sum = (of: (result: MatrixResult) => number) => results.reduce((total, result) => total + of(result), 0);
  const bad = results.filter((result) => problemsOf(result).length > 0).length;
  const mean = Math.round(sum((result) => result.ms) / Math.max(1, results.length));
  return `matrix: ${results.length} runs, ${sum((r) => r.orders)} orders, ${sum((r) => r.fills)} fills, ${bad} bad, ${mean} ms a run`;
}
