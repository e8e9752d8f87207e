import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { OrderTerms } from '../../../src/simulator/trading/order-request.ts';
import { parseOrderRequest, parseReplaceRequest } from '../../../src/simulator/trading/order-request.ts';
import { FakeTape, ns } from './fake-tape.ts';
import { type BareBroker, bareBroker, temporaryFolder } from './test-exchange.ts';

let folder: ReturnType<typeof temporaryFolder>;
let tape: FakeTape;
let bare: BareBroker;

beforeEach(() => {
  folder = temporaryFolder();
  tape = new FakeTape(['AIG', 'BAC', 'IBM', 'SPY', 'HTB']);
  bare = bareBroker(folder.path, tape);
});
afterEach(() => {
  bare.journal.close();
  folder.remove();
});

const terms = (given: Record<string, unknown>): OrderTerms =>
  parseOrderRequest({ symbol: 'IBM', side: 'buy', type: 'market', time_in_force: 'day', qty: '1', ...given });

/** Submits and returns the id. */
const submit = (given: Record<string, unknown>): string => bare.broker.submit(terms(given)).id;
const order = (id: string) => {
  const found = bare.state.order(id);
  if (!found) throw new Error('order is gone');
  return found;
};

describe('fills against the quote', () => {
  it('a market buy pays the offer, a market sell gets the bid', () => {
    tape.quote('IBM', [184.2, 300], [184.25, 400]);
    const buy = order(submit({ qty: '10' }));
    expect(buy).toMatchObject({ status: 'filled', filled_qty: '10', filled_avg_price: '184.25' });
    const sell = order(submit({ side: 'sell', qty: '10' }));
    expect(sell).toMatchObject({ status: 'filled', filled_avg_price: '184.2' });
    expect(bare.state.account.cash.toString()).toBe('99999.5');
    expect(bare.state.account.positions.size).toBe(0);
  });

  it('the answer shows the order before the market met it', () => {
    tape.quote('IBM', [184.2, 300], [184.25, 400]);
    expect(bare.broker.submit(terms({}))).toMatchObject({ status: 'pending_new', filled_qty: '0' });
    expect(bare.events.map((event) => event.event)).toEqual(['pending_new', 'new', 'fill']);
  });

  it('takes no more than is displayed, and the rest from the next change of the quote', () => {
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    const id = submit({ qty: '250' });
    expect(order(id)).toMatchObject({ status: 'partially_filled', filled_qty: '100' });
    tape.quote('IBM', [184.19, 100], [184.25, 100]);
    expect(order(id).filled_qty, 'the offer did not change, it is used up').toBe('100');
    tape.quote('IBM', [184.19, 100], [184.26, 200]);
    expect(order(id)).toMatchObject({ status: 'filled', filled_qty: '250', filled_avg_price: '184.256' });
    expect(bare.events.map((event) => event.event)).toEqual(['pending_new', 'new', 'partial_fill', 'fill']);
  });

  it('two orders share one displayed size in the order of their arrival', () => {
    tape.quote('IBM', [184.2, 100], [184.3, 100]);
    const first = submit({ qty: '80', type: 'limit', limit_price: '184.25' });
    const second = submit({ qty: '80', type: 'limit', limit_price: '184.25' });
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    expect(order(first).filled_qty).toBe('80');
    expect(order(second).filled_qty).toBe('20');
  });

  it('an order in a symbol without quotes rests', () => {
    tape.trade('SPY', 165.5);
    const id = submit({ symbol: 'SPY' });
    tape.trade('SPY', 165.6);
    expect(order(id)).toMatchObject({ status: 'new', filled_qty: '0' });
  });

  it('a side with price 0 fills nothing', () => {
    tape.quote('IBM', [184.2, 100], [0, 0]);
    expect(order(submit({})).status).toBe('new');
  });

  it('a limit fills at the quote when that is better, never beyond the limit', () => {
    tape.quote('IBM', [184.2, 100], [184.3, 100]);
    const id = submit({ type: 'limit', limit_price: '184.25' });
    expect(order(id).status).toBe('new');
    tape.quote('IBM', [184.1, 100], [184.24, 100]);
    expect(order(id)).toMatchObject({ status: 'filled', filled_avg_price: '184.24' });
  });

  it('nothing fills in a halt, and the market goes on after it', () => {
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    tape.halt('IBM', true);
    const id = submit({});
    expect(order(id).status).toBe('new');
    tape.halt('IBM', false);
    expect(order(id).status).toBe('filled');
  });

  it('a money amount buys parts of a share to nine digits', () => {
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    const id = submit({ qty: undefined, notional: '1000' });
    expect(order(id)).toMatchObject({ status: 'filled', qty: null, notional: '1000', filled_qty: '5.427408412' });
  });
});

