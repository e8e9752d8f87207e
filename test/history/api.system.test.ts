/** `torghut history` over the real engine and Postgres: pages, thinning, limits, and errors that name themselves. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClickHouseClient } from '@clickhouse/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openConnection } from '../../src/lib/ledger/connection.ts';
import { migrate } from '../../src/lib/ledger/migrator.ts';
import { rowOfRecord } from '../../src/lib/signals/rows.ts';
import { migrateSignalStore } from '../../src/lib/signals/schema.ts';
import { createSignalWriter } from '../../src/lib/signals/writer.ts';
import { clientOf, type StoreProcess, startStore, until } from '../embedded/rig.ts';
import { bar, logRecord, signal } from '../signals/records.ts';
import { freshHome, type Running, startTorghut } from '../support/torghut.ts';

const home = join(freshHome(), 'run');
const begin = Date.parse('2013-10-08T13:30:00Z') / 1000;
const seconds = 300;
let store: StoreProcess;
let postgres: StoreProcess;
let client: ClickHouseClient;
let api: Running;
let url: string;

interface Page {
  items: Record<string, unknown>[];
  next_cursor: string | null;
}

async function get<T = Record<string, unknown>>(path: string): Promise<{ status: number; body: T }> {
  const response = await fetch(`${url}/api/torghut/${path}`);
  return { status: response.status, body: (await response.json()) as T };
}

beforeAll(async () => {
  [store, postgres] = await Promise.all([startStore('clickhouse', home), startStore('postgres', home)]);
  client = clientOf(store.endpoint);
  await migrateSignalStore(client, { database: 'torghut', runId: 'r1', ttlDays: undefined });
  const rows = Array.from({ length: seconds }, (_, i) => [
    rowOfRecord(
      logRecord(bar('MU', begin + i + 1, { close: 100 + i, open: 100 + i, high: 101 + i, low: 99 }), 0, BigInt(i)),
      'bar',
    ),
    rowOfRecord(logRecord(signal('MU', begin + i + 1), 0, BigInt(i)), 'signal'),
  ]).flat();
  const revised = [10, 20].flatMap((i, k) => [
    rowOfRecord(logRecord(bar('MU', begin + i, { revision: 1, close: 7, low: 1 }), 0, BigInt(seconds + k)), 'bar'),
    rowOfRecord(logRecord(signal('MU', begin + i, { revision: 1, isWarm: true }), 0, BigInt(seconds + k)), 'signal'),
  ]);
  const writer = createSignalWriter({ client: async () => client, database: 'torghut' });
  await writer.write(rows, (begin + 400) * 1000);
  await writer.write(revised, (begin + 400) * 1000);
  const dsn = postgres.endpoint.extra?.dsn as string;
  await migrate(dsn);
  await addTrades(dsn);
  api = startTorghut(['history', '--home', home, '--port', '0']);
  url = await until('the API is announced', () => urlOf(home));
});

afterAll(async () => {
  api?.child.kill('SIGTERM');
  expect((await api?.done)?.code).toBe(0);
  await client?.close();
  await Promise.all([store?.stop(), postgres?.stop()]);
});

function urlOf(of: string): string | undefined {
  try {
    return (JSON.parse(readFileSync(join(of, 'services', 'history.json'), 'utf8')) as { url: string }).url;
  } catch {
    return undefined;
  }
}

const strategyId = randomUUID();

/** A buy and a sell of one strategy, three refused decisions. */
async function addTrades(dsn: string): Promise<void> {
  const { pool, close } = openConnection({ dsn, applicationName: 'test' });
  await pool.query(
    `insert into strategies (id, name, enabled, base_timeframe, universe_type, universe_symbols, catalog_meta, catalog_digest)
     values ($1, 's1', true, '1Sec', 'static', '["MU"]', '{}', 'x')`,
    [strategyId],
  );
  const at = (second: number) => new Date((begin + second) * 1000);
  const decide = async (second: number, action: string, status: string, reasons: string[]) => {
    const id = randomUUID();
    await pool.query(
      `insert into trade_decisions (id, strategy_id, strategy_name, alpaca_account_label, symbol, timeframe, event_ts, action, intent,
         qty, order_type, time_in_force, rationale, run_id, window_size, signal_revision, source_partition, source_offset,
         decision_json, decision_hash, status, reasons, decided_at)
       values ($1, $2, 's1', 'paper', 'MU', '1Sec', $3, $4, $5, 10, 'market', 'day', 'because', 'r1', 'PT1S', 0, 0, 1, '{}', $6, $7, $8, $3)`,
      [id, strategyId, at(second), action, action === 'buy' ? 'entry' : 'exit', id, status, reasons],
    );
    return id;
  };
  for (const [second, side, price] of [
    [10, 'buy', '100'],
    [20, 'sell', '101.5'],
  ] as const) {
    const decision = await decide(second, side, 'filled', []);
    const execution = randomUUID();
    await pool.query(
      `insert into executions (id, trade_decision_id, alpaca_account_label, alpaca_order_id, client_order_id, symbol, side, order_type,
         time_in_force, submitted_qty, filled_qty, broker_filled_qty, avg_fill_price, status, broker_status, late_accepted, orphan,
         submitted_at, filled_at, last_update_at, raw_order, fencing_epoch)
       values ($1, $2, 'paper', $3, $3, 'MU', $4, 'market', 'day', 10, 10, 10, $5, 'filled', 'filled', false, false, $6, $6, $6, '{}', 1)`,
      [execution, decision, randomUUID(), side, price, at(second)],
    );
    await pool.query(
      `insert into execution_fills (id, execution_id, alpaca_account_label, broker_execution_id, symbol, side, qty, price, cumulative_qty,
         executed_at, source)
       values ($1, $2, 'paper', $3, 'MU', $4, 10, $5, 10, $6, 'trade_update')`,
      [randomUUID(), execution, randomUUID(), side, price, at(second)],
    );
  }
  for (const second of [30, 30, 40]) await decide(second, 'buy', 'rejected', ['stale_price']);
  await close();
}

