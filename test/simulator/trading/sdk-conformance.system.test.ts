/**
 * Alpaca's own SDK walks every trading route, order type and refusal; what routes() lists and no row visits fails.
 */
import { trading as sdk } from '@alpacahq/alpaca-trade-api';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { matchPath } from '../../../src/simulator/trading/rest-server.ts';
import { FakeTape, ns, tapeClock } from './fake-tape.ts';
import { type SdkClient, sdkClient } from './sdk.ts';
import { startExchange, type TestExchange, temporaryFolder } from './test-exchange.ts';

const folder = temporaryFolder();
const tape = new FakeTape(['AIG', 'BAC', 'IBM', 'SPY', 'HTB']);
let exchange: TestExchange;
let client: SdkClient;
const visited = new Set<string>();

beforeAll(async () => {
  exchange = await startExchange({
    tape,
    clock: tapeClock(tape),
    directory: folder.path,
    settings: { notShortable: ['HTB'] },
  });
  client = sdkClient(exchange.url);
  tape.quote('IBM', [184.2, 100_000], [184.25, 100_000]);
  tape.quote('AIG', [48.5, 100_000], [48.52, 100_000]);
  tape.quote('BAC', [13.7, 500], [13.71, 500]);
  tape.quote('HTB', [10, 500], [10.01, 500]);
  tape.trade('IBM', 184.22);
});
afterAll(async () => {
  await exchange.close();
  folder.remove();
});

const t = () => client.alpaca.trading;
type Orders = SdkClient['alpaca']['trading']['orders'];
type PostBody = Parameters<Orders['postOrder']>[0]['postOrderRequest'];

const post = (body: Partial<PostBody>) =>
  t().orders.postOrder({
    postOrderRequest: { symbol: 'IBM', side: 'buy', qty: '1', type: 'market', timeInForce: 'day', ...body },
  });
const resting = (body: Partial<PostBody> = {}) => post({ type: 'limit', limitPrice: '100', ...body });

