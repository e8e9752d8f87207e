/**
 * A tape that a test moves by hand: market now, quotes, trades, halts. Everything given is released at once.
 */

import { parseTimestampNs } from '../../../src/lib/market/time.ts';
import type { Clock } from '../../../src/lib/service/clock.ts';
import type { MarketTape, SimQuote, SimTrade, TapeEvent, TapeEventKind } from '../../../src/simulator/contract.ts';

/** Nanoseconds of an RFC 3339 text. */
export function ns(text: string): bigint {
  const parsed = parseTimestampNs(text);
  if (parsed === undefined) throw new Error(`no time: ${text}`);
  return parsed;
}

/** Tuesday 2013-10-08, ten minutes into the session. */
export const SESSION_START = ns('2013-10-08T13:40:00Z');

export class FakeTape implements MarketTape {
  now: bigint;
  readonly #symbols: string[];
  readonly #quotes = new Map<string, SimQuote>();
  readonly #trades = new Map<string, SimTrade>();
  readonly #halted = new Set<string>();
  readonly #listeners = new Set<(event: TapeEvent) => void>();
  #tradeId = 0;

  constructor(symbols: string[], now = SESSION_START) {
    this.#symbols = symbols;
    this.now = now;
  }

  nowNs(): bigint {
    return this.now;
  }
  catchUp(): bigint {
    return this.now;
  }
  lastQuote(symbol: string): SimQuote | undefined {
    return this.#quotes.get(symbol);
  }
  lastTrade(symbol: string): SimTrade | undefined {
    return this.#trades.get(symbol);
  }
  isHalted(symbol: string): boolean {
    return this.#halted.has(symbol);
  }
  symbols(): readonly string[] {
    return this.#symbols;
  }
  onEvent(listener: (event: TapeEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Forgets all listeners, as when the process that listened has died. */
  detach(): void {
    this.#listeners.clear();
  }

  /** Market now goes on by milliseconds. */
  pass(ms: number): void {
    this.now += BigInt(ms) * 1_000_000n;
  }

  quote(symbol: string, bid: [price: number, size: number], ask: [price: number, size: number]): void {
    const quote: SimQuote = {
      symbol,
      bidPrice: bid[0],
      bidSize: bid[1],
      askPrice: ask[0],
      askSize: ask[1],
      eventNs: this.now,
    };
    this.#quotes.set(symbol, quote);
    this.#emit('quote', symbol, { quote });
  }

  trade(symbol: string, price: number, size = 100, conditions: string[] = [' ']): void {
    this.#tradeId += 1;
    const trade: SimTrade = { symbol, id: this.#tradeId, exchange: 'N', price, size, conditions, eventNs: this.now };
    this.#trades.set(symbol, trade);
    this.#emit('trade', symbol, { trade });
  }

  halt(symbol: string, isHalted: boolean): void {
    if (isHalted) this.#halted.add(symbol);
    else this.#halted.delete(symbol);
    this.#emit('status', symbol, {});
  }

  #emit(kind: TapeEventKind, symbol: string, parsed: { quote?: SimQuote; trade?: SimTrade }): void {
    const event: TapeEvent = {
      kind,
      symbol,
      eventNs: this.now,
      releaseNs: this.now,
      quote: () => parsed.quote,
      trade: () => parsed.trade,
      message: () => ({ S: symbol, z: symbol === 'SPY' ? 'B' : 'A' }),
    };
    for (const listener of this.#listeners) listener(event);
  }
}

/** The clock that goes with a tape. */
export function tapeClock(tape: FakeTape): Clock {
  return {
    kind: 'virtual',
    nowNs: () => tape.now,
    nowMs: () => Number(tape.now / 1_000_000n),
    sleepUntil: async () => {
      throw new Error('the tests move the tape by hand');
    },
  };
}
