/**
 * Making and recognising approved orders. `approve` is called by lib/risk's evaluation only (a test searches the sources);
 * lib/orders asks `isApprovedOrder` before it touches the broker, so a forged object is refused at run time as the brand
 * refuses it at compile time.
 */
import type { ApprovedOrder, Decision, OrderTerms } from './order.ts';

const made = new WeakSet<object>();

/** Seals decision and terms: nothing can change between approval and POST. */
export function approve(decision: Decision, terms: OrderTerms, approvedAtMs: number): ApprovedOrder {
  const order = Object.freeze({ decision: Object.freeze(decision), terms: Object.freeze(terms), approvedAtMs });
  made.add(order);
  // The brand exists in types only; this is the one place that gives it.
  return order as unknown as ApprovedOrder;
}

/** Was this very object made by risk in this process? */
export function isApprovedOrder(order: unknown): order is ApprovedOrder {
  return typeof order === 'object' && order !== null && made.has(order);
}
