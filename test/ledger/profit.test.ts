import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { profitOver, type StrategyFill } from '../../src/lib/ledger/profit.ts';

const fill = (side: 'buy' | 'sell', quantity: number, price: number, atMs: number): StrategyFill => ({
  strategy: 's',
  symbol: 'IBM',
  side,
  quantity: new Decimal(quantity),
  price: new Decimal(price),
  atMs,
});
const realized = (fills: StrategyFill[], fromMs = 0, toMs = 1_000) =>
  profitOver(fills, fromMs, toMs).map((profit) => [profit.realized.toFixed(), profit.quantity.toFixed()]);

describe('realised profit', () => {
  it('is what was closed against the average cost, long and short, and across zero', () => {
    expect(realized([fill('buy', 2, 10, 1), fill('buy', 2, 20, 2), fill('sell', 1, 30, 3)])).toEqual([['15', '3']]);
    expect(realized([fill('sell', 4, 10, 1), fill('buy', 1, 7, 2)])).toEqual([['3', '-3']]);
    expect(realized([fill('buy', 1, 10, 1), fill('sell', 3, 12, 2), fill('buy', 2, 11, 3)])).toEqual([['4', '0']]);
  });

  it('takes its cost from before the stretch and its profit from within it', () => {
    const fills = [fill('buy', 2, 10, 1), fill('sell', 1, 15, 100), fill('sell', 1, 99, 1_000)];
    expect(realized(fills, 50, 1_000)).toEqual([['5', '1']]);
  });

  it('over any fills: realised plus the open position at its cost equals the cash that moved', () => {
    const any = fc.record({
      side: fc.constantFrom('buy' as const, 'sell' as const),
      quantity: fc.integer({ min: 1, max: 50 }),
      price: fc.integer({ min: 1, max: 500 }),
    });
    fc.assert(
      fc.property(fc.array(any, { minLength: 1, maxLength: 40 }), (given) => {
        const fills = given.map(({ side, quantity, price }, i) => fill(side, quantity, price, i));
        const [profit] = profitOver(fills, 0, 1_000);
        const cash = fills.reduce((sum, one) => {
          const value = one.quantity.times(one.price);
          return one.side === 'buy' ? sum.minus(value) : sum.plus(value);
        }, new Decimal(0));
        const open = profit?.quantity.times(profit.averageEntryPrice ?? 0) ?? new Decimal(0);
        expect(
          cash
            .plus(open)
            .minus(profit?.realized ?? 0)
            .abs()
            .lt('1e-12'),
        ).toBe(true);
      }),
    );
  });
});
