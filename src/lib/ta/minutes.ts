/**
 * The 1-minute branch of one symbol: the provider's bars and their updates, and the signals they make.
 * Guarantees: a minute's signal waits for its bar and for the watermark at its end; of several bars of one minute the update
 * with the highest (revision, seq) counts whatever came first; a changed minute revises every later signal that changes.
 */
import type { IndicatorBranch } from './branch.ts';
import type { Emit, MinuteBarEvent, QuoteJoin, SignalOutput } from './events.ts';
import type { QuoteBuffer } from './quotes.ts';
import { nextSignal } from './signal.ts';

/** Final minutes that an update may still change. */
export const revisableMinutes = 16;

export interface MinuteWindow {
  end: number;
  close: number;
  volume: number;
  vwap: number | null;
  isUpdate: boolean;
  revision: number;
  seq: number;
  quote: QuoteJoin | null;
  signal: SignalOutput | null;
}

export class MinuteBars {
  held: MinuteWindow[] = [];
  /** End of the newest forgotten minute. */
  floor = Number.NEGATIVE_INFINITY;
  /** Earliest minute to compute anew at the next market second; Infinity when none. */
  dirtyFrom = Number.POSITIVE_INFINITY;
  readonly branch: IndicatorBranch;

  constructor(branch: IndicatorBranch) {
    this.branch = branch;
  }

  /** Takes a bar. @returns `late` when its minute can no longer change, `same` when it brings nothing new */
  add(event: MinuteBarEvent, final: number): 'late' | 'same' | 'taken' {
    const end = event.sec + 60;
    if (end <= this.floor) return 'late';
    const { held } = this;
    let i = held.length - 1;
    while (i >= 0 && (held[i] as MinuteWindow).end > end) i -= 1;
    const present = held[i];
    const { close, volume, vwap, isUpdate, revision, seq } = event;
    if (present?.end === end) {
      const order = Number(isUpdate) - Number(present.isUpdate) || revision - present.revision || seq - present.seq;
      if (order <= 0) return 'same';
      Object.assign(present, { close, volume, vwap, isUpdate, revision, seq });
    } else {
      held.splice(i + 1, 0, { end, close, volume, vwap, isUpdate, revision, seq, quote: null, signal: null });
    }
    if (end <= final && end < this.dirtyFrom) this.dirtyFrom = end;
    return 'taken';
  }

  /** A late quote of this bucket may change the joins from there on. */
  touchQuotes(bucket: number, final: number): void {
    for (const window of this.held) {
      if (window.end < bucket || window.end > final) continue;
      if (window.end < this.dirtyFrom) this.dirtyFrom = window.end;
      return;
    }
  }

  /** The next minute end after `final` that has its bar. */
  nextEnd(final: number): number {
    for (let i = this.held.length - 1; i >= 0; i--) {
      if ((this.held[i] as MinuteWindow).end > final) continue;
      return this.held[i + 1]?.end ?? Number.POSITIVE_INFINITY;
    }
    return this.held[0]?.end ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Computes every minute from `from` (or the earliest changed one) up to `final` and gives out what is new.
   * @param rejoinAfter minutes that end after this second look their quote up anew
   */
  evaluate(
    symbol: string,
    from: number,
    final: number,
    rejoinAfter: number,
    quotes: QuoteBuffer,
    staleAfterMs: number,
    emit: Emit,
  ): void {
    const start = Math.min(from, this.dirtyFrom);
    this.dirtyFrom = Number.POSITIVE_INFINITY;
    this.branch.rewind(start);
    for (const window of this.held) {
      if (window.end < start || window.end > final) continue;
      if (window.signal === null || window.end > rejoinAfter) window.quote = quotes.joinAt(window.end, staleAfterMs);
      const notional = (window.vwap ?? window.close) * window.volume;
      const values = this.branch.push(window.end, window.close, notional, window.volume);
      const signal = nextSignal(window.signal, symbol, 60, window.end, values, window.quote);
      if (signal === window.signal) continue;
      window.signal = signal;
      emit(signal);
    }
    this.forget(final);
  }

  private forget(final: number): void {
    let finals = 0;
    while (finals < this.held.length && (this.held[finals] as MinuteWindow).end <= final) finals += 1;
    if (finals <= revisableMinutes) return;
    const dropped = this.held.splice(0, finals - revisableMinutes);
    this.floor = (dropped.at(-1) as MinuteWindow).end;
    this.branch.rewindFloor = this.floor;
  }
}
