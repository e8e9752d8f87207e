/**
 * When an order may work and when it ends: time in force and extended hours against the session calendar.
 * Facts: alpaca-protocol 3 and Alpaca's order documentation (day orders sent after the close wait for the next day; opg is
 * taken until 9:28, cls until 15:50, both again from 19:00; a gtc order ends after 90 days).
 */
import {
  newYorkInstant,
  newYorkTime,
  nextOpenNs,
  sessionOf,
  type TradingDay,
  tradingDay,
} from '../../lib/market/calendar.ts';
import { unprocessable } from './broker-error.ts';
import type { OrderRecord, TimeInForce } from './order-record.ts';

const MS_PER_MINUTE = 60_000;
const MS_PER_HOUR = 60 * MS_PER_MINUTE;
const NS_PER_DAY = 86_400_000_000_000n;

/** The trading day whose order book takes an order now: today until its last session ends, else the next one. */
export function orderDay(nowNs: bigint, extendedHours: boolean): TradingDay {
  const today = tradingDay(newYorkTime(nowNs).date);
  if (today && nowNs < (extendedHours ? today.postCloseNs : today.closeNs)) return today;
  return tradingDay(newYorkTime(nextOpenNs(nowNs)).date) as TradingDay;
}

/** The window in which an order works on its first day and the instant at which it expires. */
export interface OrderWindow {
  activeFromNs: bigint;
  expiresNs: bigint;
}

export function orderWindow(nowNs: bigint, timeInForce: TimeInForce, extendedHours: boolean): OrderWindow {
  const day = orderDay(nowNs, extendedHours);
  const opens = extendedHours ? day.preOpenNs : day.openNs;
  const closes = extendedHours ? day.postCloseNs : day.closeNs;
  const activeFromNs = nowNs > opens ? nowNs : opens;
  // The closing print comes seconds after the bell; without one the order ends with the last session of the day.
  if (timeInForce === 'cls') return { activeFromNs, expiresNs: day.postCloseNs };
  if (timeInForce !== 'gtc') return { activeFromNs, expiresNs: closes };
  const last = newYorkTime(nowNs + 90n * NS_PER_DAY).date;
  return { activeFromNs, expiresNs: newYorkInstant(last, 16 * MS_PER_HOUR + 15 * MS_PER_MINUTE) };
}

/** @throws BrokerError 422 when the exchange takes no opening or closing auction orders now */
export function checkAuctionWindow(nowNs: bigint, timeInForce: TimeInForce): void {
  if (timeInForce !== 'opg' && timeInForce !== 'cls') return;
  const { date, msOfDay } = newYorkTime(nowNs);
  if (!tradingDay(date) || msOfDay >= 19 * MS_PER_HOUR) return;
  const lastMs = timeInForce === 'opg' ? 9 * MS_PER_HOUR + 28 * MS_PER_MINUTE : 15 * MS_PER_HOUR + 50 * MS_PER_MINUTE;
  if (msOfDay >= lastMs) {
    const hours = timeInForce === 'opg' ? '9:28am and before 7:00pm' : '3:50pm and before 7:00pm';
    throw unprocessable(`${timeInForce} orders submitted after ${hours} ET are rejected`);
  }
}

/** The sessions of market now, read anew only when a boundary was passed: quotes come thousands a second. */
export class SessionWatch {
  #session = sessionOf(0n);
  #fromNs = 0n;
  #untilNs = 0n;

  /** Is the order's market open at the instant? Auction orders have their own moments. */
  isOpenFor(order: OrderRecord, nowNs: bigint): boolean {
    const session = this.at(nowNs);
    if (session === 'regular') return true;
    return order.extended_hours && (session === 'pre' || session === 'post');
  }

  at(nowNs: bigint): ReturnType<typeof sessionOf> {
    if (nowNs < this.#fromNs || nowNs >= this.#untilNs) {
      this.#session = sessionOf(nowNs);
      this.#fromNs = nowNs;
      this.#untilNs = nextBoundary(nowNs);
    }
    return this.#session;
  }
}

/** What happens at a boundary of the trading day. */
export type Boundary = 'pre_open' | 'open' | 'close' | 'post_close';

export interface BoundaryAt {
  kind: Boundary;
  ns: bigint;
}

/** The boundaries after one instant up to another, in time order. */
export function boundariesBetween(afterNs: bigint, untilNs: bigint): BoundaryAt[] {
  const found: BoundaryAt[] = [];
  for (let ns = afterNs; ; ) {
    const next = boundaryAfter(ns);
    if (next.ns > untilNs) return found;
    found.push(next);
    ns = next.ns;
  }
}

/** The first boundary after an instant. */
export function boundaryAfter(ns: bigint): BoundaryAt {
  const here = newYorkTime(ns).date;
  const days = [tradingDay(here), tradingDay(newYorkTime(nextOpenNs(ns)).date)];
  for (const day of days) {
    if (!day) continue;
    if (day.preOpenNs > ns) return { kind: 'pre_open', ns: day.preOpenNs };
    if (day.openNs > ns) return { kind: 'open', ns: day.openNs };
    if (day.closeNs > ns) return { kind: 'close', ns: day.closeNs };
    if (day.postCloseNs > ns) return { kind: 'post_close', ns: day.postCloseNs };
  }
  // nextOpenNs is after ns, so its day always has a boundary after ns.
  throw new Error('no trading day after this instant');
}

function nextBoundary(ns: bigint): bigint {
  const boundary = boundaryAfter(ns).ns;
  // `overnight` begins at 20:00 also where no session ends then.
  const { date, msOfDay } = newYorkTime(ns);
  const evening = newYorkInstant(date, 20 * MS_PER_HOUR);
  return msOfDay < 20 * MS_PER_HOUR && evening < boundary ? evening : boundary;
}
