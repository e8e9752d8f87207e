/**
 * One-second bars straight from the raw file, by a reading of the sale-condition rules of its own: it shares no code with
 * src. Letters that set no high or low, no last price, no volume are listed as the tapes publish them.
 */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';

export interface OracleSecond {
  count: number;
  volume: number;
  h: number | undefined;
  l: number | undefined;
}

export interface OracleTotals {
  trades: number;
  quotes: number;
  bars: number;
  volume: number;
  /** Keyed `SYMBOL 2013-10-08T13:30:00Z` (start of the second). */
  seconds: Map<string, OracleSecond>;
}

const noHighLow = new Set(['C', 'N', 'R', 'H', 'I', 'M', 'Q', 'U', 'V', '7', 'W', '8', '9']);
const noLast = new Set([...noHighLow, 'G', 'P', 'Z', '4']);
const noVolume = new Set(['M', 'Q', '8', '9']);
const regular = new Set([
  ' ',
  '@',
  'A',
  'D',
  'S',
  'Y',
  'B',
  'E',
  'F',
  'G',
  'K',
  'L',
  'O',
  '5',
  '6',
  'P',
  'T',
  'X',
  'Z',
  '1',
  '4',
]);

interface RawTrade {
  T: string;
  S: string;
  p: number;
  s: number;
  t: string;
  c?: string[];
  z?: string;
}

function allows(trade: RawTrade, refused: Set<string>): boolean {
  return (trade.c ?? []).every((letter) => {
    if (refused.has(letter)) return false;
    // Average price on tapes A and B; form T sets no price in the regular session, which is all that is compared here.
    if (letter === 'B' && trade.z !== 'C') return false;
    if (letter === 'T') return false;
    return regular.has(letter);
  });
}

/** Reads the files in order; the filter is on event time, start included, end excluded (RFC 3339 text). */
export async function readOracle(files: string[], from?: string, to?: string): Promise<OracleTotals> {
  const totals: OracleTotals = { trades: 0, quotes: 0, bars: 0, volume: 0, seconds: new Map() };
  const last = new Map<string, number>();
  const lasts = new Map<string, { hasLast: boolean; before: number | undefined }>();
  for (const file of files) {
    for await (const line of createInterface({ input: createReadStream(file).pipe(createGunzip()) })) {
      const message = JSON.parse(line) as RawTrade;
      const at = Date.parse(message.t);
      if (from !== undefined && at < Date.parse(from)) continue;
      if (to !== undefined && at >= Date.parse(to)) continue;
      if (message.T === 'q') totals.quotes += 1;
      if (message.T === 'b') totals.bars += 1;
      if (message.T !== 't') continue;
      totals.trades += 1;
      const key = `${message.S} ${new Date(Math.floor(at / 1000) * 1000).toISOString().replace('.000', '')}`;
      const second = totals.seconds.get(key) ?? { count: 0, volume: 0, h: undefined, l: undefined };
      totals.seconds.set(key, second);
      if (!lasts.has(key)) lasts.set(key, { hasLast: false, before: last.get(message.S) });
      second.count += 1;
      if ((message.c ?? []).every((letter) => !noVolume.has(letter))) {
        second.volume += message.s;
        totals.volume += message.s;
      }
      if (allows(message, noHighLow)) {
        second.h = Math.max(second.h ?? message.p, message.p);
        second.l = Math.min(second.l ?? message.p, message.p);
      }
      if (allows(message, noLast)) {
        last.set(message.S, message.p);
        (lasts.get(key) as { hasLast: boolean }).hasLast = true;
      }
    }
  }
  // A second without a price-setting trade is flat at the last price of the session; one with extremes only holds it too.
  for (const [key, second] of totals.seconds) {
    const { hasLast, before } = lasts.get(key) as { hasLast: boolean; before: number | undefined };
    if (hasLast || before === undefined) continue;
    second.h = Math.max(second.h ?? before, before);
    second.l = Math.min(second.l ?? before, before);
  }
  return totals;
}
