import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRequestBudget } from '../../src/lib/alpaca/trading-budget.ts';
import { classifyRefusal, parseErrorBody } from '../../src/lib/alpaca/trading-errors.ts';
import { checkBrokerHost } from '../../src/lib/alpaca/trading-host.ts';
import { type MutationCapability, openTradingMutations, orderBody } from '../../src/lib/alpaca/trading-mutations.ts';
import { parseAccount, parseFillActivities, parseOrder, parsePositions } from '../../src/lib/alpaca/trading-schema.ts';
import { checkPayload } from '../../src/lib/orders/firewall.ts';
import type { OrderTerms } from '../../src/lib/risk/order.ts';
import { TorghutError } from '../../src/lib/service/errors.ts';

describe('the broker address', () => {
  const check = (
    baseUrl: string,
    mode: 'paper' | 'live' = 'paper',
    keyId = 'PKABC',
    clockKind: 'system' | 'virtual' = 'system',
  ) => {
    try {
      const endpoint = checkBrokerHost({ baseUrl, mode, keyId, clockKind });
      return `${endpoint.baseUrl}${endpoint.isSimulator ? ' simulator' : ''}`;
    } catch (error) {
      if (error instanceof TorghutError && error.exitCode === 4) return error.code;
      throw error;
    }
  };

  it.each([
    ['https://paper-api.alpaca.markets', 'paper', 'PK1', 'system', 'https://paper-api.alpaca.markets'],
    ['https://paper-api.alpaca.markets/v2/', 'paper', 'PK1', 'system', 'https://paper-api.alpaca.markets'],
    ['https://api.alpaca.markets', 'live', 'AK1', 'system', 'https://api.alpaca.markets'],
    ['http://127.0.0.1:4000', 'paper', 'SIM1', 'virtual', 'http://127.0.0.1:4000 simulator'],
    ['http://localhost:4000', 'paper', 'SIM1', 'system', 'http://localhost:4000 simulator'],
    ['http://[::1]:4000', 'paper', 'SIM1', 'system', 'http://[::1]:4000 simulator'],
  ] as const)('%s in %s mode is allowed', (url, mode, key, clock, expected) => {
    expect(check(url, mode, key, clock)).toBe(expected);
  });

  it.each([
    ['paper keys with the live host', 'https://api.alpaca.markets', 'paper', 'PK1', 'system'],
    ['live mode with the paper host', 'https://paper-api.alpaca.markets', 'live', 'AK1', 'system'],
    ['plain http', 'http://paper-api.alpaca.markets', 'paper', 'PK1', 'system'],
    ['a port', 'https://paper-api.alpaca.markets:8443', 'paper', 'PK1', 'system'],
    ['a path', 'https://paper-api.alpaca.markets/proxy', 'paper', 'PK1', 'system'],
    ['user info', 'https://me:x@paper-api.alpaca.markets', 'paper', 'PK1', 'system'],
    ['a look-alike host', 'https://paper-api.alpaca.markets.example.com', 'paper', 'PK1', 'system'],
    ['loopback with real keys', 'http://127.0.0.1:4000', 'paper', 'PK1', 'system'],
    ['loopback in live mode', 'http://127.0.0.1:4000', 'live', 'SIM1', 'system'],
    ['a host that only starts like loopback', 'http://127.0.0.1.example.com', 'paper', 'SIM1', 'system'],
    ['simulator keys at the real broker', 'https://paper-api.alpaca.markets', 'paper', 'SIM1', 'system'],
    ['a virtual clock at the real broker', 'https://paper-api.alpaca.markets', 'paper', 'PK1', 'virtual'],
    ['no URL', 'paper', 'paper', 'PK1', 'system'],
  ] as const)('%s refuses to boot', (_name, url, mode, key, clock) => {
    expect(check(url, mode, key, clock)).toBe('broker_host_refused');
  });
});

