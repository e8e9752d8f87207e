/** The desk takes nothing that risk did not approve, whatever the types were talked into. */
import { Decimal } from 'decimal.js';
import { describe, expect, it } from 'vitest';
import { createOrderDesk, type OrderDeskOptions } from '../../src/lib/orders/desk.ts';
import type { ApprovedOrder } from '../../src/lib/risk/order.ts';
import { testClock } from '../ledger/support/fixtures.ts';

describe('an order that risk did not make', () => {
  it('is refused before the ledger or the broker hears of it', async () => {
    const settings = {
      accountLabel: 'paper',
      submitLookupMs: 1,
      maxDecisionAgeMs: 1,
      reconcileMs: 1,
      reconcileMinMachineMs: 1,
    };
    // Ledger, broker and firewall are missing: touching one of them would be another error.
    const desk = createOrderDesk({ settings, clock: testClock() } as unknown as OrderDeskOptions);
    const terms = { symbol: 'IBM', side: 'buy', quantity: new Decimal(1), type: 'market', timeInForce: 'day' };
    const forged = { decision: { accountLabel: 'paper' }, terms, approvedAtMs: 0 } as unknown as ApprovedOrder;
    await expect(desk.submit(forged)).rejects.toMatchObject({ code: 'order_not_approved' });
  });
});
