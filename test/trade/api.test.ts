/** The HTTP API against its own document: every route is in it, every answer fits it, and nothing changes without the token. */
import { readFileSync } from 'node:fs';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Decimal } from 'decimal.js';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ApiPorts } from '../../src/daemons/trade/api/routes.ts';
import * as schemas from '../../src/daemons/trade/api/schemas.ts';
import { buildApi } from '../../src/daemons/trade/api/server.ts';
import { tradeMetrics } from '../../src/daemons/trade/metrics.ts';
import { settingsOf } from '../../src/daemons/trade/settings.ts';
import { statusBoard } from '../../src/daemons/trade/status.ts';
import { tradeVariables } from '../../src/daemons/trade/variables.ts';
import type { DecisionRow, ListPlace } from '../../src/lib/ledger/contract.ts';
import type { OrderLedger } from '../../src/lib/ledger/open.ts';
import { loadConfig } from '../../src/lib/service/config.ts';
import { machineMs } from '../../src/lib/service/machine.ts';
import { VERSION } from '../../src/lib/service/version.ts';
import { nothingSeen } from '../../src/lib/trading/cycle-status.ts';
import { decisionOf, sessionMs, testClock } from '../ledger/support/fixtures.ts';

const TOKEN = 'the-token-of-this-daemon';
const settings = settingsOf(loadConfig(tradeVariables, { TRADING_ENABLED: 'true' }).values, 'r');

/** Seven decisions of one instant: only the id tells them apart. */
const rows: DecisionRow[] = Array.from({ length: 7 }, (_, i) => ({
  decision: decisionOf('00000000-0000-4000-8000-000000000009', { id: `00000000-0000-4000-8000-00000000000${7 - i}` }),
  status: 'filled',
  decidedAtMs: sessionMs,
  reasons: [],
}));
const isAfter = (row: DecisionRow, place: ListPlace | undefined) =>
  !place || row.decidedAtMs < place.atMs || (row.decidedAtMs === place.atMs && row.decision.id < place.id);

let isLedgerThere = true;
const asked: { sinceMs?: number; symbol?: string }[] = [];
const ledger = {
  check: () => Promise.resolve({ version: '1' }),
  read: {
    decisions: {
      list: (filter: { after?: ListPlace; limit: number; sinceMs?: number; symbol?: string }) => {
        asked.push(filter);
        return Promise.resolve(rows.filter((row) => isAfter(row, filter.after)).slice(0, filter.limit));
      },
      counts: () => Promise.resolve({ total: 7, byStatus: {}, rejectReasons: {}, blockReasons: {}, submitted: 7 }),
    },
    orders: {
      executions: () => Promise.resolve([]),
      positions: () =>
        Promise.resolve([{ symbol: 'IBM', quantity: new Decimal(3), avgEntryPrice: new Decimal('185.5') }]),
      counts: () =>
        Promise.resolve({
          executions: 0,
          byState: {},
          fills: 0,
          partiallyFilled: 0,
          open: 0,
          unknownClaims: 0,
          lateAccepted: 0,
          orphans: 0,
          costs: { orders: 0 },
        }),
    },
  },
  orderRead: { findings: { open: () => Promise.resolve([{ kind: 'position_drift', subject: 'IBM' }]) } },
  profit: {
    fillsBefore: () =>
      Promise.resolve([
        {
          strategy: 's',
          symbol: 'IBM',
          side: 'buy',
          quantity: new Decimal(2),
          price: new Decimal(10),
          atMs: sessionMs - 86_400_000,
        },
        {
          strategy: 's',
          symbol: 'IBM',
          side: 'sell',
          quantity: new Decimal(1),
          price: new Decimal(13),
          atMs: sessionMs,
        },
      ]),
    equityOver: () =>
      Promise.resolve({
        first: { equity: new Decimal(100), atMs: 1 },
        last: { equity: new Decimal('102.5'), atMs: 2 },
      }),
  },
} as unknown as OrderLedger;
const check = {
  ok: true, schemaCurrent: true, currentHeads: ['1'], expectedHeads: ['1'], lineageReady: true, branchCount: 1, pending: [],
  newer: [], edited: [], warnings: [], accountScope: { checks: [], errors: [] },
}; // biome-ignore format: one object

let drains = 0;
const board = statusBoard(settings);
const ports: ApiPorts = {
  board,
  clock: testClock(),
  metrics: tradeMetrics(board, testClock()),
  ledger: () => (isLedgerThere ? ledger : undefined),
  desk: () => undefined,
  pingStore: () => Promise.resolve(),
  checkLedger: () => Promise.resolve(check),
  drain: () => {
    drains += 1;
  },
};

