/**
 * Which trades count for what: the consolidated tapes' update rules for high/low, open/close (last) and volume, by letter.
 * A trade with several letters sets a field only if all of them allow it; an unknown letter counts for volume only.
 * Source: the CTS and UTP specifications' sale-condition tables with Alpaca's note on minute bars (official opens and closes
 * repeat an auction print and count for nothing).
 */

/** What a trade may set; bits of its flags. */
export const sets = {
  highLow: 1,
  /** Open, close and the last price. */
  last: 2,
  volume: 4,
  /** Sold last (`L`): sets the last price only when it is in order. */
  soldLast: 8,
} as const;

const ALL = sets.highLow | sets.last | sets.volume;
const VOLUME = sets.volume;
const EXTREMES = sets.highLow | sets.volume;

/** Letters that mean the same on every tape and in every session. */
const letters = new Map<string, number>([
  ...['@', ' ', '', 'A', 'D', 'S', 'Y', 'E', 'F', 'K', 'O', '5', '6', 'X', '1'].map((x) => [x, ALL] as const),
  ...['C', 'N', 'R', 'H', 'I', 'U', 'V', '7', 'W'].map((x) => [x, VOLUME] as const),
  ...['G', 'P', 'Z', '4'].map((x) => [x, EXTREMES] as const),
  ...['M', 'Q', '8', '9'].map((x) => [x, 0] as const),
  ['L', ALL | sets.soldLast],
]);

/** Is the letter in the table? (`B` and `T` depend on tape and session.) */
export function isKnownCondition(letter: string): boolean {
  return letter === 'B' || letter === 'T' || letters.has(letter);
}

function flagsOfLetter(letter: string, tape: string, isRegular: boolean): number {
  // B: average price on tapes A and B, bunched on C.
  if (letter === 'B') return tape === 'C' ? ALL : VOLUME;
  // T: extended hours; typical before and after the regular session, not during it.
  if (letter === 'T') return isRegular ? VOLUME : ALL;
  return letters.get(letter) ?? VOLUME;
}

function combine(conditions: readonly string[], tape: string, isRegular: boolean): number {
  let flags = ALL;
  let soldLast = 0;
  for (const letter of conditions) {
    const own = flagsOfLetter(letter, tape, isRegular);
    flags &= own;
    soldLast |= own & sets.soldLast;
  }
  // Open and close lie between the extremes, so a trade that may not set these sets no last price either.
  if ((flags & sets.highLow) === 0) flags &= ~sets.last;
  return (flags & sets.last) !== 0 ? flags | soldLast : flags;
}

const cache = new Map<string, number>();

/** Flags of a trade by its condition letters, its tape, and whether it printed within the regular session. */
export function flagsOfConditions(conditions: readonly string[], tape: string, isRegular: boolean): number {
  const key = `${conditions.length === 1 ? conditions[0] : conditions.join('\u0001')}|${tape}${isRegular ? 'r' : ''}`;
  const known = cache.get(key);
  if (known !== undefined) return known;
  const flags = combine(conditions, tape, isRegular);
  // Real feeds know a few dozen combinations; hostile input must not grow the cache.
  if (cache.size < 4096) cache.set(key, flags);
  return flags;
}

interface Remembered {
  conditions: readonly string[];
  tape: string;
  isRegular: boolean;
  flags: number;
}

const REMEMBERED = 4;

/**
 * The flags of the last few lists of one symbol. The scanner gives the same list object for the same letters, so nearly every
 * trade is answered without its text.
 */
export class ConditionMemo {
  private readonly entries: Remembered[] = [];
  private next = 0;

  /** @param onUnknown called for every letter that is not in the table, at every trade */
  flagsOf(
    conditions: readonly string[],
    tape: string,
    isRegular: boolean,
    onUnknown: (letter: string) => void,
  ): number {
    for (const entry of this.entries) {
      if (entry.conditions === conditions && entry.tape === tape && entry.isRegular === isRegular) return entry.flags;
    }
    const flags = flagsOfConditions(conditions, tape, isRegular);
    let isKnown = true;
    for (const letter of conditions) {
      if (isKnownCondition(letter)) continue;
      isKnown = false;
      onUnknown(letter);
    }
    if (!isKnown) return flags;
    this.entries[this.next] = { conditions, tape, isRegular, flags };
    this.next = (this.next + 1) % REMEMBERED;
    return flags;
  }
}

/** Profile `compat`: no filter at all. */
export const unfilteredFlags: number = ALL;
