/**
 * Making and recognising the orders that may leave. `approve` is called by lib/risk's evaluation only and `approveReduction`
 * by its reduction only (a test searches the sources); lib/orders asks `isApprovedOrder` and `isReduceOnlyOrder` before it
 * touches the broker, so a forged object is refused at run time as the brand refuses it at compile time.
 */
import type { ApprovedOrder, Decision, OrderTerms, ReduceOnlyOrder } from './order.ts';

const approved = new WeakSet<object>();
const reductions = new WeakSet<object>();

/** Seals decision and terms: nothing can change between approval and POST. */
function sealed(decision: Decision, terms: OrderTerms, approvedAtMs: number) {
  return Object.freeze({ decision: Object.freeze(decision), terms: Object.freeze(terms), approvedAtMs });
}

export function approve(decision: Decision, terms: OrderTerms, approvedAtMs: number): ApprovedOrder {
  const order = sealed(decision, terms, approvedAtMs);
  approved.add(order);
  // The brand exists in types only; this is the one place that gives it.
  return order as unknown as ApprovedOrder;
}

export function approveReduction(decision: Decision, terms: OrderTerms, approvedAtMs: number): ReduceOnlyOrder {
  const order = sealed(decision, terms, approvedAtMs);
  reductions.add(order);
  return order as unknown as ReduceOnlyOrder;
}

/** Was this very object made by risk in this process? */
export function isApprovedOrder(order: unknown): order is ApprovedOrder {
  return typeof order === 'object' && order !== null && approved.has(order);
}

/** Was this very object made by risk's reduction in this process? */
export function isReduceOnlyOrder(order: unknown): order is ReduceOnlyOrder {
  return typeof order === 'object' && order !== null && reductions.has(order);
}
