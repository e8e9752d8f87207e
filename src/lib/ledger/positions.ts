/**
 * Positions from fills: pure, average cost. A fill that crosses zero opens the rest at its own price.
 */
import { Decimal } from 'decimal.js';
import type { PositionRow } from './contract.ts';

export interface PositionFill {
  symbol: string;
  side: 'buy' | 'sell';
  quantity: Decimal;
  price: Decimal;
}

/** @param fills in the order of their execution; flat symbols are left out, the rest sorted by symbol */
export function positionsFromFills(fills: Iterable<PositionFill>): PositionRow[] {
  const positions = new Map<string, { quantity: Decimal; avgEntryPrice: Decimal }>();
  for (const fill of fills) {
    const signed = fill.side === 'buy' ? fill.quantity : fill.quantity.neg();
    const held = positions.get(fill.symbol) ?? { quantity: new Decimal(0), avgEntryPrice: new Decimal(0) };
    const quantity = held.quantity.plus(signed);
    let avgEntryPrice = held.avgEntryPrice;
    if (held.quantity.isZero() || held.quantity.isNegative() === signed.isNegative()) {
      const cost = held.quantity.abs().times(held.avgEntryPrice).plus(signed.abs().times(fill.price));
      avgEntryPrice = cost.div(quantity.abs());
    } else if (!quantity.isZero() && quantity.isNegative() !== held.quantity.isNegative()) {
      avgEntryPrice = fill.price;
    }
    positions.set(fill.symbol, { quantity, avgEntryPrice });
  }
  return [...positions]
    .filter(([, held]) => !held.quantity.isZero())
    .map(([symbol, held]) => ({ symbol, ...held }))
    .sort((a, b) => (a.symbol < b.symbol ? -1 : 1));
}
