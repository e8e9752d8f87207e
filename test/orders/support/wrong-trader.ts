/** A trader that posts before it claims (post-then-claim.ts). Arguments: JSON of TraderArguments. */
import { sessionMs } from '../../ledger/support/fixtures.ts';
import { postThenClaim } from './post-then-claim.ts';
import { type TraderArguments, trade } from './trade-list.ts';

await trade(JSON.parse(process.argv[2] as string) as TraderArguments, ({ firewall, ledger, leadership }, order) =>
  postThenClaim(
    { firewall, leadership, write: (work) => ledger.writeOrders(leadership, work), nowMs: sessionMs, lookupMs: 500 },
    order,
  ),
);
