/**
 * The end of a claim: what the broker's word, or a look-up, does to it (Tx C of spec 4.1).
 * Guarantee: execution, claim and decision change in one transaction; a claim ends once.
 */
import type { BrokerOrder } from '../alpaca/trading-schema.ts';
import type { ClaimRow } from '../ledger/claims.ts';
import { toJsonb } from '../ledger/jsonb.ts';
import { crashPoint } from '../service/crash-point.ts';
import { describeError } from '../service/errors.ts';
import type { DeskContext } from './context.ts';
import type { Finding, SubmitOutcome } from './contract.ts';
import { recordOrder } from './order-book.ts';
import { isUnstorable, unstorable } from './unstorable.ts';

/** What a claim needs to be sent: from an approved order, or from the claim's own row after a crash. */
export type Sendable = Pick<ClaimRow, 'decisionId' | 'accountLabel' | 'clientOrderId' | 'terms' | 'approvedAtMs'>;

/** Notes findings outside a reconcile pass, in the log and in the ledger. */
export async function noteFindings(context: DeskContext, findings: readonly Finding[]): Promise<void> {
  if (findings.length === 0) return;
  for (const finding of findings) {
    const level = finding.isPaging ? 'error' : 'warn';
    context.log[level]({ finding: finding.kind, subject: finding.subject, ...finding.detail }, 'order finding');
  }
  const atMs = context.clock.nowMs();
  await context.write(async (tx) => {
    for (const finding of findings) await tx.findings.add(context.settings.accountLabel, finding, atMs);
  });
}

function bookContext(context: DeskContext, wasLookedUp: boolean) {
  return {
    accountLabel: context.settings.accountLabel,
    epoch: context.leadership.epoch,
    nowMs: context.clock.nowMs(),
    wasLookedUp,
  };
}

/** Refuses a claim for good: nothing of it is at the broker. */
export async function refuse(
  context: DeskContext,
  order: Sendable,
  from: 'claimed' | 'broker_io',
  refusal: {
    reasons: readonly string[];
    origin: 'desk' | 'broker';
    wasLookedUp?: boolean;
    detail?: Record<string, unknown>;
  },
): Promise<boolean> {
  crashPoint('refuse.before');
  const isRefused = await context.write(async (tx) => {
    const atMs = context.clock.nowMs();
    const done = await tx.claims.rejected(order.decisionId, {
      from,
      reasons: refusal.reasons,
      atMs,
      wasLookedUp: refusal.wasLookedUp ?? false,
    });
    if (!done) return false;
    await tx.decisions.reject(order.decisionId, {
      reasons: refusal.reasons,
      origin: refusal.origin,
      atMs,
      detail: toJsonb({ reasons: refusal.reasons, origin: refusal.origin, ...refusal.detail }),
    });
    return true;
  });
  crashPoint('refuse.committed');
  if (isRefused) context.counters.rejected += 1;
  return isRefused;
}

/** undefined on a definite 404. */
export async function lookUp(context: DeskContext, clientOrderId: string): Promise<BrokerOrder | undefined> {
  crashPoint('lookup.before');
  const found = await context.broker.orderByClientId(clientOrderId);
  crashPoint('lookup.after');
  return found;
}

/** Tx C: execution, claim and decision together. */
export async function settle(
  context: DeskContext,
  order: Pick<Sendable, 'decisionId' | 'clientOrderId'>,
  found: BrokerOrder,
  wasLookedUp: boolean,
): Promise<SubmitOutcome> {
  crashPoint('settle.before');
  if (found.clientOrderId !== order.clientOrderId) {
    const why = `the broker answered with the order ${found.clientOrderId}`;
    return { kind: 'unknown', clientOrderId: order.clientOrderId, why };
  }
  const result = await context
    .write(async (tx) => {
      const recorded = await recordOrder(tx, bookContext(context, wasLookedUp), found, []);
      crashPoint('settle.in_transaction');
      return recorded;
    })
    .catch((error: unknown) => {
      if (!isUnstorable(error)) throw error;
      return describeError(error);
    });
  crashPoint('settle.committed');
  if (typeof result === 'string') {
    // The order is there and cannot be kept: the claim stays open, which pages, instead of ending the session again and again.
    await noteFindings(context, [unstorable(found, result)]);
    return { kind: 'unknown', clientOrderId: order.clientOrderId, why: `the ledger cannot hold the order: ${result}` };
  }
  if (result.kind === 'foreign') {
    return { kind: 'unknown', clientOrderId: order.clientOrderId, why: 'the order carries another client order id' };
  }
  if (result.claimSettled) context.counters.submitted += 1;
  await noteFindings(context, result.findings);
  return {
    kind: 'submitted',
    executionId: result.execution.id,
    brokerOrderId: found.id,
    clientOrderId: order.clientOrderId,
    state: result.execution.state,
    adopted: wasLookedUp,
  };
}
