/**
 * The indicators of one branch (1-second or 1-minute bars) of one symbol, default profile.
 * Guarantees: O(1) per bar; nothing drifts (windows are summed anew or are differences of 106-bit sums); a flat stretch has a
 * deviation of exactly zero; values are null until they are warm; any of the last bars can be taken back (`rewind`) and
 * pushed anew, with the same bits as if it had come so at first.
 * Formulas: EMA 12 and 26 seeded by the first close, MACD 9, Wilder's RSI 14 seeded by zero, Bollinger 20 with population
 * deviation, session and rolling VWAP from trade sums, realized volatility = population deviation of the log returns between
 * consecutive bars that both end within the last `realizedVolWindowSeconds` (both edges included).
 */
import type { ByteReader, ByteWriter } from './bytes.ts';
import type { IndicatorValues, TaSettings } from './events.ts';
import { naturalLog } from './log.ts';
import { sessionPeriodStart } from './session.ts';
import { addToSum, carry, differenceOfSums } from './sums.ts';

/** What both profiles offer to the symbol. */
export interface IndicatorBranch {
  /** Bars that end at or before this never come back; the owner moves it ahead. */
  rewindFloor: number;
  /** End of the newest bar; -Infinity without one. */
  readonly lastEnd: number;
  /** Takes back every bar that ends at or after the second. */
  rewind(fromEnd: number): void;
  /** @param notional Σ price × size of the trades behind `volume` */
  push(end: number, close: number, notional: number, volume: number): IndicatorValues;
  encode(writer: ByteWriter): void;
  decode(reader: ByteReader): void;
}

/** Bars from which each indicator counts as warm. */
export const warmFrom = { ema12: 12, ema26: 26, macd: 35, rsi14: 15, boll: 20 } as const;

// One bar is a row of this many doubles in the ring.
const END = 0;
const CLOSE = 1;
const NOTIONAL = 2;
const VOLUME = 3;
const EMA12 = 4;
const EMA26 = 5;
const SIGNAL = 6;
const GAIN = 7;
const LOSS = 8;
const RETURN = 9;
const SUM_NOTIONAL = 10; // and 11: low part; cumulative since the branch began
const SUM_VOLUME = 12; // and 13
const ROW = 14;

const BOLL = 20;

// While the price stands still both Wilder means fade and their ratio, the RSI, stays. Before they fade into denormal numbers
// (after some 8,000 bars) both are lifted by a power of two, which keeps the ratio to the last bit; still far below any tick.
const FADED = 2 ** -900;
const LIFT = 2 ** 512;

/** Cumulative sums at the start of a session period. */
interface PeriodBase {
  start: number;
  notional: number;
  notionalLow: number;
  volume: number;
  volumeLow: number;
}

const noBase = (): PeriodBase => ({ start: -1, notional: 0, notionalLow: 0, volume: 0, volumeLow: 0 });

export class DefaultBranch implements IndicatorBranch {
  rewindFloor = Number.NEGATIVE_INFINITY;
  private readonly windowSeconds: number;
  private readonly vwapSeconds: number;
  private readonly volSeconds: number;
  private rows = new Float64Array(64 * ROW);
  private mask = 63;
  /** Bars are numbered from 0; the ring holds [head, tail). */
  private head = 0;
  private tail = 0;
  /** The row of bar head − 1, all zero before the first bar. */
  private origin = new Float64Array(ROW);
  /** Bases of the newest two session periods (a rewind may cross one boundary). */
  private readonly bases: [PeriodBase, PeriodBase] = [noBase(), noBase()];
  /** Last bar at or before the rolling window, as found last time. */
  private cutBar = -1;

  constructor(windowSeconds: 1 | 60, settings: TaSettings) {
    this.windowSeconds = windowSeconds;
    this.vwapSeconds = settings.vwapWindowSeconds;
    this.volSeconds = settings.realizedVolWindowSeconds;
  }

  private offset(bar: number): number {
    return (bar & this.mask) * ROW;
  }

  private at(bar: number, field: number): number {
    return this.rows[(bar & this.mask) * ROW + field] as number;
  }

  get lastEnd(): number {
    return this.tail > this.head ? this.at(this.tail - 1, END) : Number.NEGATIVE_INFINITY;
  }

  rewind(fromEnd: number): void {
    while (this.tail > this.head && this.at(this.tail - 1, END) >= fromEnd) this.tail -= 1;
  }

  /** Forgets bars that no later push or rewind can need. */
  private prune(): void {
    let firstMovable = this.tail;
    while (firstMovable > this.head && this.at(firstMovable - 1, END) > this.rewindFloor) firstMovable -= 1;
    const oldestNeeded = this.rewindFloor + 1 - Math.max(this.vwapSeconds, this.volSeconds);
    // The bar after the head takes over as the one at or before every window.
    while (firstMovable - this.head > BOLL && this.at(this.head + 1, END) <= oldestNeeded) {
      this.origin.set(this.rows.subarray(this.offset(this.head), this.offset(this.head) + ROW));
      this.head += 1;
    }
  }

