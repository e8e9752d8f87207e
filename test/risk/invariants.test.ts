import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isApprovedOrder, isReduceOnlyOrder } from '../../src/lib/risk/approved.ts';
import { evaluateRisk } from '../../src/lib/risk/evaluate.ts';
import type { Decision } from '../../src/lib/risk/order.ts';
import { evaluateReduction } from '../../src/lib/risk/reduction.ts';
import { quantityStep, roundToStep, sizeOrder } from '../../src/lib/risk/sizing.ts';
import type { PendingOrder, RiskLimits, RiskSnapshot } from '../../src/lib/risk/snapshot.ts';
import { dec, decision, limits, nowMs, snapshot } from './fixtures.ts';

const runs = process.env.TORGHUT_TEST_FULL ? 20_000 : 1_500;
const amount = (max: number) => fc.integer({ min: 0, max: max * 100 }).map((cents) => new Decimal(cents).div(100));
const side = fc.constantFrom('buy' as const, 'sell' as const);
const pendingOrder: fc.Arbitrary<PendingOrder> = fc.record({
  symbol: fc.constantFrom('IBM', 'AIG'),
  side,
  remaining: fc.integer({ min: 1, max: 50 }).map((n) => new Decimal(n)),
  type: fc.constantFrom('market' as const, 'limit' as const),
  price: amount(200),
});
const fraction = fc.option(
  fc.integer({ min: 0, max: 150 }).map((n) => new Decimal(n).div(100)),
  { nil: undefined },
);

interface World {
  decision: Decision;
  snapshot: RiskSnapshot;
  limits: RiskLimits;
}

const world: fc.Arbitrary<World> = fc
  .record({
    action: side,
    intent: fc.constantFrom('entry' as const, 'exit' as const),
    quantity: fc.integer({ min: 0, max: 120 }),
    position: fc.integer({ min: -60, max: 60 }),
    price: amount(200),
    equity: amount(100_000),
    buyingPower: amount(100_000),
    pending: fc.array(pendingOrder, { maxLength: 4 }),
    maxNotional: fc.option(amount(10_000), { nil: undefined }),
    maxPct: fc.option(
      fc.integer({ min: 0, max: 100 }).map((n) => new Decimal(n).div(100)),
      { nil: undefined },
    ),
    allowShorts: fc.boolean(),
    killSwitch: fc.boolean(),
    lastEntryAgo: fc.option(fc.integer({ min: 0, max: 10_000 }), { nil: undefined }),
    universe: fc.constantFrom<RiskLimits['universe'][]>('all', ['IBM'], []),
    other: fc.record({ quantity: fc.integer({ min: -200, max: 200 }), price: amount(200) }),
    caps: fc.record({ order: fraction, symbol: fraction, gross: fraction, net: fraction }),
    maxPositions: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
    volume: fc.integer({ min: 0, max: 2_000 }),
  })
  .map((w) => ({
    decision: decision({ action: w.action, intent: w.intent, quantity: dec(w.quantity), price: w.price }),
    snapshot: snapshot({
      position: dec(w.position),
      holdings: [
        { symbol: 'IBM', quantity: dec(w.position), price: w.price },
        { symbol: 'AIG', quantity: dec(w.other.quantity), price: w.other.price },
      ],
      price: { price: w.price, asOfMs: nowMs, recentVolume: dec(w.volume) },
      account: {
        equity: w.equity,
        buyingPower: w.buyingPower,
        isRestricted: false,
        shortingEnabled: true,
        asOfMs: nowMs,
      },
      pending: w.pending,
      lastEntryAtMs: w.lastEntryAgo === undefined ? undefined : nowMs - w.lastEntryAgo,
      switches: { ...snapshot().switches, killSwitch: w.killSwitch },
    }),
    limits: limits({
      maxNotionalPerTrade: w.maxNotional,
      maxPositionPctEquity: w.maxPct,
      allowShorts: w.allowShorts,
      universe: w.universe,
      maxOrderPctEquity: w.caps.order,
      maxSymbolPctEquity: w.caps.symbol,
      maxGrossPctEquity: w.caps.gross,
      maxNetPctEquity: w.caps.net,
      maxPositions: w.maxPositions,
    }),
  }));

