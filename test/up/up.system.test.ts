import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { freshHome, torghut, torghutRows } from '../support/torghut.ts';
import { readOracle } from './oracle.ts';
import { dataFile, expectBars, expectBooks, expectPublishedSeconds, readJournal, storedBars } from './verdict.ts';

interface Summary {
  ok: boolean;
  problems: string[];
  input: Record<string, number>;
  micro_bars: { rows: number; trades: number; volume: number };
  decisions: { rejected: Record<string, number>; submitted: number };
  orders: Record<string, number>;
}

describe.skipIf(!process.env.TORGHUT_DATA)('up on recorded data (needs TORGHUT_DATA)', () => {
  test('the opening two minutes: every stored second equals the raw file, and the finished run is not run again', async () => {
    const home = join(freshHome(), 'run');
    const args = ['up', '--data', dataFile('smoke.ndjson.gz'), '--speed', '20', '--exit-at-end', '--home', home];
    const finished = await torghut([...args, '-o', 'json']);
    expect(finished.code, finished.stderr).toBe(0);
    const summary = JSON.parse(finished.stdout) as Summary;
    expect(summary).toMatchObject({ ok: true, problems: [] });
    const oracle = await readOracle([dataFile('smoke.ndjson.gz')]);
    expect(summary.input).toMatchObject({ trades: oracle.trades, quotes: oracle.quotes });
    expect(oracle.trades + oracle.quotes).toBe(5779);
    const stored = await storedBars(home);
    expectBars(stored, oracle);
    expect(expectPublishedSeconds(stored, '2013-10-08T13:32:00Z')).toBeGreaterThan(200);
    const signals = await torghutRows<{ n: string; symbols: string }>([
      'clickhouse',
      'query',
      'SELECT count() AS n, uniqExact(symbol) AS symbols FROM ta_signals FINAL',
      '--home',
      home,
    ]);
    expect(Number(signals[0]?.n)).toBeGreaterThan(200);
    expect(Number(signals[0]?.symbols)).toBe(4);
    await expectBooks(home, readJournal(home));

    const again = await torghut([...args, '-o', 'json']);
    expect(JSON.parse(again.stdout)).toEqual(summary);
    expect(again.stderr).toContain('--fresh');
    const other = await torghut(['up', '--synthetic', '7', '--home', home, '--exit-at-end']);
    expect(other.code).toBe(4);
    expect(other.stderr).toContain('home_of_another_run');
  }, 180_000);

  test('the opening quarter of an hour: bars, orders and books agree, and every kind of answer occurs', async () => {
    const home = join(freshHome(), 'run');
    const finished = await torghut([
      'up',
      '--data',
      dataFile('trades.ndjson.gz'),
      '--data',
      dataFile('quotes.ndjson.gz'),
      ...['--from', '09:30', '--to', '09:45', '--speed', '30', '--exit-at-end', '-o', 'json', '--home', home],
    ]);
    expect(finished.code, finished.stderr + finished.stdout).toBe(0);
    const summary = JSON.parse(finished.stdout) as Summary;
    expect(summary).toMatchObject({ ok: true, problems: [] });
    const oracle = await readOracle(
      [dataFile('trades.ndjson.gz'), dataFile('quotes.ndjson.gz')],
      '2013-10-08T13:30:00Z',
      '2013-10-08T13:45:00Z',
    );
    expect(summary.input).toMatchObject({ trades: oracle.trades, quotes: oracle.quotes });
    const stored = await storedBars(home);
    expectBars(stored, oracle);
    expect(expectPublishedSeconds(stored, '2013-10-08T13:45:00Z')).toBe(2264);
    const journal = readJournal(home);
    await expectBooks(home, journal);
    const statuses = [...journal.orders.values()].map((order) => order.status);
    expect(statuses.filter((status) => status === 'filled').length).toBeGreaterThanOrEqual(20);
    expect(statuses.filter((status) => status === 'canceled').length).toBeGreaterThanOrEqual(1);
    expect(journal.partial.size).toBeGreaterThanOrEqual(1);
    const reasons = await torghutRows<{ code: string; n: string }>([
      'db',
      'query',
      "SELECT unnest(reasons) AS code, count(*) AS n FROM trade_decisions WHERE status = 'rejected' GROUP BY 1",
      '--home',
      home,
    ]);
    for (const code of ['shorts_not_allowed', 'cooldown_active', 'max_notional_exceeded']) {
      expect(
        reasons.find((row) => row.code === code),
        code,
      ).toBeDefined();
    }
    // The raw log still holds every trade: an envelope each, in the provider's own number text.
    expect(readFileSync(join(home, 'run.json'), 'utf8')).toContain('"finished": {');
  }, 300_000);
});
