/**
 * The matrix must be able to fail: a desk that posts before it claims is run through the very case of test/trade/crash-matrix.system.test.ts.
 */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestPostgres, type TestPostgres } from '../ledger/support/postgres.ts';
import { crashCase } from './support/crash-case.ts';

const fileOf = (name: string) => fileURLToPath(new URL(`./support/${name}`, import.meta.url));

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => postgres?.close());

describe('killed between the POST and the claim', () => {
  it('a desk that posts before the claim fails the matrix: an order of nobody, then the same order again', async () => {
    // It never becomes quiet: three seconds show enough.
    const traderFile = fileOf('wrong-trader.ts');
    const wrong = await crashCase(postgres, { traderFile, point: 'post.after', script: [], limitMs: 3_000 });
    expect(wrong.first.signal, wrong.first.errors).toBe('SIGKILL');
    expect(wrong.hits).toMatch(/^post\.after \d+\n$/);
    expect(wrong.left).toContain('posted_without_claim');
    expect(wrong.wrong).toContain('posted_twice');
  });

  it('the desk of the product passes the same case', async () => {
    const right = await crashCase(postgres, { traderFile: fileOf('trader.ts'), point: 'post.after', script: [] });
    expect(right.first.signal, right.first.errors).toBe('SIGKILL');
    expect(right.left).not.toContain('posted_without_claim');
    expect([right.second.code, right.wrong], right.second.errors).toEqual([0, []]);
  });
});
