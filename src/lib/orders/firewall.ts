/**
 * The order firewall (spec 3.5): the one object that may change anything at the broker. Reads are free, everything else
 * comes through here. Guarantees: it sends only what the submit protocol sealed out of risk (sendable.ts); right before the
 * I/O it checks the leadership, the kill switch and the account label, and compares the normalised payload with the terms;
 * with the kill switch on only cancels and reduce-only orders pass.
 */
import type { RequestBudget } from '../alpaca/trading-budget.ts';
import type { MutationReply } from '../alpaca/trading-errors.ts';
import { issueMutationCapability, orderBody, type TradingMutations } from '../alpaca/trading-mutations.ts';
import type { BrokerOrder } from '../alpaca/trading-schema.ts';
import type { Leadership } from '../ledger/contract.ts';
import type { OrderTerms } from '../risk/order.ts';
import { TorghutError } from '../service/errors.ts';
import { isOurClientOrderId } from './client-order-id.ts';
import { isSendable, type SendableOrder } from './sendable.ts';

export interface OrderFirewall {
  readonly accountLabel: string;
  /** Waits for a token of the request budget; to be called before the claim goes to broker_io. */
  reserve(purpose: 'normal' | 'cancel', signal?: AbortSignal): Promise<boolean>;
  /** POSTs one order. @throws `order_firewall_*` when it must not leave; nothing was sent then */
  submit(order: SendableOrder): Promise<MutationReply<BrokerOrder>>;
  /** Requests the cancel of one order by its broker id. */
  cancel(brokerOrderId: string): Promise<MutationReply<undefined>>;
  /** Why no such order may leave now; undefined when it may. */
  closedBecause(isReduceOnly?: boolean): string | undefined;
}

export interface FirewallOptions {
  accountLabel: string;
  mutations: TradingMutations;
  budget: RequestBudget;
  leadership: Leadership;
  /** Is any hard stop on? Reads what the process knows without waiting (configuration, last read control row). */
  isKillSwitchOn: () => boolean;
}

function refuse(code: string, why: string): never {
  throw new TorghutError({
    code,
    what: 'the order firewall refused an order',
    why,
    next: 'look at the decision in the ledger; nothing was sent',
    exitCode: 4,
  });
}

const sides = new Set(['buy', 'sell']);
const types = new Set(['market', 'limit', 'stop', 'stop_limit']);
const timesInForce = new Set(['day', 'gtc', 'ioc', 'fok']);
const decimalText = /^\d+(\.\d+)?$/;

/** Checks the payload that would leave against the terms of the claim. */
export function checkPayload(terms: OrderTerms, clientOrderId: string): void {
  const body = orderBody(terms, clientOrderId);
  const bad = (why: string) => refuse('order_firewall_payload', why);
  if (!isOurClientOrderId(clientOrderId)) bad('the client order id is not ours');
  if (!/^[A-Z][A-Z0-9./]{0,31}$/.test(body.symbol ?? '')) bad('the symbol is not an upper-case symbol');
  if (!sides.has(body.side ?? '')) bad('the side is neither buy nor sell');
  if (!types.has(body.type ?? '')) bad('the order type is unknown');
  if (!timesInForce.has(body.time_in_force ?? '')) bad('the time in force is unknown');
  if (!terms.quantity.isFinite() || terms.quantity.lte(0)) bad('the quantity is not positive');
  if (!decimalText.test(body.qty ?? '') || !terms.quantity.eq(body.qty as string))
    bad('the quantity changed on its way');
  const needsLimit = terms.type === 'limit' || terms.type === 'stop_limit';
  const needsStop = terms.type === 'stop' || terms.type === 'stop_limit';
  for (const [name, price, isNeeded] of [
    ['limit_price', terms.limitPrice, needsLimit],
    ['stop_price', terms.stopPrice, needsStop],
  ] as const) {
    if (isNeeded !== (price !== undefined)) bad(`${name} does not go with the order type ${terms.type}`);
    if (price === undefined) continue;
    if (!price.isFinite() || price.lte(0) || !decimalText.test(body[name] ?? '')) bad(`${name} is not positive`);
    // At or above one dollar two decimals, below four (spec 4.3).
    if (price.decimalPlaces() > (price.gte(1) ? 2 : 4)) bad(`${name} has too many decimals`);
  }
}

export function createOrderFirewall(options: FirewallOptions): OrderFirewall {
  const { accountLabel, mutations, budget, leadership, isKillSwitchOn } = options;
  const proof = issueMutationCapability();
  const closedBecause = (isReduceOnly = false) => {
    if (!isReduceOnly && isKillSwitchOn()) return 'kill_switch_enabled';
    return leadership.isHeld() ? undefined : 'leadership_lost';
  };
  return {
    accountLabel,
    reserve: (purpose, signal) => budget.take(purpose, signal),
    closedBecause,
    submit: async (order) => {
      if (!isSendable(order)) refuse('order_not_approved', 'it was not made by risk and the submit protocol');
      if (order.accountLabel !== accountLabel) {
        refuse(
          'order_firewall_account_label_mismatch',
          `the order belongs to ${order.accountLabel}, not to ${accountLabel}`,
        );
      }
      checkPayload(order.terms, order.clientOrderId);
      if (!order.isReduceOnly && isKillSwitchOn()) refuse('kill_switch_enabled', 'the kill switch is on');
      leadership.assertHeld();
      return mutations.submitOrder(proof, order.terms, order.clientOrderId);
    },
    cancel: async (brokerOrderId) => {
      leadership.assertHeld();
      return mutations.cancelOrder(proof, brokerOrderId);
    },
  };
}
