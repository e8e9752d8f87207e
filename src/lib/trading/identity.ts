/**
 * Decision identity (design 5): the same wish from the same signal has the same hash in every process and after every
 * crash. Quantity, price, parameters and strategy version are not in it, so nothing that changes between two attempts can
 * make a second order out of one signal.
 */
import { createHash } from 'node:crypto';
import type { OrderAction, OrderIntent } from '../risk/order.ts';

export interface DecisionIdentity {
  accountLabel: string;
  strategyName: string;
  symbol: string;
  /** `1Sec` or `1Min`. */
  timeframe: string;
  /** Window end, market milliseconds. */
  eventTsMs: number;
  action: OrderAction;
  intent: OrderIntent;
}

/** Unit separator: cannot stand in a symbol, and names with it are refused by the catalog. */
const SEPARATOR = '\u001f';

/** sha256 hex of the seven fields joined by 0x1f; event time as RFC 3339 UTC with milliseconds. */
export function decisionHash(identity: DecisionIdentity): string {
  const fields = [
    identity.accountLabel,
    identity.strategyName,
    identity.symbol,
    identity.timeframe,
    new Date(identity.eventTsMs).toISOString(),
    identity.action,
    identity.intent,
  ];
  for (const field of fields) {
    if (field.includes(SEPARATOR)) throw new Error('a decision field contains the separator 0x1f');
  }
  return createHash('sha256').update(fields.join(SEPARATOR)).digest('hex');
}
