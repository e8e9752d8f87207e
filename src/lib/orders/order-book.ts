/**
 * Writes what the broker says about an order into the ledger, in one transaction per call, from whatever source it came:
 * the answer of the POST, a look-up, a list, a trade update.
 * Guarantees: one execution per broker order; the state only goes forward (state.ts); each fill once; a decision gets its
 * order's status; an order of a refused claim is kept as `late_accepted` and never revives the decision; an orphan whose
 * claim comes later becomes that claim's order.
 */
import type { Decimal } from 'decimal.js';
import type { BrokerOrder } from '../alpaca/trading-schema.ts';
import type { ClaimRow } from '../ledger/claims.ts';
import type { DecisionStatus, ExecutionRow, OrderState } from '../ledger/contract.ts';
import { toJsonb } from '../ledger/jsonb.ts';
import type { OrderTransaction } from '../ledger/open.ts';
import { isOurClientOrderId } from './client-order-id.ts';
import type { Finding } from './contract.ts';
import { advanceOrder, isFinalState, stateOfStatus } from './state.ts';

export interface FillReport {
  brokerExecutionId: string;
  quantity: Decimal;
  price: Decimal;
  /** Filled quantity of the order after this fill. */
  cumulativeQty: Decimal;
  /** Market ms. */
  atMs: number;
  source: 'trade_update' | 'activity';
}

export interface BookContext {
  accountLabel: string;
  epoch: bigint;
  /** Market ms. */
  nowMs: number;
  /** The order was found by a look-up or a list, not by the answer of its POST. */
  wasLookedUp: boolean;
}

export type BookResult =
  | { kind: 'foreign' }
  | {
      kind: 'recorded';
      execution: ExecutionRow;
      isNew: boolean;
      claimSettled: boolean;
      stateChanged: boolean;
      fillsAdded: number;
      isStale: boolean;
      findings: Finding[];
    };

const ms = (ns: bigint | undefined): number | undefined => (ns === undefined ? undefined : Number(ns / 1_000_000n));

function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: V };
}

/** Do the broker's terms equal those of the claim? Returns what differs. */
function termsThatDiffer(claim: ClaimRow, order: BrokerOrder): string[] {
  const differ: string[] = [];
  if (order.symbol !== claim.terms.symbol) differ.push('symbol');
  if (order.side !== claim.terms.side) differ.push('side');
  if (order.type !== claim.terms.type) differ.push('type');
  if (order.quantity === undefined || !order.quantity.eq(claim.terms.quantity)) differ.push('qty');
  return differ;
}

function aboutOrder({ clientOrderId, symbol, side, status }: BrokerOrder) {
  return { client_order_id: clientOrderId, symbol, side, status };
}

/** Status of the decision for a state of its order. */
function decisionStatusOf(state: OrderState): DecisionStatus {
  return state === 'open' ? 'submitted' : state;
}

