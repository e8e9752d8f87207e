/**
 * The matching engine: follows the tape, fills open orders, elects stops, ends orders with their session.
 * Guarantees: orders of a symbol are served in time priority; no fill without a displayed quote, in a halt or outside the
 * order's session; the same tape and the same orders at the same market times give the same fills.
 */
import { newYorkTime } from '../../lib/market/calendar.ts';
import type { MarketTape, SimTrade, TapeEvent } from '../contract.ts';
import { valuationOf } from './account.ts';
import { buyingPower, type Market, orderCost } from './admission.ts';
import { type Amount, amount, minOf, rounded, text } from './amount.ts';
import type { AssetList } from './assets.ts';
import type { BrokerState } from './broker-state.ts';
import { Display, type TakenSide } from './display.ts';
import { type MatchedFill, matchOrder, stopEffect } from './matching.ts';
import { withFill, withStatus } from './order-changes.ts';
import type { OrderLog } from './order-log.ts';
import { isOpen, isTerminal, isWithinLimit, type OrderRecord, remainingQtyAt } from './order-record.ts';
import { termsOf } from './replacement.ts';
import { type Boundary, boundariesBetween, boundaryAfter, SessionWatch } from './session.ts';

/** Statuses in which an order meets the market. */
const canFill = (order: OrderRecord) => order.status === 'new' || order.status === 'partially_filled';
const isAuction = (order: OrderRecord) => order.time_in_force === 'opg' || order.time_in_force === 'cls';
const isImmediate = (order: OrderRecord) => order.time_in_force === 'ioc' || order.time_in_force === 'fok';

export class MatchingEngine implements Market {
  readonly state: BrokerState;
  readonly assets: AssetList;
  readonly #tape: MarketTape;
  readonly #log: OrderLog;
  readonly #displays = new Map<string, Display>();
  readonly #sessions = new SessionWatch();
  readonly #lateFills = new Set<string>();
  /** Market time up to which session boundaries were worked off. */
  #workedNs: bigint;
  #nextBoundaryNs = 0n;

  constructor(parts: { tape: MarketTape; log: OrderLog; assets: AssetList }) {
    this.#tape = parts.tape;
    this.#log = parts.log;
    this.state = parts.log.state;
    this.assets = parts.assets;
    this.#workedNs = this.state.lastNs;
  }

