/**
 * Quantity of a wish (spec trading 2.4): what the strategy names, else the smaller of its budgets divided by the price and
 * rounded down to the step. Gates check the result; sizing itself refuses nothing but says why there is no quantity.
 */
import { Decimal } from 'decimal.js';

export interface SizingInput {
  /** Quantity named by the strategy. */
  wanted: Decimal | undefined;
  /** USD. */
  price: Decimal | undefined;
  /** USD per trade in force (strategy's, else global). */
  maxNotional: Decimal | undefined;
  /** Fraction of equity in force. */
  maxPositionPct: Decimal | undefined;
  /** USD; undefined when unknown. */
  equity: Decimal | undefined;
  /** TRADING_DEFAULT_QTY, paper only. */
  defaultQuantity: Decimal;
  mode: 'paper' | 'live';
  step: Decimal;
}

export interface Sizing {
  quantity: Decimal;
  /** `wanted`, `budget`, `default`, `missing_price`, `missing_equity`. */
  source: string;
}

/** Quantity steps (spec trading 2.4): whole shares, 0.0001 shares where fractions are allowed, 1e-8 for crypto. */
export function quantityStep(symbol: string, allowFractional: boolean): Decimal {
  if (symbol.includes('/')) return new Decimal('0.00000001');
  return new Decimal(allowFractional ? '0.0001' : '1');
}

/** Rounds down to a multiple of the step. */
export function roundToStep(quantity: Decimal, step: Decimal): Decimal {
  return quantity.div(step).floor().times(step);
}

export function sizeOrder(input: SizingInput): Sizing {
  const { wanted, price, maxNotional, maxPositionPct, equity, defaultQuantity, mode, step } = input;
  if (wanted !== undefined) return { quantity: wanted, source: 'wanted' };
  const fallback = (source: string): Sizing => ({
    quantity: mode === 'live' ? new Decimal(0) : defaultQuantity,
    source,
  });
  if (maxNotional === undefined && maxPositionPct === undefined) return fallback('default');
  if (price === undefined || price.lte(0)) return fallback('missing_price');
  if (maxPositionPct !== undefined && equity === undefined)
    return { quantity: new Decimal(0), source: 'missing_equity' };
  const budgets = [
    ...(maxNotional === undefined ? [] : [maxNotional]),
    ...(maxPositionPct === undefined || equity === undefined ? [] : [equity.times(maxPositionPct)]),
  ];
  return { quantity: roundToStep(Decimal.min(...budgets).div(price), step), source: 'budget' };
}
