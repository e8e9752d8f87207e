/**
 * The end of a live session (spec trading 1.6): nothing new in the last half hour, closing in the last quarter, flat ten
 * minutes before the bell. Counted back from the close, so that a half day has the same last half hour. Pure.
 */
import type { SessionReading } from './session.ts';

const MINUTE_MS = 60_000;
/** Before the close, market ms: 15:30, 15:45 and 15:50 in New York on a full day. */
const NO_ENTRY_MS = 30 * MINUTE_MS;
const FLATTEN_MS = 15 * MINUTE_MS;
const FLAT_BY_MS = 10 * MINUTE_MS;

function leftMs(session: SessionReading, nowMs: number): number | undefined {
  return session.state === 'open' && session.closeMs !== undefined ? session.closeMs - nowMs : undefined;
}

export function isEntryCutoff(session: SessionReading, nowMs: number): boolean {
  const left = leftMs(session, nowMs);
  return left !== undefined && left <= NO_ENTRY_MS;
}

/** What is to happen to what is still held. */
export function closeoutAt(session: SessionReading, nowMs: number): 'flatten' | 'failed' | undefined {
  const left = leftMs(session, nowMs);
  if (left === undefined || left > FLATTEN_MS) return undefined;
  return left > FLAT_BY_MS ? 'flatten' : 'failed';
}
