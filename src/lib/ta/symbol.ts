/**
 * Everything the core knows of one symbol, and the one place where windows become final and are revised.
 * Guarantees
 * - Outputs are a function of the events and of the seconds that the watermark passed, nothing else.
 * - A window is final when the watermark passes its end; until `latenessSeconds` later a late trade, quote, correction or
 *   cancel makes revisions of every bar and signal whose bytes change, given out at the next market second.
 * - Per key (symbol, window size, end) revisions count 0, 1, 2 …
 */
import { AmendmentBook } from './amendments.ts';
import { DefaultBranch, type IndicatorBranch } from './branch.ts';
import { CompatBranch } from './branch-compat.ts';
import { ConditionMemo, unfilteredFlags } from './conditions.ts';
import type { Amendment, BarOutput, Emit, MinuteBarEvent, QuoteEvent, TaSettings, TradeEvent } from './events.ts';
import { MinuteBars } from './minutes.ts';
import { bucketOf, QuoteBuffer, quoteKeepSeconds } from './quotes.ts';
import { isRegularSession, tradingDayOf } from './session.ts';
import { nextSignal } from './signal.ts';
import { emptyFigures, insertTrade, isSameBar, type LastPrice, openWindow, sumWindow, type Window } from './window.ts';

/** Counters of a whole engine, for its status. */
export interface TaCounters {
  bars: number;
  signals: number;
  revisions: number;
  late: number;
  duplicates: number;
  /** Trades with a condition letter that is not in the table, by letter. */
  unknownConditions: Map<string, number>;
  /** Trades in windows that made no bar because the session had no price yet. */
  tradesWithoutPrice: number;
}

export const newCounters = (): TaCounters => ({
  bars: 0,
  signals: 0,
  revisions: 0,
  late: 0,
  duplicates: 0,
  unknownConditions: new Map(),
  tradesWithoutPrice: 0,
});

export function newBranch(windowSeconds: 1 | 60, settings: TaSettings): IndicatorBranch {
  return settings.profile === 'compat'
    ? new CompatBranch(windowSeconds, settings)
    : new DefaultBranch(windowSeconds, settings);
}

const figures = emptyFigures();
const received = emptyFigures();
const NONE = Number.POSITIVE_INFINITY;

export class SymbolEngine {
  readonly symbol: string;
  /** The newest whole second that the watermark has passed, as far as this symbol was told. */
  final = Number.NEGATIVE_INFINITY;
  /** Open windows and those final for less than the lateness, by end. */
  windows: Window[] = [];
  /** The last price before the first window. */
  carried: LastPrice = { price: Number.NaN, day: 0 };
  /** Earliest final window to compute anew at the next market second. */
  dirtyFrom = NONE;
  readonly quotes = new QuoteBuffer();
  readonly amendments: AmendmentBook;
  readonly seconds: IndicatorBranch;
  readonly minutes: MinuteBars;
  /** Stands among those that a later second will give something out for (the engine's own mark). */
  isQueued = false;
  private readonly settings: TaSettings;
  private readonly counters: TaCounters;
  private readonly conditions = new ConditionMemo();
  private readonly countUnknown = (letter: string): void => {
    const known = this.counters.unknownConditions;
    // A broken feed must not grow the status without bound.
    if (known.has(letter) || known.size < 64) known.set(letter, (known.get(letter) ?? 0) + 1);
  };

  constructor(symbol: string, settings: TaSettings, counters: TaCounters) {
    this.symbol = symbol;
    this.settings = settings;
    this.counters = counters;
    this.amendments = new AmendmentBook(settings.profile === 'default');
    this.seconds = newBranch(1, settings);
    this.minutes = new MinuteBars(newBranch(60, settings));
  }

  onTrade(event: TradeEvent, emit: Emit): void {
    const end = event.sec + 1;
    if (end <= this.final - this.settings.latenessSeconds) {
      this.counters.late += 1;
      emit({ kind: 'late', reason: 'late_trade', event });
      return;
    }
    const { nano, price, size, id, exchange, seq } = event;
    const trade = { nano, price, size, id, exchange, seq, flags: this.flagsOf(event), overlay: null };
    if (!insertTrade(this.windowAt(end), trade)) {
      this.counters.duplicates += 1;
      return;
    }
    if (end <= this.final && end < this.dirtyFrom) this.dirtyFrom = end;
    if (this.amendments.list.length > 0 && this.amendments.names(exchange, id)) {
      const changed = this.amendments.apply(this.final, this.windows);
      if (changed <= this.final && changed < this.dirtyFrom) this.dirtyFrom = changed;
    }
  }

