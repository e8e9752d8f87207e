/**
 * What a client can ask of the broker: submit, cancel, replace, close positions, change the account's configuration.
 * Guarantees: a request is ordered after everything that the tape has released; a refused one leaves nothing behind; an
 * accepted client order id is spent for ever.
 */
import { admit, checkUnique, tradedAsset } from './admission.ts';
import { type Amount, maxOf, minOf, text, ZERO } from './amount.ts';
import { forbidden, invalidParameter, notFound, unprocessable } from './broker-error.ts';
import type { AccountConfiguration } from './broker-state.ts';
import type { MatchingEngine } from './engine.ts';
import { makeOrder } from './order-changes.ts';
import type { OrderLog } from './order-log.ts';
import { isTerminal, type OrderRecord, type PositionIntent, remainingQtyAt } from './order-record.ts';
import type { OrderTerms, ReplaceTerms } from './order-request.ts';
import { remainingTerms, replacedTerms } from './replacement.ts';
import { checkAuctionWindow, orderWindow } from './session.ts';

export class Broker {
  readonly engine: MatchingEngine;
  readonly #log: OrderLog;

  constructor(engine: MatchingEngine, log: OrderLog) {
    this.engine = engine;
    this.#log = log;
  }

  get state() {
    return this.engine.state;
  }

  /**
   * @param request number of the POST in the journal, when it came by one
   * @returns the order as accepted, before the market meets it
   * @throws BrokerError when the order is refused; nothing is kept then
   */
  submit(terms: OrderTerms, request?: number): OrderRecord {
    const nowNs = this.engine.settle();
    const asset = tradedAsset(this.engine.assets, terms.symbol);
    checkUnique(this.state, terms.clientOrderId);
    checkAuctionWindow(nowNs, terms.timeInForce);
    const intent = admit(this.engine, terms, asset);
    const order = this.#accept(terms, intent, nowNs, request === undefined ? {} : { request });
    this.engine.activate(order, nowNs);
    return order;
  }

  #accept(
    terms: OrderTerms,
    intent: PositionIntent,
    nowNs: bigint,
    more: { request?: number; replaces?: OrderRecord },
  ): OrderRecord {
    const asset = tradedAsset(this.engine.assets, terms.symbol);
    const order = makeOrder({
      terms,
      asset,
      intent,
      window: orderWindow(nowNs, terms.timeInForce, terms.extendedHours),
      nowNs,
      seed: this.state.start.seed,
      number: this.state.orders.size + 1,
      last: this.engine.displayOf(asset.symbol).last,
      ...(more.replaces ? { replaces: more.replaces } : {}),
    });
    const fields = more.request === undefined ? {} : { request: more.request };
    const event = order.status === 'accepted' ? 'accepted' : 'pending_new';
    this.#log.commit('accepted', order, nowNs, event, undefined, fields);
    return order;
  }

  /**
   * @param lateFillNs market delay after which the cancel loses to a fill instead (fault late_fill)
   * @throws BrokerError 404, or 422 when the order can no longer be cancelled
   */
  cancel(id: string, lateFillNs?: bigint): OrderRecord {
    const nowNs = this.engine.settle();
    const order = this.#known(id);
    if (isTerminal(order) || order.status === 'pending_cancel') {
      throw unprocessable(`order is already in "${order.status}" state`);
    }
    if (lateFillNs === undefined) {
      return this.#log.setStatus(this.#log.setStatus(order, 'pending_cancel', nowNs), 'canceled', nowNs);
    }
    const working = { ...order.working, lateFillNs: (nowNs + lateFillNs).toString() };
    const pending = this.#log.setStatus(order, 'pending_cancel', nowNs, { working });
    this.engine.fillLate(id);
    return pending;
  }

  /** Replaces an open order by a new one with other terms. @returns the new order. @throws BrokerError 404, 422, 403 */
  replace(id: string, change: ReplaceTerms): OrderRecord {
    const nowNs = this.engine.settle();
    const order = this.#known(id);
    const terms = replacedTerms(order, change);
    checkUnique(this.state, terms.clientOrderId);
    const intent = admit(this.engine, terms, tradedAsset(this.engine.assets, terms.symbol), order);
    // The new order first: after a kill between the two entries the restart still finds what replaces what.
    const pending = this.#log.setStatus(order, 'pending_replace', nowNs);
    const next = this.#accept(remainingTerms(terms, order), intent, nowNs, { replaces: order });
    this.#log.setStatus(pending, 'replaced', nowNs, { replaced_by: next.id });
    this.engine.activate(next, nowNs);
    return next;
  }

  #known(id: string): OrderRecord {
    const order = this.state.order(id);
    if (!order) throw notFound(`order not found for ${id}`);
    return order;
  }

  /**
   * Sells or covers a position by a market order.
   * @param part shares, or percent of the position; everything when absent
   * @throws BrokerError 404 when flat, 403 when open orders hold the shares, 422
   */
  closePosition(nameOrId: string, part: { qty?: Amount; percentage?: Amount } = {}): OrderRecord {
    this.engine.settle();
    const symbol = this.engine.assets.find(nameOrId)?.symbol ?? nameOrId.toUpperCase();
    const held = this.state.account.positionQty(symbol);
    if (held.isZero()) throw notFound('position does not exist');
    if (part.qty && part.percentage) throw invalidParameter('only one of qty or percentage is accepted');
    if (part.percentage?.gt(100)) throw invalidParameter('percentage must be between 0 and 100');
    const share = part.percentage ? held.abs().times(part.percentage).div(100).toDecimalPlaces(9, 1) : undefined;
    const qty = part.qty ?? share ?? held.abs();
    if (qty.gt(held.abs())) {
      throw forbidden(
        `insufficient qty available for order (requested: ${text(qty)}, available: ${text(this.available(symbol))})`,
        {
          symbol,
          existing_qty: text(held.abs()),
          available: text(this.available(symbol)),
        },
      );
    }
    return this.submit({
      symbol,
      side: held.isPositive() ? 'sell' : 'buy',
      type: 'market',
      timeInForce: 'day',
      qty: text(qty),
      notional: null,
      limitPrice: null,
      stopPrice: null,
      trailPrice: null,
      trailPercent: null,
      extendedHours: false,
      clientOrderId: null,
      positionIntent: null,
    });
  }

  /** Shares of a position that no open order holds. */
  available(symbol: string): Amount {
    const held = this.state.account.positionQty(symbol);
    const closing = held.isPositive() ? 'sell' : 'buy';
    const price = this.engine.displayOf(symbol).valuation() ?? ZERO;
    const pending = this.state
      .openOrders(symbol)
      .filter((order) => order.side === closing)
      .reduce((sum, order) => sum.plus(remainingQtyAt(order, price)), ZERO);
    return maxOf(ZERO, minOf(held.abs(), held.abs().minus(pending)));
  }

  configure(change: Partial<AccountConfiguration>): AccountConfiguration {
    const nowNs = this.engine.settle();
    this.#log.append('configured', nowNs, { configuration: { ...this.state.configuration, ...change } });
    return this.state.configuration;
  }
}
