/**
 * The reduce-only order (spec trading 3.3, 3.4, 10.2): what an operator's `stop --flatten` and the account stops close
 * positions with, while the switches hold every other order.
 * Guarantees: pure; it lowers |position| by at most what no pending order has reserved and never flips it; it asks no
 * strategy, no list and no reviewer; what holds it is what would make it wrong: no position, no price, a closed market.
 */
import { Decimal } from 'decimal.js';
import { approveReduction } from './approved.ts';
import type { Decision, OrderTerms, ReduceOnlyOrder, RefusedOrder } from './order.ts';
import { closableQuantity } from './projection.ts';
import type { RiskSnapshot } from './snapshot.ts';

export interface ReductionRecord {
  atMs: number;
  outcome: 'approved' | 'refused';
  reasons: readonly string[];
  quantity: { wanted: Decimal; final: Decimal };
  position: Decimal | null;
  price: Decimal | null;
}

export type ReductionResult =
  | { ok: true; order: ReduceOnlyOrder; record: ReductionRecord }
  | { ok: false; refusal: RefusedOrder; record: ReductionRecord };

type ReductionFacts = Pick<RiskSnapshot, 'nowMs' | 'session' | 'account' | 'position' | 'pending' | 'price' | 'asset'>;

function reasonsAgainst(decision: Decision, closable: Decimal, facts: ReductionFacts): string[] {
  const { session, account, position, pending, price, asset } = facts;
  const opposite = pending.some(
    (order) => order.symbol === decision.symbol && order.side !== decision.action && order.remaining.gt(0),
  );
  const isPriced = price?.price.isFinite() === true && price.price.gt(0);
  return [
    ...(decision.intent === 'exit' ? [] : ['reduce_only']),
    ...(decision.orderType === 'market' ? [] : ['reduce_only_market']),
    ...(isPriced ? [] : ['missing_price']),
    ...(account?.isRestricted === true ? ['account_restricted'] : []),
    // A day order of an unknown session waits at the broker or is refused there: neither closes anything now.
    ...(session === 'open' ? [] : ['market_closed']),
    ...(asset?.isTradable === false ? ['local_symbol_not_tradable'] : []),
    ...(opposite ? ['precheck_opposite_side_open_order'] : []),
    ...(position === undefined ? ['account_state_unavailable'] : closable.gt(0) ? [] : ['position_already_closed']),
  ];
}

/** Closes at most the decision's quantity of what is held. The only way to a reduce-only order. */
export function evaluateReduction(decision: Decision, facts: ReductionFacts): ReductionResult {
  const closable = closableQuantity(decision.action, decision.symbol, facts);
  const quantity = Decimal.min(decision.quantity, closable);
  const reasons = reasonsAgainst(decision, closable, facts);
  if (!(quantity.isFinite() && quantity.gt(0)) && reasons.length === 0) reasons.push('local_qty_non_positive');
  const record: ReductionRecord = {
    atMs: facts.nowMs,
    outcome: reasons.length === 0 ? 'approved' : 'refused',
    reasons,
    quantity: { wanted: decision.quantity, final: quantity },
    position: facts.position ?? null,
    price: facts.price?.price ?? null,
  };
  if (reasons.length > 0) return { ok: false, refusal: { decision, reasons }, record };
  const terms: OrderTerms = {
    symbol: decision.symbol,
    side: decision.action,
    quantity,
    type: 'market',
    timeInForce: decision.timeInForce,
  };
  return { ok: true, order: approveReduction(decision, terms, facts.nowMs), record };
}
