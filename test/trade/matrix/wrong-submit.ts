/**
 * Stands in for src/lib/orders/submit.ts in the wrong build of the daemon (world.ts): new orders are posted before they are
 * claimed, everything else is the product's.
 */
import type { DeskContext } from '../../../src/lib/orders/context.ts';
import type { SubmitOutcome } from '../../../src/lib/orders/contract.ts';
import type { ApprovedOrder } from '../../../src/lib/risk/order.ts';
import { postThenClaim } from '../../orders/support/post-then-claim.ts';

export { resolveClaims, submitReduction } from '../../../src/lib/orders/submit.ts';

export function submitApproved(context: DeskContext, order: ApprovedOrder): Promise<SubmitOutcome> {
  const { firewall, leadership, write, clock, settings } = context;
  return postThenClaim({ firewall, leadership, write, nowMs: clock.nowMs(), lookupMs: settings.submitLookupMs }, order);
}
