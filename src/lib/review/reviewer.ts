/**
 * The place between risk #1 and risk #2 where a reviewer may look at a decision (spec trading 1.2).
 * Guarantee: whatever a reviewer answers, risk #2 runs afterwards on fresh facts and is the only way to an approved order.
 */
import type { Decision } from '../risk/order.ts';

export interface ReviewRequest {
  decision: Decision;
  /** Market milliseconds. */
  nowMs: number;
}

export interface Review {
  verdict: 'approve';
  /** The decision that goes on to risk #2. */
  decision: Decision;
}

export interface Reviewer {
  readonly name: string;
  review(request: ReviewRequest, signal: AbortSignal): Promise<Review>;
}

/** The reviewer that is used when none is configured: every decision goes on as it is. */
export const approveUnchanged: Reviewer = {
  name: 'none',
  review: ({ decision }) => Promise.resolve({ verdict: 'approve', decision }),
};
