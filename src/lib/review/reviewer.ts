/**
 * The place between risk #1 and risk #2 where a reviewer may look at a decision (spec trading 1.2).
 * Guarantees: a reviewer answers with a word, never with a decision or an order; the word can stop a decision or make it
 * smaller, nothing else, whatever is in it; risk #2 runs afterwards on fresh facts and is the only way to an approved order.
 */
import type { Decimal } from 'decimal.js';
import type { Decision } from '../risk/order.ts';
import { quantityStep, roundToStep } from '../risk/sizing.ts';

export interface ReviewRequest {
  decision: Decision;
  /** Market milliseconds. */
  nowMs: number;
}

/** Stable codes, kept with the decision. */
type Why = readonly string[];

export type Review =
  | { verdict: 'approve' }
  | { verdict: 'veto'; reasons: Why }
  /** At most this quantity; more than was decided means what was decided. */
  | { verdict: 'shrink'; quantity: Decimal; reasons: Why };

export interface Reviewer {
  readonly name: string;
  review(request: Readonly<ReviewRequest>, signal: AbortSignal): Promise<Review>;
}

export type Reviewed = { ok: true; decision: Decision; reasons: Why } | { ok: false; reasons: Why };

/** What a review makes of a decision: the same one, a smaller one, or none. */
export function applyReview(decision: Decision, review: Review): Reviewed {
  if (review.verdict === 'approve') return { ok: true, decision, reasons: [] };
  if (review.verdict === 'veto') return { ok: false, reasons: ['review_veto', ...review.reasons] };
  const { quantity: asked, reasons } = review;
  // NaN is no quantity; an infinite one is no smaller one.
  if (asked.isNaN() || asked.lte(0))
    return { ok: false, reasons: ['review_veto', 'review_quantity_invalid', ...reasons] };
  if (asked.gte(decision.quantity)) return { ok: true, decision, reasons: ['review_not_smaller', ...reasons] };
  // Whole shares stay whole: what a reviewer halves must still be an order.
  const step = quantityStep(decision.symbol, !decision.quantity.isInteger());
  const quantity = roundToStep(asked, step);
  if (quantity.lte(0)) return { ok: false, reasons: ['review_veto', 'review_quantity_invalid', ...reasons] };
  return { ok: true, decision: { ...decision, quantity }, reasons: ['review_shrunk', ...reasons] };
}

/** The reviewer that is used when none is configured: every decision goes on as it is. */
export const approveUnchanged: Reviewer = {
  name: 'none',
  review: () => Promise.resolve({ verdict: 'approve' }),
};
