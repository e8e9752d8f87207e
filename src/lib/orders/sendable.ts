/**
 * What may be given to the firewall's submit: an order that came out of risk in this process, or the claim of one that an
 * earlier process left in the ledger. Guarantee: nothing else has the brand, at compile time and at run time (the objects
 * are remembered), and only the submit protocol (submit.ts) makes one; a test searches the sources.
 */
import type { ClaimRow } from '../ledger/claims.ts';
import type { ApprovedOrder, OrderTerms, ReduceOnlyOrder } from '../risk/order.ts';
import { clientOrderIdOf } from './client-order-id.ts';

declare const sendable: unique symbol;

export interface SendableOrder {
  readonly [sendable]: true;
  readonly decisionId: string;
  readonly accountLabel: string;
  readonly clientOrderId: string;
  readonly terms: OrderTerms;
  /** Market ms. */
  readonly approvedAtMs: number;
  /** It can only lower a position: switches that hold exposure let it through. */
  readonly isReduceOnly: boolean;
}

const made = new WeakSet<object>();

function seal(order: Omit<SendableOrder, typeof sendable>): SendableOrder {
  const sealed = Object.freeze({ ...order, terms: Object.freeze({ ...order.terms }) });
  made.add(sealed);
  return sealed as SendableOrder;
}

/** An order that risk made in this process. @param isReduceOnly which of risk's two makers made it */
export function fromRisk(order: ApprovedOrder | ReduceOnlyOrder, isReduceOnly: boolean): SendableOrder {
  const { decision, terms, approvedAtMs } = order;
  const { id: decisionId, accountLabel, hash } = decision;
  return seal({ decisionId, accountLabel, clientOrderId: clientOrderIdOf(hash), terms, approvedAtMs, isReduceOnly });
}

/** The claim of an order that risk approved in an earlier process: its row was written before anything could leave. */
export function fromClaim(claim: ClaimRow): SendableOrder {
  const { decisionId, accountLabel, clientOrderId, terms, approvedAtMs } = claim;
  // Which maker it had is not kept: the switches hold it, and a flatten that goes on decides anew.
  return seal({ decisionId, accountLabel, clientOrderId, terms, approvedAtMs, isReduceOnly: false });
}

export function isSendable(order: unknown): order is SendableOrder {
  return typeof order === 'object' && order !== null && made.has(order);
}
