/**
 * Risk: (decision, snapshot, limits) → approved order or refusal, with everything it looked at (spec trading 3).
 * Guarantees: pure; an approved order breaks no limit of the snapshot; a closing order is clamped so that it never flips the
 * position and is held only by the gates that hold everything; the record can be stored and explains the result.
 */
import { Decimal } from 'decimal.js';
import { approve } from './approved.ts';
import { type GateInput, isAmount } from './gate.ts';
import { gates } from './gates.ts';
import type { ApprovedOrder, Decision, OrderTerms, RefusedOrder } from './order.ts';
import { closableQuantity } from './projection.ts';
import type { RiskLimits, RiskSnapshot } from './snapshot.ts';

/** What was asked and answered, for the decision's history; JSON-able values only (decimals as decimals). */
export interface RiskRecord {
  stage: 1 | 2;
  atMs: number;
  outcome: 'approved' | 'refused';
  isClosing: boolean;
  /** Quantity before and after clamping to the position. */
  quantity: { wanted: Decimal; final: Decimal };
  price: Decimal | null;
  notional: Decimal | null;
  gates: readonly { gate: string; reasons: readonly string[]; bypassed: boolean }[];
  inputs: Record<string, unknown>;
}

/** Result of risk #1: nothing that could be submitted. */
export interface RiskScreening {
  /** Empty when the decision may go on to review. */
  reasons: readonly string[];
  record: RiskRecord;
}

export type RiskResult =
  | { ok: true; order: ApprovedOrder; record: RiskRecord }
  | { ok: false; refusal: RefusedOrder; record: RiskRecord };

/** The first usable price: newest bar, limit, stop (spec 3.1). */
function priceOf(decision: Decision, snapshot: RiskSnapshot): Decimal | undefined {
  return [snapshot.price?.price, decision.limitPrice, decision.stopPrice].find(
    (price) => isAmount(price) && price.gt(0),
  );
}

function termsOf(decision: Decision, quantity: Decimal): OrderTerms {
  return {
    symbol: decision.symbol,
    side: decision.action,
    quantity,
    type: decision.orderType,
    timeInForce: decision.timeInForce,
    ...(decision.limitPrice === undefined ? {} : { limitPrice: decision.limitPrice }),
    ...(decision.stopPrice === undefined ? {} : { stopPrice: decision.stopPrice }),
  };
}

interface Assessment {
  terms: OrderTerms;
  reasons: readonly string[];
  record: RiskRecord;
}

function assess(decision: Decision, snapshot: RiskSnapshot, limits: RiskLimits, stage: 1 | 2): Assessment {
  const closable = closableQuantity(decision.action, decision.symbol, snapshot);
  const isClosing = decision.intent === 'exit' && closable.gt(0);
  const quantity = isClosing ? Decimal.min(decision.quantity, closable) : decision.quantity;
  const terms = termsOf(decision, quantity);
  const price = priceOf(decision, snapshot);
  const input: GateInput = { decision, terms, snapshot, limits, isClosing, stage, price };
  const answers = gates.map((gate) => {
    const bypassed = gate.entriesOnly && isClosing;
    return { gate: gate.name, reasons: bypassed ? [] : gate.check(input), bypassed };
  });
  const reasons = [...new Set(answers.flatMap((answer) => answer.reasons))];
  const record: RiskRecord = {
    stage,
    atMs: snapshot.nowMs,
    outcome: reasons.length === 0 ? 'approved' : 'refused',
    isClosing,
    quantity: { wanted: decision.quantity, final: quantity },
    price: price ?? null,
    notional: price === undefined ? null : price.times(quantity),
    gates: answers,
    inputs: describeInputs(decision.symbol, snapshot, limits),
  };
  return { terms, reasons, record };
}

/** Risk #1, before review: all gates but the drift of the price; makes no order. */
export function screenDecision(decision: Decision, snapshot: RiskSnapshot, limits: RiskLimits): RiskScreening {
  const { reasons, record } = assess(decision, snapshot, limits, 1);
  return { reasons, record };
}

/** Risk #2, on fresh facts right before the order desk: the only way to an approved order. */
export function evaluateRisk(decision: Decision, snapshot: RiskSnapshot, limits: RiskLimits): RiskResult {
  const { terms, reasons, record } = assess(decision, snapshot, limits, 2);
  if (reasons.length > 0) return { ok: false, refusal: { decision, reasons }, record };
  return { ok: true, order: approve(decision, terms, snapshot.nowMs), record };
}

/** The snapshot and limits as stored: pending orders of other symbols only by their sum. */
function describeInputs(symbol: string, snapshot: RiskSnapshot, limits: RiskLimits): Record<string, unknown> {
  const { pending, ...rest } = snapshot;
  return {
    snapshot: {
      ...rest,
      pending: pending.filter((order) => order.symbol === symbol),
      pending_other_symbols: pending.filter((order) => order.symbol !== symbol).length,
    },
    limits: { ...limits, universe: limits.universe === 'all' ? 'all' : limits.universe.includes(symbol) },
  };
}
