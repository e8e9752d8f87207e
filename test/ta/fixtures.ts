/** Builders and comparisons for the tests of the ta room. */
import { expect } from 'vitest';
import {
  barRecord,
  type MarketEvent,
  type MinuteBarEvent,
  type QuoteEvent,
  settingsOf,
  signalRecord,
  TaEngine,
  type TaOutput,
  type TaSettings,
  type TradeEvent,
} from '../../src/lib/ta/index.ts';

/** 2013-10-08T13:30:00Z, the regular open of a Tuesday. */
export const OPEN = Date.UTC(2013, 9, 8, 13, 30) / 1_000;

let counter = 0;

/** A trade at `seconds` after OPEN; ids and seqs count up by themselves. */
export function trade(seconds: number, price: number, size = 100, more: Partial<TradeEvent> = {}): TradeEvent {
  counter += 1;
  const { sec, nano } = instant(seconds);
  return {
    kind: 'trade', symbol: 'MU', sec, nano, price, size,
    id: counter, exchange: 'Q', conditions: [' '], tape: 'A', seq: counter, ...more,
  }; // biome-ignore format: one trade, one glance
}

export function quote(seconds: number, bidPrice: number, askPrice: number, more: Partial<QuoteEvent> = {}): QuoteEvent {
  counter += 1;
  const { sec, nano } = instant(seconds);
  return {
    kind: 'quote',
    symbol: 'MU',
    sec,
    nano,
    bidPrice,
    bidSize: 200,
    askPrice,
    askSize: 300,
    seq: counter,
    ...more,
  };
}

/** The minute that starts `minute` minutes after OPEN. */
export function minuteBar(minute: number, close: number, more: Partial<MinuteBarEvent> = {}): MinuteBarEvent {
  counter += 1;
  return {
    kind: 'bar', symbol: 'MU', sec: OPEN + minute * 60, nano: 0,
    open: close, high: close, low: close, close, volume: 4, vwap: null, isUpdate: false, revision: 0, seq: counter, ...more,
  }; // biome-ignore format: one bar, one glance
}

export function instant(seconds: number): { sec: number; nano: number } {
  const nanos = Math.round(seconds * 1_000_000_000);
  const whole = Math.floor(nanos / 1_000_000_000);
  return { sec: OPEN + whole, nano: nanos - whole * 1_000_000_000 };
}

/** Runs events through a new engine, then lets market time run on (`flushSeconds` after OPEN). */
export function runAll(
  events: readonly MarketEvent[],
  settings: TaSettings = settingsOf('default'),
  flushSeconds = 1_000,
): { outputs: TaOutput[]; engine: TaEngine } {
  const engine = new TaEngine(settings);
  const outputs: TaOutput[] = [];
  for (const event of events) engine.process(event, (output) => void outputs.push(output));
  engine.observe(OPEN + flushSeconds, 0, (output) => void outputs.push(output));
  return { outputs, engine };
}

export function textOf(output: TaOutput): string {
  if (output.kind === 'bar') return barRecord(output, '', 'run');
  if (output.kind === 'signal') return signalRecord(output, '', 'run');
  return JSON.stringify(output);
}

export function keyOf(output: TaOutput): string {
  if (output.kind === 'bar') return `bar ${output.symbol} ${output.end}`;
  if (output.kind === 'signal') return `signal ${output.symbol} PT${output.windowSeconds} ${output.end}`;
  return `late ${output.event.symbol}`;
}

