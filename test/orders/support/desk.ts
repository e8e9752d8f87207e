/** A whole desk over a real ledger and a given broker address. */
import { createRequestBudget } from '../../../src/lib/alpaca/trading-budget.ts';
import { openTradingMutations } from '../../../src/lib/alpaca/trading-mutations.ts';
import { openTradingReads } from '../../../src/lib/alpaca/trading-rest.ts';
import type { Leadership } from '../../../src/lib/ledger/contract.ts';
import { type OrderLedger, openLedger } from '../../../src/lib/ledger/open.ts';
import type { OrderDesk } from '../../../src/lib/orders/contract.ts';
import { createOrderDesk } from '../../../src/lib/orders/desk.ts';
import type { FeedOptions } from '../../../src/lib/orders/feed.ts';
import { createOrderFirewall, type OrderFirewall } from '../../../src/lib/orders/firewall.ts';
import type { Clock } from '../../../src/lib/service/clock.ts';
import { createLogger, type Logger } from '../../../src/lib/service/logging.ts';

export interface TestDesk {
  ledger: OrderLedger;
  leadership: Leadership;
  desk: OrderDesk;
  firewall: OrderFirewall;
  /** What the process believes of the kill switch. */
  switches: { killSwitch: boolean };
  close(): Promise<void>;
}

export interface TestDeskOptions {
  dsn: string;
  brokerUrl: string;
  clock: Clock;
  feed?: FeedOptions;
  submitLookupMs?: number;
  postTimeoutMs?: number;
  reconcileMs?: number;
  log?: Logger;
}

export async function openTestDesk(options: TestDeskOptions): Promise<TestDesk> {
  const ledger = openLedger({
    dsn: options.dsn,
    clock: options.clock,
    lease: { leaseMs: 3_000, renewMs: 500, retryMs: 50 },
  });
  const leadership = await ledger.acquireLeadership({ accountLabel: 'paper' });
  const budget = createRequestBudget(100_000, 10_000);
  const connection = {
    baseUrl: options.brokerUrl,
    keyId: 'SIMKEY',
    secretKey: 'sim-secret',
    budget,
    readTries: 2,
    retryBaseMs: 20,
    readTimeoutMs: 1_000,
  };
  const switches = { killSwitch: false };
  const firewall = createOrderFirewall({
    accountLabel: 'paper',
    mutations: openTradingMutations(connection, options.postTimeoutMs ?? 300),
    budget,
    leadership,
    isKillSwitchOn: () => switches.killSwitch,
  });
  const desk = createOrderDesk({
    ledger,
    leadership,
    broker: openTradingReads(connection),
    firewall,
    clock: options.clock,
    log: options.log ?? createLogger('desk-test', 'silent'),
    settings: {
      accountLabel: 'paper',
      submitLookupMs: options.submitLookupMs ?? 800,
      maxDecisionAgeMs: 30_000,
      reconcileMs: options.reconcileMs ?? 15_000,
      reconcileMinMachineMs: 100,
    },
    ...(options.feed ? { feed: options.feed } : {}),
  });
  return {
    ledger,
    leadership,
    desk,
    firewall,
    switches,
    close: async () => {
      await leadership.release();
      await ledger.close();
    },
  };
}
