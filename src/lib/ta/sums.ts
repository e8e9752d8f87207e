/**
 * Sums that do not drift: a pair (high, low) carries about 106 bits, so the difference of two cumulative sums gives a
 * window's sum to the last bit of a double even after months (Knuth's TwoSum, Dekker's renormalisation).
 */

/** High part of (high, low) + value; the low part is left in `carry.low`. */
export const carry = { low: 0 };

export function addToSum(high: number, low: number, value: number): number {
  const sum = high + value;
  const part = sum - high;
  const error = high - (sum - part) + (value - part) + low;
  const result = sum + error;
  carry.low = error - (result - sum);
  return result;
}

/** (high, low) − (baseHigh, baseLow) rounded to a double. */
export function differenceOfSums(high: number, low: number, baseHigh: number, baseLow: number): number {
  const sum = high - baseHigh;
  const part = sum - high;
  const error = high - (sum - part) + (-baseHigh - part);
  return sum + (error + (low - baseLow));
}
