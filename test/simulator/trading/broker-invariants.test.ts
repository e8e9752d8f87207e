/**
 * What must hold whatever clients and the market do: money and shares are conserved, orders only move forward, a rebuilt
 * broker equals the one that died, and the same commands give the same journal.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { amount, ZERO } from '../../../src/simulator/trading/amount.ts';
import { BrokerError } from '../../../src/simulator/trading/broker-error.ts';
import { signedQty, terminalStatuses, type WireOrder, wireOrder } from '../../../src/simulator/trading/order-record.ts';
import { parseOrderRequest, parseReplaceRequest } from '../../../src/simulator/trading/order-request.ts';
import { FakeTape } from './fake-tape.ts';
import { type BareBroker, bareBroker, temporaryFolder } from './test-exchange.ts';

const symbols = ['AIG', 'BAC'] as const;
const price = fc.integer({ min: 90, max: 110 });
const symbol = fc.constantFrom(...symbols);

const command = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('quote' as const), symbol, price, bid: fc.nat(300), ask: fc.nat(300) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('trade' as const),
      symbol,
      price,
      letter: fc.constantFrom(' ', 'Z', 'O', '6'),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      symbol,
      side: fc.constantFrom('buy', 'sell'),
      type: fc.constantFrom('market', 'limit', 'stop', 'stop_limit', 'trailing_stop'),
      time: fc.constantFrom('day', 'gtc', 'ioc', 'fok', 'cls'),
      qty: fc.oneof(fc.integer({ min: 1, max: 400 }).map(String), fc.constantFrom('0.5', '12.25')),
      isMoney: fc.boolean(),
      price,
      extended: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), pick: fc.nat(50), late: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('replace' as const),
      pick: fc.nat(50),
      qty: fc.integer({ min: 1, max: 500 }),
      price,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('close' as const), symbol }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('halt' as const), symbol, isHalted: fc.boolean() }) },
  // Up to some hours: closes, nights and opens are crossed.
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.oneof(fc.nat(2000), fc.nat(30_000_000)) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
);
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

interface Run {
  bare: BareBroker;
  folder: string;
  tape: FakeTape;
}

/** Runs one command; refusals are part of the game, anything else is an error. */
function apply(run: Run, given: Command): void {
  try {
    act(run, given);
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error;
  }
}

function act(run: Run, given: Command): void {
  const { tape, bare } = run;
  const orders = [...bare.state.orders.values()];
  const picked = (at: number) => orders[at % Math.max(1, orders.length)];
  if (given.do === 'quote') {
    tape.quote(given.symbol, [given.price / 10, given.bid], [given.price / 10 + 0.02, given.ask]);
  } else if (given.do === 'trade') {
    tape.trade(given.symbol, given.price / 10, 50, [given.letter]);
  } else if (given.do === 'halt') {
    tape.halt(given.symbol, given.isHalted);
  } else if (given.do === 'pass') {
    tape.pass(given.ms);
    bare.engine.settle();
  } else if (given.do === 'submit') {
    bare.broker.submit(parseOrderRequest(bodyOf(given)));
  } else if (given.do === 'cancel') {
    const order = picked(given.pick);
    if (order) bare.broker.cancel(order.id, given.late ? 500_000_000n : undefined);
  } else if (given.do === 'replace') {
    const order = picked(given.pick);
    const change = { qty: String(given.qty), ...(order?.limit_price ? { limit_price: String(given.price / 10) } : {}) };
    if (order) bare.broker.replace(order.id, parseReplaceRequest(change));
  } else if (given.do === 'close') {
    bare.broker.closePosition(given.symbol);
  } else {
    bare.journal.close();
    tape.detach();
    run.bare = bareBroker(run.folder, tape);
  }
}

function bodyOf(given: Extract<Command, { do: 'submit' }>): Record<string, unknown> {
  const at = String(given.price / 10);
  return {
    symbol: given.symbol,
    side: given.side,
    type: given.type,
    time_in_force: given.time,
    ...(given.isMoney ? { notional: '250' } : { qty: given.qty }),
    ...(given.type === 'limit' || given.type === 'stop_limit' ? { limit_price: at } : {}),
    ...(given.type === 'stop' || given.type === 'stop_limit' ? { stop_price: at } : {}),
    ...(given.type === 'trailing_stop' ? { trail_percent: '1' } : {}),
    extended_hours: given.extended && given.type === 'limit',
  };
}

