/**
 * Fills the tape store from a source, ahead of market now: waits out delays (bars, late prints), adds the bars that the source
 * lacks. Guarantee: the store is in release order; everything public at or before completeNs is in it.
 */
import { Heap } from '../sources/heap.ts';
import type { EventSource, SourceEvent } from '../sources/source.ts';
import { DailyBarBuilder } from './daily-bars.ts';
import { kindCode, kindLetters } from './message-line.ts';
import { MinuteBarBuilder } from './minute-bars.ts';
import type { TapeStore } from './tape-store.ts';

const FAR_NS = (1n << 63n) - 1n;
const DAILY = kindCode('d');

export class Feeder {
  /** Everything released at or before this is in the store. */
  completeNs = -FAR_NS;
  hasEnded = false;
  /** Greatest event time of the source so far; final once hasEnded. */
  lastEventNs: bigint | undefined;
  /** Release time of the source's last message so far (without the bars made here). */
  lastReleaseNs: bigint | undefined;
  private readonly source: EventSource;
  private readonly store: TapeStore;
  private readonly delayed = new Heap<SourceEvent>();
  private readonly minutes: MinuteBarBuilder | undefined;
  private readonly days = new DailyBarBuilder();
  private bringsDaily = false;

  constructor(source: EventSource, store: TapeStore) {
    this.source = source;
    this.store = store;
    this.minutes = source.hasBars ? undefined : new MinuteBarBuilder();
    for (const symbol of source.symbols) store.symbolId(symbol);
  }

  /** Reads one batch. Returns false when the source has ended. */
  async step(): Promise<boolean> {
    if (this.hasEnded) return false;
    const batch = await this.source.next();
    if (!batch) {
      this.flush(FAR_NS);
      this.completeNs = FAR_NS;
      this.hasEnded = true;
      return false;
    }
    for (const event of batch.events) {
      if (this.lastEventNs === undefined || event.eventNs > this.lastEventNs) this.lastEventNs = event.eventNs;
      this.flush(event.readNs, false);
      if (event.releaseNs > event.readNs) this.delayed.push(event.releaseNs, event);
      else this.emit(event);
    }
    this.flush(batch.completeNs);
    this.completeNs = batch.completeNs;
    return true;
  }

  private flush(untilNs: bigint, withBars = true): void {
    while (this.delayed.size > 0 && (this.delayed.leastKey as bigint) <= untilNs) {
      this.emit(this.delayed.pop() as SourceEvent);
    }
    if (withBars) this.emitBars(untilNs);
  }

  private emit(event: SourceEvent): void {
    const { code, symbol, eventNs, releaseNs, line } = event;
    this.emitBars(releaseNs);
    const index = this.store.append(code, symbol, eventNs, releaseNs, line);
    this.lastReleaseNs = releaseNs;
    const letter = kindLetters[code] as string;
    if (this.minutes && (letter === 't' || letter === 'c' || letter === 'x')) {
      this.minutes.apply(letter, this.store.parse(index), eventNs, releaseNs);
    }
    if (letter === 'd') this.bringsDaily = true;
    if (letter === 'b' || letter === 'u') this.emitDaily(index, releaseNs);
  }

  private emitBars(untilNs: bigint): void {
    if (!this.minutes) return;
    for (const bar of this.minutes.advance(untilNs)) {
      const index = this.store.append(kindCode(bar.letter), bar.symbol, bar.eventNs, bar.releaseNs, bar.line);
      this.emitDaily(index, bar.releaseNs);
    }
  }

  private emitDaily(index: number, releaseNs: bigint): void {
    if (this.bringsDaily) return;
    const symbol = this.store.symbolAt(index);
    const daily = this.days.apply(this.store.parse(index), this.store.eventNs(index));
    this.store.append(DAILY, symbol, daily.eventNs, releaseNs, daily.line);
  }
}
