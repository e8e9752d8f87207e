/**
 * Is the regular session open, and when does it close? The broker's clock decides; between two readings its next bells do;
 * without it the broker's calendar, then the shipped one (spec trading 1.6). Outside the years of the shipped calendar and
 * without a broker the answer is `unknown`, which holds a live account.
 */
import { newYorkTime, sessionOf, tradingDay } from '../market/calendar.ts';
import type { Clock } from '../service/clock.ts';
import type { BrokerDay, BrokerSession } from './ports.ts';

const NS_PER_MS = 1_000_000n;
/** Market ms that a reading of the broker's clock is used. */
const CACHE_MS = 60_000;
/** Market ms that a reading of its calendar is. */
const CALENDAR_CACHE_MS = 86_400_000;
/** Machine-friendly: after a failure the clock is asked again this many market ms later at the earliest. */
const RETRY_MS = 5_000;
const FIRST_YEAR = 2010;
const LAST_YEAR = 2030;

export type SessionState = 'open' | 'closed' | 'unknown';
export type SessionSource = 'broker' | 'broker_calendar' | 'calendar';

export interface SessionReading {
  state: SessionState;
  source: SessionSource;
  /** Market ms of the close of the running session; undefined when none runs. */
  closeMs?: number;
}

/** The state by one reading of the broker's clock, at a later instant. */
export function stateByBroker(session: BrokerSession, nowMs: number): SessionState {
  if (session.isOpen) return nowMs < session.nextCloseMs ? 'open' : 'closed';
  return nowMs >= session.nextOpenMs && nowMs < session.nextCloseMs ? 'open' : 'closed';
}

/** The state by the shipped calendar. */
export function stateByCalendar(nowMs: number): SessionState {
  const year = new Date(nowMs).getUTCFullYear();
  if (year < FIRST_YEAR || year > LAST_YEAR) return 'unknown';
  return sessionOf(BigInt(nowMs) * NS_PER_MS) === 'regular' ? 'open' : 'closed';
}

/** The state by the broker's calendar; undefined when it does not reach that far. */
export function stateByDays(days: readonly BrokerDay[], nowMs: number): SessionReading | undefined {
  const { date } = newYorkTime(BigInt(nowMs) * NS_PER_MS);
  const [first, last] = [days[0], days.at(-1)];
  if (!first || !last || date < first.date || date > last.date) return undefined;
  const day = days.find((found) => found.date === date);
  const isOpen = day !== undefined && nowMs >= day.openMs && nowMs < day.closeMs;
  if (!isOpen) return { state: 'closed', source: 'broker_calendar' };
  return { state: 'open', source: 'broker_calendar', closeMs: day.closeMs };
}

function byShipped(nowMs: number): SessionReading {
  const state = stateByCalendar(nowMs);
  if (state !== 'open') return { state, source: 'calendar' };
  const day = tradingDay(newYorkTime(BigInt(nowMs) * NS_PER_MS).date);
  return { state, source: 'calendar', ...(day ? { closeMs: Number(day.closeNs / NS_PER_MS) } : {}) };
}

export interface SessionGate {
  state(): Promise<SessionReading>;
}

/** The broker's reads; their errors mean "not known" and lead to the next source. */
export interface SessionReads {
  session(): Promise<BrokerSession>;
  /** Trading days from a week before to two weeks after an instant, by date. */
  days(nowMs: number): Promise<readonly BrokerDay[]>;
}

export function sessionGate(clock: Clock, reads: SessionReads): SessionGate {
  let known: { session: BrokerSession; atMs: number } | undefined;
  let failedAtMs: number | undefined;
  let calendar: { days: readonly BrokerDay[]; atMs: number } | undefined;

  const readClock = async (nowMs: number) => {
    if (known && nowMs - known.atMs < CACHE_MS) return;
    if (failedAtMs !== undefined && nowMs - failedAtMs < RETRY_MS) return;
    try {
      known = { session: await reads.session(), atMs: nowMs };
      failedAtMs = undefined;
    } catch {
      known = undefined;
      failedAtMs = nowMs;
    }
  };

  const readCalendar = async (nowMs: number) => {
    if (calendar && nowMs - calendar.atMs < CALENDAR_CACHE_MS) return;
    try {
      calendar = { days: await reads.days(nowMs), atMs: nowMs };
    } catch {
      // An older one still tells its days.
    }
  };

  return {
    state: async () => {
      const nowMs = clock.nowMs();
      await readClock(nowMs);
      // Read while the broker answers, because it is for the time when it does not.
      if (known) await readCalendar(nowMs);
      if (known === undefined) return (calendar && stateByDays(calendar.days, nowMs)) ?? byShipped(nowMs);
      const state = stateByBroker(known.session, nowMs);
      if (state !== 'open') return { state, source: 'broker' };
      return { state, source: 'broker', closeMs: known.session.nextCloseMs };
    },
  };
}