/** The refusal of a call: status, code and the whole body. */
async function refusal(call: () => Promise<unknown>): Promise<{ status: number; code: unknown; message: string }> {
  try {
    await call();
  } catch (error) {
    const { status, code, message } = error as { status: number; code: unknown; message: string };
    return { status, code, message };
  }
  throw new Error('the call was not refused');
}

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
        expect(client.calls.at(-1)?.status).toBe(204);
        expect((await t().orders.getOrderByOrderID({ orderId: String(placed.id) })).status).toBe('canceled');
      },
    ],
    [
      'DELETE /v2/orders',
      async () => {
        const placed = await resting();
        const cancelled = await t().orders.deleteAllOrders();
        expect(client.calls.at(-1)?.status).toBe(207);
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
        expect(client.calls.at(-1)?.status).toBe(207);
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
        const raw = (await (await fetch(`${exchange.url}/v2/clock`, { headers: keyHeaders })).json()) as {
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
        const page = await fetch(`${exchange.url}/_sim/journal?limit=2`);
        const { entries, next } = (await page.json()) as { entries: { seq: number; kind: string }[]; next: number };
        expect(entries.map((entry) => [entry.seq, entry.kind])).toEqual([
          [1, 'started'],
          [2, 'configured'],
        ]);
        expect(next).toBe(2);
        const lines = await (await fetch(`${exchange.url}/_sim/journal?after=2&format=ndjson`)).text();
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
    const before = client.calls.length;
    await run();
    for (const call of client.calls.slice(before)) {
      for (const known of exchange.trading.routes()) {
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
    const known = exchange.trading.routes().map((route) => `${route.method} ${route.path}`);
    expect([...visited].sort()).toEqual(known.sort());
    expect(rows.map(([route]) => route).sort()).toEqual(known.sort());
  });
});

const keyHeaders = { 'APCA-API-KEY-ID': 'k', 'APCA-API-SECRET-KEY': 's' };

describe('order types and times in force', () => {
  const types: [sdk.OrderType, Partial<PostBody>][] = [
    ['market', {}],
    ['limit', { limitPrice: '100' }],
    ['stop', { stopPrice: '500' }],
    ['stop_limit', { stopPrice: '500', limitPrice: '501' }],
    ['trailing_stop', { trailPrice: '5' }],
  ];
  const times: sdk.TimeInForce[] = ['day', 'gtc', 'opg', 'cls', 'ioc', 'fok'];
  const allowed: Record<string, sdk.OrderType[]> = {
    day: ['market', 'limit', 'stop', 'stop_limit', 'trailing_stop'],
    gtc: ['market', 'limit', 'stop', 'stop_limit', 'trailing_stop'],
    // 9:40 New York: opening orders come too late today.
    opg: [],
    cls: ['market', 'limit'],
    ioc: ['market', 'limit', 'stop', 'stop_limit'],
    fok: ['market', 'limit', 'stop', 'stop_limit'],
  };

  it('the table names every type and time in force of the SDK', () => {
    expect(types.map(([type]) => type).sort()).toEqual(Object.values(sdk.OrderType).sort());
    expect([...times].sort()).toEqual(Object.values(sdk.TimeInForce).sort());
  });

  it.each(types.flatMap(([type, prices]) => times.map((time) => [type, time, prices] as const)))(
    '%s %s',
    async (type, timeInForce, prices) => {
      const place = () => post({ symbol: 'AIG', type, timeInForce, ...prices });
      if (allowed[timeInForce]?.includes(type)) {
        const order = await place();
        expect(order).toMatchObject({ type, orderType: type, timeInForce });
        await t().orders.deleteAllOrders();
      } else {
        expect((await refusal(place)).status).toBe(422);
      }
    },
  );
});

describe('refusals', () => {
  const rows: [what: string, status: number, code: number | undefined, message: RegExp, run: () => Promise<unknown>][] =
    [
      ['no quantity', 422, 40010001, /qty or notional is required/, () => post({ qty: null as never })],
      ['both quantities', 422, 40010001, /only one of qty or notional is accepted/, () => post({ notional: '5' })],
      [
        'fraction on a trailing stop',
        422,
        40010001,
        /qty must be integer/,
        () => post({ qty: '1.5', type: 'trailing_stop', trailPrice: '1' }),
      ],
      ['limit of zero', 422, 40010001, /limit price must be > 0/, () => post({ type: 'limit', limitPrice: '0' })],
      ['limit order without limit', 422, 40010001, /limit orders require limit price/, () => post({ type: 'limit' })],
      [
        'extended hours market order',
        422,
        40010001,
        /only type="limit" is allowed for extended hours orders/,
        () => post({ extendedHours: true }),
      ],
      ['sub-penny limit', 422, 42210000, /sub-penny increment/, () => post({ type: 'limit', limitPrice: '184.255' })],
      [
        'fraction good till cancelled',
        422,
        42210000,
        /fractional orders must be DAY orders/,
        () => post({ qty: '0.5', timeInForce: 'gtc' }),
      ],
      [
        'client order id of 129 characters',
        422,
        40010001,
        /128 characters/,
        () => post({ clientOrderId: 'x'.repeat(129) }),
      ],
      [
        'client order id of a resting order',
        422,
        42210000,
        /client_order_id must be unique/,
        async () => {
          await resting({ clientOrderId: 'twice' });
          await resting({ clientOrderId: 'twice' });
        },
      ],
      [
        'client order id of an ended order',
        422,
        40010001,
        /client_order_id must be unique/,
        async () => {
          await t().orders.deleteAllOrders();
          await resting({ clientOrderId: 'twice' });
        },
      ],
      ['unknown symbol', 422, 42210000, /not found/, () => post({ symbol: 'NOPE' })],
      ['bracket order', 422, 42210000, /order_class bracket/, () => post({ orderClass: 'bracket' })],
      [
        'intent against the position',
        422,
        42210000,
        /position intent mismatch, inferred: buy_to_open/,
        () => post({ positionIntent: 'buy_to_close' }),
      ],
      ['not enough money', 403, 40310000, /insufficient buying power/, () => post({ qty: '2000' })],
      [
        'short fraction',
        422,
        42210000,
        /fractional orders cannot be sold short/,
        () => post({ side: 'sell', qty: '0.5' }),
      ],
      [
        'short of what cannot be borrowed',
        422,
        42210000,
        /cannot be sold short/,
        () => post({ symbol: 'HTB', side: 'sell' }),
      ],
      [
        'more shares than held',
        403,
        40310000,
        /insufficient qty available for order \(requested: 5, available: 3\)/,
        async () => {
          await post({ symbol: 'BAC', qty: '3' });
          await post({ symbol: 'BAC', side: 'sell', qty: '5' });
        },
      ],
      [
        'shares held by an order',
        403,
        40310000,
        /requested: 2, available: 1/,
        async () => {
          await post({ symbol: 'BAC', side: 'sell', qty: '2', type: 'limit', limitPrice: '99' });
          await post({ symbol: 'BAC', side: 'sell', qty: '2', type: 'limit', limitPrice: '99' });
        },
      ],
      ['wash trade', 403, 40310000, /potential wash trade detected/, () => post({ symbol: 'BAC', qty: '1' })],
      [
        'suspended by the user',
        403,
        40310000,
        /new orders are rejected by user request/,
        async () => {
          await t().accountConfigurations.patchAccountConfig({ accountConfigurations: { suspendTrade: true } });
          try {
            await resting();
          } finally {
            await t().accountConfigurations.patchAccountConfig({ accountConfigurations: { suspendTrade: false } });
          }
        },
      ],
      [
        'replace without a change',
        422,
        42210000,
        /order parameters are not changed/,
        async () => {
          const placed = await resting();
          await t().orders.patchOrderByOrderId({ orderId: String(placed.id), patchOrderRequest: { qty: '1' } });
        },
      ],
      [
        'replace of an ended order',
        422,
        42210000,
        /cannot replace order in canceled status/,
        async () => {
          const placed = await resting();
          await t().orders.deleteOrderByOrderID({ orderId: String(placed.id) });
          await t().orders.patchOrderByOrderId({ orderId: String(placed.id), patchOrderRequest: { qty: '2' } });
        },
      ],
      [
        'replace of a replaced order',
        422,
        42210000,
        /order already replaced/,
        async () => {
          const placed = await resting();
          await t().orders.patchOrderByOrderId({ orderId: String(placed.id), patchOrderRequest: { qty: '2' } });
          await t().orders.patchOrderByOrderId({ orderId: String(placed.id), patchOrderRequest: { qty: '3' } });
        },
      ],
      [
        'cancel of an ended order',
        422,
        42210000,
        /already in "canceled" state/,
        async () => {
          const placed = await resting();
          await t().orders.deleteOrderByOrderID({ orderId: String(placed.id) });
          await t().orders.deleteOrderByOrderID({ orderId: String(placed.id) });
        },
      ],
      [
        'unknown order',
        404,
        40410000,
        /order not found for/,
        () => t().orders.getOrderByOrderID({ orderId: '00000000-0000-4000-8000-000000000000' }),
      ],
      [
        'unknown client order id',
        404,
        40410000,
        /order not found for nobody/,
        () => t().orders.getOrderByClientOrderId({ clientOrderId: 'nobody' }),
      ],
      ['order id that is no uuid', 422, 40010001, /order_id/, () => t().orders.getOrderByOrderID({ orderId: 'abc' })],
      [
        'flat position',
        404,
        40410000,
        /position does not exist/,
        () => t().positions.getOpenPosition({ symbolOrAssetId: 'SPY' }),
      ],
      [
        'unknown asset',
        404,
        40410000,
        /asset not found for NOPE/,
        () => t().assets.getV2AssetsSymbolOrAssetId({ symbolOrAssetId: 'NOPE' }),
      ],
      [
        'list of 501 orders',
        422,
        40010001,
        /limit must be between 1 and 500/,
        () => t().orders.getAllOrders({ limit: 501 }),
      ],
      [
        'fault http_429',
        429,
        42910000,
        /rate limit exceeded/,
        () => withFault('http_429', () => t().account.getAccount()),
      ],
      [
        'fault http_5xx_before',
        503,
        50310000,
        /service unavailable/,
        () => withFault('http_5xx_before', () => post({ clientOrderId: 'before' }), { status: 503 }),
      ],
      [
        'fault http_5xx_after',
        504,
        50410000,
        /request timed out/,
        () => withFault('http_5xx_after', () => resting({ clientOrderId: 'after' })),
      ],
      ['fault html_error', 502, undefined, /502/, () => withFault('html_error', () => t().account.getAccount())],
    ];

  async function withFault(name: string, run: () => Promise<unknown>, parameters = {}): Promise<unknown> {
    exchange.faults.add({ name, count: 1, ...parameters });
    return run();
  }

  it.each(rows)('%s: %i', async (_what, status, code, message, run) => {
    const refused = await refusal(run);
    expect(refused.message).toMatch(message);
    expect({ status: refused.status, code: refused.code }).toEqual({ status, code });
  });

  it('money and share refusals carry their figures', async () => {
    const ask = async (body: Record<string, unknown>) => {
      const response = await fetch(`${exchange.url}/v2/orders`, {
        method: 'POST',
        headers: keyHeaders,
        body: JSON.stringify({ side: 'buy', type: 'market', time_in_force: 'day', ...body }),
      });
      return (await response.json()) as Record<string, unknown>;
    };
    await t().orders.deleteAllOrders();
    await t().positions.deleteAllOpenPositions();
    expect(await ask({ symbol: 'IBM', qty: '2000' })).toEqual({
      code: 40310000,
      message: 'insufficient buying power',
      buying_power: expect.stringMatching(/^199\d{3}\.\d+$/),
      cost_basis: '368500',
    });
    await ask({ symbol: 'BAC', qty: '5' });
    const held = await ask({ symbol: 'BAC', qty: '4', side: 'sell', type: 'limit', limit_price: '99' });
    expect(await ask({ symbol: 'BAC', qty: '2', side: 'sell' })).toEqual({
      code: 40310000,
      message: 'insufficient qty available for order (requested: 2, available: 1)',
      symbol: 'BAC',
      existing_qty: '5',
      available: '1',
      held_for_orders: '4',
      related_orders: [held.id],
    });
  });

  it('5xx before leaves no order, 5xx after leaves one', async () => {
    expect((await refusal(() => t().orders.getOrderByClientOrderId({ clientOrderId: 'before' }))).status).toBe(404);
    expect((await t().orders.getOrderByClientOrderId({ clientOrderId: 'after' })).status).not.toBe('rejected');
  });

  it('a POST that is never answered has made its order, and the journal says so', async () => {
    exchange.faults.add({ name: 'post_timeout_after', count: 1 });
    const impatient = sdkClient(exchange.url, { timeoutMs: 300 });
    await expect(
      impatient.alpaca.trading.orders.limit({
        symbol: 'IBM',
        qty: 1,
        side: 'buy',
        limitPrice: 100,
        clientOrderId: 'silent',
      }),
    ).rejects.toThrow();
    expect((await t().orders.getOrderByClientOrderId({ clientOrderId: 'silent' })).status).toBe('new');
    const lines = await (await fetch(`${exchange.url}/_sim/journal?limit=10000&format=ndjson`)).text();
    const entries = lines
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const received = entries.filter((entry) => entry.kind === 'post_received' && entry.client_order_id === 'silent');
    expect(received).toHaveLength(1);
    const answered = entries.find((entry) => entry.kind === 'post_answered' && entry.request === received[0]?.request);
    expect(answered).toMatchObject({ http_status: 0, fault: 'post_timeout_after' });
  });

  it('slow waits before acting', async () => {
    exchange.faults.add({ name: 'slow', count: 1, ms: 150 });
    const start = performance.now();
    await t().account.getAccount();
    expect(performance.now() - start).toBeGreaterThan(140);
  });

  it('wrong and missing keys are unauthorized', async () => {
    const guarded = await startExchange({
      tape: new FakeTape(['IBM'], ns('2013-10-08T14:00:00Z')),
      clock: tapeClock(tape),
      directory: temporaryFolder().path,
      only: { keyId: 'good', secret: 'pair' },
    });
    try {
      const wrong = sdkClient(guarded.url);
      expect(await refusal(() => wrong.alpaca.trading.account.getAccount())).toMatchObject({
        status: 401,
        message: expect.stringMatching(/unauthorized/),
      });
      const right = sdkClient(guarded.url, { keyId: 'good', secret: 'pair' });
      expect((await right.alpaca.trading.account.getAccount()).status).toBe('ACTIVE');
    } finally {
      await guarded.close();
    }
  });

  it('the real limit of requests answers 429 with the reset time', async () => {
    const limited = await startExchange({
      tape: new FakeTape(['IBM']),
      clock: tapeClock(tape),
      directory: temporaryFolder().path,
      settings: { requestsPerMinute: 2 },
    });
    try {
      const { alpaca } = sdkClient(limited.url);
      const answers = await Promise.all(
        [1, 2, 3, 4].map(() => refusal(() => alpaca.trading.account.getAccount()).catch(() => undefined)),
      );
      expect(answers.filter((answer) => answer?.status === 429).length).toBeGreaterThanOrEqual(1);
    } finally {
      await limited.close();
    }
  });
});
