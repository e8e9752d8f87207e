/**
 * Alpaca's own SDK as a second reader of the simulator, beside ours in both encodings: the same messages, in the same order,
 * with the same fields and numbers. The SDK decodes MessagePack with code of its own, so this checks our decoder too.
 */
import { join } from 'node:path';
import { Alpaca, type streaming } from '@alpacahq/alpaca-trade-api';
import { afterEach, describe, expect, test } from 'vitest';
import type { ScannedMessage } from '../../src/lib/alpaca/frame-scanner.ts';
import { createMarketStream } from '../../src/lib/alpaca/market-stream.ts';
import type { MarketChannel } from '../../src/lib/alpaca/subscription.ts';
import { parseTimestampNs } from '../../src/lib/market/time.ts';
import { everyKind, writeNdjson } from '../simulator/market-data.ts';
import { removeTemporaryFolders } from '../simulator/simulator-process.ts';
import { Rig } from '../ws/rig.ts';

const folder = process.env.TORGHUT_DATA;
let rig: Rig | undefined;
const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  await rig?.close();
  rig = undefined;
  removeTemporaryFolders();
});

type Fields = Record<string, unknown>;

/** Names of the wire for the SDK's names, by message type. */
const wireNames: Record<string, Record<string, string>> = {
  t: { idRaw: 'i', exchange: 'x', price: 'p', size: 's', conditions: 'c', tape: 'z' },
  q: {
    bidExchange: 'bx', bidPrice: 'bp', bidSize: 'bs', askExchange: 'ax', askPrice: 'ap', askSize: 'as',
    conditions: 'c', tape: 'z',
  },
  b: { open: 'o', high: 'h', low: 'l', close: 'c', volume: 'v', vwap: 'vw', tradeCount: 'n' },
  s: { statusCode: 'sc', statusMessage: 'sm', reasonCode: 'rc', reasonMessage: 'rm', tape: 'z' },
  l: { limitUpPrice: 'u', limitDownPrice: 'd', indicator: 'i', tape: 'z' },
  c: {
    exchange: 'x', originalIdRaw: 'oi', originalPrice: 'op', originalSize: 'os', originalConditions: 'oc',
    correctedIdRaw: 'ci', correctedPrice: 'cp', correctedSize: 'cs', correctedConditions: 'cc', tape: 'z',
  },
  x: { idRaw: 'i', exchange: 'x', price: 'p', size: 's', action: 'a', tape: 'z' },
}; // biome-ignore format: tables

/** One text for a message, whoever read it: type, symbol, instant, and every field by its wire name. */
function canonical(type: string, symbol: unknown, time: unknown, fields: Fields): string {
  const instant = String(parseTimestampNs(String(time)));
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([type, symbol, instant, rest]);
}

const idFields = new Set(['i', 'oi', 'ci']);

function fromSdk(type: string, message: Fields): string {
  const names = wireNames[type === 'u' ? 'b' : type] as Record<string, string>;
  const fields = Object.fromEntries(Object.entries(names).map(([theirs, wire]) => [wire, message[theirs]]));
  return canonical(type, message.symbol, message.timestampRaw, fields);
}

function fromOurs(message: ScannedMessage): string {
  const { T: _type, S: _symbol, t: _time, ...rest } = JSON.parse(message.raw) as Fields;
  // Ids keep all their digits in the text; JSON.parse would round them.
  for (const name of Object.keys(rest)) {
    if (!idFields.has(name) || message.type === 'l') continue;
    rest[name] = new RegExp(`"${name}":(\\d+)`).exec(message.raw)?.[1];
  }
  return canonical(message.type, message.symbol, message.time, rest);
}

const channels: MarketChannel[] = [
  'trades', 'quotes', 'bars', 'updatedBars', 'statuses', 'lulds', 'corrections', 'cancelErrors',
]; // biome-ignore format: one list