let app: FastifyInstance;
/** What the server has: taken from fastify itself, not from our list. */
const served: string[] = [];
beforeAll(async () => {
  app = await buildApi(ports, { token: TOKEN });
  for (const line of app.printRoutes({ commonPrefix: false }).split('\n')) {
    const found = /── (\S+) \((.+)\)/.exec(line);
    if (found) for (const method of (found[2] as string).split(', ')) served.push(`${method} ${found[1]}`);
  }
});
afterAll(() => app.close());

const get = async (url: string) => {
  const answer = await app.inject({ method: 'GET', url });
  return { status: answer.statusCode, body: answer.json<Record<string, never>>(), id: answer.headers['x-request-id'] };
};

type Document = { openapi: string; paths: Record<string, Record<string, { security?: unknown; operationId: string }>> };
const document = async (): Promise<Document> => (await get('/openapi.json')).body as unknown as Document;

describe('the OpenAPI document', () => {
  it('is valid by an independent validator', async () => {
    const result = await new Validator().validate({ ...(await document()) });
    expect(result.errors ?? []).toEqual([]);
    expect(result.valid).toBe(true);
  });

  it('has every route of the server, and the server has every route of it', async () => {
    const { paths } = await document();
    const documented = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(documented.sort()).toEqual([...served].sort());
    expect(documented.length).toBeGreaterThan(10);
    const ids = Object.values(paths).flatMap((methods) => Object.values(methods).map((route) => route.operationId));
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('marks everything that changes something as guarded, and nothing else', async () => {
    for (const [path, methods] of Object.entries((await document()).paths)) {
      for (const [method, route] of Object.entries(methods)) {
        expect(route.security !== undefined, `${method} ${path}`).toBe(method !== 'get');
      }
    }
  });
});

describe('the answers', () => {
  it.each([
    ['/healthz', schemas.healthSchema, 200],
    ['/readyz', schemas.readySchema, 503],
    ['/db-check', schemas.databaseCheckSchema, 200],
    ['/trading/health', schemas.tradingHealthSchema, 200],
    ['/trading/status', schemas.statusSchema, 200],
    ['/status', schemas.statusSchema, 200],
    ['/trading/decisions', schemas.decisionPage, 200],
    ['/trading/executions', schemas.executionPage, 200],
    ['/trading/positions', schemas.positionsSchema, 200],
    ['/trading/pnl?day=2013-10-08', schemas.profitSchema, 200],
    ['/trading/metrics', schemas.countersSchema, 200],
  ])('%s are what the document says', async (url, schema, status) => {
    const answer = await get(url);
    expect(answer.status).toBe(status);
    const parsed = schema.safeParse(answer.body);
    expect(parsed.success ? [] : parsed.error.issues).toEqual([]);
  });

  it('liveness is the process alone; readiness names what is missing, each dependency with its detail', async () => {
    isLedgerThere = false;
    const fresh = await buildApi({ ...ports }, { token: TOKEN });
    expect((await fresh.inject('/healthz')).statusCode).toBe(200);
    const ready = await fresh.inject('/readyz');
    expect(ready.statusCode).toBe(503);
    expect(ready.json()).toMatchObject({
      status: 'degraded',
      reason_codes: ['not_leader', 'database_unavailable'],
      dependencies: { postgres: { ok: false }, clickhouse: { ok: true } },
    });
    const list = await fresh.inject('/trading/decisions');
    expect([list.statusCode, list.json().error.code]).toEqual([503, 'ledger_unreachable']);
    isLedgerThere = true;
    await fresh.close();
  });

  it('readiness of a leader needs the broker, and tells why a live account is shut; health tells the universe', async () => {
    const led = statusBoard({ ...settings, mode: 'live' });
    Object.assign(led, { leader: true, lastCycleAtMachineMs: machineMs() });
    const universe = { symbols: ['IBM'], status: 'degraded', reason: 'http_error_using_stale_cache' } as const;
    const seen = { ...nothingSeen(), cursor: {}, atEnd: {} };
    led.cycle = { ...seen, universe: { ...universe, asOfMs: sessionMs - 400_000, isBlocked: false } };
    const own = await buildApi({ ...ports, board: led }, { token: TOKEN });
    const ready = await own.inject('/readyz');
    expect(ready.statusCode).toBe(503);
    expect(ready.json()).toMatchObject({
      reason_codes: ['broker_unavailable'],
      live_submission_gate: { allowed: false, capital_stage: 'shadow' },
    });
    expect((await own.inject('/trading/health')).json()).toMatchObject({
      universe: { status: 'degraded', count: 1, age_seconds: 400 },
    });
    await own.close();
  });

  it('pages reach every row once, also when all have the same time', async () => {
    const seen: string[] = [];
    let url = '/trading/decisions?limit=3';
    for (let pages = 0; ; pages++) {
      expect(pages).toBeLessThan(5);
      const { body } = await get(url);
      const page = schemas.decisionPage.parse(body);
      seen.push(...page.items.map((item) => item.id));
      if (page.next_cursor === null) break;
      url = `/trading/decisions?limit=3&cursor=${page.next_cursor}`;
    }
    expect(seen).toEqual(rows.map((row) => row.decision.id));
  });

  it('lists look back a day unless told otherwise', async () => {
    await get('/trading/decisions');
    expect(asked.at(-1)?.sinceMs).toBe(sessionMs - 86_400_000);
    await get('/trading/decisions?since=2013-10-08T13:30:00%2B00:00&symbol=IBM');
    expect(asked.at(-1)).toMatchObject({ sinceMs: Date.UTC(2013, 9, 8, 13, 30), symbol: 'IBM' });
  });

  it('profit counts what was closed on that day in New York, at average cost', async () => {
    const { body } = await get('/trading/pnl');
    expect(body).toMatchObject({
      day: '2013-10-08',
      from: '2013-10-08T04:00:00.000Z',
      realized: '3',
      equity: { first: '100', last: '102.5', delta: '2.5' },
      items: [
        {
          strategy: 's',
          symbol: 'IBM',
          fills: 1,
          bought: '0',
          sold: '1',
          realized: '3',
          qty: '1',
          avg_entry_price: '10',
        },
      ],
    });
  });

  it.each([
    '/trading/decisions?limit=0',
    '/trading/decisions?limit=501',
    '/trading/decisions?limit=many',
    '/trading/decisions?colour=red',
    '/trading/decisions?since=yesterday',
    '/trading/decisions?cursor=nonsense',
    '/trading/pnl?day=2013-13-45',
    '/healthz?x=1',
  ])('%s is refused with a code, a sentence and the id of the request', async (url) => {
    const answer = await get(url);
    expect(answer.status).toBe(400);
    expect(schemas.errorSchema.parse(answer.body).error.request_id).toBe(answer.id);
  });

  it('counters are the same for Prometheus and as JSON, all there from the start', async () => {
    const text = (await app.inject('/metrics')).body;
    const json = (await get('/trading/metrics')).body as Record<string, unknown>;
    const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name as string);
    expect(Object.keys(json).sort()).toEqual([...names].sort());
    expect(names.length).toBeGreaterThan(30);
    for (const name of [
      'reconcile_lag_seconds',
      'leader_epoch',
      'claims_unresolved',
      'kill_switch',
      'signal_lag_seconds',
    ]) {
      expect(names).toContain(`torghut_trading_${name}`);
    }
  });

  it('an unknown route is a 404 of the same form', async () => {
    const answer = await get('/nowhere');
    expect([answer.status, schemas.errorSchema.parse(answer.body).error.code]).toEqual([404, 'not_found']);
  });

  it('asking too much is refused, and only for a second', async () => {
    const own = await buildApi(ports, { token: TOKEN });
    const statuses = await Promise.all(
      Array.from({ length: 450 }, async () => (await own.inject('/healthz')).statusCode),
    );
    expect(statuses).toContain(429);
    await new Promise((done) => setTimeout(done, 1_100));
    expect((await own.inject('/healthz')).statusCode).toBe(200);
    await own.close();
  });
});

it('the version is that of the package', () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  expect(VERSION).toBe(version);
});

describe('what changes something', () => {
  const post = (url: string, authorization?: string) =>
    app.inject({ method: 'POST', url, headers: authorization === undefined ? {} : { authorization } });

  it.each(['/drain', '/reconcile'])('%s does nothing without the token', async (url) => {
    for (const given of [undefined, '', 'Bearer', 'Bearer wrong', `Basic ${TOKEN}`, `Bearer ${TOKEN}x`, TOKEN]) {
      const answer = await post(url, given);
      expect([answer.statusCode, answer.json().error.code], String(given)).toEqual([401, 'unauthorized']);
      expect(answer.body).not.toContain(TOKEN);
    }
    expect(drains).toBe(0);
  });

  it('is done with it', async () => {
    const answer = await post('/drain', `Bearer ${TOKEN}`);
    expect([answer.statusCode, drains]).toEqual([202, 1]);
    const refused = await post('/reconcile', `Bearer ${TOKEN}`);
    expect([refused.statusCode, refused.json().error.code]).toEqual([409, 'not_leader']);
  });
});
