/**
 * Which failures of a write belong to what was written, and not to the ledger: a number beyond its column, a text too long,
 * a value that JSON has no word for. Trying again helps nobody; the next record must not wait for it.
 */
import type { BrokerOrder } from '../alpaca/trading-schema.ts';
import { codeOf, TorghutError } from '../service/errors.ts';
import type { Finding } from './contract.ts';

/** SQLSTATE classes 22 (data exception) and 23 (a constraint), values that have no JSON, and times beyond the calendar. */
export function isUnstorable(error: unknown): boolean {
  if (error instanceof TorghutError) return error.code === 'json_not_storable';
  return /^2[23][0-9A-Z]{3}$/.test(codeOf(error) ?? '') || error instanceof RangeError;
}

/** The finding about an order of the broker that the ledger cannot hold. */
export function unstorable(order: BrokerOrder, why: string): Finding {
  const { clientOrderId, symbol, status } = order;
  const detail = { why: why.slice(0, 500), client_order_id: clientOrderId, symbol, status };
  return { kind: 'unstorable_order', subject: order.id, isPaging: true, detail };
}
