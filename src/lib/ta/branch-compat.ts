/**
 * The indicators as the former system computed them (profile `compat`): every recursive indicator is computed anew over the
 * kept bars at each bar, windows count bars (rolling VWAP excepted), session VWAP never resets, nothing is withheld while
 * cold. Kept for comparison; the formulas are those of the specification's table, oddities included.
 */
import type { IndicatorBranch } from './branch.ts';
import type { ByteReader, ByteWriter } from './bytes.ts';
import type { IndicatorValues, TaSettings } from './events.ts';
import { naturalLog } from './log.ts';

interface KeptBar {
  end: number;
  close: number;
  volume: number;
  /** Σ(close × volume) and Σ volume over every bar seen, this one included. */
  sessionNotional: number;
  sessionVolume: number;
}

/** Bars beyond the kept ones that a late trade may bring back into the window. */
const SPARE = 64;
const BOLL = 20;

export class CompatBranch implements IndicatorBranch {
  rewindFloor = Number.NEGATIVE_INFINITY;
  private readonly kept: number;
  private readonly volBars: number;
  private readonly vwapSeconds: number;
  private bars: KeptBar[] = [];
  /** Bars forgotten before bars[0], and the last of them. */
  private forgotten = 0;
  private origin: KeptBar = { end: 0, close: 0, volume: 0, sessionNotional: 0, sessionVolume: 0 };

  constructor(windowSeconds: 1 | 60, settings: TaSettings) {
    this.volBars = Math.ceil(settings.realizedVolWindowSeconds / windowSeconds);
    this.vwapSeconds = settings.vwapWindowSeconds;
    this.kept = Math.max(this.volBars + 5, Math.ceil(settings.vwapWindowSeconds / windowSeconds) + 60);
  }

  get lastEnd(): number {
    return this.bars.at(-1)?.end ?? Number.NEGATIVE_INFINITY;
  }

  rewind(fromEnd: number): void {
    while ((this.bars.at(-1)?.end ?? Number.NEGATIVE_INFINITY) >= fromEnd) this.bars.pop();
  }

  push(end: number, close: number, _notional: number, volume: number): IndicatorValues {
    const previous = this.bars.at(-1) ?? this.origin;
    this.bars.push({
      end,
      close,
      volume,
      sessionNotional: previous.sessionNotional + close * volume,
      sessionVolume: previous.sessionVolume + volume,
    });
    if (this.bars.length > this.kept + 2 * SPARE) this.forget();
    return this.compute();
  }

  private forget(): void {
    const dropped = this.bars.splice(0, this.bars.length - this.kept - SPARE);
    this.forgotten += dropped.length;
    this.origin = dropped.at(-1) ?? this.origin;
  }

  private compute(): IndicatorValues {
    const series = this.bars.slice(-this.kept);
    const first = series[0] as KeptBar;
    const last = series.at(-1) as KeptBar;
    let ema12 = first.close;
    let ema26 = first.close;
    let signal = 0;
    let gain = 0;
    let loss = 0;
    const returns: number[] = [];
    for (let i = 1; i < series.length; i++) {
      const close = (series[i] as KeptBar).close;
      const change = close - (series[i - 1] as KeptBar).close;
      ema12 += (2 / 13) * (close - ema12);
      ema26 += (2 / 27) * (close - ema26);
      signal += 0.2 * (ema12 - ema26 - signal);
      gain += (Math.max(change, 0) - gain) / 14;
      loss += (Math.max(-change, 0) - loss) / 14;
      returns.push(naturalLog(close / (series[i - 1] as KeptBar).close));
    }
    const macd = ema12 - ema26;
    const boll = series.length >= BOLL ? bollinger(series.slice(-BOLL).map((bar) => bar.close)) : null;
    let notional = 0;
    let volume = 0;
    for (const bar of series) {
      if (bar.end <= last.end - this.vwapSeconds) continue;
      notional += bar.close * bar.volume;
      volume += bar.volume;
    }
    return {
      macd,
      macdSignal: signal,
      macdHist: macd - signal,
      ema12,
      ema26,
      rsi14: series.length < 2 ? null : relativeStrength(gain, loss),
      bollMid: boll?.mid ?? null,
      bollUpper: boll ? boll.mid + 2 * boll.deviation : null,
      bollLower: boll ? boll.mid - 2 * boll.deviation : null,
      vwapSession: last.sessionVolume === 0 ? 0 : last.sessionNotional / last.sessionVolume,
      vwapW5m: volume === 0 ? null : notional / volume,
      volRealizedW60s: series.length < 2 ? null : deviationOf(returns.slice(-this.volBars)),
      bars: this.forgotten + this.bars.length,
    };
  }

  encode(writer: ByteWriter): void {
    writer.uint(this.forgotten);
    writer.uint(this.bars.length);
    const { end, close, volume, sessionNotional, sessionVolume } = this.origin;
    for (const value of [end, close, volume, sessionNotional, sessionVolume]) writer.double(value);
    let ticks = 0;
    let before = 0;
    for (const bar of this.bars) {
      writer.uint(bar.end - before);
      before = bar.end;
      ticks = writer.price(bar.close, ticks);
      writer.mostlyWhole(bar.volume);
    }
  }

  decode(reader: ByteReader): void {
    this.forgotten = reader.uint();
    const count = reader.uint();
    this.origin = {
      end: reader.double(),
      close: reader.double(),
      volume: reader.double(),
      sessionNotional: reader.double(),
      sessionVolume: reader.double(),
    };
    this.bars = [];
    let ticks = 0;
    let end = 0;
    let previous = this.origin;
    for (let i = 0; i < count; i++) {
      end += reader.uint();
      const close = reader.price(ticks);
      ticks = reader.ticks;
      const volume = reader.mostlyWhole();
      const sessionNotional = previous.sessionNotional + close * volume;
      previous = { end, close, volume, sessionNotional, sessionVolume: previous.sessionVolume + volume };
      this.bars.push(previous);
    }
  }
}

function relativeStrength(gain: number, loss: number): number {
  if (loss === 0) return gain > 0 ? 100 : 0;
  return 100 - 100 / (1 + gain / loss);
}

function deviationOf(values: readonly number[]): number {
  let sum = 0;
  for (const value of values) sum += value;
  const mean = sum / values.length;
  let squares = 0;
  for (const value of values) squares += (value - mean) * (value - mean);
  return Math.sqrt(squares / values.length);
}

function bollinger(closes: readonly number[]): { mid: number; deviation: number } {
  let sum = 0;
  for (const close of closes) sum += close;
  return { mid: sum / closes.length, deviation: deviationOf(closes) };
}
