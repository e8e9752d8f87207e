/** Realised profit by average cost, long only, fill by fill. */
import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { StrategyFill } from '../../src/lib/ledger/profit.ts';
import { realizedOver } from '../../src/lib/ledger/realized.ts';

const fill = (side: 'buy' | 'sell', quantity: number, price: number, atMs: number, symbol = 'MU'): StrategyFill => ({
  strategy: 's',
  symbol,
  side,
  quantity: new Decimal(quantity),
  price: new Decimal(price),
  atMs,
});

describe('realised profit', () => {
  test('counts what is closed within the stretch against the average of what was held', () => {
    const fills = [
      fill('buy', 10, 100, 1),
      fill('buy', 10, 110, 2),
      fill('sell', 5, 120, 10),
      fill('sell', 15, 100, 11),
    ];
    const found = realizedOver(fills, 10, 20);
    expect(found.points.map(({ gain, total }) => [gain.toString(), total.toString()])).toEqual([
      ['75', '75'],
      ['-75', '0'],
    ]);
    expect(found).toMatchObject({ wins: 1, losses: 1, anomalies: [] });
    expect(realizedOver(fills, 11, 20).total.toString()).toBe('-75');
    expect(realizedOver(fills, 0, 10).points).toEqual([]);
  });

  test('names a sell beyond the position, and its excess realises nothing', () => {
    const found = realizedOver([fill('buy', 1, 100, 1), fill('sell', 3, 101, 2), fill('buy', 1, 90, 3)], 0, 10);
    expect(found.total.toString()).toBe('1');
    expect(found.anomalies.map(({ excess, symbol }) => [excess.toString(), symbol])).toEqual([['2', 'MU']]);
  });

  test('is what was earned: proceeds less costs, once everything is sold', () => {
    const trade = fc.record({ quantity: fc.integer({ min: 1, max: 50 }), price: fc.integer({ min: 1, max: 500 }) });
    fc.assert(
      fc.property(fc.array(trade, { minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 500 }), (buys, price) => {
        const held = buys.reduce((sum, { quantity }) => sum + quantity, 0);
        const cost = buys.reduce((sum, { quantity, price: paid }) => sum + quantity * paid, 0);
        const fills = [
          ...buys.map(({ quantity, price: paid }, i) => fill('buy', quantity, paid, i)),
          fill('sell', held, price, 100),
        ];
        expect(
          realizedOver(fills, 0, 200)
            .total.minus(held * price - cost)
            .abs()
            .lt('1e-9'),
        ).toBe(true);
      }),
    );
  });
});
