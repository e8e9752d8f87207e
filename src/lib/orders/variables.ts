/**
 * Variables of the order desk and its broker connection (spec trading 4, 8). Spread into the table of `torghut trade`.
 */
import { createRequestBudget, type RequestBudget } from '../alpaca/trading-budget.ts';
import { type BrokerEndpoint, checkBrokerHost, paperHost, type TradingMode } from '../alpaca/trading-host.ts';
import { openTradingMutations, type TradingMutations } from '../alpaca/trading-mutations.ts';
import { openTradingReads, type TradingReads } from '../alpaca/trading-rest.ts';
import { defaultTopics } from '../log/topics.ts';
import type { ConfigOf, Variable } from '../service/config.ts';
import { kind, optional } from '../service/config.ts';
import { usageError } from '../service/errors.ts';
import type { OrderDeskSettings } from './context.ts';

function variable<T>(fields: Variable<T>): Variable<T> {
  return fields;
}

export const orderVariables = {
  APCA_API_KEY_ID: variable<string | undefined>({
    parse: kind.optionalText,
    default: undefined,
    describe: 'key id of the broker account; without it nothing is traded',
  }),
  APCA_API_SECRET_KEY: variable<string | undefined>({
    parse: kind.optionalText,
    default: undefined,
    describe: 'secret key of the broker account',
    secret: true,
  }),
  APCA_API_BASE_URL: variable<string>({
    parse: kind.url('http:', 'https:'),
    default: `https://${paperHost}`,
    describe: 'trading API of the broker; must belong to TRADING_MODE',
  }),
  TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS: variable<number>({
    parse: kind.number(0.1, 15),
    default: 10,
    describe: 'time-out of one POST or DELETE at the broker',
    time: 'machine',
  }),
  TRADING_SUBMIT_LOOKUP_SECONDS: variable<number>({
    parse: kind.number(0.2, 3_600),
    default: 60,
    describe: 'how long an order of unknown outcome is looked up; above the POST time-out',
    time: 'machine',
  }),
  TRADING_MAX_DECISION_AGE_SECONDS: variable<number>({
    parse: kind.number(1, 86_400),
    default: 30,
    describe: 'age after which an approved order is no longer sent',
    time: 'market',
  }),
  TRADING_RECONCILE_MS: variable<number>({
    parse: kind.integer(100, 3_600_000),
    default: 15_000,
    describe: 'interval of reconcile passes',
    time: 'market',
  }),
  TRADING_RECONCILE_MIN_MACHINE_MS: variable<number>({
    parse: kind.integer(50, 3_600_000),
    default: 2_000,
    describe: 'shortest pause between reconcile passes, because the broker counts requests in real minutes',
    time: 'machine',
  }),
  TRADING_BROKER_REQUESTS_PER_MINUTE: variable<number>({
    parse: kind.integer(1, 1_000_000),
    default: 150,
    describe: 'request budget at the broker, per real minute',
    time: 'machine',
  }),
  TRADING_BROKER_CANCEL_RESERVE_PER_MINUTE: variable<number>({
    parse: kind.integer(1, 1_000_000),
    default: 50,
    describe: 'further requests per real minute that only cancels may use',
    time: 'machine',
  }),
  TRADING_ORDER_FEED_ENABLED: variable<boolean>({
    parse: kind.boolean,
    default: true,
    describe: 'follow trade updates from the log; without it orders are followed by reconcile alone',
  }),
  TRADING_ORDER_FEED_TOPIC: variable<string>({
    parse: kind.text,
    default: defaultTopics.tradeUpdatesV2,
    describe: 'topic of the trade updates',
  }),
  TRADING_ORDER_FEED_BATCH_SIZE: variable<number>({
    parse: kind.integer(1, 10_000),
    default: 200,
    describe: 'trade updates of one transaction',
  }),
  DB_DSN: variable<string | undefined>({
    parse: optional(kind.text),
    default: undefined,
    describe: 'Postgres of the ledger; unset means the embedded one',
    secret: true,
    aliases: ['DB_URL', 'DATABASE_URL'],
  }),
};

export type OrderConfig = ConfigOf<typeof orderVariables>;

/** Settings of the desk. @throws `config_invalid` when the look-up time is not above the POST time-out */
export function orderDeskSettings(config: OrderConfig, accountLabel: string): OrderDeskSettings {
  if (config.TRADING_SUBMIT_LOOKUP_SECONDS <= config.TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS) {
    throw usageError({
      code: 'config_invalid',
      what: 'TRADING_SUBMIT_LOOKUP_SECONDS must be above TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS',
      why: 'a POST could still be on its way when its order counts as lost',
      next: 'raise the first or lower the second',
    });
  }
  return {
    accountLabel,
    submitLookupMs: config.TRADING_SUBMIT_LOOKUP_SECONDS * 1_000,
    maxDecisionAgeMs: config.TRADING_MAX_DECISION_AGE_SECONDS * 1_000,
    reconcileMs: config.TRADING_RECONCILE_MS,
    reconcileMinMachineMs: config.TRADING_RECONCILE_MIN_MACHINE_MS,
  };
}

export interface BrokerConnection {
  endpoint: BrokerEndpoint;
  reads: TradingReads;
  mutations: TradingMutations;
  budget: RequestBudget;
}

/** Opens the broker after the host rule; undefined without keys. @throws `broker_host_refused` (exit 4) */
export function openBroker(
  config: OrderConfig,
  mode: TradingMode,
  clockKind: 'system' | 'virtual',
): BrokerConnection | undefined {
  const keyId = config.APCA_API_KEY_ID;
  const secretKey = config.APCA_API_SECRET_KEY;
  if (keyId === undefined || secretKey === undefined) return undefined;
  const endpoint = checkBrokerHost({ baseUrl: config.APCA_API_BASE_URL, mode, keyId, clockKind });
  const budget = createRequestBudget(
    config.TRADING_BROKER_REQUESTS_PER_MINUTE,
    config.TRADING_BROKER_CANCEL_RESERVE_PER_MINUTE,
  );
  const connection = { baseUrl: endpoint.baseUrl, keyId, secretKey, budget };
  return {
    endpoint,
    budget,
    reads: openTradingReads(connection),
    mutations: openTradingMutations(connection, config.TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS * 1_000),
  };
}
