/**
 * Orders, account and counters, as a fold over the journal.
 * Guarantee: state changes only by `apply`, live and at a restart alike, so a rebuilt broker equals the one that died.
 */
import { newYorkTime } from '../../lib/market/calendar.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import { Account } from './account.ts';
import { type Amount, amount } from './amount.ts';
import type { TakenSide } from './display.ts';
import type { JournalEntry } from './journal.ts';
import { isOpen, isTerminal, type OrderRecord, type OrderSide } from './order-record.ts';

/** One execution as the journal keeps it. */
export interface FillRecord {
  /** Number of the execution, from 1. */
  number: number;
  execution_id: string;
  order_id: string;
  symbol: string;
  side: OrderSide;
  price: string;
  qty: string;
  /** Signed position after the fill. */
  position_qty: string;
  cum_qty: string;
  leaves_qty: string;
  /** What the fill left of the display; absent for auction and late fills, which take none. */
  taken?: TakenSide;
}

export interface ActivityRecord extends FillRecord {
  at: string;
  kind: 'fill' | 'partial_fill';
  order_status: string;
}

/** What PATCH /v2/account/configurations can change. */
export interface AccountConfiguration {
  suspend_trade: boolean;
  no_shorting: boolean;
  fractional_trading: boolean;
  max_margin_multiplier: '1' | '2';
  trade_confirm_email: 'all' | 'none';
  disable_overnight_trading: boolean;
  ptp_no_exception_entry: boolean;
  max_options_trading_level: number;
}

/** Fixed at the first start of a journal. */
export interface JournalStart {
  seed: string;
  cash: string;
  multiplier: 1 | 2;
}

export class BrokerState {
  start: JournalStart = { seed: '', cash: '0', multiplier: 2 };
  account = new Account(amount(0));
  configuration: AccountConfiguration = {
    suspend_trade: false,
    no_shorting: false,
    fractional_trading: true,
    max_margin_multiplier: '2',
    trade_confirm_email: 'none',
    disable_overnight_trading: false,
    ptp_no_exception_entry: false,
    max_options_trading_level: 0,
  };
  /** All orders ever accepted, in the order of acceptance. */
  readonly orders = new Map<string, OrderRecord>();
  readonly #byClientId = new Map<string, string>();
  /** Open orders by symbol, in time priority. */
  readonly #open = new Map<string, Map<string, OrderRecord>>();
  readonly activities: ActivityRecord[] = [];
  readonly taken = new Map<string, TakenSide>();
  requests = 0;
  /** Market time of the newest entry, nanoseconds; nothing is stamped before it. */
  lastNs = 0n;
  createdAt = '';

  apply(entry: JournalEntry): void {
    const ns = parseTimestampNs(entry.at) ?? this.lastNs;
    if (ns > this.lastNs) this.lastNs = ns;
    if (entry.kind === 'started') this.#start(entry);
    if (entry.kind === 'post_received') this.requests += 1;
    if (entry.kind === 'configured') this.configuration = entry.configuration as AccountConfiguration;
    if (entry.kind === 'day_closed') this.#closeDay(entry);
    const order = entry.order as OrderRecord | undefined;
    if (order) this.#setOrder(order);
    if (order && entry.fill) this.#book(entry, order, entry.fill as FillRecord, ns);
  }

  order(id: string): OrderRecord | undefined {
    return this.orders.get(id);
  }

  orderByClientId(clientOrderId: string): OrderRecord | undefined {
    const id = this.#byClientId.get(clientOrderId);
    return id === undefined ? undefined : this.orders.get(id);
  }

  /** Open orders of a symbol in time priority. */
  openOrders(symbol: string): OrderRecord[] {
    const open = this.#open.get(symbol);
    return open ? [...open.values()] : [];
  }

  hasOpenOrders(symbol: string): boolean {
    return (this.#open.get(symbol)?.size ?? 0) > 0;
  }

  /** Open orders of all symbols in time priority. */
  allOpenOrders(): OrderRecord[] {
    return [...this.#open.values()]
      .flatMap((orders) => [...orders.values()])
      .sort((a, b) => a.working.number - b.working.number);
  }

  /** The broker's multiplier: the account's own, lowered by its configuration. */
  multiplier(): 1 | 2 {
    return this.configuration.max_margin_multiplier === '1' ? 1 : this.start.multiplier;
  }

  #start(entry: JournalEntry): void {
    this.start = entry.start as JournalStart;
    this.account = new Account(amount(this.start.cash));
    this.createdAt = entry.at;
    this.configuration = { ...this.configuration, max_margin_multiplier: this.start.multiplier === 1 ? '1' : '2' };
  }

  #setOrder(order: OrderRecord): void {
    const before = this.orders.get(order.id);
    if (before && isTerminal(before))
      throw new Error(`order ${order.id} is ${before.status} and cannot become ${order.status}`);
    this.orders.set(order.id, order);
    this.#byClientId.set(order.client_order_id, order.id);
    const open = this.#open.get(order.symbol) ?? new Map<string, OrderRecord>();
    if (isOpen(order)) open.set(order.id, order);
    else open.delete(order.id);
    this.#open.set(order.symbol, open);
  }

  #book(entry: JournalEntry, order: OrderRecord, fill: FillRecord, ns: bigint): void {
    this.account.applyFill({
      symbol: fill.symbol,
      side: fill.side,
      qty: amount(fill.qty),
      price: amount(fill.price),
      orderId: fill.order_id,
      date: newYorkTime(ns).date,
    });
    if (fill.taken) this.taken.set(`${fill.symbol}:${fill.side}`, fill.taken);
    this.activities.push({
      ...fill,
      at: entry.at,
      kind: entry.kind === 'fill' ? 'fill' : 'partial_fill',
      order_status: order.status,
    });
  }

  #closeDay(entry: JournalEntry): void {
    const prices = entry.prices as Record<string, string>;
    const priceOf = (symbol: string): Amount | undefined =>
      prices[symbol] === undefined ? undefined : amount(prices[symbol]);
    this.account.closeDay(
      String(entry.date),
      amount(String(entry.equity)),
      amount(String(entry.maintenance_margin)),
      priceOf,
    );
  }
}