/** The account-wide caps once more, in words of this test: every way in which the pending orders may fill. */
function expectWithinPortfolio({ snapshot: s, limits: l }: World, signed: Decimal): void {
  const equity = s.account?.equity as Decimal;
  const value = new Map<string, { worth: Decimal; quantity: Decimal }>();
  for (const { symbol, quantity, price } of s.holdings ?? []) {
    value.set(symbol, { worth: price as Decimal, quantity: symbol === 'IBM' ? quantity.plus(signed) : quantity });
  }
  const pending = s.pending;
  for (let subset = 0; subset < 2 ** pending.length; subset++) {
    const filled = new Map([...value].map(([symbol, item]) => [symbol, item.quantity]));
    pending.forEach((order, at) => {
      if ((subset & (1 << at)) === 0) return;
      const way = order.side === 'buy' ? order.remaining : order.remaining.negated();
      filled.set(order.symbol, (filled.get(order.symbol) as Decimal).plus(way));
    });
    const amounts = [...filled].map(([symbol, quantity]) => quantity.times(value.get(symbol)?.worth as Decimal));
    const gross = amounts.reduce((sum, one) => sum.plus(one.abs()), dec(0));
    if (l.maxGrossPctEquity) expect(gross.lte(equity.times(l.maxGrossPctEquity))).toBe(true);
  }
  const sum = (withOrder: boolean) =>
    [...value]
      .reduce((net, [symbol, item]) => {
        const quantity = symbol === 'IBM' && !withOrder ? item.quantity.minus(signed) : item.quantity;
        return net.plus(quantity.times(item.worth));
      }, dec(0))
      .abs();
  if (l.maxNetPctEquity && sum(true).gt(sum(false))) {
    expect(sum(true).lte(equity.times(l.maxNetPctEquity))).toBe(true);
  }
  if (l.maxPositions !== undefined) {
    expect([...value.values()].filter((item) => !item.quantity.isZero()).length).toBeLessThanOrEqual(l.maxPositions);
  }
}

