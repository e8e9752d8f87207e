/**
 * The crossing between column values and ours: numeric text ↔ Decimal, timestamptz ↔ market milliseconds.
 */
import { Decimal } from 'decimal.js';

/** Enough digits that sums and averages of numeric(20,8) values are exact or rounded once, on the way to the column. */
const Exact = Decimal.clone({ precision: 60, rounding: Decimal.ROUND_HALF_EVEN });

export function decimalOf(text: string): Decimal {
  return new Exact(text);
}

export function optionalDecimal(text: string | null): Decimal | undefined {
  return text === null ? undefined : new Exact(text);
}

/** Plain decimal text with at most the eight places of the columns. */
export function numericOf(value: Decimal): string {
  return value.toDecimalPlaces(8, Decimal.ROUND_HALF_EVEN).toFixed();
}

/** numeric(20,8) has twelve digits before the point. */
const LIMIT = new Decimal('1e12');

/** Does a column of the ledger hold this number? What none holds must be refused before its transaction, which it would break. */
export function fitsNumeric(value: Decimal): boolean {
  return value.isFinite() && value.toDecimalPlaces(8, Decimal.ROUND_HALF_EVEN).abs().lt(LIMIT);
}

export function optionalNumeric(value: Decimal | undefined): string | null {
  return value === undefined ? null : numericOf(value);
}

/** A market instant as a parameter. */
export function timeOf(ms: number): Date {
  return new Date(ms);
}

export function optionalTime(ms: number | undefined): Date | null {
  return ms === undefined ? null : new Date(ms);
}

export function optionalMs(time: Date | null): number | undefined {
  return time === null ? undefined : time.getTime();
}

/** Leaves out undefined members, as exactOptionalPropertyTypes wants. */
export function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}
