/**
 * Is the regular session open? The broker's clock decides; between two readings its next bells do; without it the shipped
 * calendar does (spec trading 1.6). Outside the years of the calendar and without a broker the answer is `unknown`.
 */
import { sessionOf } from '../market/calendar.ts';
import type { Clock } from '../service/clock.ts';
import type { BrokerSession } from './ports.ts';

const NS_PER_MS = 1_000_000n;
/** Market ms that a reading of the broker's clock is used. */
const CACHE_MS = 60_000;
const FIRST_YEAR = 2010;
const LAST_YEAR = 2030;

export type SessionState = 'open' | 'closed' | 'unknown';

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

export interface SessionGate {
  state(): Promise<{ state: SessionState; source: 'broker' | 'calendar' }>;
}

/** @param read the broker's clock; its errors mean "not known" and lead to the calendar */
export function sessionGate(clock: Clock, read: () => Promise<BrokerSession>): SessionGate {
  let known: { session: BrokerSession; atMs: number } | undefined;
  return {
    state: async () => {
      const nowMs = clock.nowMs();
      if (known === undefined || nowMs - known.atMs >= CACHE_MS) {
        try {
          known = { session: await read(), atMs: nowMs };
        } catch {
          known = undefined;
        }
      }
      if (known === undefined) return { state: stateByCalendar(nowMs), source: 'calendar' };
      return { state: stateByBroker(known.session, nowMs), source: 'broker' };
    },
  };
}