function checkConservation({ bare }: Run): void {
  const { account, activities, orders } = bare.state;
  let cash = account.startCash;
  for (const name of symbols) {
    const fills = activities.filter((fill) => fill.symbol === name);
    const held = fills.reduce((sum, fill) => sum.plus(signedQty(fill.side, amount(fill.qty))), ZERO);
    expect(account.positionQty(name).toString()).toBe(held.toString());
    expect(fills.at(-1)?.position_qty ?? '0').toBe(held.toString());
    for (const fill of fills) cash = cash.minus(signedQty(fill.side, amount(fill.qty)).times(fill.price));
  }
  expect(account.cash.toString()).toBe(cash.toString());
  for (const order of orders.values()) {
    const own = activities.filter((fill) => fill.order_id === order.id);
    const filled = own.reduce((sum, fill) => sum.plus(fill.qty), ZERO);
    expect(order.filled_qty).toBe(filled.toString());
    if (order.qty !== null) expect(filled.lte(order.qty)).toBe(true);
    if (order.status === 'filled' && order.qty !== null) expect(order.filled_qty).toBe(order.qty);
    for (const fill of own) {
      if (order.limit_price === null) continue;
      const isInside =
        order.side === 'buy' ? amount(fill.price).lte(order.limit_price) : amount(fill.price).gte(order.limit_price);
      expect(isInside, 'no fill beyond the limit').toBe(true);
    }
  }
}

function checkForward(before: Map<string, WireOrder>, { bare }: Run): Map<string, WireOrder> {
  const now = new Map<string, WireOrder>();
  for (const [id, order] of bare.state.orders) now.set(id, wireOrder(order));
  for (const [id, old] of before) {
    const order = now.get(id);
    expect(order, 'no order disappears').toBeDefined();
    if (!order) continue;
    if (terminalStatuses.has(old.status)) expect(order, 'a terminal order never changes').toEqual(old);
    expect(amount(order.filled_qty).gte(old.filled_qty), 'filled_qty never shrinks').toBe(true);
  }
  return now;
}

function withRun(commands: Command[], each: (run: Run) => void): string {
  const folder = temporaryFolder();
  const tape = new FakeTape([...symbols]);
  const run: Run = { bare: bareBroker(folder.path, tape, '20000'), folder: folder.path, tape };
  try {
    for (const given of commands) {
      apply(run, given);
      each(run);
    }
    return readFileSync(join(folder.path, 'trading.ndjson'), 'utf8');
  } finally {
    run.bare.journal.close();
    folder.remove();
  }
}

const numRuns = process.env.TORGHUT_TEST_FULL ? 1500 : 120;
/** Compared as text: a difference between two brokers is thousands of lines, and building that diff takes minutes. */
const equals = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
const commands = fc.array(command, { minLength: 5, maxLength: 60 });

describe('whatever happens', () => {
  it('shares and money are conserved and orders only move forward', () => {
    fc.assert(
      fc.property(commands, (given) => {
        let seen = new Map<string, WireOrder>();
        withRun(given, (run) => {
          checkConservation(run);
          seen = checkForward(seen, run);
        });
      }),
      { numRuns },
    );
  });

  it('a broker rebuilt from the journal equals the one that wrote it', () => {
    fc.assert(
      fc.property(commands, (given) => {
        const folder = temporaryFolder();
        const tape = new FakeTape([...symbols]);
        const run: Run = { bare: bareBroker(folder.path, tape, '20000'), folder: folder.path, tape };
        for (const one of given) apply(run, one);
        const before = run.bare;
        before.journal.close();
        tape.detach();
        const after = bareBroker(folder.path, tape, '20000');
        expect(after.journal.last, 'nothing is left to do at the same market time').toBe(before.journal.last);
        expect(equals([...after.state.orders], [...before.state.orders]), 'orders').toBe(true);
        expect(equals(after.state.activities, before.state.activities), 'fills').toBe(true);
        expect(equals([...after.state.account.positions], [...before.state.account.positions]), 'positions').toBe(true);
        expect(after.state.account.cash.toString()).toBe(before.state.account.cash.toString());
        expect(after.state.account.lastEquity.toString()).toBe(before.state.account.lastEquity.toString());
        expect(equals(after.state.allOpenOrders(), before.state.allOpenOrders()), 'time priority').toBe(true);
        for (const name of symbols) {
          const left = (bare: BareBroker) => [bare.engine.displayOf(name).bid, bare.engine.displayOf(name).ask];
          expect(left(after), 'what is left of the quote').toEqual(left(before));
        }
        after.journal.close();
        folder.remove();
      }),
      { numRuns: Math.ceil(numRuns / 3) },
    );
  });

  it('the same commands give the same journal, byte for byte', () => {
    fc.assert(
      fc.property(commands, (given) => {
        const first = withRun(given, () => undefined);
        const second = withRun(given, () => undefined);
        expect(first === second).toBe(true);
      }),
      { numRuns: Math.ceil(numRuns / 3) },
    );
  });
});