/** Records one order and its fills. */
export async function recordOrder(
  tx: OrderTransaction,
  context: BookContext,
  order: BrokerOrder,
  fills: readonly FillReport[],
): Promise<BookResult> {
  const findings: Finding[] = [];
  let execution = await tx.executions.byBrokerOrderId(context.accountLabel, order.id);
  let claimSettled = false;
  let isAdopted = false;
  const isNew = execution === undefined;
  if (!execution) {
    const opened = await openExecution(tx, context, order, findings);
    if (!opened) return { kind: 'foreign' };
    execution = opened.execution;
    claimSettled = opened.claimSettled;
  } else if (execution.isOrphan) {
    const adopted = await adoptOrphan(tx, context, execution, order, findings);
    if (adopted) {
      execution = adopted.execution;
      claimSettled = adopted.claimSettled;
      isAdopted = true;
    }
  }

  const advance = advanceOrder(execution, {
    status: order.status,
    filledQty: order.filledQty,
    ...optional('updatedAtMs', ms(order.updatedNs)),
  });
  let stateChanged = false;
  if (stateOfStatus(order.status) === 'unknown') {
    findings.push({
      kind: 'unknown_status',
      subject: order.id,
      isPaging: false,
      detail: { status: order.status, client_order_id: order.clientOrderId },
    });
  }
  if (advance.verdict === 'contradiction') {
    findings.push({
      kind: 'state_drift',
      subject: order.id,
      isPaging: true,
      detail: { why: advance.why, ledger_state: execution.state, broker_status: order.status },
    });
  }
  if (advance.verdict === 'applied' || advance.verdict === 'contradiction') {
    const { next } = advance;
    stateChanged = next.state !== execution.state || !next.brokerFilledQty.eq(execution.brokerFilledQty);
    const isFilled = next.state === 'filled';
    await tx.executions.update(execution.id, {
      state: next.state,
      brokerStatus: next.brokerStatus,
      brokerFilledQty: next.brokerFilledQty,
      atMs: context.nowMs,
      ...optional('brokerUpdatedAtMs', next.brokerUpdatedAtMs),
      ...(isFilled ? { filledAtMs: ms(order.filledNs) ?? context.nowMs } : {}),
      ...(!isFilled && isFinalState(next.state) ? { canceledAtMs: ms(order.canceledNs) ?? context.nowMs } : {}),
      ...optional('replacedBy', order.replacedBy),
      ...(advance.verdict === 'applied' ? { raw: toJsonb(order.raw) } : {}),
    });
  }

  let fillsAdded = 0;
  for (const fill of fills) {
    const added = await tx.executions.addFill({
      executionId: execution.id,
      accountLabel: context.accountLabel,
      symbol: execution.symbol,
      side: execution.side,
      ...fill,
    });
    if (added) fillsAdded += 1;
  }

  if (isNew || isAdopted || stateChanged || fillsAdded > 0) {
    execution = (await tx.executions.byBrokerOrderId(context.accountLabel, order.id)) ?? execution;
    if (fillsAdded > 0 || isAdopted) await tx.updateCosts(execution.id, context.nowMs);
    // A replaced order says nothing of the decision: the order in its place does.
    if (execution.decisionId !== undefined && !execution.isLateAccepted && execution.state !== 'replaced') {
      await tx.setOrderStatus(execution.decisionId, {
        status: decisionStatusOf(execution.state),
        atMs: context.nowMs,
        ...(execution.state === 'filled' ? { executedAtMs: execution.filledAtMs ?? context.nowMs } : {}),
        ...(execution.state === 'rejected' ? { reasons: ['broker_rejected'] } : {}),
      });
    }
  }
  return {
    kind: 'recorded',
    execution,
    isNew,
    claimSettled,
    stateChanged: stateChanged || isNew || isAdopted,
    fillsAdded,
    isStale: advance.verdict === 'stale',
    findings,
  };
}

/** The execution of an order that the ledger does not know: of a claim, late, or an orphan. undefined: not ours. */
async function openExecution(
  tx: OrderTransaction,
  context: BookContext,
  order: BrokerOrder,
  findings: Finding[],
): Promise<{ execution: ExecutionRow; claimSettled: boolean } | undefined> {
  const claim = await tx.claims.lockByClientOrderId(context.accountLabel, order.clientOrderId);
  // The claim has its order already: another one under the same client order id is not ours to follow.
  if (claim?.state === 'submitted') return undefined;
  // Somebody replaced an order of ours (a new id, often a new client order id): it stays ours.
  const replaced =
    claim === undefined && order.replaces !== undefined
      ? await tx.executions.byBrokerOrderId(context.accountLabel, order.replaces)
      : undefined;
  if (!claim && !replaced && !isOurClientOrderId(order.clientOrderId)) return undefined;
  const isLateAccepted = claim?.state === 'rejected' || (replaced?.isLateAccepted ?? false);
  const decisionId = claim?.decisionId ?? replaced?.decisionId;
  const execution = await tx.executions.insert({
    ...optional('decisionId', decisionId),
    accountLabel: context.accountLabel,
    brokerOrderId: order.id,
    clientOrderId: order.clientOrderId,
    symbol: order.symbol,
    side: order.side,
    orderType: order.type,
    timeInForce: order.timeInForce,
    submittedQty: order.quantity ?? order.filledQty,
    ...optional('limitPrice', order.limitPrice),
    ...optional('stopPrice', order.stopPrice),
    state: stateOfStatus(order.status) === 'open' && order.filledQty.gt(0) ? 'partial' : stateOfStatus(order.status),
    brokerStatus: order.status,
    brokerFilledQty: order.filledQty,
    isLateAccepted,
    isOrphan: claim === undefined && replaced === undefined,
    ...optional('submittedAtMs', ms(order.submittedNs)),
    ...optional('brokerUpdatedAtMs', ms(order.updatedNs)),
    ...optional('replacedBy', order.replacedBy),
    raw: toJsonb(order.raw),
    atMs: context.nowMs,
    epoch: context.epoch,
  });
  const state = execution.state;
  if (isFinalState(state)) {
    await tx.executions.update(execution.id, {
      state,
      brokerStatus: order.status,
      brokerFilledQty: order.filledQty,
      atMs: context.nowMs,
      ...(state === 'filled'
        ? { filledAtMs: ms(order.filledNs) ?? context.nowMs }
        : { canceledAtMs: ms(order.canceledNs) ?? context.nowMs }),
    });
  }
  if (replaced) return { execution, claimSettled: false };
  if (!claim) {
    findings.push({ kind: 'orphan_order', subject: order.id, isPaging: true, detail: aboutOrder(order) });
    return { execution, claimSettled: false };
  }
  return { execution, claimSettled: await giveToClaim(tx, context, claim, execution, order, findings) };
}

