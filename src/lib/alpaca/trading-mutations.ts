/**
 * The only code that changes anything at the broker. It demands a capability that is issued to the order firewall
 * (lib/orders/firewall.ts) and to nobody else: an object that this module made and remembers, which no literal or cast can
 * imitate. Guarantees: one HTTP request per call, never retried; a reply is ok, refused by the broker's own word, or unknown.
 */

import type { OrderTerms } from '../risk/order.ts';
import { describeError, TorghutError } from '../service/errors.ts';
import { type BrokerErrorBody, classifyRefusal, type MutationReply, parseErrorBody } from './trading-errors.ts';
import { sendOnce } from './trading-http.ts';
import { type TradingConnection, tradingHeaders } from './trading-rest.ts';
import { type BrokerOrder, parseOrder } from './trading-schema.ts';

declare const capability: unique symbol;

/** Proof that the caller is the order firewall. */
export interface MutationCapability {
  readonly [capability]: true;
}

const issued = new WeakSet<object>();

/** For lib/orders/firewall.ts alone (a test holds every other module to it). */
export function issueMutationCapability(): MutationCapability {
  const proof = Object.freeze({});
  issued.add(proof);
  return proof as MutationCapability;
}

function demand(proof: MutationCapability): void {
  if (typeof proof === 'object' && proof !== null && issued.has(proof)) return;
  throw new TorghutError({
    code: 'order_firewall_required',
    what: 'a broker mutation was called without the order firewall',
    why: 'the capability is not one that was issued',
    next: 'send orders through the order desk',
    exitCode: 4,
  });
}

export interface TradingMutations {
  /** POST /v2/orders, exactly once. */
  submitOrder(proof: MutationCapability, terms: OrderTerms, clientOrderId: string): Promise<MutationReply<BrokerOrder>>;
  /** DELETE /v2/orders/{id}, exactly once. ok means requested, not canceled. */
  cancelOrder(proof: MutationCapability, orderId: string): Promise<MutationReply<undefined>>;
}

/** The body of an order: decimals as plain text. */
export function orderBody(terms: OrderTerms, clientOrderId: string): Record<string, string> {
  const body: Record<string, string> = {
    symbol: terms.symbol,
    qty: terms.quantity.toFixed(),
    side: terms.side,
    type: terms.type,
    time_in_force: terms.timeInForce,
    client_order_id: clientOrderId,
  };
  if (terms.limitPrice !== undefined) body.limit_price = terms.limitPrice.toFixed();
  if (terms.stopPrice !== undefined) body.stop_price = terms.stopPrice.toFixed();
  return body;
}

/** @param timeoutMs machine ms for one mutation (TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS) */
export function openTradingMutations(
  connection: Pick<TradingConnection, 'baseUrl' | 'keyId' | 'secretKey'>,
  timeoutMs: number,
): TradingMutations {
  const headers = tradingHeaders(connection);

  const send = async <T>(
    method: 'POST' | 'DELETE',
    path: string,
    body: Record<string, string> | undefined,
    parse: (text: string) => T,
  ): Promise<MutationReply<T>> => {
    let reply: { status: number; text: string };
    try {
      reply = await sendOnce({
        method,
        url: `${connection.baseUrl}${path}`,
        headers: body ? { ...headers, 'content-type': 'application/json' } : headers,
        timeoutMs,
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
    } catch (error) {
      return { kind: 'unknown', why: `${method} ${path}: ${describeError(error)}` };
    }
    const { status, text } = reply;
    if (status >= 200 && status < 300) {
      try {
        return { kind: 'ok', value: parse(text) };
      } catch (error) {
        return {
          kind: 'unknown',
          why: `${method} ${path}: unreadable answer: ${describeError(error).slice(0, 200)}`,
          status,
        };
      }
    }
    const errorBody: BrokerErrorBody | undefined = parseErrorBody(text);
    const refusal = classifyRefusal(status, errorBody);
    if (!refusal || !errorBody) return { kind: 'unknown', why: `${method} ${path}: HTTP ${status}`, status };
    return { kind: 'refused', refusal, status, ...errorBody };
  };

  return {
    submitOrder: async (proof, terms, clientOrderId) => {
      demand(proof);
      return send('POST', '/v2/orders', orderBody(terms, clientOrderId), (text) => parseOrder(JSON.parse(text)));
    },
    cancelOrder: async (proof, orderId) => {
      demand(proof);
      return send('DELETE', `/v2/orders/${encodeURIComponent(orderId)}`, undefined, () => undefined);
    },
  };
}
