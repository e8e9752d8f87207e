/** Price series for the checks of the indicators from outside: the same events go to the core, to TA-Lib and to the reference. */
import {
  type MarketEvent,
  type MinuteBarEvent,
  type SignalOutput,
  settingsOf,
  TaEngine,
  type TradeEvent,
} from '../../src/lib/ta/index.ts';
import { OPEN, seededRandom } from './fixtures.ts';

/** One bar as an outsider sees it: end, close, and the trades (or the provider's vwap) behind it. */
export interface SeriesBar {
  end: number;
  close: number;
  trades: { price: number; size: number }[];
}

export interface Series {
  name: string;
  windowSeconds: 1 | 60;
  bars: SeriesBar[];
  events: MarketEvent[];
}

/** A price on a grid of cents (or of ticks of another size), never below one tick. */
function step(price: number, tick: number, ticks: number): number {
  return Math.max(1, Math.round(price / tick) + ticks) * tick;
}

/** A tick multiple as its shortest decimal, as a provider would write it. */
const onTick = (price: number): number => Number(price.toPrecision(12));

/** Ticks per step: mostly small, now and then a jump. */
function move(random: () => number): number {
  const size = random() < 0.01 ? 60 : 4;
  return Math.round((random() - 0.5) * size);
}

export interface WalkOptions {
  seed: number;
  bars: number;
  price: number;
  tick?: number;
  /** First bar's end, seconds after the open. */
  from?: number;
  /** Chance that a bar comes later than one second after the one before. */
  gaps?: number;
  /** Bars [from, until) all at one price. */
  flat?: readonly [from: number, until: number];
}

/** 1-second bars of one to three trades each. */
export function secondsWalk(name: string, options: WalkOptions): Series {
  const { seed, bars: count, tick = 0.01, from = 1, gaps = 0, flat = [0, 0] } = options;
  const random = seededRandom(seed);
  const bars: SeriesBar[] = [];
  const events: TradeEvent[] = [];
  let { price } = options;
  let end = OPEN + from - 1;
  for (let i = 0; i < count; i++) {
    end += random() < gaps ? 2 + Math.floor(random() * 400) : 1;
    const trades: SeriesBar['trades'] = [];
    const prints = 1 + Math.floor(random() * 3);
    for (let k = 0; k < prints; k++) {
      if (i < flat[0] || i >= flat[1]) price = onTick(step(price, tick, move(random)));
      const size = 1 + Math.floor(random() * 2_000);
      trades.push({ price, size });
      const id = events.length + 1;
      const nano = 100_000_000 * (k + 1);
      events.push({
        kind: 'trade', symbol: 'MU', sec: end - 1, nano, price, size, id, exchange: 'Q', conditions: [' '], tape: 'A', seq: id,
      }); // biome-ignore format: one trade
    }
    bars.push({ end, close: price, trades });
  }
  return { name, windowSeconds: 1, bars, events };
}

/** A month of 1-minute bars: 21 sessions of 390, nights and weekends between them; the close lies apart from the vwap. */
export function minutesMonth(name: string, seed: number, flat: readonly [number, number] = [0, 0]): Series {
  const random = seededRandom(seed);
  const bars: SeriesBar[] = [];
  const events: MinuteBarEvent[] = [];
  let price = 48.5;
  for (let day = 0; day < 21; day++) {
    // From Monday 2013-09-30 on: five sessions, then two days without. Until daylight saving ends all open at 13:30Z.
    const start = OPEN - 8 * 86_400 + (day + Math.floor(day / 5) * 2) * 86_400;
    for (let minute = 0; minute < 390; minute++) {
      const isFlat = bars.length >= flat[0] && bars.length < flat[1];
      const open = price;
      if (!isFlat) for (let k = 0; k < 5; k++) price = onTick(step(price, 0.01, move(random)));
      const [high, low] = [Math.max(open, price), Math.min(open, price)];
      const vwap = onTick(Math.round((low + (high - low) * random()) * 10_000) / 10_000);
      const volume = 1 + Math.floor(random() * 100_000);
      const sec = start + minute * 60;
      bars.push({ end: sec + 60, close: price, trades: [{ price: vwap, size: volume }] });
      events.push({
        kind: 'bar', symbol: 'MU', sec, nano: 0, open, high, low, close: price, volume, vwap,
        isUpdate: false, revision: 0, seq: bars.length,
      }); // biome-ignore format: one bar
    }
  }
  return { name, windowSeconds: 60, bars, events };
}

/** The core's signals of a series, one per bar. @throws when their number is another */
export function signalsOf(series: Series): SignalOutput[] {
  const engine = new TaEngine(settingsOf('default'));
  const signals: SignalOutput[] = [];
  const take = (output: { kind: string }) => {
    if (output.kind === 'signal') signals.push(output as SignalOutput);
  };
  for (const event of series.events) {
    engine.process(event, take);
    if (event.kind === 'bar') engine.observe(event.sec + 61, 0, take);
  }
  engine.observe((series.bars.at(-1)?.end as number) + 100, 0, take);
  if (signals.length !== series.bars.length || signals.some((signal) => signal.revision > 0)) {
    throw new Error(`${signals.length} signals of ${series.bars.length} bars`);
  }
  return signals;
}
