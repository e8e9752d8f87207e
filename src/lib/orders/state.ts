/**
 * The order state machine (spec 4.5): pure, closed, and unable to go back.
 * Guarantees: a final state never becomes another one; the broker's filled quantity never shrinks; what contradicts this is
 * a drift finding, never an overwrite. Fills are recorded elsewhere (fills.ts): they are facts whatever the state.
 */
import type { Decimal } from 'decimal.js';
import type { OrderState } from '../ledger/contract.ts';

/** Execution state of a broker status; `unknown` for a word this version does not know. */
export function stateOfStatus(status: string): OrderState {
  switch (status) {
    case 'pending_new':
    case 'accepted':
    case 'accepted_for_bidding':
    case 'pending_review':
    case 'new':
    case 'held':
    case 'stopped':
    case 'suspended':
    case 'calculated':
      return 'open';
    case 'partially_filled':
      return 'partial';
    case 'pending_cancel':
    case 'pending_replace':
      return 'pending_change';
    case 'done_for_day':
    case 'filled':
    case 'canceled':
    case 'expired':
    case 'rejected':
    case 'replaced':
      return status;
    default:
      return 'unknown';
  }
}

/** No other state follows. */
export function isFinalState(state: OrderState): boolean {
  switch (state) {
    case 'filled':
    case 'canceled':
    case 'expired':
    case 'rejected':
    case 'replaced':
      return true;
    case 'open':
    case 'partial':
    case 'pending_change':
    case 'done_for_day':
    case 'unknown':
      return false;
  }
}

/** May it still fill? A day order that is done for the day may not: its day does not come back. */
export function isWorking(state: OrderState, timeInForce: string): boolean {
  if (state === 'done_for_day') return timeInForce !== 'day';
  return !isFinalState(state);
}

/** How far a non-final state is, for reports that carry the same time. */
function rank(state: OrderState): number {
  switch (state) {
    case 'unknown':
      return 0;
    case 'open':
      return 1;
    case 'partial':
      return 2;
    case 'pending_change':
      return 3;
    case 'done_for_day':
      return 4;
    case 'filled':
    case 'canceled':
    case 'expired':
    case 'rejected':
    case 'replaced':
      return 5;
  }
}

/** What the ledger holds of an order's progress. */
export interface OrderProgress {
  state: OrderState;
  brokerStatus: string;
  brokerFilledQty: Decimal;
  /** Market ms of the broker's newest change that we know. */
  brokerUpdatedAtMs?: number;
}

/** What the broker says about an order at one instant, from any source. */
export interface ProgressReport {
  status: string;
  filledQty: Decimal;
  /** Market ms of that change; a report without one counts as equally new. */
  updatedAtMs?: number;
}

export type Advance =
  /** The report is newer or says more; `next` holds the progress after it. */
  | { verdict: 'applied'; next: OrderProgress }
  /** Nothing new. */
  | { verdict: 'same' }
  /** Older than what is known. */
  | { verdict: 'stale' }
  /** Newer, but it would go back. The state stays; a greater filled quantity is still kept in `next`. */
  | { verdict: 'contradiction'; next: OrderProgress; why: string };

function later(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined) return b;
  return b === undefined || a > b ? a : b;
}

/** One step of the machine. */
export function advanceOrder(current: OrderProgress, report: ProgressReport): Advance {
  const reported = stateOfStatus(report.status);
  const isNewer =
    current.brokerUpdatedAtMs === undefined ||
    report.updatedAtMs === undefined ||
    report.updatedAtMs > current.brokerUpdatedAtMs;
  const isOlder = !isNewer && (report.updatedAtMs as number) < (current.brokerUpdatedAtMs as number);
  /** Nothing else may be new, but the broker touched the order: remember when. */
  const movesTime = isNewer && report.updatedAtMs !== undefined;
  const hasMore = report.filledQty.gt(current.brokerFilledQty);
  const hasLess = report.filledQty.lt(current.brokerFilledQty);
  const filled = hasMore ? report.filledQty : current.brokerFilledQty;
  const updatedAtMs = later(current.brokerUpdatedAtMs, report.updatedAtMs);
  const progress = (state: OrderState, brokerStatus: string): OrderProgress => ({
    state,
    brokerStatus,
    brokerFilledQty: filled,
    ...(updatedAtMs === undefined ? {} : { brokerUpdatedAtMs: updatedAtMs }),
  });
  const stay = () => progress(current.state, current.brokerStatus);

  if (isFinalState(current.state)) {
    if (reported === current.state) {
      if (hasMore) return { verdict: 'applied', next: stay() };
      if (hasLess && isNewer && report.updatedAtMs !== undefined) {
        return { verdict: 'contradiction', next: stay(), why: `filled quantity shrank to ${report.filledQty}` };
      }
      return movesTime ? { verdict: 'applied', next: stay() } : { verdict: 'same' };
    }
    // Late word of an earlier state, or a fill that crossed the cancel: the quantity counts, the state stays.
    if (!isFinalState(reported) && (isOlder || !isNewer || report.updatedAtMs === undefined)) {
      return hasMore ? { verdict: 'applied', next: stay() } : { verdict: 'stale' };
    }
    if (isOlder) return hasMore ? { verdict: 'applied', next: stay() } : { verdict: 'stale' };
    return { verdict: 'contradiction', next: stay(), why: `${current.state} cannot become ${report.status}` };
  }

  if (isFinalState(reported)) {
    // A final word is believed whatever its time: broker clocks of two paths differ, and final does not come back.
    if (hasLess)
      return {
        verdict: 'contradiction',
        next: progress(reported, report.status),
        why: `filled quantity shrank to ${report.filledQty}`,
      };
    return { verdict: 'applied', next: progress(reported, report.status) };
  }
  if (hasLess) {
    if (isNewer && report.updatedAtMs !== undefined) {
      return { verdict: 'contradiction', next: stay(), why: `filled quantity shrank to ${report.filledQty}` };
    }
    return { verdict: 'stale' };
  }
  // An order with fills is at least partial, whatever word comes with it.
  const state = reported === 'open' && filled.gt(0) ? 'partial' : reported;
  if (isOlder) return hasMore ? { verdict: 'applied', next: stay() } : { verdict: 'stale' };
  if (!isNewer && rank(state) < rank(current.state)) {
    return hasMore ? { verdict: 'applied', next: stay() } : { verdict: 'stale' };
  }
  const saysNothingNew = !hasMore && state === current.state && report.status === current.brokerStatus;
  if (saysNothingNew && !movesTime) return { verdict: 'same' };
  return { verdict: 'applied', next: progress(state, report.status) };
}
