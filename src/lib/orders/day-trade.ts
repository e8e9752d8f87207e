/**
 * The broker's pattern-day-trader protection (spec 4.4): once it refuses an order for that, nothing is opened for the rest of
 * the day in New York; what is held may be closed. The refusal is in the ledger, so the hold outlives the process.
 */
import { newYorkTime } from '../market/calendar.ts';

/** Reason of decisions that it holds. */
export const DAY_TRADE_HOLD = 'pattern_day_trader_protection';

const dateOf = (ms: number): string => newYorkTime(BigInt(ms) * 1_000_000n).date;

/** @param refusedAtMs market ms of the newest such refusal; undefined without one */
export function isDayTradeHeld(refusedAtMs: number | undefined, nowMs: number): boolean {
  return refusedAtMs !== undefined && dateOf(refusedAtMs) === dateOf(nowMs);
}
