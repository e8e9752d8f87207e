/**
 * One market: a source, its tape, and the line that market now has reached in it.
 * Guarantees: pump() releases everything that is public at market now, in order, each message once; nothing beyond is ever
 * shown. After a restart the market is at market now before it is used, and what passed before is history only.
 */

import type { Clock } from '../../lib/service/clock.ts';
import { describeError } from '../../lib/service/errors.ts';
import { sleep } from '../../lib/service/machine.ts';
import type { MarketTape, SimQuote, SimTrade, TapeEvent } from '../contract.ts';
import type { EventSource } from '../sources/source.ts';
import { Feeder } from './feeder.ts';
import { History } from './history.ts';
import { type KindLetter, kindCode, kindLetters, kindNames } from './message-line.ts';
import { TapeStore } from './tape-store.ts';

const TRADE = kindCode('t');
const QUOTE = kindCode('q');
const STATUS = kindCode('s');
/** How far ahead of market now the source is read. */
const READ_AHEAD_NS = 30_000_000_000n;
const READ_AHEAD_EVENTS = 50_000;
/** Status codes of a halt: Nasdaq `H`, volatility pause `P`, CTA `2`. */
const haltCodes = new Set(['H', 'P', '2']);

const num = (value: unknown): number => Number(value ?? 0);

export class Market implements MarketTape {
  readonly store = new TapeStore();
  readonly history = new History(this.store);
  readonly source: EventSource;
  /** Messages released so far: store indexes below this are public. */
  released = 0;
  /** Released messages per kind code. */
  readonly counts: number[] = kindLetters.map(() => 0);
  private readonly clock: Clock;
  private readonly feeder: Feeder;
  private readonly lastQuotes: number[] = [];
  private readonly lastTrades: number[] = [];
  private readonly halted = new Set<number>();
  private readonly listeners = new Set<(event: TapeEvent) => void>();
  private readonly onProblem: (error: unknown) => void;
  private isReleasing = false;
  private isClosed = false;
  private feeding: Promise<void> | undefined;

  /** @param onProblem called when a listener fails or the source breaks */
  constructor(source: EventSource, clock: Clock, onProblem: (error: unknown) => void) {
    this.source = source;
    this.clock = clock;
    this.feeder = new Feeder(source, this.store);
    this.onProblem = onProblem;
  }

  /** Reads up to market now, then goes on reading ahead in the background. @throws `input_broken` */
  async start(): Promise<void> {
    while (this.feeder.completeNs < this.clock.nowNs() && (await this.feeder.step())) this.pump();
    this.pump();
    this.feeding = this.feed().catch((error: unknown) => this.onProblem(error));
  }

  private async feed(): Promise<void> {
    while (!this.isClosed) {
      const isAhead =
        this.feeder.completeNs > this.clock.nowNs() &&
        (this.feeder.completeNs > this.clock.nowNs() + READ_AHEAD_NS ||
          this.store.length - this.released > READ_AHEAD_EVENTS);
      if (isAhead) await sleep(5);
      else if (!(await this.feeder.step())) return;
    }
  }

  nowNs(): bigint {
    return this.clock.nowNs();
  }

  /** Market time up to which everything has been released: market now, unless reading is behind. */
  reachedNs(): bigint {
    const now = this.pump();
    return now < this.feeder.completeNs ? now : this.feeder.completeNs;
  }

  catchUp(): bigint {
    return this.pump();
  }

  /** Releases what market now has reached. Returns that now. */
  pump(): bigint {
    const now = this.clock.nowNs();
    if (this.isReleasing) return now;
    this.isReleasing = true;
    try {
      while (this.released < this.store.length && this.store.releaseNs(this.released) <= now) {
        this.release(this.released++);
      }
    } finally {
      this.isReleasing = false;
    }
    return now;
  }

  private release(index: number): void {
    const { store } = this;
    const code = store.code(index);
    const id = store.symbolIdAt(index);
    this.counts[code] = (this.counts[code] ?? 0) + 1;
    if (code === QUOTE) this.lastQuotes[id] = index;
    else if (code === TRADE) this.lastTrades[id] = index;
    else if (code === STATUS) {
      if (haltCodes.has(String(store.parse(index).sc))) this.halted.add(id);
      else this.halted.delete(id);
    }
    this.history.add(index);
    if (this.listeners.size === 0) return;
    const event = this.eventAt(index);
    for (const listener of this.listeners) {
      try {
        listener(event);
      } catch (error) {
        this.onProblem(new Error(`a listener of the tape failed: ${describeError(error)}`, { cause: error }));
      }
    }
  }

  private eventAt(index: number): TapeEvent {
    const { store } = this;
    return {
      kind: kindNames[kindLetters[store.code(index)] as KindLetter],
      symbol: store.symbolAt(index),
      eventNs: store.eventNs(index),
      releaseNs: store.releaseNs(index),
      quote: () => (store.code(index) === QUOTE ? this.quoteAt(index) : undefined),
      trade: () => (store.code(index) === TRADE ? this.tradeAt(index) : undefined),
      message: () => store.parse(index),
    };
  }

  private quoteAt(index: number): SimQuote {
    const message = this.store.parse(index);
    return {
      symbol: this.store.symbolAt(index),
      bidPrice: num(message.bp),
      bidSize: num(message.bs),
      askPrice: num(message.ap),
      askSize: num(message.as),
      eventNs: this.store.eventNs(index),
    };
  }

  private tradeAt(index: number): SimTrade {
    const message = this.store.parse(index);
    const conditions = message.c;
    return {
      symbol: this.store.symbolAt(index),
      id: num(message.i),
      exchange: String(message.x ?? ''),
      price: num(message.p),
      size: num(message.s),
      conditions: Array.isArray(conditions)
        ? conditions.map(String)
        : typeof conditions === 'string'
          ? [conditions]
          : [],
      eventNs: this.store.eventNs(index),
    };
  }

  lastQuote(symbol: string): SimQuote | undefined {
    this.pump();
    const id = this.store.findSymbol(symbol);
    const index = id === undefined ? undefined : this.lastQuotes[id];
    return index === undefined ? undefined : this.quoteAt(index);
  }

  lastTrade(symbol: string): SimTrade | undefined {
    this.pump();
    const id = this.store.findSymbol(symbol);
    const index = id === undefined ? undefined : this.lastTrades[id];
    return index === undefined ? undefined : this.tradeAt(index);
  }

  isHalted(symbol: string): boolean {
    this.pump();
    const id = this.store.findSymbol(symbol);
    return id !== undefined && this.halted.has(id);
  }

  symbols(): readonly string[] {
    return this.source.symbols;
  }

  onEvent(listener: (event: TapeEvent) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** The end of the source as far as it is known. */
  end(): { hasEnded: boolean; lastEventNs: bigint | undefined; pending: number } {
    this.pump();
    const { hasEnded, lastReleaseNs, lastEventNs } = this.feeder;
    const isPast = lastReleaseNs === undefined || lastReleaseNs <= this.clock.nowNs();
    return {
      hasEnded: hasEnded && isPast,
      lastEventNs: hasEnded ? lastEventNs : undefined,
      pending: hasEnded ? this.store.length - this.released : 0,
    };
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.source.close();
    await this.feeding;
  }
}
