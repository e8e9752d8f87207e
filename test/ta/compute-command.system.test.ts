/** `torghut ta compute` as a research script calls it: the worked examples of the specification, and what it does with bad files. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { torghut } from '../support/torghut.ts';

const folder = mkdtempSync(join(tmpdir(), 'torghut-compute-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Row = Record<string, unknown>;
const day = '2026-03-10T';
const trade = (S: string, t: string, p: number, s: number, i: number): Row => ({
  T: 't', S, i, x: 'V', p, s, c: ['@'], z: 'C', t: `${day}${t}Z`,
}); // biome-ignore format: one message
const quote = (S: string, t: string): Row => ({
  T: 'q', S, bx: 'V', bp: 9.99, bs: 3, ax: 'V', ap: 10.01, as: 2, c: ['R'], z: 'C', t: `${day}${t}Z`,
}); // biome-ignore format: one message

const offsets = [0.2, -0.1, 0];
const closes = Array.from({ length: 30 }, (_, i) => Math.round((100 + 0.05 * i + (offsets[i % 3] ?? 0)) * 100) / 100);
const two = (n: number) => String(n).padStart(2, '0');
/** Each example has its own symbol; times rise as they would arrive, but for the fifth. */
const examples: Row[] = [
  ...[900, 20, 20, 20, 20, 20].map((c, i) => ({
    T: 'b', S: 'THREE', o: c, h: c, l: c, c, v: 4, n: 1, vw: c, t: `${day}14:${30 + i}:00Z`,
  })),
  ...closes.map((close, i) => trade('TWO', `15:00:${two(i)}.5`, close, 100 + 10 * i, i + 1)),
  trade('ONE', '15:01:10.100', 100.1, 50, 1),
  trade('ONE', '15:01:10.400', 100.14, 20, 2),
  trade('ONE', '15:01:10.900', 100.06, 30, 3),
  trade('FIVE', '15:02:05.9', 10, 1, 1),
  trade('FIVE', '15:02:04.8', 10.5, 1, 2),
  trade('FIVE', '15:02:05.95', 11, 1, 3),
  quote('OLD', '15:02:37.499'),
  quote('FRESH', '15:02:37.500'),
  ...['OLD', 'FRESH', 'AHEAD'].map((symbol) => trade(symbol, '15:02:39.5', 10, 1, 1)),
  quote('AHEAD', '15:02:40.001'),
]; // biome-ignore format: one message a line

const linesOf = (rows: readonly Row[]) => rows.map((row) => JSON.stringify(row)).join('\n');

async function compute(name: string, content: string | Buffer, args: string[] = [], env: NodeJS.ProcessEnv = {}) {
  const file = join(folder, name);
  writeFileSync(file, content);
  const done = await torghut(['ta', 'compute', '--data', file, '-o', 'ndjson', ...args], env);
  const rows = done.stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line) as Row); // biome-ignore format: one chain
  const of = (symbol: string, kind: string) => rows.filter((row) => row.symbol === symbol && row.kind === kind);
  return { ...done, rows, of };
}

const close = (value: number) => expect.closeTo(value, 6) as unknown;

describe('torghut ta compute', () => {
  it('gives the worked examples of profile compat', async () => {
    const env = { TA_QUOTE_STALE_AFTER_MS: '2500' };
    const { code, of, stderr } = await compute('all.ndjson', linesOf(examples), ['--profile', 'compat'], env);
    expect(code, stderr).toBe(0);
    expect(of('ONE', 'bar')).toMatchObject([
      { o: 100.1, h: 100.14, l: 100.06, c: 100.06, v: 100, count: 3, vwap: close(100.096), revision: 0,
        event_ts: `${day}15:01:11.000Z`, window_size: 'PT1S', window_start: `${day}15:01:10.000Z`, window_end: `${day}15:01:11.000Z` },
    ]); // biome-ignore format: one table
    const signals = of('TWO', 'signal');
    expect(signals).toHaveLength(30);
    expect(signals[0]).toMatchObject({ ema12: 100.2, ema26: 100.2, macd: 0, macd_signal: 0, macd_hist: 0, rsi14: null, boll_mid: null, vol_realized_w60s: null });
    expect(signals[1]).toMatchObject({ ema12: close(100.161538), ema26: close(100.181481), macd: close(-0.019943), macd_signal: close(-0.003989), macd_hist: close(-0.015954), rsi14: 0, vol_realized_w60s: 0 });
    expect(signals[19]).toMatchObject({ ema12: close(100.719796), ema26: close(100.537256), macd: close(0.18254), macd_signal: close(0.137213), macd_hist: close(0.045327),
      rsi14: close(57.441196), boll_mid: close(100.51), boll_upper: close(101.123677), boll_lower: close(99.896323), vol_realized_w60s: close(0.002195) });
    expect(signals[29]).toMatchObject({ ema12: close(101.201208), ema26: close(100.937478), macd: close(0.26373), macd_signal: close(0.236316), macd_hist: close(0.027414),
      rsi14: close(60.732858), boll_mid: close(101), boll_upper: close(101.631664), boll_lower: close(100.368336), vol_realized_w60s: close(0.00214799), vwap_session: close(100.908503) });
    const last = of('THREE', 'signal').at(-1);
    expect(last).toMatchObject({ vwap_w5m: 20, window_size: 'PT1M', event_ts: `${day}14:36:00.000Z` });
    const spreads = ['FRESH', 'OLD', 'AHEAD'].map((symbol) => of(symbol, 'signal').map((row) => row.imbalance_spread));
    expect(spreads).toEqual([[close(0.02)], [null], [null]]);
    expect(of('FIVE', 'bar').map((row) => [row.event_ts, row.o, row.c, row.count])).toEqual([
      [`${day}15:02:05.000Z`, 10.5, 10.5, 1],
      [`${day}15:02:06.000Z`, 10, 11, 2],
    ]);
  }); // biome-ignore format: the table of the specification

  it('revises the second of a late trade and the signals after it', async () => {
    const late = trade('TWO', '15:00:05.7', 105, 7, 1_000);
    const trades = examples.filter((row) => row.S === 'TWO');
    const { of, rows } = await compute(
      'late.gz',
      gzipSync(linesOf([...trades.slice(0, 14), late, ...trades.slice(14)])),
    );
    expect(of('TWO', 'bar').filter((row) => row.event_ts === `${day}15:00:06.000Z`)).toMatchObject([
      { revision: 0, c: closes[5], count: 1 },
      { revision: 1, h: 105, c: 105, v: 157, count: 2 },
    ]);
    expect(rows.filter((row) => row.kind === 'signal' && Number(row.revision) > 0).length).toBeGreaterThan(5);
  });

  it('says which line is broken, and keeps what was final before it', async () => {
    const text = linesOf(examples.filter((row) => row.S === 'TWO'));
    const { code, stderr, of } = await compute('broken.ndjson', `${text}\n{"T":"t"\n`);
    expect(code).toBe(2);
    expect(stderr).toContain('line 31 of');
    expect(of('TWO', 'bar').length).toBeGreaterThan(20);
  });

  it('takes an empty file, and no absent one', async () => {
    const empty = await compute('empty.ndjson', '');
    expect([empty.code, empty.stdout]).toEqual([0, '']);
    const absent = await torghut(['ta', 'compute', '--data', join(folder, 'absent')]);
    expect([absent.code, absent.stdout]).toEqual([2, '']);
    expect(absent.stderr).toContain('data_unreadable');
  });
});