  onAmendment(event: Amendment, emit: Emit): void {
    if (bucketOf(event.sec, event.nano) <= this.final - this.settings.latenessSeconds) {
      this.counters.late += 1;
      emit({ kind: 'late', reason: 'late_amendment', event });
    } else if (!this.amendments.add(event, this.final)) {
      this.counters.duplicates += 1;
    }
  }

  onQuote(event: QuoteEvent): void {
    const bucket = bucketOf(event.sec, event.nano);
    // A quote that old changes no row that may still change.
    if (bucket <= this.final - this.settings.latenessSeconds) return;
    if (!this.quotes.add(event) || bucket > this.final) return;
    if (bucket < this.dirtyFrom) this.dirtyFrom = bucket;
    this.minutes.touchQuotes(bucket, this.final);
  }

  onMinuteBar(event: MinuteBarEvent, emit: Emit): void {
    const isNewest = event.sec + 60 > (this.minutes.held.at(-1)?.end ?? Number.NEGATIVE_INFINITY);
    const result = this.minutes.add(event, this.final);
    if (result === 'late') {
      this.counters.late += 1;
      emit({ kind: 'late', reason: 'late_bar', event });
    } else if (result === 'same') {
      this.counters.duplicates += 1;
    } else if (isNewest && this.minutes.dirtyFrom === event.sec + 60) {
      // The watermark is past its end already: nothing to wait for.
      this.evaluateMinutes(NONE, this.final, emit);
    }
  }

  get profile(): TaSettings['profile'] {
    return this.settings.profile;
  }

  private flagsOf(event: TradeEvent): number {
    if (this.settings.profile === 'compat') return unfilteredFlags;
    return this.conditions.flagsOf(event.conditions, event.tape, isRegularSession(event.sec), this.countUnknown);
  }

  private windowAt(end: number): Window {
    const { windows } = this;
    let i = windows.length - 1;
    while (i >= 0 && (windows[i] as Window).end > end) i -= 1;
    const found = windows[i];
    if (found !== undefined && found.end === end) return found;
    const window = openWindow(end);
    windows.splice(i + 1, 0, window);
    return window;
  }

  /** The newest market second of anything that it holds; the same whether it was restored or not. */
  get newestHeld(): number {
    const window = this.windows.at(-1)?.end ?? Number.NEGATIVE_INFINITY;
    const minute = this.minutes.held.at(-1)?.end ?? this.minutes.floor;
    return Math.max(window, this.quotes.newest, this.seconds.lastEnd, minute);
  }

  /** Has anything that a later second will give out? */
  get isPending(): boolean {
    return (
      this.dirtyFrom !== NONE ||
      this.minutes.dirtyFrom !== NONE ||
      this.amendments.list.length > 0 ||
      (this.windows.at(-1)?.end ?? Number.NEGATIVE_INFINITY) > this.final ||
      (this.minutes.held.at(-1)?.end ?? Number.NEGATIVE_INFINITY) > this.final
    );
  }

  /** The watermark has passed whole second `to`: gives out what became final or changed, second by second. */
  advance(to: number, emit: Emit): void {
    if (to <= this.final) return;
    if (this.dirtyFrom !== NONE || this.minutes.dirtyFrom !== NONE) {
      this.evaluateSeconds(this.dirtyFrom, this.final, emit);
      this.evaluateMinutes(NONE, this.final, emit);
    }
    for (;;) {
      const windowEnd = this.nextWindowEnd();
      const minuteEnd = this.minutes.nextEnd(this.final);
      const amendmentDue = this.amendments.list.length > 0 ? this.amendments.nextDue(this.final) : NONE;
      const next = Math.min(windowEnd, minuteEnd, amendmentDue);
      if (next > to) break;
      this.final = next;
      let from = next;
      if (amendmentDue === next) from = Math.min(from, this.amendments.apply(next, this.windows));
      this.evaluateSeconds(from, next, emit);
      if (minuteEnd === next) this.evaluateMinutes(next, next, emit);
    }
    this.final = to;
    this.forget(emit);
  }

  private nextWindowEnd(): number {
    let next = NONE;
    for (let i = this.windows.length - 1; i >= 0; i--) {
      const { end } = this.windows[i] as Window;
      if (end <= this.final) break;
      next = end;
    }
    return next;
  }