  displayOf(symbol: string): Display {
    const known = this.#displays.get(symbol);
    if (known) return known;
    const display = new Display();
    const quote = this.#tape.lastQuote(symbol);
    const trade = this.#tape.lastTrade(symbol);
    if (trade) display.trade(trade, this.#sessions.at(trade.eventNs) === 'regular');
    if (quote) display.quote(quote);
    for (const side of ['buy', 'sell'] as const) {
      const taken = this.state.taken.get(`${symbol}:${side}`);
      if (taken) display.restore(side, taken);
    }
    this.#displays.set(symbol, display);
    return display;
  }

  readonly priceOf = (symbol: string): Amount | undefined => this.displayOf(symbol).valuation();

  /** Brings sessions and late fills up to market now and returns it; call before anything that depends on them. */
  settle(): bigint {
    const nowNs = this.#log.notBefore(this.#tape.catchUp());
    this.advance(nowNs);
    return nowNs;
  }

  /**
   * After a restart: works off what the calendar did meanwhile, finishes what a kill cut in two, then meets the current
   * quotes. Stops look at the newest trade only; what traded while the broker was away was not seen.
   */
  resume(): void {
    for (const order of this.state.allOpenOrders()) {
      if (order.working.lateFillNs !== undefined) this.#lateFills.add(order.id);
    }
    const nowNs = this.settle();
    for (const order of this.state.allOpenOrders()) {
      const replaced = order.replaces === null ? undefined : this.state.order(order.replaces);
      if (replaced && isOpen(replaced)) this.#log.setStatus(replaced, 'replaced', nowNs, { replaced_by: order.id });
    }
    for (const order of this.state.allOpenOrders()) {
      if (order.status === 'pending_new') this.activate(order, nowNs);
      if (order.status === 'pending_cancel' && !this.#lateFills.has(order.id))
        this.#log.setStatus(order, 'canceled', nowNs);
      if (order.status === 'pending_replace') this.#refuseReplace(order, nowNs);
      if (isImmediate(order)) this.#endImmediate(order.id, nowNs);
    }
    for (const symbol of new Set(this.state.allOpenOrders().map((order) => order.symbol))) {
      const { last } = this.displayOf(symbol);
      const lastNs = this.#tape.lastTrade(symbol)?.eventNs;
      if (last && this.#sessions.at(nowNs) === 'regular') this.#applyStops(symbol, last, nowNs, lastNs);
      this.match(symbol, nowNs);
    }
  }

  /** A replace of which a kill left nothing but its beginning: the order works on as it was. */
  #refuseReplace(order: OrderRecord, nowNs: bigint): void {
    const status = order.filled_qty === '0' ? 'new' : 'partially_filled';
    this.#log.commit('order_replace_rejected', withStatus(order, status, nowNs), nowNs, 'order_replace_rejected');
  }

  onEvent(event: TapeEvent): void {
    const nowNs = this.#log.notBefore(event.releaseNs);
    if (nowNs >= this.#nextBoundaryNs || this.#lateFills.size > 0) this.advance(nowNs);
    const quote = event.kind === 'quote' ? event.quote() : undefined;
    const trade = event.kind === 'trade' ? event.trade() : undefined;
    if ((quote || trade) && this.assets.needsExchange(event.symbol)) {
      this.assets.learnExchange(event.symbol, event.message().z);
    }
    if (quote) this.displayOf(event.symbol).quote(quote);
    if (trade) this.#onTrade(trade, nowNs);
    const mayMatch = quote !== undefined || event.kind === 'status';
    if (mayMatch && this.state.hasOpenOrders(event.symbol)) this.match(event.symbol, nowNs);
  }

  #onTrade(trade: SimTrade, nowNs: bigint): void {
    const isRegular = this.#sessions.at(nowNs) === 'regular';
    const display = this.displayOf(trade.symbol);
    const isLast = display.trade(trade, isRegular);
    if (!this.state.hasOpenOrders(trade.symbol)) return;
    this.#matchAuction(trade, nowNs);
    if (isLast && isRegular && display.last) {
      this.#applyStops(trade.symbol, display.last, nowNs);
      this.match(trade.symbol, nowNs);
    }
  }

  /** Puts an accepted order to work when its session is open, and matches it at once. */
  activate(order: OrderRecord, nowNs: bigint): void {
    const isNow = BigInt(order.working.activeFromNs) <= nowNs;
    if (isNow) {
      this.#log.setStatus(order, 'new', nowNs);
      this.match(order.symbol, nowNs);
    }
    if (isImmediate(order)) this.#endImmediate(order.id, nowNs);
  }

  /** What an ioc or fok order did not get at once is cancelled; one that waits for its stop goes on waiting. */
  #endImmediate(id: string, nowNs: bigint): void {
    const order = this.state.order(id);
    if (!order || isTerminal(order)) return;
    const isWaiting = (order.type === 'stop' || order.type === 'stop_limit') && !order.working.isElected;
    if (!isWaiting) this.#log.setStatus(order, 'canceled', nowNs);
  }

  /** Lets a cancelled order fill at the instant in its record (fault late_fill). */
  fillLate(id: string): void {
    this.#lateFills.add(id);
  }

  /** Works off session boundaries and late fills up to an instant. */
  advance(nowNs: bigint): void {
    if (nowNs >= this.#nextBoundaryNs) {
      for (const boundary of boundariesBetween(this.#workedNs, nowNs)) {
        this.#workedNs = boundary.ns;
        this.#onBoundary(boundary.kind, boundary.ns);
      }
      if (nowNs > this.#workedNs) this.#workedNs = nowNs;
      this.#nextBoundaryNs = boundaryAfter(this.#workedNs).ns;
    }
    if (this.#lateFills.size > 0) this.#runLateFills(nowNs);
  }

  #onBoundary(kind: Boundary, atNs: bigint): void {
    for (const order of this.state.allOpenOrders()) {
      if (BigInt(order.working.expiresNs) <= atNs) this.#log.setStatus(order, 'expired', atNs);
      else if (order.status === 'accepted' && BigInt(order.working.activeFromNs) <= atNs) this.#open(order, atNs);
    }
    if (kind === 'close') this.#closeDay(atNs);
    if (kind === 'open' || kind === 'pre_open') {
      for (const symbol of new Set(this.state.allOpenOrders().map((order) => order.symbol))) this.match(symbol, atNs);
    }
  }

  /** An order that waited for its session: its money is looked at again, because prices have moved. */
  #open(order: OrderRecord, atNs: bigint): void {
    const isOpening = order.position_intent.endsWith('_to_open');
    const isTooDear = isOpening && orderCost(this, termsOf(order)).gt(buyingPower(this, order.id).buyingPower);
    if (isTooDear) this.#log.setStatus(order, 'rejected', atNs);
    else this.activate(order, atNs);
  }

  #closeDay(atNs: bigint): void {
    const valuation = valuationOf(this.state.account, this.state.multiplier(), this.priceOf);
    const prices: Record<string, string> = {};
    for (const position of this.state.account.positions.values()) {
      prices[position.symbol] = text(this.priceOf(position.symbol) ?? position.fillPrice);
    }
    this.#log.append('day_closed', atNs, {
      date: newYorkTime(atNs).date,
      equity: rounded(valuation.equity),
      maintenance_margin: rounded(valuation.maintenanceMargin),
      prices,
    });
  }

  /** @param tradedNs time of the trade, when it may be older than an order: it elects only stops that were there */
  #applyStops(symbol: string, last: Amount, nowNs: bigint, tradedNs?: bigint): void {
    for (const order of this.state.openOrders(symbol)) {
      const wasThere = tradedNs === undefined || BigInt(order.working.submittedNs) < tradedNs;
      const effect = canFill(order) && wasThere ? stopEffect(order, last) : undefined;
      if (effect?.kind === 'trailed') {
        this.#log.commit('trailed', { ...order, hwm: effect.hwm, stop_price: effect.stopPrice }, nowNs, null);
      } else if (effect) {
        this.#log.commit('elected', { ...order, working: { ...order.working, isElected: true } }, nowNs, null);
      }
    }
  }

  /** Serves the open orders of a symbol from what its quote still shows. */
  match(symbol: string, nowNs: bigint): void {
    const isHalted = this.#tape.isHalted(symbol);
    const display = this.displayOf(symbol);
    for (const order of this.state.openOrders(symbol)) {
      if (!canFill(order) || isAuction(order)) continue;
      const isOpenNow = !isHalted && this.#sessions.isOpenFor(order, nowNs);
      const fill = isOpenNow ? matchOrder(order, display.opposite(order.side)) : undefined;
      if (fill) this.#fill(order, fill, nowNs, display.take(order.side, fill.qty));
      // An elected stop that is ioc or fok has this one chance, as a new order has it in activate().
      if (isImmediate(order) && order.working.isElected) this.#endImmediate(order.id, nowNs);
    }
  }

  /** Opening and closing orders fill at the auction's print, up to its size; what is left of them ends. */
  #matchAuction(trade: SimTrade, nowNs: bigint): void {
    const isOpening = trade.conditions.includes('O') || trade.conditions.includes('Q');
    const isClosing = trade.conditions.includes('6') || trade.conditions.includes('M');
    if (!isOpening && !isClosing) return;
    const price = amount(trade.price);
    let left = amount(trade.size);
    for (const order of this.state.openOrders(trade.symbol)) {
      if (!canFill(order) || order.time_in_force !== (isOpening ? 'opg' : 'cls')) continue;
      const wanted = remainingQtyAt(order, price);
      const qty = minOf(wanted, left);
      if (qty.gt(0) && isWithinLimit(order, price)) {
        left = left.minus(qty);
        this.#fill(order, { price, qty, isComplete: qty.eq(wanted) }, nowNs);
      }
      const after = this.state.order(order.id);
      if (after && isOpen(after)) this.#log.setStatus(after, 'expired', nowNs);
    }
  }

  /** A cancel that lost: the rest fills at the quote, or at the limit where the quote does not reach it. */
  #runLateFills(nowNs: bigint): void {
    for (const id of this.#lateFills) {
      const order = this.state.order(id);
      if (order && isOpen(order) && BigInt(order.working.lateFillNs ?? '0') > nowNs) continue;
      this.#lateFills.delete(id);
      if (!order || isTerminal(order)) continue;
      const shown = this.displayOf(order.symbol).opposite(order.side).price;
      const isReached = shown.gt(0) && isWithinLimit(order, shown);
      const price = isReached ? shown : order.limit_price === null ? undefined : amount(order.limit_price);
      const qty = price ? remainingQtyAt(order, price) : undefined;
      if (price && qty?.gt(0)) this.#fill(order, { price, qty, isComplete: true }, nowNs);
      else this.#log.setStatus(order, 'canceled', nowNs);
    }
  }

  #fill(order: OrderRecord, fill: MatchedFill, nowNs: bigint, taken?: TakenSide): void {
    const made = withFill(order, fill, {
      nowNs: this.#log.notBefore(nowNs),
      seed: this.state.start.seed,
      number: this.state.activities.length + 1,
      positionQty: this.state.account.positionQty(order.symbol),
      ...(taken ? { taken } : {}),
    });
    const kind = fill.isComplete ? 'fill' : 'partial_fill';
    this.#log.commit(kind, made.order, nowNs, kind, made.fill);
  }
}