const range = 'symbol=MU&from=2013-10-08T13:30:00Z&to=2013-10-08T13:35:00Z';

describe('bars and signals', () => {
  test('come in pages that hold every row once, the highest revision of each, and end', async () => {
    for (const kind of ['bars', 'signals']) {
      const seen: Record<string, unknown>[] = [];
      let cursor: string | null = null;
      do {
        const page: { status: number; body: Page } = await get<Page>(
          `ta/${kind}?${range}&limit=70${cursor === null ? '' : `&cursor=${cursor}`}`,
        );
        expect(page.status).toBe(200);
        expect(page.body.items.length).toBeLessThanOrEqual(70);
        seen.push(...page.body.items);
        cursor = page.body.next_cursor;
      } while (cursor !== null);
      expect(seen.map(({ event_ts }) => Date.parse(String(event_ts)) / 1000)).toEqual(
        Array.from({ length: seconds }, (_, i) => begin + i + 1),
      );
      expect(seen.filter(({ revision }) => revision === 1)).toHaveLength(2);
      expect(seen[0]).toMatchObject({ symbol: 'MU', window: 'PT1S', lag_ms: 399_000 });
      expect(seen[9]?.warm).toBe(kind === 'bars' ? null : true);
    }
  });

  test('are thinned on the server: bars add up, of signals the newest of each step stands', async () => {
    const { body } = await get<Page>(`ta/bars?${range}&step=60&limit=3`);
    expect(body.items.map(({ event_ts, v, o }) => [event_ts, v, o])).toEqual([
      ['2013-10-08T13:31:00Z', 6_000, 100],
      ['2013-10-08T13:32:00Z', 6_000, 160],
      ['2013-10-08T13:33:00Z', 6_000, 220],
    ]);
    expect(body.items[0]).toMatchObject({ h: 160, l: 1, c: 159, count: 180, revision: 1 });
    const rest = await get<Page>(`ta/bars?${range}&step=60&limit=3&cursor=${body.next_cursor}`);
    expect(rest.body.items.map(({ event_ts }) => event_ts)).toEqual(['2013-10-08T13:34:00Z', '2013-10-08T13:35:00Z']);
    expect(rest.body.next_cursor).toBeNull();
    const minutes = await get<Page>(`ta/bars?${range}&window=PT1M`);
    expect(minutes.body.items).toHaveLength(5);
    const signals = await get<Page>(`ta/signals?${range}&step=120`);
    expect(signals.body.items.map(({ event_ts }) => event_ts)).toEqual([
      '2013-10-08T13:32:00Z',
      '2013-10-08T13:34:00Z',
      '2013-10-08T13:35:00Z',
    ]);
  });

  test('newest rows and symbols', async () => {
    const { body } = await get('ta/latest?symbol=mu');
    expect(body).toMatchObject({
      ok: true,
      symbol: 'MU',
      bars: { event_ts: '2013-10-08T13:35:00Z', c: 100 + seconds - 1 },
      signals: { event_ts: '2013-10-08T13:35:00Z', warm: false },
    });
    expect((await get('ta/latest?symbol=NONE')).body).toMatchObject({ bars: null, signals: null });
    expect((await get('symbols?view=compact')).body).toEqual({ symbols: ['MU'] });
    expect((await get('symbols?view=compact&assetClass=crypto')).body).toEqual({ symbols: [] });
  });

  test.each([
    ['ta/bars?symbol=MU', 'from'],
    ['ta/bars?symbol=MU&from=2013-10-08T00:00:00Z&to=2013-10-10T00:00:00Z', 'longer than 1 days'],
    ['ta/signals?symbol=MU&window=PT1M&from=2013-08-08T00:00:00Z&to=2013-10-10T00:00:00Z', 'longer than 30 days'],
    [`ta/bars?${range}&limit=100000`, 'limit'],
    [`ta/bars?${range.replace('MU', "M'--")}`, 'symbol'],
    ['trading/decisions?day=yesterday', 'day'],
    ['trading/days?start=2013-01-01&end=2014-01-01', 'at most 92 days'],
  ])('%s is refused with 400 and says why', async (path, why) => {
    const { status, body } = await get<{ error: { message: string; why: string | null } }>(path);
    expect(status).toBe(400);
    expect(`${body.error.message} ${body.error.why}`).toContain(why);
  });

  test('nothing but GET is served', async () => {
    expect((await fetch(`${url}/api/torghut/symbols`, { method: 'POST' })).status).toBe(404);
  });
});

