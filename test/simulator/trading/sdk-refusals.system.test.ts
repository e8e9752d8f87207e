/**
 * Every refusal of the trading REST, as Alpaca's own SDK reads them.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Conformance, keyHeaders, type PostBody, refusal, startConformance } from './conformance.ts';

let at: Conformance;

beforeAll(async () => {
  at = await startConformance();
});
afterAll(() => at.close());

const t = () => at.sdk;
const post = (body: Partial<PostBody> = {}) => at.post(body);
const resting = (body: Partial<PostBody> = {}) => at.resting(body);

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
    ];

  it.each(rows)('%s: %i', async (_what, status, code, message, run) => {
    const refused = await refusal(run);
    expect(refused.message).toMatch(message);
    expect({ status: refused.status, code: refused.code }).toEqual({ status, code });
  });

  it('money and share refusals carry their figures', async () => {
    const ask = async (body: Record<string, unknown>) => {
      const response = await fetch(`${at.url}/v2/orders`, {
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
});