  private makeRoom(): void {
    if (this.tail - this.head <= this.mask) return;
    this.prune();
    if (this.tail - this.head <= (this.mask + 1) * 0.75) return;
    const grown = new Float64Array(this.rows.length * 2);
    const mask = this.mask * 2 + 1;
    for (let bar = this.head; bar < this.tail; bar++) {
      grown.set(this.rows.subarray(this.offset(bar), this.offset(bar) + ROW), (bar & mask) * ROW);
    }
    this.rows = grown;
    this.mask = mask;
  }

  push(end: number, close: number, notional: number, volume: number): IndicatorValues {
    this.makeRoom();
    const bar = this.tail;
    const rows = this.rows;
    const o = this.offset(bar);
    const isFirst = bar === 0;
    const previous = bar > this.head ? rows : this.origin;
    const p = bar > this.head ? this.offset(bar - 1) : 0;
    const previousClose = previous[p + CLOSE] as number;

    let ema12 = close;
    let ema26 = close;
    let signal = 0;
    let gain = 0;
    let loss = 0;
    let logReturn = 0;
    if (!isFirst) {
      ema12 = (previous[p + EMA12] as number) + (2 / 13) * (close - (previous[p + EMA12] as number));
      ema26 = (previous[p + EMA26] as number) + (2 / 27) * (close - (previous[p + EMA26] as number));
      signal = (previous[p + SIGNAL] as number) + 0.2 * (ema12 - ema26 - (previous[p + SIGNAL] as number));
      const change = close - previousClose;
      gain = (previous[p + GAIN] as number) + ((change > 0 ? change : 0) - (previous[p + GAIN] as number)) / 14;
      loss = (previous[p + LOSS] as number) + ((change < 0 ? -change : 0) - (previous[p + LOSS] as number)) / 14;
      if (gain + loss < FADED) {
        gain *= LIFT;
        loss *= LIFT;
      }
      logReturn = close === previousClose ? 0 : naturalLog(close / previousClose);
    }
    rows[o + END] = end;
    rows[o + CLOSE] = close;
    rows[o + NOTIONAL] = notional;
    rows[o + VOLUME] = volume;
    rows[o + EMA12] = ema12;
    rows[o + EMA26] = ema26;
    rows[o + SIGNAL] = signal;
    rows[o + GAIN] = gain;
    rows[o + LOSS] = loss;
    rows[o + RETURN] = logReturn;
    rows[o + SUM_NOTIONAL] = addToSum(
      previous[p + SUM_NOTIONAL] as number,
      previous[p + SUM_NOTIONAL + 1] as number,
      notional,
    );
    rows[o + SUM_NOTIONAL + 1] = carry.low;
    rows[o + SUM_VOLUME] = addToSum(previous[p + SUM_VOLUME] as number, previous[p + SUM_VOLUME + 1] as number, volume);
    rows[o + SUM_VOLUME + 1] = carry.low;
    this.tail = bar + 1;

    const bars = bar + 1;
    const macd = ema12 - ema26;
    const isMacdWarm = bars >= warmFrom.macd;
    const values: IndicatorValues = {
      macd: isMacdWarm ? macd : null,
      macdSignal: isMacdWarm ? signal : null,
      macdHist: isMacdWarm ? macd - signal : null,
      ema12: bars >= warmFrom.ema12 ? ema12 : null,
      ema26: bars >= warmFrom.ema26 ? ema26 : null,
      rsi14: bars >= warmFrom.rsi14 ? relativeStrength(gain, loss) : null,
      bollMid: null,
      bollUpper: null,
      bollLower: null,
      vwapSession: this.sessionVwap(o, end, previous, p, isFirst),
      vwapW5m: this.rollingVwap(o, end),
      volRealizedW60s: this.realizedVolatility(bar, end),
      bars,
    };
    if (bars >= warmFrom.boll) this.bollinger(bar, close, values);
    return values;
  }

  private bollinger(bar: number, close: number, values: IndicatorValues): void {
    // Distances from the newest close: a flat stretch gives exactly zero.
    let sum = 0;
    for (let i = bar - BOLL + 1; i <= bar; i++) sum += this.at(i, CLOSE) - close;
    const mean = sum / BOLL;
    let squares = 0;
    for (let i = bar - BOLL + 1; i <= bar; i++) {
      const distance = this.at(i, CLOSE) - close - mean;
      squares += distance * distance;
    }
    const deviation = Math.sqrt(squares / BOLL);
    values.bollMid = close + mean;
    values.bollUpper = values.bollMid + 2 * deviation;
    values.bollLower = values.bollMid - 2 * deviation;
  }