async function until(what: string, holds: () => boolean, limitMs = 60_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`${what}: not in ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function readWithOurs(of: Rig, encoding: 'json' | 'msgpack', symbols: string[]): Promise<string[]> {
  const got: string[] = [];
  let isReady = false;
  const stream = createMarketStream({
    url: `ws://127.0.0.1:${of.simulatorPort}/v2/sip`,
    key: `SIM-${encoding}`,
    secret: 'SECRET',
    channels,
    symbols,
    batchSize: 100,
    encoding,
    clock: of.clock,
    random: () => 0,
    reconnectBaseMs: 100,
    reconnectMaxMs: 100,
    refusedRetryMs: 60_000,
    pingMs: 100,
    pongTimeoutMs: 10_000,
    authTimeoutMs: 10_000,
    readIdleMs: 10 ** 9,
    isSessionActive: () => true,
    onState: ({ to }) => {
      isReady = to === 'ready';
    },
    onMessage: (message) => got.push(fromOurs(message)),
    onBadFrame: (reason, text) => {
      throw new Error(`${reason}: ${text}`);
    },
    onPong: () => undefined,
    onNotice: () => undefined,
  });
  const stop = new AbortController();
  const run = stream.run(stop.signal);
  closers.push(async () => {
    stop.abort();
    await run;
  });
  await until(`our ${encoding} reader is ready`, () => isReady);
  return got;
}

async function readWithSdk(of: Rig, symbols: string[]): Promise<string[]> {
  const alpaca = new Alpaca({ keyId: 'SIM-SDK', secret: 'SECRET', paper: true, retry: false, rateLimit: false });
  const stock = alpaca.marketData.stockStream({
    url: `ws://127.0.0.1:${of.simulatorPort}/v2/sip`,
    reconnect: false,
  }) as streaming.StockDataStream;
  closers.push(() => stock.disconnect());
  const got: string[] = [];
  const keep = (type: string) => (message: object) => void got.push(fromSdk(type, message as Fields));
  stock.onTrade(keep('t')).onQuote(keep('q')).onBar(keep('b')).onUpdatedBar(keep('u'));
  stock.onStatus(keep('s')).onLuld(keep('l')).onCorrection(keep('c')).onCancelError(keep('x'));
  let granted: Record<string, string[]> = {};
  stock.on('subscription', (all: Record<string, string[]>) => {
    granted = all;
  });
  stock.connect();
  expect((await stock.waitForAuthenticationResult(10_000)).status).toBe('authenticated');
  stock.subscribeForTrades(symbols);
  stock.subscribeForQuotes(symbols);
  stock.subscribeForBars(symbols);
  stock.subscribeForUpdatedBars(symbols);
  stock.subscribeForStatuses(symbols);
  stock.subscribeForLulds(symbols);
  await until('the SDK is subscribed', () => granted.lulds?.length === symbols.length);
  return got;
}

async function compare(data: string, symbols: string[], start: string, seconds: number): Promise<string[]> {
  const startNs = parseTimestampNs(start) as bigint;
  rig = new Rig({ data: [data], startNs, symbols, speed: 30 });
  const of = rig;
  await of.startSimulator();
  const sdk = await readWithSdk(of, symbols);
  const json = await readWithOurs(of, 'json', symbols);
  const packed = await readWithOurs(of, 'msgpack', symbols);
  of.run();
  await of.untilMarket(startNs + BigInt(seconds) * 1_000_000_000n);
  await until('all have read as much', () => sdk.length === json.length && json.length === packed.length);
  const length = sdk.length;
  await new Promise((resolve) => setTimeout(resolve, 300));
  await until('all have read as much', () => sdk.length === json.length && json.length === packed.length);
  expect(sdk.length).toBe(length);
  // Joined, so that a failure shows the first lines that differ and not thousands of elements.
  expect(json.join('\n')).toBe(sdk.join('\n'));
  expect(packed.join('\n')).toBe(sdk.join('\n'));
  return sdk;
}

describe('the SDK as a reference reader', () => {
  test('every kind of message, ids beyond 2^32 and nanoseconds', async () => {
    const read = await compare(writeNdjson(everyKind), ['AAA', 'BBB'], '2026-03-10T14:30:00Z', 240);
    const types = new Set(read.map((line) => (JSON.parse(line) as string[])[0]));
    expect([...types].sort()).toEqual(['b', 'c', 'l', 'q', 's', 't', 'u', 'x']);
  });

  test.skipIf(!folder)('the recorded opening (needs TORGHUT_DATA)', async () => {
    const smoke = join(folder ?? '', 'us-equities-2013-10-08', 'smoke.ndjson.gz');
    const read = await compare(smoke, ['AIG', 'BAC', 'IBM', 'SPY'], '2013-10-08T13:30:00Z', 125);
    expect(read.length).toBeGreaterThan(5_779);
  });
});
