/**
 * Clock and calendar answers, in the offsets of New York.
 * Facts: alpaca-protocol 3; the /v3 shapes from the models of Alpaca's SDK 4.0.2, which reads the clock there (design 3);
 * settlement: three business days until 2017-09-01, two until 2024-05-24, one since (SEC rule 15c6-1).
 */
import {
  formatNewYork,
  newYorkInstant,
  newYorkTime,
  nextCloseNs,
  nextOpenNs,
  sessionOf,
  type TradingDay,
  tradingDay,
  tradingDays,
} from '../../lib/market/calendar.ts';
import { formatTimestampNs } from '../../lib/market/time.ts';
import { invalidParameter, notFound } from './broker-error.ts';
import { instantParameter } from './order-queries.ts';
import { boundaryAfter } from './session.ts';

/** The table's first and last day. */
const FIRST_DAY = '2010-01-01';
const LAST_DAY = '2030-12-31';
const NS_PER_DAY = 86_400_000_000_000n;

export function clockView(nowNs: bigint): Record<string, unknown> {
  return {
    timestamp: formatNewYork(nowNs),
    is_open: sessionOf(nowNs) === 'regular',
    next_open: formatNewYork(nextOpenNs(nowNs)),
    next_close: formatNewYork(nextCloseNs(nowNs)),
  };
}

const markets: Record<string, Record<string, string>> = {
  NYSE: { acronym: 'NYSE', mic: 'XNYS', bic: 'XNYS', name: 'New York Stock Exchange', timezone: 'America/New_York' },
  NASDAQ: { acronym: 'NASDAQ', mic: 'XNAS', bic: 'XNAS', name: 'Nasdaq Stock Market', timezone: 'America/New_York' },
};

function marketOf(name: string): Record<string, string> | undefined {
  const upper = name.toUpperCase();
  return markets[upper] ?? Object.values(markets).find((market) => market.mic === upper);
}

const phases = { pre: 'pre', regular: 'core', post: 'post' } as const;

/** GET /v3/clock. @throws BrokerError 422 for a market that is not known here */
export function marketClocks(nowNs: bigint, query: URLSearchParams): Record<string, unknown> {
  const atNs = instantParameter(query, 'time') ?? nowNs;
  const names = (query.get('markets') || 'NYSE').split(',');
  const session = sessionOf(atNs);
  const phase = session in phases ? phases[session as keyof typeof phases] : 'closed';
  const clocks = names.map((name) => {
    const market = marketOf(name);
    if (!market) throw invalidParameter(`invalid market ${name}`);
    return {
      market,
      timestamp: formatNewYork(atNs),
      is_market_day: tradingDay(newYorkTime(atNs).date) !== undefined,
      next_market_open: formatNewYork(nextOpenNs(atNs)),
      next_market_close: formatNewYork(nextCloseNs(atNs)),
      phase,
      phase_until: formatNewYork(boundaryAfter(atNs).ns),
    };
  });
  return { clocks };
}

const clockText = (ns: bigint, separator: string) => {
  const { msOfDay } = newYorkTime(ns);
  return new Date(msOfDay).toISOString().slice(11, 16).replace(':', separator);
};

function settlementDate(day: TradingDay): string {
  const lag = day.date < '2017-09-05' ? 3 : day.date < '2024-05-28' ? 2 : 1;
  const later = tradingDays(day.date, newYorkTime(day.openNs + 14n * NS_PER_DAY).date);
  return later[lag]?.date ?? day.date;
}

/** First and last day of a query, inside the table. @throws BrokerError 422 */
function boundsOf(query: URLSearchParams): { start: string; end: string } {
  const bound = (name: string, fallback: string) => {
    const given = query.get(name);
    if (!given) return fallback;
    const date = given.slice(0, 10);
    if (!/^\d{4}-\d{2}-\d{2}$/.test(date)) throw invalidParameter(`invalid ${name}`);
    return date < FIRST_DAY ? FIRST_DAY : date > LAST_DAY ? LAST_DAY : date;
  };
  return { start: bound('start', FIRST_DAY), end: bound('end', LAST_DAY) };
}

/** The trading days of a query, both ends included; without bounds the whole table. */
function daysOf(query: URLSearchParams): TradingDay[] {
  const { start, end } = boundsOf(query);
  return tradingDays(start, end);
}

/** The trading days whose settlement date lies between the bounds. */
function daysSettledIn(query: URLSearchParams): TradingDay[] {
  const { start, end } = boundsOf(query);
  const early = newYorkTime(newYorkInstant(start, 0) - 14n * NS_PER_DAY).date;
  return tradingDays(early, end).filter((day) => {
    const settled = settlementDate(day);
    return settled >= start && settled <= end;
  });
}

/** GET /v2/calendar; `date_type=SETTLEMENT` bounds the settlement dates. @throws BrokerError 422 */
export function calendarDays(query: URLSearchParams): Record<string, unknown>[] {
  const days = query.get('date_type') === 'SETTLEMENT' ? daysSettledIn(query) : daysOf(query);
  return days.map((day) => ({
    date: day.date,
    open: clockText(day.openNs, ':'),
    close: clockText(day.closeNs, ':'),
    session_open: clockText(day.preOpenNs, ''),
    session_close: clockText(day.postCloseNs, ''),
    settlement_date: settlementDate(day),
  }));
}

/** GET /v3/calendar/{market}. @throws BrokerError 404 for a market that is not known here, 422 */
export function marketCalendar(name: string, query: URLSearchParams): Record<string, unknown> {
  const market = marketOf(name);
  if (!market) throw notFound(`market not found for ${name}`);
  const show = query.get('timezone') === 'UTC' ? formatTimestampNs : formatNewYork;
  const calendar = daysOf(query).map((day) => ({
    date: day.date,
    pre_start: show(day.preOpenNs),
    pre_end: show(day.openNs),
    core_start: show(day.openNs),
    core_end: show(day.closeNs),
    post_start: show(day.closeNs),
    post_end: show(day.postCloseNs),
    settlement_date: settlementDate(day),
  }));
  return { market, calendar };
}