describe('risk invariants', () => {
  it('an approved order never breaks a limit of its snapshot', () => {
    let approvals = 0;
    fc.assert(
      fc.property(world, ({ decision: d, snapshot: s, limits: l }) => {
        const result = evaluateRisk(d, s, l);
        if (!result.ok) {
          expect(result.refusal.reasons.length).toBeGreaterThan(0);
          return;
        }
        approvals += 1;
        const { quantity, side: way } = result.order.terms;
        const position = s.position as Decimal;
        const price = s.price?.price as Decimal;
        const signed = way === 'buy' ? quantity : quantity.negated();
        const after = position.plus(signed);
        expect(quantity.gt(0) && quantity.lte(d.quantity)).toBe(true);
        expect(s.switches.killSwitch).toBe(false);
        // Every pending order of the same side may still fill.
        const worst = s.pending
          .filter((order) => order.symbol === 'IBM' && order.side === way)
          .reduce((sum, order) => (way === 'buy' ? sum.plus(order.remaining) : sum.minus(order.remaining)), after);
        if (d.intent === 'exit') {
          // Never through zero, not even when all pending closing orders fill too.
          expect(worst.isZero() || worst.isNegative() === position.isNegative()).toBe(true);
          expect(after.abs().lt(position.abs())).toBe(true);
          return;
        }
        expect(after.abs().gt(position.abs())).toBe(true);
        if (!l.allowShorts) expect(after.isNegative()).toBe(false);
        if (l.maxNotionalPerTrade) expect(quantity.times(price).lte(l.maxNotionalPerTrade)).toBe(true);
        const equity = s.account?.equity as Decimal;
        if (l.maxPositionPctEquity) {
          expect(worst.abs().times(price).lte(equity.times(l.maxPositionPctEquity))).toBe(true);
        }
        if (l.maxOrderPctEquity) expect(quantity.times(price).lte(equity.times(l.maxOrderPctEquity))).toBe(true);
        if (l.maxSymbolPctEquity) {
          expect(worst.abs().times(price).lte(equity.times(l.maxSymbolPctEquity))).toBe(true);
        }
        expectWithinPortfolio({ decision: d, snapshot: s, limits: l }, signed);
        expect(quantity.lte((s.price?.recentVolume ?? dec(0)).times('0.1'))).toBe(true);
        expect(quantity.times(price).lte(s.account?.buyingPower as Decimal)).toBe(true);
        expect(l.universe === 'all' || l.universe.includes('IBM')).toBe(true);
        if (s.lastEntryAtMs !== undefined)
          expect(nowMs - s.lastEntryAtMs).toBeGreaterThanOrEqual(l.cooldownSeconds * 1000);
      }),
      { numRuns: runs },
    );
    // The property would be empty if nothing were ever approved.
    expect(approvals).toBeGreaterThan(runs / 100);
  });

  it('a closing order passes whatever lists, limits, account and cooldown say', () => {
    fc.assert(
      fc.property(world, fc.boolean(), (w, strategyEnabled) => {
        const price = w.snapshot.price?.price;
        if (price === undefined) throw new Error('no price');
        fc.pre(!(w.snapshot.position as Decimal).isZero() && price.gt(0));
        const position = w.snapshot.position as Decimal;
        const action = position.gt(0) ? ('sell' as const) : ('buy' as const);
        const closing = decision({
          action,
          intent: 'exit',
          quantity: position.abs(),
          price,
        });
        const s = { ...w.snapshot, pending: [], account: undefined, switches: snapshot().switches };
        const result = evaluateRisk(closing, s, { ...w.limits, strategyEnabled });
        expect(result.ok ? [] : result.refusal.reasons).toEqual([]);
      }),
      { numRuns: runs },
    );
  });

  it('a reduce-only order lowers the position, never flips it, and leaves what pending orders have reserved', () => {
    let approvals = 0;
    fc.assert(
      fc.property(world, fc.constantFrom('open' as const, 'closed' as const, 'unknown' as const), (w, session) => {
        const position = w.snapshot.position as Decimal;
        const result = evaluateReduction(w.decision, { ...w.snapshot, session });
        if (!result.ok) {
          expect(result.refusal.reasons.length).toBeGreaterThan(0);
          return;
        }
        approvals += 1;
        const { quantity, side: way, type } = result.order.terms;
        expect([session, type, w.decision.intent]).toEqual(['open', 'market', 'exit']);
        const reserved = w.snapshot.pending
          .filter((order) => order.symbol === 'IBM' && order.side === way)
          .reduce((all, order) => all.plus(order.remaining), quantity);
        const after = position.plus(way === 'buy' ? reserved : reserved.negated());
        expect(quantity.gt(0) && quantity.lte(w.decision.quantity)).toBe(true);
        expect(after.isZero() || after.isNegative() === position.isNegative()).toBe(true);
        expect(isReduceOnlyOrder(result.order) && !isApprovedOrder(result.order)).toBe(true);
      }),
      { numRuns: runs },
    );
    expect(approvals).toBeGreaterThan(runs / 200);
  });

  it('sizing never goes over a budget and lands on the step', () => {
    fc.assert(
      fc.property(amount(1_000), amount(50_000), amount(100_000), fc.boolean(), (price, budget, equity, fractional) => {
        const step = quantityStep('IBM', fractional);
        const { quantity } = sizeOrder({
          wanted: undefined,
          price: price.plus('0.01'),
          maxNotional: budget,
          maxPositionPct: dec('0.05'),
          equity,
          defaultQuantity: dec(1),
          mode: 'paper',
          step,
        });
        expect(quantity.times(price.plus('0.01')).lte(Decimal.min(budget, equity.times('0.05')))).toBe(true);
        expect(roundToStep(quantity, step).eq(quantity)).toBe(true);
      }),
    );
  });
});

describe('the way to an approved order', () => {
  it('leads through lib/risk/evaluate.ts alone', () => {
    const root = join(import.meta.dirname, '../../src');
    const callers = readdirSync(root, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .filter((name) => /\bapprove\b[^;]*from '[^']*approved\.ts'/.test(readFileSync(join(root, name), 'utf8')));
    expect(callers).toEqual([join('lib', 'risk', 'evaluate.ts')]);
  });

  it('and to a reduce-only order through lib/risk/reduction.ts alone', () => {
    const root = join(import.meta.dirname, '../../src');
    const callers = readdirSync(root, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .filter((name) => /approveReduction[^;]*from '/.test(readFileSync(join(root, name), 'utf8')));
    expect(callers).toEqual([join('lib', 'risk', 'reduction.ts')]);
  });
});
