/** What the cycle tells of itself: what its newest round has seen. Values only. */
import type { TradingSwitches } from '../risk/snapshot.ts';
import type { Continuity } from './continuity.ts';
import type { Quality } from './quality.ts';
import type { SessionReading } from './session.ts';
import type { StopView } from './stop-keeper.ts';
import type { Universe } from './universe.ts';

export interface CycleStatus {
  /** Completed cycles since the last recovery. */
  cycles: number;
  lastRunAtMs: number | undefined;
  lastDecisionAtMs: number | undefined;
  /** Decided by an earlier cycle and not brought to its end yet, market ms. */
  oldestPlannedAtMs: number | undefined;
  liveArmedUntilMs: number | undefined;
  /** Newest event time that the cursor has passed, market ms. */
  cursorEventMs: number | undefined;
  /** Next source offset by `windowSize:partition`. */
  cursor: Record<string, string>;
  /** Did the newest reading reach the end of the log there? */
  atEnd: Record<string, boolean>;
  session: SessionReading | undefined;
  switches: TradingSwitches | undefined;
  equity: string | undefined;
  universe: Universe | undefined;
  continuity: Continuity | undefined;
  quality: Quality | undefined;
  stop: StopView | undefined;
  /** The request to close everything that is being worked off. */
  flatten: { id: string; cause: string; state: string; symbols: number } | undefined;
}

/** Before the first round; the places in the log are kept elsewhere. */
export function nothingSeen(): Omit<CycleStatus, 'cursor' | 'atEnd'> {
  return {
    cycles: 0,
    lastRunAtMs: undefined,
    lastDecisionAtMs: undefined,
    oldestPlannedAtMs: undefined,
    liveArmedUntilMs: undefined,
    cursorEventMs: undefined,
    session: undefined,
    switches: undefined,
    equity: undefined,
    universe: undefined,
    continuity: undefined,
    quality: undefined,
    stop: undefined,
    flatten: undefined,
  };
}