describe('trading', () => {
  test('a day in New York with its bounds, its profit and its refusals', async () => {
    const { body } = await get(`trading/summary?day=2013-10-08&strategyId=${strategyId}`);
    expect(body).toMatchObject({
      from: '2013-10-08T04:00:00.000Z',
      to: '2013-10-09T04:00:00.000Z',
      realized_pnl: '15',
      filled_count: 2,
      rejected_count: 3,
      top_reasons: [{ reason: 'stale_price', count: 3 }],
      win_rate: 1,
      anomalies: [],
    });
    expect(body.series).toMatchObject([{ symbol: 'MU', gain: '15' }]);
    const days = await get<{ items: Record<string, unknown>[] }>('trading/days?start=2013-10-07&end=2013-10-08');
    expect(days.body.items.map(({ day, realized_pnl }) => [day, realized_pnl])).toEqual([
      ['2013-10-07', '0'],
      ['2013-10-08', '15'],
    ]);
    expect((await get<Page>('trading/strategies')).body.items).toMatchObject([{ name: 's1', enabled: true }]);
  });

  test('decisions and executions in pages by status, equal times included', async () => {
    const seen: unknown[] = [];
    let cursor: string | null = null;
    do {
      const page: { body: Page } = await get<Page>(
        `trading/decisions?day=2013-10-08&status=rejected&limit=1${cursor === null ? '' : `&cursor=${cursor}`}`,
      );
      seen.push(...page.body.items.map(({ id }) => id));
      cursor = page.body.next_cursor;
    } while (cursor !== null);
    expect(new Set(seen).size).toBe(3);
    expect(seen).toHaveLength(3);
    const { body } = await get<Page>('trading/executions?day=2013-10-08&status=filled');
    expect(body.items.map(({ filled_at, side, qty }) => [filled_at, side, Number(qty)])).toEqual([
      ['2013-10-08T13:30:10.000Z', 'buy', 10],
      ['2013-10-08T13:30:20.000Z', 'sell', 10],
    ]);
  });
});

test('a missing table is a 500, a store that is away a 503', async () => {
  await client.command({ query: 'RENAME TABLE torghut.ta_signals TO torghut.elsewhere' });
  expect(await get(`ta/signals?${range}`)).toMatchObject({
    status: 500,
    body: { error: { code: 'signal_tables_missing' } },
  });
  await client.command({ query: 'RENAME TABLE torghut.elsewhere TO torghut.ta_signals' });
  const away = join(freshHome(), 'run');
  const lonely = startTorghut(['history', '--home', away, '--port', '0'], {
    TA_CLICKHOUSE_URL: 'http://127.0.0.1:1/torghut',
    DB_DSN: 'postgresql://nobody@127.0.0.1:1/torghut',
  });
  const address = await until('the other API is announced', () => urlOf(away));
  for (const path of ['trading/strategies', `ta/signals?${range}`]) {
    expect((await fetch(`${address}/api/torghut/${path}`)).status, path).toBe(503);
  }
  lonely.child.kill('SIGTERM');
  expect((await lonely.done).code).toBe(0);
});
