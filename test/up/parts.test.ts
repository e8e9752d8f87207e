import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { countOrders } from '../../src/daemons/up/books.ts';
import { nextSpeed, tradeToRowLagMs } from '../../src/daemons/up/governor.ts';
import { hashArguments, openRun, readRunFile, writeRunFile } from '../../src/daemons/up/run-file.ts';
import { renderSummary } from '../../src/daemons/up/summary-text.ts';
import { lowestWatermark, plainLine, sparkline } from '../../src/daemons/up/view.ts';
import type { Snapshot } from '../../src/daemons/up/watch.ts';

const home = () => join(mkdtempSync(join(tmpdir(), 'torghut-run-')), 'home');

test('a home belongs to one run: the same arguments resume it, others are refused, --fresh begins anew', () => {
  const path = home();
  const first = openRun(path, { seed: 7 }, false);
  expect(first.isNew).toBe(true);
  first.run.restarts.push({ process: 'ws', cause: 'killed', at_market: '2013-10-08T13:30:00Z' });
  writeRunFile(path, first.run);
  const again = openRun(path, { seed: 7 }, false);
  expect(again.isNew).toBe(false);
  expect(again.run.restarts).toHaveLength(1);
  expect(() => openRun(path, { seed: 8 }, false)).toThrow(/another run/);
  mkdirSync(join(path, 'log'));
  const fresh = openRun(path, { seed: 8 }, true);
  expect(fresh.isNew).toBe(true);
  expect(existsSync(join(path, 'log'))).toBe(false);
  expect(readRunFile(path)?.arguments_hash).toBe(hashArguments({ seed: 8 }));
});

test('a folder with something else in it is never emptied', () => {
  const path = home();
  mkdirSync(path);
  writeFileSync(join(path, 'notes.txt'), 'mine');
  expect(() => openRun(path, { seed: 1 }, false)).toThrow(/not empty/);
  expect(() => openRun(path, { seed: 1 }, true)).toThrow(/does not empty/);
  expect(readFileSync(join(path, 'notes.txt'), 'utf8')).toBe('mine');
});

test('a run file of a newer version and a damaged one are refused', () => {
  const path = home();
  mkdirSync(path);
  writeFileSync(join(path, 'run.json'), '{"version":2}');
  expect(() => readRunFile(path)).toThrow(/newer torghut/);
  writeFileSync(join(path, 'run.json'), '{"version":');
  expect(() => readRunFile(path)).toThrow(/cannot read/);
});

test('the clock never leaves its bounds whatever the lag', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.1, max: 1000, noNaN: true }),
      fc.array(fc.double({ min: 0, max: 60_000, noNaN: true }), { maxLength: 60 }),
      (maximum, lags) => {
        let speed = maximum;
        for (const lag of lags) {
          speed = nextSpeed(speed, maximum, lag);
          expect(speed).toBeLessThanOrEqual(maximum);
          expect(speed).toBeGreaterThanOrEqual(Math.min(1, maximum));
        }
      },
    ),
  );
  expect(nextSpeed(30, 30, 16_000)).toBeLessThan(30);
  expect(nextSpeed(5, 30, 1_000)).toBeGreaterThan(5);
  expect(nextSpeed(5, 30, 10_000)).toBe(5);
});

const snapshot = (
  input: number,
  acknowledged: number,
  watermark: string,
  bar: string,
  stored: string | null,
): Snapshot =>
  ({
    simulator: { input: { trades: input }, end_of_input: false, last_event_ts: null },
    ws: { acknowledged: { trades: acknowledged }, last_event_ts: '2013-10-08T13:30:29Z' },
    ta: { tasks: [{ partition: 0, positions: {}, watermark }], latest: [{ symbol: 'AIG', event_ts: bar, c: 1 }] },
    sink: { rows: {}, newest_event_ts: stored },
    answeredAtMs: {},
  }) as unknown as Snapshot;

test('lag is what forwarder, tasks or store lack; a market without trades is not behind', () => {
  const now = Date.parse('2013-10-08T13:30:59Z');
  const [old, passed] = ['2013-10-08T13:20:00Z', '2013-10-08T13:30:28Z'];
  expect(tradeToRowLagMs(snapshot(10, 10, passed, old, old), now), 'no trade for ten minutes').toBe(1_000);
  expect(tradeToRowLagMs(snapshot(20, 10, passed, old, old), now), 'not all forwarded').toBe(30_000);
  expect(tradeToRowLagMs(snapshot(10, 10, '2013-10-08T13:30:09Z', old, old), now), 'a task behind').toBe(20_000);
  expect(tradeToRowLagMs(snapshot(10, 10, passed, passed, '2013-10-08T13:30:20Z'), now), 'rows missing').toBe(8_000);
  expect(tradeToRowLagMs(snapshot(10, 10, passed, passed, null), now)).toBe(1_000);
  expect(tradeToRowLagMs({ answeredAtMs: {} }, now)).toBe(0);
});

test('a sparkline spans its values and a flat one is flat', () => {
  expect(sparkline([1, 2, 3])).toBe('▁▅█');
  expect(sparkline([5, 5])).toBe('▄▄');
});

test('the plain line and the lowest watermark are read from the tasks', () => {
  const tasks = [
    { partition: 0, positions: {}, watermark: '2013-10-08T13:30:02Z' },
    { partition: 1, positions: {}, watermark: '2013-10-08T13:30:01Z' },
  ];
  const view = { ta: { tasks, bars_out: 1200, signals_out: 3, latest: [] }, answeredAtMs: {} } as unknown as Snapshot;
  expect(lowestWatermark(view)).toBe(BigInt(Date.parse('2013-10-08T13:30:01Z')) * 1_000_000n);
  const line = plainLine({
    snapshot: view,
    isUp: (name) => name !== 'ws',
    marketNowNs: BigInt(Date.parse('2013-10-08T13:30:03Z')) * 1_000_000n,
    speed: 20,
    maximumSpeed: 20,
    lagMs: 1500,
    phase: 'running',
    restarts: [],
    rates: {},
    closes: new Map(),
    home: 'h',
  });
  expect(line).toContain('2013-10-08 13:30:03 UTC');
  expect(line).toContain('lag 1.5s');
  expect(line).toContain('bars 1,200');
  expect(line).toContain('not answering: ws');
});

test('orders are counted by what became of them', () => {
  const order = (id: string, status: string) => [id, { id, client_order_id: id, status, filled_qty: '0' }] as const;
  const book = {
    orders: new Map([order('a', 'filled'), order('b', 'canceled'), order('c', 'rejected'), order('d', 'filled')]),
    fills: new Map(),
    partial: new Set(['a']),
  };
  expect(countOrders(book)).toEqual({ accepted: 3, filled: 2, partially_filled: 1, canceled: 1, rejected: 1 });
});

test('a summary for people begins with its verdict', () => {
  const text = renderSummary({ ok: false, problems: ['7 trades are missing'], restarts: [], signals: 3 });
  expect(text.split('\n')[0]).toBe('NOT OK');
  expect(text).toContain('problem: 7 trades are missing');
  expect(renderSummary({ ok: true, problems: [], restarts: [{ process: 'ws', cause: 'killed' }] })).toContain(
    'ws killed',
  );
});
