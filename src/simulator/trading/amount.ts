/**
 * Money and quantities of the broker: decimals in memory, plain decimal text on the wire and in the journal.
 * Guarantee: sums and products of account amounts are exact; only divisions round (40 digits) and only the answer to a
 * client rounds for show. Facts: every amount of the trading API is a string or null (alpaca-protocol 3).
 */
import { Decimal } from 'decimal.js';

/** Decimal constructor of this room: 40 digits, never exponent notation. */
export const Amount = Decimal.clone({ precision: 40, rounding: Decimal.ROUND_HALF_UP, toExpNeg: -40, toExpPos: 60 });
export type Amount = Decimal;

export const ZERO: Amount = new Amount(0);

/** Parses an amount that is known to be one (journal, own records). */
export function amount(text: string | number): Amount {
  return new Amount(text);
}

const amountPattern = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$/;

/** Parses a client's number or numeric text; undefined when it is none. */
export function parseAmount(value: unknown): Amount | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? new Amount(String(value)) : undefined;
  if (typeof value !== 'string' || value.length > 64 || !amountPattern.test(value.trim())) return undefined;
  return new Amount(value.trim());
}

/** Exact text, for quantities and prices. */
export function text(value: Amount): string {
  return value.isZero() ? '0' : value.toString();
}

/** Text rounded half up to some decimals, trailing zeros cut, as Alpaca shows money. */
export function rounded(value: Amount, decimals = 2): string {
  return text(value.toDecimalPlaces(decimals, Decimal.ROUND_HALF_UP));
}

export function minOf(a: Amount, b: Amount): Amount {
  return a.lt(b) ? a : b;
}

export function maxOf(a: Amount, b: Amount): Amount {
  return a.gt(b) ? a : b;
}
