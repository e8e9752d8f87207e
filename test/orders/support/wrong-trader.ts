/**
 * The mistake that the claim protocol exists for, composed from the product's own parts: the POST first, the claim after it.
 * Used to show that the matrix catches it. Arguments: JSON of TraderArguments.
 */
import { clientOrderIdOf } from '../../../src/lib/orders/client-order-id.ts';
import { recordOrder } from '../../../src/lib/orders/order-book.ts';
import { fromRisk } from '../../../src/lib/orders/sendable.ts';
import type { ApprovedOrder } from '../../../src/lib/risk/order.ts';
import { crashPoint } from '../../../src/lib/service/crash-point.ts';
import { sessionMs } from '../../ledger/support/fixtures.ts';
import type { TestDesk } from './desk.ts';
import { type TraderArguments, trade } from './trade-list.ts';

async function postThenClaim({ firewall, ledger, leadership }: TestDesk, order: ApprovedOrder): Promise<void> {
  const { decision, terms } = order;
  const { accountLabel } = decision;
  const clientOrderId = clientOrderIdOf(decision.hash);
  crashPoint('post.before');
  const reply = await firewall.submit(fromRisk(order, false));
  crashPoint('post.after');
  const { epoch } = leadership;
  const place = { accountLabel, epoch, nowMs: sessionMs, wasLookedUp: false };
  await ledger.writeOrders(leadership, async (tx) => {
    await tx.claims.insert({
      decisionId: decision.id,
      accountLabel,
      clientOrderId,
      intent: decision.intent,
      terms,
      approvedAtMs: order.approvedAtMs,
      claimedAtMs: sessionMs,
      epoch,
      owner: 'wrong',
    });
    await tx.claims.beginBrokerIo(decision.id, 500, epoch, 'wrong');
    if (reply.kind === 'ok') await recordOrder(tx, place, reply.value, []);
  });
  crashPoint('claim.committed');
}

await trade(JSON.parse(process.argv[2] as string) as TraderArguments, postThenClaim);
