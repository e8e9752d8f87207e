/** Parsers of trade's variables that need more than the common kinds: money, fractions, symbols. */
import { Decimal } from 'decimal.js';
import { kind } from '../../lib/service/config.ts';

export const amount = (text: string): Decimal => {
  const value = new Decimal(kind.decimal(text));
  if (value.isNegative()) throw new Error('must not be negative; 0 allows nothing');
  return value;
};

export const fraction = (text: string): Decimal => {
  const value = amount(text);
  if (value.gt(1)) throw new Error('must be a fraction from 0 to 1 (0.05 = 5 %)');
  return value;
};

/** A part of equity that may be more than all of it, on margin. */
export const ratio = (text: string): Decimal => {
  const value = amount(text);
  if (value.gt(10)) throw new Error('must be a fraction from 0 to 10 (1 = all of equity)');
  return value;
};

export const quantity = (text: string): Decimal => {
  const value = amount(text);
  if (value.isZero()) throw new Error('must be above 0');
  return value;
};

export const symbols = (text: string): readonly string[] | 'all' => {
  if (text.trim() === '*') return 'all';
  const list = [...new Set(kind.csv(text).map((symbol) => symbol.toUpperCase()))];
  const wrong = list.find((symbol) => !/^[A-Z][A-Z0-9./]{0,15}$/.test(symbol));
  if (wrong !== undefined) throw new Error(`holds ${JSON.stringify(wrong)}, which is no symbol`);
  return list;
};
