/**
 * A process that leads and writes as fast as it can, and reports every refusal, until it knows that it leads no more.
 * Arguments: dsn, lease.
 */

import type { LeaseTiming } from '../../../src/lib/ledger/leadership.ts';
import { openLedger } from '../../../src/lib/ledger/open.ts';
import { codeOf } from '../../../src/lib/service/errors.ts';
import { sleep } from '../../../src/lib/service/machine.ts';
import { testClock } from './fixtures.ts';

const [dsn, lease] = [process.argv[2] as string, JSON.parse(process.argv[3] as string) as LeaseTiming];
const ledger = openLedger({ dsn, clock: testClock(), lease });
const leadership = await ledger.acquireLeadership({ accountLabel: 'paper' });
const write = () => ledger.write(leadership, (tx) => tx.account.audit({ actor: 'first', action: 'write', atMs: 0 }));
await write();
process.send?.({ kind: 'leader', epoch: leadership.epoch.toString() });
for (;;) {
  try {
    await write();
    await sleep(5);
  } catch (error) {
    process.send?.({ kind: 'refused', code: codeOf(error) });
    if (codeOf(error) === 'leadership_lost') break;
  }
}
await sleep(60_000);
