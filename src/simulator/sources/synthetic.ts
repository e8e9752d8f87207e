/**
 * The seeded synthetic market: all symbols of a market, second after second, over as many sessions as asked for.
 * Guarantee: same seed, same symbols, same start: same bytes, however fast it is read and however often it is started anew.
 */
import {
  newYorkInstant,
  newYorkTime,
  nextOpenNs,
  sessionOf,
  type TradingDay,
  tradingDay,
} from '../../lib/market/calendar.ts';
import { kindCode } from '../market/message-line.ts';
import { seededRandom } from '../random.ts';
import type { EventSource, SourceBatch, SourceEvent } from './source.ts';
import {
  cryptoProfiles,
  SYNTHETIC_DATE,
  type SymbolProfile,
  stockProfiles,
  testProfile,
} from './synthetic-profiles.ts';
import { type MadeEvent, type SecondFacts, SyntheticSymbol } from './synthetic-symbol.ts';

const SECOND_NS = 1_000_000_000n;
const HOUR_MS = 3_600_000;

export interface SyntheticOptions {
  seed: number;
  symbols: readonly string[];
  /** Begin of the market; default half a minute before the opening bell of the synthetic date. */
  fromNs?: bigint | undefined;
  /** End, exclusive; default five minutes after the close of the first day. */
  toNs?: bigint | undefined;
}

/** Rates over the day: a busy opening that calms down, a busier close, thin hours outside. */
function busynessAt(startNs: bigint, session: SecondFacts['session'], day: TradingDay | undefined): number {
  if (session === 'always') return 1;
  if (session !== 'regular' || !day) return 0.05;
  const sinceOpen = Number((startNs - day.openNs) / SECOND_NS);
  const toClose = Number((day.closeNs - startNs) / SECOND_NS);
  if (sinceOpen < 600) return 1 + 1.5 * (1 - sinceOpen / 600) ** 2;
  return toClose < 300 ? 2 : 1;
}

function makeSource(
  profiles: readonly SymbolProfile[],
  seed: number,
  startNs: bigint,
  toNs: bigint | undefined,
  isAlwaysOpen: boolean,
): EventSource {
  const symbols = profiles.map((profile) => new SyntheticSymbol(profile, seededRandom(seed, profile.symbol)));
  let second = (startNs / SECOND_NS) * SECOND_NS;

  /** The facts of the second; when nothing trades, moves on to the next pre-market. */
  const facts = (): SecondFacts => {
    if (isAlwaysOpen) return { startNs: second, session: 'always', busyness: 1, day: undefined };
    for (;;) {
      const session = sessionOf(second);
      const day = tradingDay(newYorkTime(second).date);
      if (session === 'pre' || session === 'regular' || session === 'post') {
        return { startNs: second, session, day, busyness: busynessAt(second, session, day) };
      }
      const { date } = newYorkTime(nextOpenNs(second));
      second = newYorkInstant(date, 4 * HOUR_MS);
    }
  };

  const next = (): SourceBatch | undefined => {
    const current = facts();
    if (toNs !== undefined && current.startNs >= toNs) return undefined;
    let made: MadeEvent[] = [];
    for (const symbol of symbols) made = made.concat(symbol.second(current));
    made.sort((a, b) => (a.eventNs < b.eventNs ? -1 : Number(a.eventNs > b.eventNs)));
    const events: SourceEvent[] = [];
    for (const { letter, symbol, eventNs, releaseNs, line } of made) {
      if (eventNs < startNs || (toNs !== undefined && eventNs >= toNs)) continue;
      events.push({ code: kindCode(letter), symbol, eventNs, readNs: eventNs, releaseNs, line });
    }
    second = current.startNs + SECOND_NS;
    return { events, completeNs: second - 1n };
  };

  return {
    hasBars: false,
    symbols: profiles.map((profile) => profile.symbol).sort(),
    startNs,
    next: () => Promise.resolve(next()),
    close: () => undefined,
  };
}

/** Stocks by the session calendar. */
export function syntheticSource(options: SyntheticOptions): EventSource {
  const startNs = options.fromNs ?? newYorkInstant(SYNTHETIC_DATE, 9.5 * HOUR_MS) - 30n * SECOND_NS;
  const { date } = newYorkTime(startNs);
  const day = tradingDay(date) ?? tradingDay(newYorkTime(nextOpenNs(startNs)).date);
  const toNs = options.toNs ?? (day ? day.closeNs + 300n * SECOND_NS : undefined);
  const profiles = stockProfiles.filter((profile) => options.symbols.includes(profile.symbol));
  return makeSource(profiles, options.seed, startNs, toNs, false);
}

/** The always-open test stream: symbol FAKEPACA. */
export function testSource(seed: number, startNs: bigint): EventSource {
  return makeSource([testProfile], seed, startNs, undefined, true);
}

/** Crypto, open around the clock. */
export function cryptoSource(seed: number, startNs: bigint): EventSource {
  return makeSource(cryptoProfiles, seed, startNs, undefined, true);
}