  private realizedVolatility(bar: number, end: number): number | null {
    const from = end - this.volSeconds;
    const newest = this.at(bar, RETURN);
    let first = bar;
    let sum = 0;
    // The first bar inside the window gives its close, not its return.
    while (first > this.head && this.at(first - 1, END) >= from) {
      sum += this.at(first, RETURN) - newest;
      first -= 1;
    }
    const count = bar - first;
    if (count < 2) return null;
    const mean = sum / count;
    let squares = 0;
    for (let i = first + 1; i <= bar; i++) {
      const distance = this.at(i, RETURN) - newest - mean;
      squares += distance * distance;
    }
    return Math.sqrt(squares / count);
  }

  private rollingVwap(o: number, end: number): number | null {
    const cut = end - this.vwapSeconds;
    let bar = this.cutBar;
    if (bar < this.head - 1) bar = this.head - 1;
    if (bar >= this.tail) bar = this.tail - 1;
    while (bar + 1 < this.tail && this.at(bar + 1, END) <= cut) bar += 1;
    while (bar >= this.head && this.at(bar, END) > cut) bar -= 1;
    this.cutBar = bar;
    const base = bar >= this.head ? this.rows : this.origin;
    const b = bar >= this.head ? this.offset(bar) : 0;
    return this.ratioSince(
      o,
      base[b + SUM_NOTIONAL] as number,
      base[b + SUM_NOTIONAL + 1] as number,
      base[b + SUM_VOLUME] as number,
      base[b + SUM_VOLUME + 1] as number,
    );
  }

  private sessionVwap(o: number, end: number, previous: Float64Array, p: number, isFirst: boolean): number | null {
    const start = sessionPeriodStart(end - this.windowSeconds);
    const isNew = isFirst || sessionPeriodStart((previous[p + END] as number) - this.windowSeconds) !== start;
    const [a, b] = this.bases;
    let base = a.start === start ? a : b;
    if (isNew) {
      if (base.start !== start) base = a.start < b.start ? a : b;
      base.start = start;
      base.notional = previous[p + SUM_NOTIONAL] as number;
      base.notionalLow = previous[p + SUM_NOTIONAL + 1] as number;
      base.volume = previous[p + SUM_VOLUME] as number;
      base.volumeLow = previous[p + SUM_VOLUME + 1] as number;
    }
    return this.ratioSince(o, base.notional, base.notionalLow, base.volume, base.volumeLow);
  }

  private ratioSince(
    o: number,
    notional: number,
    notionalLow: number,
    volume: number,
    volumeLow: number,
  ): number | null {
    const rows = this.rows;
    const v = differenceOfSums(rows[o + SUM_VOLUME] as number, rows[o + SUM_VOLUME + 1] as number, volume, volumeLow);
    if (!(v > 0)) return null;
    const sum = rows[o + SUM_NOTIONAL] as number;
    return differenceOfSums(sum, rows[o + SUM_NOTIONAL + 1] as number, notional, notionalLow) / v;
  }

  encode(writer: ByteWriter): void {
    this.prune();
    writer.uint(this.head);
    writer.uint(this.tail - this.head);
    for (let field = 0; field < ROW; field++) writer.double(this.origin[field] as number);
    for (const base of this.bases) {
      writer.int(base.start);
      for (const value of [base.notional, base.notionalLow, base.volume, base.volumeLow]) writer.double(value);
    }
    let end = 0;
    let ticks = 0;
    for (let bar = this.head; bar < this.tail; bar++) {
      writer.uint(this.at(bar, END) - end);
      end = this.at(bar, END);
      ticks = writer.price(this.at(bar, CLOSE), ticks);
      writer.double(this.at(bar, NOTIONAL));
      writer.mostlyWhole(this.at(bar, VOLUME));
    }
  }

  /** Every other figure of a bar follows from the row before the first one: push them anew. */
  decode(reader: ByteReader): void {
    this.head = reader.uint();
    this.tail = this.head;
    const count = reader.uint();
    for (let field = 0; field < ROW; field++) this.origin[field] = reader.double();
    for (const base of this.bases) {
      base.start = reader.int();
      base.notional = reader.double();
      base.notionalLow = reader.double();
      base.volume = reader.double();
      base.volumeLow = reader.double();
    }
    this.cutBar = this.head - 1;
    let end = 0;
    let ticks = 0;
    for (let i = 0; i < count; i++) {
      end += reader.uint();
      const close = reader.price(ticks);
      ticks = reader.ticks;
      this.push(end, close, reader.double(), reader.mostlyWhole());
    }
  }
}

/** RSI of Wilder means; null when the price never moved. */
function relativeStrength(gain: number, loss: number): number | null {
  if (loss === 0) return gain > 0 ? 100 : null;
  return 100 - 100 / (1 + gain / loss);
}
