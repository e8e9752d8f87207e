/**
 * Which fields of a minute bar a trade may set, by its sale conditions.
 * Written from the published tables for the simulator alone: it shares no code with lib/ta, so each can find the other's
 * mistake. Facts: spec sale-conditions (marks A and S there); a trade with several letters needs the leave of all.
 */
import { sessionOf } from '../../lib/market/calendar.ts';

/** Bits: may set high and low, may set open and close, counts for volume. */
export const EXTREME = 1;
export const LAST = 2;
export const VOLUME = 4;
const ALL = EXTREME | LAST | VOLUME;

const table: Record<string, number> = {
  '@': ALL,
  ' ': ALL,
  '': ALL,
  A: ALL,
  D: ALL,
  S: ALL,
  Y: ALL,
  C: VOLUME,
  N: VOLUME,
  R: VOLUME,
  E: ALL,
  F: ALL,
  G: EXTREME | VOLUME,
  H: VOLUME,
  I: VOLUME,
  K: ALL,
  M: 0,
  Q: 0,
  O: ALL,
  5: ALL,
  6: ALL,
  P: EXTREME | VOLUME,
  U: VOLUME,
  V: VOLUME,
  7: VOLUME,
  W: VOLUME,
  X: ALL,
  Z: EXTREME | VOLUME,
  1: ALL,
  4: EXTREME | VOLUME,
  8: 0,
  9: 0,
};

/**
 * @param isInOrder no trade of the symbol with a later time was public before it (decides for `L`, sold last)
 * @returns bits of EXTREME, LAST, VOLUME
 */
export function allowedFields(
  conditions: readonly string[],
  tape: string,
  eventNs: bigint,
  isInOrder: boolean,
): number {
  let allowed = ALL;
  for (const letter of conditions) {
    if (letter === 'T') allowed &= sessionOf(eventNs) === 'regular' ? VOLUME : ALL;
    else if (letter === 'B') allowed &= tape === 'C' ? ALL : VOLUME;
    else if (letter === 'L') allowed &= isInOrder ? ALL : EXTREME | VOLUME;
    else allowed &= table[letter] ?? VOLUME;
  }
  return allowed;
}