describe('time in force', () => {
  it('ioc takes what is there and cancels the rest', () => {
    tape.quote('IBM', [184.2, 100], [184.25, 60]);
    expect(order(submit({ qty: '100', time_in_force: 'ioc' }))).toMatchObject({ status: 'canceled', filled_qty: '60' });
  });

  it('fok takes everything or nothing', () => {
    tape.quote('IBM', [184.2, 100], [184.25, 60]);
    expect(order(submit({ qty: '100', time_in_force: 'fok' }))).toMatchObject({ status: 'canceled', filled_qty: '0' });
    expect(order(submit({ qty: '60', time_in_force: 'fok' }))).toMatchObject({ status: 'filled', filled_qty: '60' });
  });

  it('a day order ends at the close, also a partly filled one; gtc stays', () => {
    tape.quote('IBM', [184.2, 100], [184.25, 60]);
    const day = submit({ qty: '100', type: 'limit', limit_price: '184.25' });
    const gtc = submit({ type: 'limit', limit_price: '180', time_in_force: 'gtc' });
    tape.now = ns('2013-10-08T20:00:00Z');
    tape.quote('IBM', [184.2, 100], [184.26, 60]);
    expect(order(day)).toMatchObject({ status: 'expired', filled_qty: '60', expired_at: '2013-10-08T20:00:00Z' });
    expect(order(gtc).status).toBe('new');
    expect(bare.state.account.balanceDate).toBe('2013-10-08');
  });

  it('a half day closes at one', () => {
    tape.now = ns('2013-11-29T15:00:00Z');
    const id = submit({ type: 'limit', limit_price: '180' });
    tape.now = ns('2013-11-29T18:00:00Z');
    bare.engine.settle();
    expect(order(id).status).toBe('expired');
  });

  it('a market order outside the session is accepted and fills after the open', () => {
    tape.now = ns('2013-10-09T12:00:00Z');
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    const id = submit({});
    expect(order(id).status).toBe('accepted');
    tape.quote('IBM', [184.2, 100], [184.3, 100]);
    expect(order(id).status).toBe('accepted');
    tape.now = ns('2013-10-09T13:30:00Z');
    bare.engine.settle();
    expect(order(id)).toMatchObject({ status: 'filled', filled_avg_price: '184.3' });
  });

  it('an order after the close works on the next trading day', () => {
    tape.now = ns('2013-10-11T21:00:00Z');
    const id = submit({ type: 'limit', limit_price: '190' });
    expect(order(id).expires_at).toBe('2013-10-14T20:00:00Z');
    tape.now = ns('2013-10-14T13:30:00.5Z');
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    expect(order(id).status).toBe('filled');
  });

  it('an order that its account can no longer pay is rejected at the open', () => {
    tape.now = ns('2013-10-09T12:00:00Z');
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    const id = submit({ qty: '1000' });
    tape.quote('IBM', [384.2, 100], [384.25, 100]);
    tape.now = ns('2013-10-09T13:30:00Z');
    bare.engine.settle();
    expect(order(id)).toMatchObject({ status: 'rejected', failed_at: '2013-10-09T13:30:00Z' });
    expect(bare.events.at(-1)?.event).toBe('rejected');
  });

  it('extended hours: a marked limit order fills before the open and ends at 20:00', () => {
    tape.now = ns('2013-10-09T12:00:00Z');
    const id = submit({ type: 'limit', limit_price: '184.25', extended_hours: true });
    expect(order(id)).toMatchObject({ status: 'new', expires_at: '2013-10-10T00:00:00Z' });
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    expect(order(id).status).toBe('filled');
  });

  it('opg fills at the opening print, cls at the closing print; without one they end', () => {
    tape.now = ns('2013-10-09T13:00:00Z');
    const opg = submit({ time_in_force: 'opg', qty: '5' });
    const cls = submit({ time_in_force: 'cls', symbol: 'AIG', qty: '5' });
    tape.now = ns('2013-10-09T13:30:00.1Z');
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    expect(order(opg).status).toBe('new');
    tape.trade('IBM', 184.22, 5000, [' ', 'O']);
    expect(order(opg)).toMatchObject({ status: 'filled', filled_avg_price: '184.22' });
    tape.now = ns('2013-10-09T20:00:01Z');
    tape.trade('AIG', 48.5, 3, [' ', '6']);
    expect(order(cls)).toMatchObject({ status: 'expired', filled_qty: '3' });
  });

  it('gtc ends after ninety days', () => {
    const id = submit({ type: 'limit', limit_price: '100', time_in_force: 'gtc' });
    tape.now = ns('2014-01-05T15:00:00Z');
    bare.engine.settle();
    expect(order(id).status).toBe('new');
    tape.now = ns('2014-01-07T01:00:00Z');
    bare.engine.settle();
    expect(order(id).status).toBe('expired');
  });
});

