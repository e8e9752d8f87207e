/** Margin and buying power, against figures worked out by hand from Alpaca's margin rules. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { accountView, positionView } from '../../../src/simulator/trading/account-view.ts';
import { parseOrderRequest } from '../../../src/simulator/trading/order-request.ts';
import { FakeTape, ns } from './fake-tape.ts';
import { type BareBroker, bareBroker, temporaryFolder } from './test-exchange.ts';

let folder: ReturnType<typeof temporaryFolder>;
let tape: FakeTape;
let bare: BareBroker;

beforeEach(() => {
  folder = temporaryFolder();
  tape = new FakeTape(['AIG', 'BAC', 'IBM']);
  bare = bareBroker(folder.path, tape);
  tape.quote('IBM', [200, 9999], [200, 9999]);
  tape.quote('AIG', [50, 9999], [50, 9999]);
  tape.quote('BAC', [4, 9999], [4, 9999]);
});
afterEach(() => {
  bare.journal.close();
  folder.remove();
});

const submit = (given: Record<string, unknown>) =>
  bare.broker.submit(
    parseOrderRequest({ symbol: 'IBM', side: 'buy', type: 'market', time_in_force: 'day', qty: '1', ...given }),
  );
const account = () => accountView(bare.broker, tape.now);

describe('margin', () => {
  it('a long position asks half of its value at entry and 30 % to keep', () => {
    submit({ qty: '300' });
    expect(account()).toMatchObject({
      cash: '40000',
      long_market_value: '60000',
      equity: '100000',
      initial_margin: '30000',
      maintenance_margin: '18000',
      buying_power: '140000',
      regt_buying_power: '140000',
      non_marginable_buying_power: '40000',
    });
  });

  it('a short below five dollars keeps all of its value, and at least 2.50 a share', () => {
    submit({ symbol: 'BAC', side: 'sell', qty: '1000' });
    expect(account()).toMatchObject({
      cash: '104000',
      short_market_value: '-4000',
      equity: '100000',
      initial_margin: '2000',
      maintenance_margin: '4000',
      buying_power: '196000',
    });
    tape.quote('BAC', [2, 9999], [2, 9999]);
    expect(account()).toMatchObject({ equity: '102000', maintenance_margin: '2500' });
  });

  it('a short asks for its value at 3 % above the offer', () => {
    expect(() => submit({ symbol: 'AIG', side: 'sell', qty: '3884' })).toThrow('insufficient buying power');
    submit({ symbol: 'AIG', side: 'sell', qty: '3883' });
  });

  it('open opening orders claim buying power until they end, closing orders claim none', () => {
    const order = submit({ qty: '100', type: 'limit', limit_price: '150' });
    expect(account().buying_power).toBe('185000');
    bare.broker.cancel(order.id);
    expect(account().buying_power).toBe('200000');
    submit({ qty: '10' });
    const before = account().buying_power;
    submit({ side: 'sell', qty: '10', type: 'limit', limit_price: '250' });
    expect(account().buying_power).toBe(before);
  });

  it('the close becomes the base of the next day', () => {
    submit({ qty: '10' });
    tape.quote('IBM', [210, 9999], [210, 9999]);
    tape.now = ns('2013-10-08T20:00:00Z');
    bare.engine.settle();
    tape.now = ns('2013-10-09T14:00:00Z');
    tape.quote('IBM', [205, 9999], [205, 9999]);
    expect(account()).toMatchObject({ last_equity: '100100', equity: '100050', balance_asof: '2013-10-08' });
    const held = bare.state.account.positions.get('IBM');
    if (!held) throw new Error('the position is gone');
    expect(positionView(bare.broker, held)).toMatchObject({
      lastday_price: '210',
      unrealized_pl: '50',
      unrealized_intraday_pl: '-50',
      change_today: '-0.02381',
    });
  });

  it('a round trip on one day is a day trade, overnight it is none', () => {
    submit({ qty: '10' });
    submit({ side: 'sell', qty: '4' });
    expect(account().daytrade_count).toBe(1);
    tape.now = ns('2013-10-09T14:00:00Z');
    tape.quote('IBM', [201, 9999], [201, 9999]);
    submit({ side: 'sell', qty: '6' });
    expect(account().daytrade_count).toBe(1);
    tape.now = ns('2013-10-15T14:00:00Z');
    bare.engine.settle();
    expect(account().daytrade_count, 'five trading days later it no longer counts').toBe(0);
  });
});
