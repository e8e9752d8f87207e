/**
 * What a reply of the trading API means (spec 4.1, 4.4; design 5; alpaca-protocol 3).
 * Guarantee: a mutation counts as refused only when the broker itself said so (its JSON body with a message) with a status
 * that means "nothing was placed"; everything else is unknown. Codes come from public reports, so the class goes by status
 * first, then by code and message.
 */
import { z } from 'zod';

const bodySchema = z.looseObject({ code: z.union([z.number(), z.string()]).nullish(), message: z.string() });

export interface BrokerErrorBody {
  code?: string;
  message: string;
}

/** The broker's own error body; undefined for a gateway's HTML or anything else. */
export function parseErrorBody(text: string): BrokerErrorBody | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = bodySchema.safeParse(value);
  if (!parsed.success) return undefined;
  const { code, message } = parsed.data;
  return code === undefined || code === null ? { message } : { code: String(code), message };
}

/** Stable reason code of a refused order, for the ledger and counters. */
export type BrokerRefusal =
  | 'broker_bad_request'
  | 'broker_auth'
  | 'broker_insufficient_buying_power'
  | 'broker_insufficient_qty'
  | 'broker_wash_trade'
  | 'broker_pattern_day_trader'
  | 'broker_trading_restricted'
  | 'broker_forbidden'
  | 'broker_not_found'
  | 'broker_duplicate_client_order_id'
  | 'broker_unprocessable'
  | 'broker_rate_limited';

/** Statuses after which nothing was placed, when the broker's own body says so. */
const definite = new Set([400, 401, 403, 404, 422, 429]);

/** The refusal, or undefined when the outcome is unknown. */
export function classifyRefusal(status: number, body: BrokerErrorBody | undefined): BrokerRefusal | undefined {
  if (!definite.has(status) || !body) return undefined;
  const message = body.message.toLowerCase();
  if (/client_order_id must be unique|duplicate client.?order.?id/.test(message))
    return 'broker_duplicate_client_order_id';
  if (/buying power/.test(message)) return 'broker_insufficient_buying_power';
  if (/insufficient qty/.test(message)) return 'broker_insufficient_qty';
  if (/wash trade|opposite side/.test(message)) return 'broker_wash_trade';
  if (/pattern day trad/.test(message) || body.code === '40310100') return 'broker_pattern_day_trader';
  if (status === 401) return 'broker_auth';
  if (status === 429) return 'broker_rate_limited';
  if (status === 403)
    return /by user request|restricted|not allowed/.test(message) ? 'broker_trading_restricted' : 'broker_forbidden';
  if (status === 404) return 'broker_not_found';
  return status === 400 ? 'broker_bad_request' : 'broker_unprocessable';
}

/** A mutation's reply: there is no fourth case, and none of them is retried inside the client. */
export type MutationReply<T> =
  | { kind: 'ok'; value: T }
  | { kind: 'refused'; refusal: BrokerRefusal; status: number; code?: string; message: string }
  | { kind: 'unknown'; why: string; status?: number };