describe('what a reply means', () => {
  it.each([
    [400, '{"code":40010000,"message":"malformed"}', 'broker_bad_request'],
    [401, '{"message":"unauthorized"}', 'broker_auth'],
    [403, '{"code":40310000,"message":"insufficient buying power"}', 'broker_insufficient_buying_power'],
    [
      403,
      '{"code":40310000,"message":"insufficient qty available for order (requested: 5, available: 1)"}',
      'broker_insufficient_qty',
    ],
    [403, '{"code":40310000,"message":"potential wash trade detected. use complex orders"}', 'broker_wash_trade'],
    [422, '{"code":42210000,"message":"potential wash trade detected. use complex orders"}', 'broker_wash_trade'],
    [403, '{"code":40310100,"message":"trade denied"}', 'broker_pattern_day_trader'],
    [403, '{"code":40310000,"message":"new orders are rejected by user request"}', 'broker_trading_restricted'],
    [404, '{"code":40410000,"message":"asset not found for ZZZ"}', 'broker_not_found'],
    [422, '{"code":40010001,"message":"client_order_id must be unique"}', 'broker_duplicate_client_order_id'],
    [422, '{"code":42210000,"message":"client_order_id must be unique"}', 'broker_duplicate_client_order_id'],
    [422, '{"code":40010001,"message":"qty must be integer"}', 'broker_unprocessable'],
    [429, '{"code":42910000,"message":"rate limit exceeded"}', 'broker_rate_limited'],
  ])('%i %s is the refusal %s', (status, body, refusal) => {
    expect(classifyRefusal(status, parseErrorBody(body))).toBe(refusal);
  });

  it.each([
    [429, 'too many requests'],
    [403, '<html>forbidden</html>'],
    [408, '{"message":"timeout"}'],
    [409, '{"message":"conflict"}'],
    [500, '{"code":50010000,"message":"internal server error"}'],
    [503, '{"message":"unavailable"}'],
    [504, '{"code":50410000,"message":"request timed out"}'],
    [422, '{"error":"no message"}'],
    [400, '"text"'],
    [404, ''],
  ])('%i %s leaves the outcome unknown', (status, body) => {
    expect(classifyRefusal(status, parseErrorBody(body))).toBeUndefined();
  });
});

describe('replies', () => {
  const order = {
    id: 'o',
    client_order_id: 'c',
    symbol: 'IBM',
    side: 'buy',
    type: 'limit',
    time_in_force: 'day',
    qty: '10',
    filled_qty: '0.30000001',
    status: 'new',
    updated_at: '2013-10-08T10:00:00.123456789-04:00',
  };

  it('keep amounts as decimals and times in nanoseconds, with any offset', () => {
    const parsed = parseOrder(order);
    expect(parsed.filledQty.toFixed()).toBe('0.30000001');
    expect(parsed.updatedNs).toBe(1381240800123456789n);
    expect(parseOrder({ ...order, qty: null, filled_qty: null, limit_price: null }).quantity).toBeUndefined();
    expect(() => parseOrder({ ...order, qty: 'NaN' })).toThrow();
    expect(() => parseOrder({ ...order, side: 'hold' })).toThrow();
  });

  it('make short positions negative whatever sign they came with', () => {
    const position = { symbol: 'IBM', avg_entry_price: '1', market_value: '-50', side: 'short' };
    expect(
      parsePositions([
        { ...position, qty: '-5' },
        { ...position, qty: '5' },
      ]).map((held) => held.quantity.toNumber()),
    ).toEqual([-5, -5]);
  });

  it('name everything that forbids the account to trade', () => {
    const account = { id: 'a', status: 'ACTIVE', equity: '1', cash: '1', buying_power: '4' };
    expect(parseAccount(account).restrictions).toEqual([]);
    expect(
      parseAccount({ ...account, status: 'ONBOARDING', trading_blocked: true, trade_suspended_by_user: true })
        .restrictions,
    ).toEqual(['status_onboarding', 'trading_blocked', 'trade_suspended_by_user']);
    expect(() => parseAccount({ ...account, buying_power: undefined })).toThrow();
  });

  it('take the execution id out of the activity id', () => {
    const [activity] = parseFillActivities([
      {
        id: '20131008100000123::abc',
        activity_type: 'FILL',
        order_id: 'o',
        symbol: 'IBM',
        side: 'sell_short',
        qty: '5',
        price: '1.5',
        cum_qty: '5',
        transaction_time: '2013-10-08T14:00:00Z',
      },
    ]);
    expect(activity).toMatchObject({ executionId: 'abc', side: 'sell' });
  });
});