/** Per key the sequence of records, as text. */
export function sequences(outputs: readonly TaOutput[]): Map<string, string[]> {
  const byKey = new Map<string, string[]>();
  for (const output of outputs) {
    const key = keyOf(output);
    const list = byKey.get(key);
    if (list) list.push(textOf(output));
    else byKey.set(key, [textOf(output)]);
  }
  return new Map([...byKey].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The current row of every bar and signal: the highest revision, its number left out. */
export function currentRows(outputs: readonly TaOutput[]): Map<string, string> {
  const rows = new Map<string, string>();
  for (const [key, texts] of sequences(outputs.filter((output) => output.kind !== 'late'))) {
    rows.set(key, (texts.at(-1) as string).replace(/"revision":\d+,/, ''));
  }
  return rows;
}

/** A small seeded generator (mulberry32): the same seed gives the same numbers everywhere. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export interface Arrival {
  event: MarketEvent;
  /** When it arrives in order of time: seconds after OPEN. */
  at: number;
}

/**
 * A busy stretch of two symbols: trades with all sorts of conditions, quotes, minute bars with updates, corrections and
 * cancels; times in whole milliseconds so that equal ones occur.
 */
export function randomMarket(
  seed: number,
  seconds: number,
  perSecond: number,
  symbols: readonly string[] = ['AA', 'BB'],
): Arrival[] {
  const random = seededRandom(seed);
  const arrivals: Arrival[] = [];
  const conditions = [[' '], [' '], [' ', 'F'], ['@', 'T'], [' ', 'B'], ['4'], ['Z'], [' ', 'L'], ['M']];
  let seq = 0;
  for (const symbol of symbols) {
    let price = 100;
    let id = 0;
    for (let i = 0; i < seconds * perSecond; i++) {
      const t = Math.floor(random() * seconds * 1_000) / 1_000;
      price = Math.max(1, Math.round(price * 100 + (random() - 0.5) * 20) / 100);
      seq += 1;
      if (random() < 0.3) {
        arrivals.push({ at: t, event: quote(t, price, Math.round(price * 100 + random() * 3) / 100, { symbol, seq }) });
        continue;
      }
      id += 1;
      const size = 1 + Math.floor(random() * 500);
      const picked = conditions[Math.floor(random() * conditions.length)] as string[];
      const exchange = random() < 0.5 ? 'Q' : 'N';
      arrivals.push({
        at: t,
        event: trade(t, Math.round(price * 100) / 100, size, { symbol, id, seq, exchange, conditions: picked }),
      });
      if (random() > 0.06) continue;
      const later = Math.round((t + random() * 2) * 1_000) / 1_000;
      const common = { symbol, ...instant(later), exchange, id, seq: ++seq };
      const event: MarketEvent =
        random() < 0.5
          ? { kind: 'cancel', ...common }
          : {
              kind: 'correction',
              ...common,
              newId: id + 100_000,
              price: price + 0.5,
              size,
              conditions: [' '],
              tape: 'A',
            };
      arrivals.push({ at: later, event });
    }
    for (let minute = 0; minute < Math.floor(seconds / 60); minute++) {
      const close = 100 + Math.round(random() * 100) / 100;
      arrivals.push({ at: (minute + 1) * 60, event: minuteBar(minute, close, { symbol, seq: ++seq }) });
      if (random() > 0.5) continue;
      const update = minuteBar(minute, close + 0.01, { symbol, seq: ++seq, isUpdate: true });
      arrivals.push({ at: (minute + 1) * 60 + 30, event: update });
    }
  }
  return arrivals.sort((a, b) => a.at - b.at || a.event.seq - b.event.seq);
}

/** Letters that set no price in the regular session on tape A, of those that `randomMarket` uses. */
const priceless = new Set(['T', 'B', 'M']);
const isAmendment = ({ event }: Arrival) => event.kind === 'cancel' || event.kind === 'correction';

/** The market with one trade changed: the first that counts for everything and that nothing amends. */
export function withOneTradeChanged(market: readonly Arrival[]): Arrival[] {
  const amended = new Set(
    market.map(({ event }) => (event.kind === 'cancel' || event.kind === 'correction' ? event.id : -1)),
  );
  const first = market.findIndex(
    ({ event }) => event.kind === 'trade' && event.conditions[0] === ' ' && !amended.has(event.id),
  );
  if (first < 0) throw new Error('the market has no trade that could be changed');
  return market.map((arrival, i) =>
    i === first && arrival.event.kind === 'trade'
      ? { ...arrival, event: { ...arrival.event, size: arrival.event.size + 1, conditions: ['@'] } }
      : arrival,
  );
}

/**
 * What makes a comparison of two runs worth something: a bar for every second that has a price and none without a trade, enough
 * of them, at least one record in a hundred that corrects, comes late or comes twice, and a result that one trade changes.
 */
export function expectWorth(
  market: readonly Arrival[],
  outputs: readonly TaOutput[],
  settings: TaSettings = settingsOf('default'),
  disturbed = 0,
): void {
  const trades = market.flatMap(({ event }) => (event.kind === 'trade' ? [event] : []));
  const windows = (of: readonly TradeEvent[]) => new Set(of.map(({ symbol, sec }) => `bar ${symbol} ${sec + 1}`));
  const traded = windows(trades);
  const priced = windows(trades.filter(({ conditions }) => !conditions.some((letter) => priceless.has(letter))));
  const bars = new Set(outputs.flatMap((output) => (output.kind === 'bar' ? [keyOf(output)] : [])));
  expect([...priced].filter((key) => !bars.has(key))).toEqual([]);
  expect([...bars].filter((key) => !traded.has(key))).toEqual([]);
  expect(priced.size).toBeGreaterThan(100);
  expect((market.filter(isAmendment).length + disturbed) / market.length).toBeGreaterThanOrEqual(0.01);
  const changed = runAll(inOrder(withOneTradeChanged(market)), settings).outputs;
  expect(sequences(changed)).not.toEqual(sequences(runAll(inOrder(market), settings).outputs));
}

/** The arrivals with every one delayed by less than `maxDelay` seconds. */
export function shuffled(arrivals: readonly Arrival[], maxDelay: number, seed: number): MarketEvent[] {
  const random = seededRandom(seed);
  return arrivals
    .map(({ event, at }) => ({ event, at: at + random() * maxDelay }))
    .sort((a, b) => a.at - b.at)
    .map(({ event }) => event);
}

export const inOrder = (arrivals: readonly Arrival[]): MarketEvent[] => arrivals.map(({ event }) => event);
