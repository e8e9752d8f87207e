/**
 * The binary snapshot of one symbol: everything that later outputs depend on, versioned, without Node APIs.
 * Guarantees: a restored symbol gives the same outputs as the one it was taken from, from any event on; bytes of another
 * version or profile are refused. Indicators are stored as their bars and pushed anew (branch.ts).
 */
import type { HeldAmendment } from './amendments.ts';
import {
  ByteReader,
  ByteWriter,
  type ByteReader as Reader,
  SnapshotError,
  type ByteWriter as Writer,
} from './bytes.ts';
import type { Amendment, BarOutput, QuoteJoin, SignalOutput, SignalQuality, TaSettings } from './events.ts';
import type { MinuteWindow } from './minutes.ts';
import type { SymbolEngine } from './symbol.ts';
import { type HeldTrade, openWindow, type Window } from './window.ts';

export const snapshotVersion = 1;
const profiles: TaSettings['profile'][] = ['default', 'compat'];
const qualities: SignalQuality[] = ['ok', 'limited_history', 'no_quote', 'crossed_quote', 'withdrawn'];
const valueNames = [
  'macd',
  'macdSignal',
  'macdHist',
  'ema12',
  'ema26',
  'rsi14',
  'bollMid',
  'bollUpper',
  'bollLower',
  'vwapSession',
  'vwapW5m',
  'volRealizedW60s',
] as const;

/** A second, or one of the infinities of "never". */
function writeSecond(writer: Writer, value: number): void {
  writer.double(value);
}

function writeTrades(writer: Writer, trades: readonly HeldTrade[], exchanges: string[]): void {
  writer.uint(trades.length);
  const scale = trades.every((trade) => trade.nano % 1_000_000 === 0) ? 1_000_000 : 1;
  writer.uint(scale);
  let nano = 0;
  let ticks = 0;
  let seq = 0;
  for (const trade of trades) {
    writer.uint((trade.nano - nano) / scale);
    nano = trade.nano;
    ticks = writer.price(trade.price, ticks);
    writer.mostlyWhole(trade.size);
    writer.uint(trade.id + 1);
    let exchange = exchanges.indexOf(trade.exchange);
    if (exchange < 0) exchange = exchanges.push(trade.exchange) - 1;
    writer.uint(exchange);
    writer.byte(trade.flags);
    writer.int(trade.seq - seq);
    seq = trade.seq;
    // Corrections and cancels are applied anew from their list.
  }
}

function readTrades(reader: Reader, exchanges: readonly string[]): HeldTrade[] {
  const count = reader.uint();
  const scale = reader.uint();
  const trades: HeldTrade[] = [];
  let nano = 0;
  let ticks = 0;
  let seq = 0;
  for (let i = 0; i < count; i++) {
    nano += reader.uint() * scale;
    const price = reader.price(ticks);
    ticks = reader.ticks;
    const size = reader.mostlyWhole();
    const id = reader.uint() - 1;
    const exchange = exchanges[reader.uint()];
    if (exchange === undefined) throw new SnapshotError('the snapshot names an unknown exchange');
    const flags = reader.byte();
    seq += reader.int();
    trades.push({ nano, price, size, id, exchange, seq, flags, overlay: null });
  }
  return trades;
}

function writeBar(writer: Writer, bar: BarOutput | null): void {
  writer.uint(bar === null ? 0 : bar.revision + 1);
  if (bar === null) return;
  for (const value of [bar.open, bar.high, bar.low, bar.close, bar.volume]) writer.double(value);
  writer.optionalDouble(bar.vwap);
  writer.uint(bar.count);
  writer.uint(bar.unpriced);
  writer.byte(bar.isFlat ? 1 : 0);
}

function readBar(reader: Reader, symbol: string, end: number): BarOutput | null {
  const revision = reader.uint() - 1;
  if (revision < 0) return null;
  return {
    kind: 'bar',
    symbol,
    end,
    revision,
    open: reader.double(),
    high: reader.double(),
    low: reader.double(),
    close: reader.double(),
    volume: reader.double(),
    vwap: reader.optionalDouble(),
    count: reader.uint(),
    unpriced: reader.uint(),
    isFlat: reader.byte() === 1,
  };
}

