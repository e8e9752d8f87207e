/**
 * What the parts of the order desk share: ledger, broker, firewall, clock, settings, counters.
 * Guarantee: all writing transactions of one desk run one after another (`write`), so that a trade update, the answer of a
 * POST and a reconcile pass never meet in the middle of the same order.
 */
import type { TradingReads } from '../alpaca/trading-rest.ts';
import type { Leadership } from '../ledger/contract.ts';
import type { OrderLedger, OrderTransaction } from '../ledger/open.ts';
import type { Clock } from '../service/clock.ts';
import type { Logger } from '../service/logging.ts';
import type { OrderDeskStatus } from './contract.ts';
import type { OrderFirewall } from './firewall.ts';

export interface OrderDeskSettings {
  accountLabel: string;
  /** Machine ms for which an unknown outcome is looked up; above the POST time-out. */
  submitLookupMs: number;
  /** Market ms after the approval for which an order may still be sent. */
  maxDecisionAgeMs: number;
  /** Market ms between reconcile passes. */
  reconcileMs: number;
  /** Machine ms that at least pass between them, because the broker counts requests in real minutes. */
  reconcileMinMachineMs: number;
}

export interface DeskContext {
  ledger: OrderLedger;
  leadership: Leadership;
  broker: TradingReads;
  firewall: OrderFirewall;
  clock: Clock;
  log: Logger;
  settings: OrderDeskSettings;
  counters: OrderDeskStatus['counters'] & { attempts: Record<string, number> };
  /** Decisions whose POST this process is waiting for: nobody else looks them up meanwhile. */
  inFlight: Set<string>;
  flags: {
    isDraining: boolean;
    isBrokerAuthLatched: boolean;
    /** Market ms of the broker's newest refusal by its pattern-day-trader protection. */
    dayTradeRefusedAtMs: number | undefined;
  };
  write<T>(work: (tx: OrderTransaction) => Promise<T>): Promise<T>;
}

/** Runs work strictly one after another. */
export function createQueue(): <T>(work: () => Promise<T>) => Promise<T> {
  let tail: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = tail.then(work);
    tail = result.catch(() => undefined);
    return result;
  };
}
