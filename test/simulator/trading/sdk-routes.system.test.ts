/**
 * Alpaca's own SDK walks every trading route; what routes() lists and no row visits fails.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { matchPath } from '../../../src/simulator/trading/rest-server.ts';
import { type Conformance, keyHeaders, type PostBody, startConformance } from './conformance.ts';

const visited = new Set<string>();
let at: Conformance;

beforeAll(async () => {
  at = await startConformance();
});
afterAll(() => at.close());

const t = () => at.sdk;
const post = (body: Partial<PostBody> = {}) => at.post(body);
const resting = (body: Partial<PostBody> = {}) => at.resting(body);

describe('routes', () => {
  const rows: [route: string, run: () => Promise<void>][] = [
    [
      'GET /v2/account',
      async () => {
        const account = await t().account.getAccount();
        expect(account).toMatchObject({ status: 'ACTIVE', cash: '100000', equity: '100000', multiplier: '2' });
        expect(account).toMatchObject({ buyingPower: '200000', shortingEnabled: true, tradingBlocked: false });
      },
    ],
    [
      'GET /v2/account/configurations',
      async () => {
        expect(await t().accountConfigurations.getAccountConfig()).toMatchObject({ suspendTrade: false });
      },
    ],
    [
      'PATCH /v2/account/configurations',
      async () => {
        const changed = await t().accountConfigurations.patchAccountConfig({
          accountConfigurations: { noShorting: true },
        });
        expect(changed.noShorting).toBe(true);
        expect((await t().account.getAccount()).shortingEnabled).toBe(false);
        await t().accountConfigurations.patchAccountConfig({ accountConfigurations: { noShorting: false } });
      },
    ],
    [
      'POST /v2/orders',
      async () => {
        const order = await post({ qty: '10', clientOrderId: 'row-post' });
        expect(order).toMatchObject({ status: 'pending_new', qty: '10', clientOrderId: 'row-post', orderClass: '' });
        expect(order.submittedAt).toBeInstanceOf(Date);
      },
    ],
    [
      'GET /v2/orders',
      async () => {
        for (const limitPrice of ['101', '102', '103']) await resting({ limitPrice });
        const open = await t().orders.getAllOrders({ status: 'open', direction: 'asc', symbols: 'IBM,AIG' });
        expect(open.map((order) => order.limitPrice)).toEqual(['101', '102', '103']);
        expect((await t().orders.getAllOrders({ limit: 2 })).map((order) => order.limitPrice)).toEqual(['103', '102']);
        expect(await t().orders.getAllOrders({ symbols: 'AIG' })).toEqual([]);
        expect(await t().orders.getAllOrders({ side: 'sell' })).toEqual([]);
        expect((await t().orders.getAllOrders({ status: 'closed' })).map((order) => order.status)).toEqual(['filled']);
        const all = await t().orders.getAllOrders({ status: 'all', limit: 500, nested: true });
        expect(all.length).toBeGreaterThan(open.length);
        expect(all.map((order) => order.id)).toContain(open[0]?.id);
      },
    ],
    [
      'GET /v2/orders/{order_id}',
      async () => {
        const placed = await resting();
        expect(await t().orders.getOrderByOrderID({ orderId: String(placed.id) })).toMatchObject({
          id: placed.id,
          status: 'new',
          limitPrice: '100',
          filledQty: '0',
        });
      },
    ],
    [
      'GET /v2/orders:by_client_order_id',
      async () => {
        const placed = await resting({ clientOrderId: 'row-lookup' });
        expect((await t().orders.getOrderByClientOrderId({ clientOrderId: 'row-lookup' })).id).toBe(placed.id);
      },
    ],
    [
      'PATCH /v2/orders/{order_id}',
      async () => {
        const placed = await resting();
        const next = await t().orders.patchOrderByOrderId({
          orderId: String(placed.id),
          patchOrderRequest: { limitPrice: '101', qty: '2' },
        });
        expect(next).toMatchObject({ replaces: placed.id, qty: '2', limitPrice: '101' });
        const old = await t().orders.getOrderByOrderID({ orderId: String(placed.id) });
        expect(old).toMatchObject({ status: 'replaced', replacedBy: next.id });
      },
    ],
    [
      'DELETE /v2/orders/{order_id}',
      async () => {
        const placed = await resting();
        await t().orders.deleteOrderByOrderID({ orderId: String(placed.id) });
        expect(at.calls.at(-1)?.status).toBe(204);
        expect((await t().orders.getOrderByOrderID({ orderId: String(placed.id) })).status).toBe('canceled');
      },
    ],
    [
      'DELETE /v2/orders',
      async () => {
        const placed = await resting();
        const cancelled = await t().orders.deleteAllOrders();
        expect(at.calls.at(-1)?.status).toBe(207);
        expect(cancelled).toContainEqual(expect.objectContaining({ id: placed.id, status: 200 }));
        expect(await t().orders.getAllOrders({ status: 'open' })).toEqual([]);
      },
    ],
    [
      'GET /v2/positions',
      async () => {
        const positions = await t().positions.getAllOpenPositions();
        expect(positions).toContainEqual(expect.objectContaining({ symbol: 'IBM', qty: '10', side: 'long' }));
      },
    ],
    [
      'GET /v2/positions/{symbol_or_asset_id}',
      async () => {
        const held = await t().positions.getOpenPosition({ symbolOrAssetId: 'IBM' });
        expect(held).toMatchObject({ avgEntryPrice: '184.25', costBasis: '1842.5', qtyAvailable: '10' });
        expect(held).toMatchObject({ currentPrice: '184.22', marketValue: '1842.2', unrealizedPl: '-0.3' });
        expect((await t().positions.getOpenPosition({ symbolOrAssetId: held.assetId })).symbol).toBe('IBM');
      },
    ],
    [
      'DELETE /v2/positions/{symbol_or_asset_id}',
      async () => {
        const half = await t().positions.deleteOpenPosition({ symbolOrAssetId: 'IBM', percentage: 50 });
        expect(half).toMatchObject({ side: 'sell', type: 'market', qty: '5' });
        await t().positions.deleteOpenPosition({ symbolOrAssetId: 'IBM', qty: 1 });
        expect((await t().positions.getOpenPosition({ symbolOrAssetId: 'IBM' })).qty).toBe('4');
      },
    ],
    [
      'DELETE /v2/positions',
      async () => {
        await post({ symbol: 'AIG', side: 'sell', qty: '3' });
        const held = await resting({ side: 'sell', limitPrice: '500', qty: '4' });
        const closed = await t().positions.deleteAllOpenPositions({ cancelOrders: true });
        expect(at.calls.at(-1)?.status).toBe(207);
        expect(closed.map((row) => [row.symbol, row.status, row.body?.side]).sort()).toEqual([
          ['AIG', 200, 'buy'],
          ['IBM', 200, 'sell'],
        ]);
        expect((await t().orders.getOrderByOrderID({ orderId: String(held.id) })).status).toBe('canceled');
        expect(await t().positions.getAllOpenPositions()).toEqual([]);
      },
    ],
    [
      'GET /v2/account/activities',
      async () => {
        const all = await t().accountActivities.getAccountActivities({ direction: 'asc' });
        expect(all[0]).toMatchObject({ activityType: 'FILL', symbol: 'IBM', qty: '10', price: '184.25', type: 'fill' });
        const first = await t().accountActivities.getAccountActivities({ direction: 'asc', pageSize: 1 });
        const second = await t().accountActivities.getAccountActivities({
          direction: 'asc',
          pageSize: 1,
          pageToken: String(first[0]?.id),
        });
        expect(second[0]?.id).toBe(all[1]?.id);
      },
    ],
    [
      'GET /v2/account/activities/{activity_type}',
      async () => {
        const fills = await t().accountActivities.getAccountActivitiesByActivityType({ activityType: 'FILL' });
        expect(fills.length).toBeGreaterThan(3);
        expect(await t().accountActivities.getAccountActivitiesByActivityType({ activityType: 'DIV' })).toEqual([]);
      },
    ],
    [
      'GET /v2/assets',
      async () => {
        const assets = await t().assets.getV2Assets({ status: 'active', assetClass: 'us_equity' });
        expect(assets.map((asset) => asset.symbol)).toEqual(['AIG', 'BAC', 'HTB', 'IBM', 'SPY']);
        expect(assets.find((asset) => asset.symbol === 'HTB')?.shortable).toBe(false);
      },
    ],
    [
      'GET /v2/assets/{symbol_or_asset_id}',
      async () => {
        const asset = await t().assets.getV2AssetsSymbolOrAssetId({ symbolOrAssetId: 'IBM' });
        expect(asset).toMatchObject({ symbol: 'IBM', _class: 'us_equity', exchange: 'NYSE', tradable: true });
      },
    ],
    [
      'GET /v2/clock',
      async () => {
        const clock = await t().clock.legacyClock();
        expect(clock.isOpen).toBe(true);
        expect(clock.nextClose.toISOString()).toBe('2013-10-08T20:00:00.000Z');
        const raw = (await (await fetch(`${at.url}/v2/clock`, { headers: keyHeaders })).json()) as {
          timestamp: string;
        };
        expect(raw.timestamp).toMatch(/-04:00$/);
      },
    ],
    [
      'GET /v3/clock',
      async () => {
        const { clocks } = await t().clock.clock({ markets: 'NYSE,NASDAQ' });
        expect(clocks.map((clock) => [clock.market.mic, clock.phase])).toEqual([
          ['XNYS', 'core'],
          ['XNAS', 'core'],
        ]);
        const night = await t().clock.clock({ time: new Date('2013-12-25T15:00:00Z') });
        expect(night.clocks[0]).toMatchObject({ phase: 'closed', isMarketDay: false });
      },
    ],
    [
      'GET /v2/calendar',
      async () => {
        const days = await t().calendar.legacyCalendar({ start: new Date('2013-11-27'), end: new Date('2013-12-02') });
        expect(days.map((day) => [day.date.toISOString().slice(0, 10), day.open, day.close])).toEqual([
          ['2013-11-27', '09:30', '16:00'],
          ['2013-11-29', '09:30', '13:00'],
          ['2013-12-02', '09:30', '16:00'],
        ]);
        const settled = await t().calendar.legacyCalendar({
          start: new Date('2013-12-02'),
          end: new Date('2013-12-02'),
          dateType: 'SETTLEMENT',
        });
        expect(settled.map((day) => day.date.toISOString().slice(0, 10))).toEqual(['2013-11-26']);
      },
    ],
    [
      'GET /v3/calendar/{market}',
      async () => {
        const days = await t().calendar.calendar({
          market: 'NYSE',
          start: new Date('2014-03-07'),
          end: new Date('2014-03-10'),
        });
        expect(days.calendar.map((day) => day.coreStart.toISOString())).toEqual([
          '2014-03-07T14:30:00.000Z',
          '2014-03-10T13:30:00.000Z',
        ]);
      },
    ],
    [
      'GET /_sim/journal',
      async () => {
        const page = await fetch(`${at.url}/_sim/journal?limit=2`);
        const { entries, next } = (await page.json()) as { entries: { seq: number; kind: string }[]; next: number };
        expect(entries.map((entry) => [entry.seq, entry.kind])).toEqual([
          [1, 'started'],
          [2, 'configured'],
        ]);
        expect(next).toBe(2);
        const lines = await (await fetch(`${at.url}/_sim/journal?after=2&format=ndjson`)).text();
        const kinds = lines
          .trim()
          .split('\n')
          .map((line) => (JSON.parse(line) as { kind: string }).kind);
        expect(kinds.slice(1, 6)).toEqual(['post_received', 'accepted', 'new', 'fill', 'post_answered']);
        visited.add('GET /_sim/journal');
      },
    ],
  ];

  it.each(rows)('%s', async (route, run) => {
    const before = at.calls.length;
    await run();
    for (const call of at.calls.slice(before)) {
      for (const known of at.trading.routes()) {
        if (known.method === call.method && matchPath(known.path, call.path))
          visited.add(`${known.method} ${known.path}`);
      }
      expect(call.headers.get('x-ratelimit-limit'), 'every answer carries the limit').toBe('100000');
      expect(Number(call.headers.get('x-ratelimit-reset'))).toBeGreaterThan(1_700_000_000);
      expect(call.headers.get('x-ratelimit-remaining')).toMatch(/^\d+$/);
    }
    expect([...visited]).toContain(route);
  });

  it('every route was visited, and every row is a route', () => {
    const known = at.trading.routes().map((route) => `${route.method} ${route.path}`);
    expect([...visited].sort()).toEqual(known.sort());
    expect(rows.map(([route]) => route).sort()).toEqual(known.sort());
  });
});