describe('the way to the broker', () => {
  it('is closed without an issued capability', async () => {
    const mutations = openTradingMutations({ baseUrl: 'http://127.0.0.1:9', keyId: 'SIM', secretKey: 'secret' }, 100);
    const terms: OrderTerms = {
      symbol: 'IBM',
      side: 'buy',
      quantity: new Decimal(1),
      type: 'market',
      timeInForce: 'day',
    };
    for (const forged of [{}, null, undefined, 'x', Object.freeze({})]) {
      await expect(mutations.submitOrder(forged as MutationCapability, terms, 'c')).rejects.toMatchObject({
        code: 'order_firewall_required',
      });
      await expect(mutations.cancelOrder(forged as MutationCapability, 'o')).rejects.toMatchObject({
        code: 'order_firewall_required',
      });
    }
  });

  it('has one holder: only the firewall asks for a capability', () => {
    const files = readdirSync('src', { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => join(entry.parentPath, entry.name));
    const holders = files.filter((path) => /issueMutationCapability/.test(readFileSync(path, 'utf8')));
    expect(holders.sort()).toEqual(['src/lib/alpaca/trading-mutations.ts', 'src/lib/orders/firewall.ts']);
  });

  it('carries decimals as plain text and refuses what does not fit', () => {
    const id = `tg1-${'0'.repeat(40)}-1`;
    const terms: OrderTerms = {
      symbol: 'BRK.B',
      side: 'sell',
      quantity: new Decimal('1e-7'),
      type: 'stop_limit',
      timeInForce: 'gtc',
      limitPrice: new Decimal('0.1234'),
      stopPrice: new Decimal('10.5'),
    };
    expect(orderBody(terms, id)).toEqual({
      symbol: 'BRK.B',
      side: 'sell',
      qty: '0.0000001',
      type: 'stop_limit',
      time_in_force: 'gtc',
      limit_price: '0.1234',
      stop_price: '10.5',
      client_order_id: id,
    });
    expect(() => checkPayload(terms, id)).not.toThrow();
    const wrong: Partial<OrderTerms>[] = [
      { quantity: new Decimal(0) }, { quantity: new Decimal(-1) }, { quantity: new Decimal('Infinity') }, { symbol: 'ibm' },
      { limitPrice: new Decimal('1.234') }, { limitPrice: new Decimal('0.12345') }, { stopPrice: new Decimal(0) }, { type: 'market' },
    ]; // biome-ignore format: one list
    for (const change of wrong)
      expect(() => checkPayload({ ...terms, ...change }, id), JSON.stringify(change)).toThrow('firewall');
    expect(() => checkPayload(terms, 'by-hand')).toThrow('firewall');
  });

  it('never loses digits of a quantity', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 1n, max: 10n ** 19n }), (units) => {
        const quantity = new Decimal(units.toString()).div(1e8);
        const terms: OrderTerms = { symbol: 'IBM', side: 'buy', quantity, type: 'market', timeInForce: 'day' };
        expect(new Decimal(orderBody(terms, 'c').qty as string).eq(quantity)).toBe(true);
      }),
    );
  });
});

describe('the request budget', () => {
  it('keeps its reserve for cancels', async () => {
    let now = 0;
    const budget = createRequestBudget(3, 2, () => now);
    const over = AbortSignal.timeout(30);
    expect([await budget.take('normal'), await budget.take('normal'), await budget.take('normal')]).toEqual([
      true,
      true,
      true,
    ]);
    expect(await budget.take('normal', over)).toBe(false);
    expect([await budget.take('cancel'), await budget.take('cancel')]).toEqual([true, true]);
    expect(await budget.take('cancel', AbortSignal.timeout(30))).toBe(false);
    now = 60_000;
    expect(budget.left()).toBe(3);
    expect(await budget.take('normal')).toBe(true);
  });

  it('tells the least of its own count and the word of the broker, until the limit of the broker begins anew', () => {
    let now = 0;
    const budget = createRequestBudget(150, 50, () => now);
    expect(budget.remaining()).toBe(150);
    budget.heard(17, 30_000);
    expect(budget.remaining()).toBe(17);
    budget.heard(190, 30_000);
    expect(budget.remaining()).toBe(150);
    budget.heard(0, 30_000);
    now = 30_000;
    expect(budget.remaining()).toBe(150);
  });
});
