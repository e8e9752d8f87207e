/**
 * Every order type with every time in force, as Alpaca's own SDK names them.
 */
import { trading as sdk } from '@alpacahq/alpaca-trade-api';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Conformance, type PostBody, refusal, startConformance } from './conformance.ts';

let at: Conformance;

beforeAll(async () => {
  at = await startConformance();
});
afterAll(() => at.close());

const t = () => at.sdk;
const post = (body: Partial<PostBody> = {}) => at.post(body);

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
