/**
 * The core of one partition: a watermark over its merged events, and the symbols under it.
 * `process(event)` is the one function of live, replay and comparison. No I/O, no clock, no random numbers.
 */
import type { Emit, MarketEvent, TaOutput, TaSettings } from './events.ts';
import { decodeSymbol, encodeSymbol } from './snapshot.ts';
import { newCounters, SymbolEngine, type TaCounters } from './symbol.ts';
import { compareInstants, type Instant, lastSecondBefore, minusMs } from './time.ts';

/** Where a second's outputs stand among those of other symbols: by window end, then symbol, then bar before signal. */
function compareOutputs(a: TaOutput, b: TaOutput): number {
  if (a.kind === 'late' || b.kind === 'late') return Number(a.kind === 'late') - Number(b.kind === 'late');
  return a.end - b.end || (a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : 0);
}

/**
 * A symbol without an event for so long is forgotten, market seconds (seven days: longer than any weekend with holidays). What
 * it begins with after that is a new state, whether it was swept out by then or not: outputs do not depend on the sweep.
 */
export const silentLimitSeconds = 7 * 86_400;
/** How often silent symbols are swept out, market seconds. */
const SWEEP_SECONDS = 3_600;

/** A symbol's state as `snapshot` gives it. */
export interface SymbolSnapshot {
  symbol: string;
  bytes: Uint8Array;
}

export class TaEngine {
  readonly settings: TaSettings;
  readonly symbols = new Map<string, SymbolEngine>();
  readonly counters: TaCounters = newCounters();
  /** The newest event time seen; the watermark is this less the out-of-orderness. */
  private newest: Instant = { sec: Number.NEGATIVE_INFINITY, nano: 0 };
  private final = Number.NEGATIVE_INFINITY;
  /** The first event time at which the watermark passes the next whole second. */
  private readonly turn: Instant = { sec: Number.NEGATIVE_INFINITY, nano: 0 };
  /** Symbols that a later second will give something out for. */
  private pending = new Set<SymbolEngine>();
  private sweptAt = Number.NEGATIVE_INFINITY;
  private readonly onEvict: (symbol: string) => void;

  /** @param onEvict told of every symbol that is forgotten because it was silent: its stored snapshot has no more use */
  constructor(settings: TaSettings, onEvict: (symbol: string) => void = () => undefined) {
    this.settings = settings;
    this.onEvict = onEvict;
  }

  /** Applies one event in merged order. Outputs of one second come by (window end, symbol). */
  process(event: MarketEvent, emit: Emit): void {
    // A minute bar is stamped with its start and says nothing about time having passed.
    this.observe(event.sec, event.nano, emit);
    let engine = this.symbols.get(event.symbol);
    if (engine === undefined || this.isSilent(engine)) {
      engine = new SymbolEngine(event.symbol, this.settings, this.counters);
      this.symbols.set(event.symbol, engine);
    }
    // A symbol at rest is not told of every second.
    if (engine.final < this.final) engine.advance(this.final, emit);
    switch (event.kind) {
      case 'trade':
        engine.onTrade(event, emit);
        break;
      case 'quote':
        engine.onQuote(event);
        if (engine.dirtyFrom === Number.POSITIVE_INFINITY) return;
        break;
      case 'bar':
        engine.onMinuteBar(event, emit);
        break;
      case 'correction':
      case 'cancel':
        engine.onAmendment(event, emit);
        break;
    }
    this.enqueue(engine);
  }

  /** Time has passed without an event of any symbol (a progress record), or with one. */
  observe(sec: number, nano: number, emit: Emit): void {
    if (compareInstants(sec, nano, this.newest.sec, this.newest.nano) <= 0) return;
    this.newest.sec = sec;
    this.newest.nano = nano;
    if (compareInstants(sec, nano, this.turn.sec, this.turn.nano) <= 0) return;
    this.passSecond();
    if (this.pending.size > 0) this.advancePending(emit);
    this.sweep();
  }

  private advancePending(emit: Emit): void {
    if (this.pending.size === 1) {
      for (const engine of this.pending) this.advance(engine, emit);
      return;
    }
    const outputs: TaOutput[] = [];
    for (const engine of this.pending) this.advance(engine, (output) => void outputs.push(output));
    outputs.sort(compareOutputs);
    for (const output of outputs) emit(output);
  }

  /** Notes the last second that the watermark has passed, and the time after which it passes the next. */
  private passSecond(): void {
    const { sec, nano } = this.newest;
    const { maxOutOfOrderMs } = this.settings;
    const watermark = minusMs(sec, nano, maxOutOfOrderMs);
    this.final = lastSecondBefore(watermark.sec, watermark.nano);
    // Final is `n` for watermarks in (n, n + 1].
    this.turn.sec = this.final + 1 + Math.floor(maxOutOfOrderMs / 1_000);
    this.turn.nano = (maxOutOfOrderMs % 1_000) * 1_000_000;
  }

  /** Was it at rest for so long that nothing of it may be used any more? */
  private isSilent(engine: SymbolEngine): boolean {
    return this.final - engine.newestHeld > silentLimitSeconds && !engine.isPending;
  }

  private sweep(): void {
    if (this.final - this.sweptAt < SWEEP_SECONDS) return;
    this.sweptAt = this.final;
    for (const [symbol, engine] of this.symbols) {
      if (!this.isSilent(engine)) continue;
      this.symbols.delete(symbol);
      this.onEvict(symbol);
    }
  }

  private advance(engine: SymbolEngine, emit: Emit): void {
    engine.advance(this.final, emit);
    if (engine.isPending) return;
    engine.isQueued = false;
    this.pending.delete(engine);
  }

  private enqueue(engine: SymbolEngine): void {
    if (engine.isQueued) return;
    engine.isQueued = true;
    this.pending.add(engine);
  }

  /** The newest event time; null before the first event. */
  get newestEvent(): Instant | null {
    return Number.isFinite(this.newest.sec) ? { ...this.newest } : null;
  }

  /** Newest event time less the out-of-orderness; null before the first event. */
  get watermark(): Instant | null {
    if (!Number.isFinite(this.newest.sec)) return null;
    return minusMs(this.newest.sec, this.newest.nano, this.settings.maxOutOfOrderMs);
  }

  /** A versioned binary snapshot of one symbol; undefined for an unknown one. */
  snapshot(symbol: string): Uint8Array | undefined {
    const engine = this.symbols.get(symbol);
    return engine && encodeSymbol(engine);
  }

  /**
   * Goes on from snapshots, before any event. A snapshot may be older than the time (its symbol had no event since: what later
   * seconds give out for it goes to `emit`) or newer (its events up to there must not come again).
   * @throws SnapshotError when bytes are damaged, of another version or of another profile
   */
  restore(newest: Instant | null, snapshots: Iterable<SymbolSnapshot>, emit: Emit): void {
    if (newest !== null) {
      this.newest = { ...newest };
      this.passSecond();
    }
    for (const { symbol, bytes } of snapshots) {
      const engine = new SymbolEngine(symbol, this.settings, this.counters);
      decodeSymbol(engine, bytes, this.settings);
      this.symbols.set(symbol, engine);
      engine.advance(this.final, emit);
      if (engine.isPending) this.enqueue(engine);
    }
  }
}