/**
 * An orphan whose decision came after it: a ledger that was put back to an earlier state decides the same rows again, and
 * the POST of the same client order id is answered with the order that is there. Left an orphan, its claim would stay open
 * for ever.
 */
async function adoptOrphan(
  tx: OrderTransaction,
  context: BookContext,
  orphan: ExecutionRow,
  order: BrokerOrder,
  findings: Finding[],
): Promise<{ execution: ExecutionRow; claimSettled: boolean } | undefined> {
  const claim = await tx.claims.lockByClientOrderId(context.accountLabel, order.clientOrderId);
  if (!claim || claim.state === 'submitted') return undefined;
  const isLateAccepted = claim.state === 'rejected';
  await tx.executions.adopt(orphan.id, { decisionId: claim.decisionId, isLateAccepted, atMs: context.nowMs });
  const execution = { ...orphan, decisionId: claim.decisionId, isOrphan: false, isLateAccepted };
  return { execution, claimSettled: await giveToClaim(tx, context, claim, execution, order, findings) };
}

/** Settles a claim with its order, or notes that it came too late. @returns is the claim settled by it? */
async function giveToClaim(
  tx: OrderTransaction,
  context: BookContext,
  claim: ClaimRow,
  execution: ExecutionRow,
  order: BrokerOrder,
  findings: Finding[],
): Promise<boolean> {
  const about = aboutOrder(order);
  const differ = termsThatDiffer(claim, order);
  if (differ.length > 0) {
    findings.push({ kind: 'terms_mismatch', subject: order.id, isPaging: true, detail: { ...about, differ } });
  }
  const detail = toJsonb({ ...about, alpaca_order_id: order.id });
  if (claim.state === 'rejected') {
    await tx.claims.setLate(claim.decisionId, execution.id);
    await tx.decisions.addEvent(claim.decisionId, { stage: 'late_accepted', atMs: context.nowMs, detail });
    findings.push({ kind: 'late_accepted', subject: order.id, isPaging: true, detail: about });
    return false;
  }
  // An order without the broker_io step can only come from outside this protocol; the claim still must not send again.
  if (claim.state === 'claimed') await tx.claims.beginBrokerIo(claim.decisionId, 0, context.epoch, 'found_at_broker');
  const settled = await tx.claims.submitted(claim.decisionId, {
    brokerOrderId: order.id,
    executionId: execution.id,
    atMs: context.nowMs,
    wasLookedUp: context.wasLookedUp,
  });
  if (settled) {
    const stage = context.wasLookedUp ? 'execution_backfilled' : 'submitted';
    await tx.decisions.addEvent(claim.decisionId, { stage, atMs: context.nowMs, detail });
  }
  return settled;
}