describe('stops', () => {
  beforeEach(() => {
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    tape.trade('IBM', 184.22);
  });

  it('a buy stop is elected by a trade at its price, not by a quote', () => {
    const id = submit({ type: 'stop', stop_price: '184.5' });
    tape.quote('IBM', [184.6, 100], [184.65, 100]);
    expect(order(id).status).toBe('new');
    tape.trade('IBM', 184.6, 100, [' ', 'Z']);
    expect(order(id).status, 'an out-of-sequence print elects nothing').toBe('new');
    tape.trade('IBM', 184.6);
    expect(order(id)).toMatchObject({ status: 'filled', filled_avg_price: '184.65' });
  });

  it('a stop limit waits for its stop, then keeps its limit', () => {
    const id = submit({ type: 'stop_limit', stop_price: '184.5', limit_price: '184.6' });
    tape.quote('IBM', [184.6, 100], [184.65, 100]);
    tape.trade('IBM', 184.6);
    expect(order(id).status).toBe('new');
    tape.quote('IBM', [184.5, 100], [184.58, 100]);
    expect(order(id)).toMatchObject({ status: 'filled', filled_avg_price: '184.58' });
  });

  it('a trailing sell follows the high and fires at the distance below it', () => {
    submit({ qty: '10' });
    const id = submit({ side: 'sell', type: 'trailing_stop', trail_price: '0.5', qty: '10' });
    expect(order(id)).toMatchObject({ hwm: '184.22', stop_price: '183.72' });
    tape.trade('IBM', 185);
    expect(order(id)).toMatchObject({ hwm: '185', stop_price: '184.5' });
    tape.trade('IBM', 184.8);
    expect(order(id)).toMatchObject({ hwm: '185', status: 'new' });
    tape.quote('IBM', [184.4, 100], [184.5, 100]);
    tape.trade('IBM', 184.5);
    expect(order(id)).toMatchObject({ status: 'filled', filled_avg_price: '184.4' });
  });

  it('a trailing buy by percent follows the low', () => {
    const id = submit({ type: 'trailing_stop', trail_percent: '1' });
    tape.trade('IBM', 180);
    expect(order(id)).toMatchObject({ hwm: '180', stop_price: '181.8' });
  });
});

describe('cancel and replace', () => {
  beforeEach(() => tape.quote('IBM', [184.2, 100], [184.25, 100]));

  it('a cancelled order ends and tells both steps', () => {
    const id = submit({ type: 'limit', limit_price: '180' });
    bare.broker.cancel(id);
    expect(order(id).status).toBe('canceled');
    expect(bare.events.map((event) => event.event)).toEqual(['pending_new', 'new', 'pending_cancel', 'canceled']);
    expect(() => bare.broker.cancel(id)).toThrow(/already in "canceled" state/);
  });

  it('a replace makes a new order for what is left', () => {
    tape.quote('IBM', [184.2, 100], [184.25, 40]);
    const id = submit({ qty: '100', type: 'limit', limit_price: '184.25' });
    const next = bare.broker.replace(id, parseReplaceRequest({ limit_price: '184.3', qty: '150' }));
    expect(order(id)).toMatchObject({ status: 'replaced', replaced_by: next.id, filled_qty: '40' });
    expect(order(next.id)).toMatchObject({ status: 'new', replaces: id, qty: '110', limit_price: '184.3' });
    expect(next.client_order_id).not.toBe(order(id).client_order_id);
    tape.quote('IBM', [184.2, 100], [184.3, 500]);
    expect(bare.state.account.positionQty('IBM').toString()).toBe('150');
  });

  it('a late fill wins against the cancel', () => {
    const id = submit({ qty: '5', type: 'limit', limit_price: '180' });
    bare.broker.cancel(id, 1_000_000n);
    expect(order(id).status).toBe('pending_cancel');
    tape.pass(2);
    bare.engine.settle();
    expect(order(id)).toMatchObject({ status: 'filled', filled_avg_price: '180', filled_qty: '5' });
  });
});