  private evaluateSeconds(from: number, to: number, emit: Emit): void {
    this.dirtyFrom = NONE;
    if (from === NONE) return;
    const { windows } = this;
    let i = windows.length;
    while (i > 0 && (windows[i - 1] as Window).end >= from) i -= 1;
    this.seconds.rewind(from);
    for (; i < windows.length && (windows[i] as Window).end <= to; i++) this.evaluateWindow(i, emit);
  }

  private evaluateMinutes(from: number, to: number, emit: Emit): void {
    const { latenessSeconds, quoteStaleAfterMs } = this.settings;
    const count = (output: Parameters<Emit>[0]) => {
      if (output.kind === 'signal') this.countOutput('signals', output.revision);
      emit(output);
    };
    this.minutes.evaluate(this.symbol, from, to, to - latenessSeconds, this.quotes, quoteStaleAfterMs, count);
  }

  private countOutput(kind: 'bars' | 'signals', revision: number): void {
    this.counters[kind] += 1;
    if (revision > 0) this.counters.revisions += 1;
  }

  private evaluateWindow(i: number, emit: Emit): void {
    const window = this.windows[i] as Window;
    const { end } = window;
    const before = i > 0 ? (this.windows[i - 1] as Window).lastAfter : this.carried;
    const day = tradingDayOf(end - 1).start;
    const lastPrice = before.day === day ? before.price : Number.NaN;
    const sums = sumWindow(window, lastPrice, false, figures);
    window.lastAfter = sums.hasLast ? { price: sums.close, day } : before;
    // A window whose prices were all taken back keeps its rows: flat, and a withdrawn signal.
    const isWithdrawn = window.isAmended && !sums.hasPrice && sumWindow(window, lastPrice, true, received).hasPrice;
    const flatPrice = isWithdrawn && Number.isNaN(lastPrice) ? received.close : lastPrice;
    if (!sums.hasPrice && Number.isNaN(flatPrice)) {
      if (window.bar === null) this.counters.tradesWithoutPrice += sums.count;
      return;
    }
    const bar: BarOutput = {
      kind: 'bar',
      symbol: this.symbol,
      end,
      revision: 0,
      open: sums.hasPrice ? sums.open : flatPrice,
      high: sums.hasPrice ? sums.high : flatPrice,
      low: sums.hasPrice ? sums.low : flatPrice,
      close: sums.hasPrice ? sums.close : flatPrice,
      volume: sums.volume,
      vwap: sums.volume > 0 ? sums.notional / sums.volume : null,
      count: sums.count,
      unpriced: sums.unpriced,
      isFlat: !sums.hasPrice,
    };
    if (window.bar === null || !isSameBar(window.bar, bar)) {
      if (window.bar !== null) bar.revision = window.bar.revision + 1;
      window.bar = bar;
      this.countOutput('bars', bar.revision);
      emit(bar);
    }
    if (!sums.hasPrice && !isWithdrawn) return;
    const values = sums.hasPrice ? this.seconds.push(end, sums.close, sums.notional, sums.volume) : null;
    const quote = this.quotes.joinAt(end, this.settings.quoteStaleAfterMs);
    const signal = nextSignal(window.signal, this.symbol, 1, end, values, quote);
    if (signal === window.signal) return;
    window.signal = signal;
    this.countOutput('signals', signal.revision);
    emit(signal);
  }

  private forget(emit: Emit): void {
    const floor = this.final - this.settings.latenessSeconds;
    const { windows } = this;
    let drop = 0;
    while (drop < windows.length && (windows[drop] as Window).end <= floor) drop += 1;
    let forgottenEnd = Number.NEGATIVE_INFINITY;
    if (drop > 0) {
      const last = windows[drop - 1] as Window;
      this.carried = last.lastAfter;
      forgottenEnd = last.end;
      windows.splice(0, drop);
    }
    this.seconds.rewindFloor = floor;
    const staleSeconds = Math.ceil(Math.max(0, this.settings.quoteStaleAfterMs) / 1_000);
    this.quotes.prune(this.final - Math.max(quoteKeepSeconds, this.settings.latenessSeconds + staleSeconds));
    if (this.amendments.list.length === 0) return;
    for (const event of this.amendments.expire(this.final, forgottenEnd, this.settings.latenessSeconds)) {
      this.counters.late += 1;
      emit({ kind: 'late', reason: 'unmatched_amendment', event });
    }
  }
}