function writeQuote(writer: Writer, quote: QuoteJoin | null): void {
  writer.byte(quote === null ? 0 : 1);
  if (quote === null) return;
  writer.optionalDouble(quote.spread);
  for (const value of [quote.bidPrice, quote.askPrice, quote.bidSize, quote.askSize]) writer.double(value);
}

function readQuote(reader: Reader): QuoteJoin | null {
  if (reader.byte() === 0) return null;
  const spread = reader.optionalDouble();
  const [bidPrice, askPrice] = [reader.double(), reader.double()];
  return { spread, bidPrice, askPrice, bidSize: reader.double(), askSize: reader.double() };
}

function writeSignal(writer: Writer, signal: SignalOutput | null): void {
  writer.uint(signal === null ? 0 : signal.revision + 1);
  if (signal === null) return;
  for (const name of valueNames) writer.optionalDouble(signal.values[name]);
  writer.uint(signal.values.bars);
  writeQuote(writer, signal.quote);
  writer.byte(signal.isWarm ? 1 : 0);
  writer.byte(qualities.indexOf(signal.quality));
}

function readSignal(reader: Reader, symbol: string, windowSeconds: 1 | 60, end: number): SignalOutput | null {
  const revision = reader.uint() - 1;
  if (revision < 0) return null;
  const values = Object.fromEntries(valueNames.map((name) => [name, reader.optionalDouble()])) as Record<
    (typeof valueNames)[number],
    number | null
  >;
  const bars = reader.uint();
  const quote = readQuote(reader);
  const isWarm = reader.byte() === 1;
  const quality = qualities[reader.byte()] ?? 'ok';
  return { kind: 'signal', symbol, windowSeconds, end, revision, values: { ...values, bars }, quote, isWarm, quality };
}

function writeAmendment(writer: Writer, held: HeldAmendment): void {
  const { event } = held;
  writer.byte(event.kind === 'cancel' ? 0 : 1);
  writer.int(event.sec);
  writer.uint(event.nano);
  writer.text(event.exchange);
  writer.uint(event.id + 1);
  writer.uint(event.seq);
  writeSecond(writer, held.due);
  writer.int(held.targetEnd);
  if (event.kind === 'cancel') return;
  writer.uint(event.newId + 1);
  writer.double(event.price);
  writer.double(event.size);
  writer.uint(event.conditions.length);
  for (const letter of event.conditions) writer.text(letter);
  writer.text(event.tape);
}

function readAmendment(reader: Reader, symbol: string): HeldAmendment {
  const isCorrection = reader.byte() === 1;
  const [sec, nano] = [reader.int(), reader.uint()];
  const common = { symbol, sec, nano, exchange: reader.text(), id: reader.uint() - 1, seq: reader.uint() };
  const due = reader.double();
  const targetEnd = reader.int();
  if (!isCorrection) return { event: { kind: 'cancel', ...common }, due, targetEnd };
  const [newId, price, size] = [reader.uint() - 1, reader.double(), reader.double()];
  const conditions = Array.from({ length: reader.uint() }, () => reader.text());
  const event: Amendment = { kind: 'correction', ...common, newId, price, size, conditions, tape: reader.text() };
  return { event, due, targetEnd };
}

function writeWindow(writer: Writer, window: Window, exchanges: string[]): void {
  writer.int(window.end);
  writeTrades(writer, window.trades, exchanges);
  writer.double(window.lastAfter.price);
  writer.int(window.lastAfter.day);
  writeBar(writer, window.bar);
  writeSignal(writer, window.signal);
}

