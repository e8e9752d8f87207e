/**
 * The mistake that the claim protocol exists for, composed from the product's own parts: the POST first, the claim after it.
 * Both matrices run it, to show that they catch it.
 */
import type { Leadership } from '../../../src/lib/ledger/contract.ts';
import type { OrderTransaction } from '../../../src/lib/ledger/open.ts';
import { clientOrderIdOf } from '../../../src/lib/orders/client-order-id.ts';
import type { SubmitOutcome } from '../../../src/lib/orders/contract.ts';
import type { OrderFirewall } from '../../../src/lib/orders/firewall.ts';
import { recordOrder } from '../../../src/lib/orders/order-book.ts';
import { fromRisk } from '../../../src/lib/orders/sendable.ts';
import type { ApprovedOrder } from '../../../src/lib/risk/order.ts';
import { crashPoint } from '../../../src/lib/service/crash-point.ts';

export interface WrongDesk {
  firewall: OrderFirewall;
  leadership: Leadership;
  write(work: (tx: OrderTransaction) => Promise<void>): Promise<void>;
  /** Market ms. */
  nowMs: number;
  /** Machine ms for which an unknown outcome is looked up. */
  lookupMs: number;
}

export async function postThenClaim(desk: WrongDesk, order: ApprovedOrder): Promise<SubmitOutcome> {
  const { firewall, leadership, nowMs, lookupMs } = desk;
  const { decision, terms } = order;
  const { accountLabel } = decision;
  const { epoch } = leadership;
  const clientOrderId = clientOrderIdOf(decision.hash);
  crashPoint('post.before');
  const reply = await firewall.submit(fromRisk(order, false));
  crashPoint('post.after');
  let executionId = '';
  await desk.write(async (tx) => {
    await tx.claims.insert({
      decisionId: decision.id,
      accountLabel,
      clientOrderId,
      intent: decision.intent,
      terms,
      approvedAtMs: order.approvedAtMs,
      claimedAtMs: nowMs,
      epoch,
      owner: 'wrong',
    });
    await tx.claims.beginBrokerIo(decision.id, lookupMs, epoch, 'wrong');
    if (reply.kind !== 'ok') return;
    const recorded = await recordOrder(tx, { accountLabel, epoch, nowMs, wasLookedUp: false }, reply.value, []);
    if (recorded.kind === 'recorded') executionId = recorded.execution.id;
  });
  crashPoint('claim.committed');
  if (reply.kind !== 'ok' || executionId === '') return { kind: 'unknown', clientOrderId, why: 'not answered' };
  return {
    kind: 'submitted',
    executionId,
    brokerOrderId: reply.value.id,
    clientOrderId,
    state: 'open',
    adopted: false,
  };
}
