/**
 * The order desk of one account as the configuration says, the same for the loop and for an operator's command: one firewall,
 * one budget, one set of limits. What differs is who says that the kill switch is on, and whether updates are followed.
 */
import { createRequestBudget, type RequestBudget } from '../../lib/alpaca/trading-budget.ts';
import { openTradingMutations } from '../../lib/alpaca/trading-mutations.ts';
import type { TradingReads } from '../../lib/alpaca/trading-rest.ts';
import type { Leadership } from '../../lib/ledger/contract.ts';
import type { OrderLedger } from '../../lib/ledger/open.ts';
import type { OrderDesk } from '../../lib/orders/contract.ts';
import { createOrderDesk } from '../../lib/orders/desk.ts';
import type { FeedOptions } from '../../lib/orders/feed.ts';
import { createOrderFirewall } from '../../lib/orders/firewall.ts';
import type { Clock } from '../../lib/service/clock.ts';
import type { Logger } from '../../lib/service/logging.ts';
import type { TradeConfig } from './variables.ts';

/** Where the broker is now and with which keys. */
export interface BrokerAddress {
  baseUrl: string;
  keyId: string;
  secretKey: string;
  isSimulator: boolean;
}

/** Budgets of a real account (spec trading 4.4) and of our own simulator, requests a machine minute. */
const NORMAL_PER_MINUTE = 150;
const CANCEL_PER_MINUTE = 50;
const SIMULATOR_PER_MINUTE = 60_000;
/** Shortest machine ms between two reconcile passes. */
const RECONCILE_MIN_MS = 1_000;
const SIMULATOR_RECONCILE_MIN_MS = 250;

export function brokerBudget(config: TradeConfig, isSimulator: boolean): RequestBudget {
  const perMinute =
    config.TRADING_BROKER_REQUESTS_PER_MINUTE ?? (isSimulator ? SIMULATOR_PER_MINUTE : NORMAL_PER_MINUTE);
  return createRequestBudget(perMinute, CANCEL_PER_MINUTE);
}

export interface DeskOptions {
  config: TradeConfig;
  accountLabel: string;
  address: BrokerAddress;
  budget: RequestBudget;
  reads: TradingReads;
  ledger: OrderLedger;
  leadership: Leadership;
  clock: Clock;
  log: Logger;
  isKillSwitchOn(): boolean;
  feed?: FeedOptions | undefined;
}

export function openDesk(options: DeskOptions): OrderDesk {
  const { config, accountLabel, address, budget, reads, ledger, leadership, clock, log, feed } = options;
  const firewall = createOrderFirewall({
    accountLabel,
    mutations: openTradingMutations(address, config.TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS * 1_000),
    budget,
    leadership,
    isKillSwitchOn: options.isKillSwitchOn,
  });
  return createOrderDesk({
    ledger,
    leadership,
    broker: reads,
    firewall,
    clock,
    log,
    settings: {
      accountLabel,
      submitLookupMs: config.TRADING_SUBMIT_LOOKUP_SECONDS * 1_000,
      maxDecisionAgeMs: config.TRADING_MAX_DECISION_AGE_SECONDS * 1_000,
      reconcileMs: config.TRADING_RECONCILE_MS,
      reconcileMinMachineMs: address.isSimulator ? SIMULATOR_RECONCILE_MIN_MS : RECONCILE_MIN_MS,
    },
    ...(feed ? { feed } : {}),
  });
}