function readWindow(reader: Reader, symbol: string, exchanges: readonly string[]): Window {
  const window = openWindow(reader.int());
  window.trades = readTrades(reader, exchanges);
  window.lastAfter = { price: reader.double(), day: reader.int() };
  window.bar = readBar(reader, symbol, window.end);
  window.signal = readSignal(reader, symbol, 1, window.end);
  return window;
}

function writeMinute(writer: Writer, minute: MinuteWindow): void {
  writer.int(minute.end);
  writer.double(minute.close);
  writer.double(minute.volume);
  writer.optionalDouble(minute.vwap);
  writer.byte(minute.isUpdate ? 1 : 0);
  writer.uint(minute.revision);
  writer.uint(minute.seq);
  writeQuote(writer, minute.quote);
  writeSignal(writer, minute.signal);
}

function readMinute(reader: Reader, symbol: string): MinuteWindow {
  const end = reader.int();
  const [close, volume, vwap] = [reader.double(), reader.double(), reader.optionalDouble()];
  const isUpdate = reader.byte() === 1;
  const [revision, seq] = [reader.uint(), reader.uint()];
  const quote = readQuote(reader);
  return { end, close, volume, vwap, isUpdate, revision, seq, quote, signal: readSignal(reader, symbol, 60, end) };
}

/** @returns the bytes of the symbol's whole state */
export function encodeSymbol(engine: SymbolEngine): Uint8Array {
  const body = new ByteWriter();
  const exchanges: string[] = [];
  body.uint(engine.windows.length);
  for (const window of engine.windows) writeWindow(body, window, exchanges);

  const writer = new ByteWriter();
  writer.byte(snapshotVersion);
  writer.byte(profiles.indexOf(engine.profile));
  for (const second of [engine.final, engine.dirtyFrom, engine.minutes.floor, engine.minutes.dirtyFrom]) {
    writeSecond(writer, second);
  }
  writer.double(engine.carried.price);
  writer.int(engine.carried.day);
  writer.uint(exchanges.length);
  for (const exchange of exchanges) writer.text(exchange);
  writer.append(body);
  writer.uint(engine.amendments.list.length);
  for (const held of engine.amendments.list) writeAmendment(writer, held);
  engine.quotes.encode(writer);
  engine.seconds.encode(writer);
  writer.uint(engine.minutes.held.length);
  for (const minute of engine.minutes.held) writeMinute(writer, minute);
  engine.minutes.branch.encode(writer);
  return writer.finish();
}

/** Fills a new symbol engine from bytes. @throws SnapshotError */
export function decodeSymbol(engine: SymbolEngine, bytes: Uint8Array, settings: TaSettings): void {
  const reader = new ByteReader(bytes);
  const version = reader.byte();
  if (version !== snapshotVersion)
    throw new SnapshotError(`the snapshot has version ${version}, not ${snapshotVersion}`);
  const profile = profiles[reader.byte()];
  if (profile !== settings.profile) throw new SnapshotError(`the snapshot is of profile ${profile ?? 'unknown'}`);
  engine.final = reader.double();
  engine.dirtyFrom = reader.double();
  engine.minutes.floor = reader.double();
  engine.minutes.dirtyFrom = reader.double();
  engine.carried = { price: reader.double(), day: reader.int() };
  const exchanges = Array.from({ length: reader.uint() }, () => reader.text());
  engine.windows = Array.from({ length: reader.uint() }, () => readWindow(reader, engine.symbol, exchanges));
  engine.amendments.list = Array.from({ length: reader.uint() }, () => readAmendment(reader, engine.symbol));
  engine.quotes.decode(reader);
  engine.seconds.decode(reader);
  engine.seconds.rewindFloor = engine.final - settings.latenessSeconds;
  engine.minutes.held = Array.from({ length: reader.uint() }, () => readMinute(reader, engine.symbol));
  engine.minutes.branch.decode(reader);
  engine.minutes.branch.rewindFloor = engine.minutes.floor;
  if (!reader.isAtEnd) throw new SnapshotError('the snapshot is longer than its content');
  if (engine.amendments.list.length > 0) engine.amendments.apply(engine.final, engine.windows);
}
