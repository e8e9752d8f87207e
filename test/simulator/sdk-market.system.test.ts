/**
 * Alpaca's own SDK as the client of the market side: a table of every market route, stream, message and error code, held
 * against the simulator's own list, so that a route nobody walks fails here.
 */
import { Alpaca, type streaming } from '@alpacahq/alpaca-trade-api';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RouteDescription } from '../../src/simulator/contract.ts';
import { everyKind, writeNdjson } from './market-data.ts';
import {
  keyHeaders,
  removeTemporaryFolders,
  type SimulatorProcess,
  startSimulator,
  waitFor,
} from './simulator-process.ts';

type DataStream = streaming.StockDataStream | streaming.CryptoDataStream;

let simulator: SimulatorProcess;
let free: SimulatorProcess;
const visited = new Set<string>();
const streams: DataStream[] = [];

function client(to = simulator, keyId = keyHeaders['APCA-API-KEY-ID']) {
  const answers: { status: number; headers: Headers; body: string }[] = [];
  const alpaca = new Alpaca({
    keyId,
    secret: keyHeaders['APCA-API-SECRET-KEY'],
    paper: true,
    retry: false,
    rateLimit: false,
    fetchApi: async (input, init) => {
      const asked = new URL(String(input));
      const response = await fetch(`${to.url}${asked.pathname}${asked.search}`, init);
      answers.push({ status: response.status, headers: response.headers, body: await response.clone().text() });
      return response;
    },
  });
  return { alpaca, answers };
}

/** A stream of the SDK, with every error text that it reports. */
function stream(path: string, to = simulator, keyId = `SIM-${streams.length}`): { data: DataStream; errors: string[] } {
  visited.add(`WS ${path}`);
  const { alpaca } = client(to, keyId);
  const options = { url: `ws://127.0.0.1:${to.port}${path}`, reconnect: false };
  const data = path.includes('crypto')
    ? alpaca.marketData.cryptoStream(options)
    : alpaca.marketData.stockStream(options);
  const errors: string[] = [];
  data.on('error', (error: unknown) => errors.push(error instanceof Error ? error.message : String(error)));
  streams.push(data);
  return { data, errors };
}

async function open(path: string, to = simulator, keyId?: string) {
  const opened = stream(path, to, keyId);
  opened.data.connect();
  const result = await opened.data.waitForAuthenticationResult(5_000);
  return { ...opened, result };
}

/** The SDK hides its sending; some mistakes can only be made by hand. */
const sendRaw = (data: DataStream, message: unknown) =>
  (data as unknown as { send(message: unknown): void }).send(message);

beforeAll(async () => {
  const path = writeNdjson(everyKind);
  const half = (line: string) =>
    line.replaceAll('2026-03-10T14:3', '2026-03-10T14:4').replace('"S":"AAA","i":5', '"S":"AAA","i":6');
  const more = writeNdjson([...everyKind.map(half)], 'more.ndjson.gz');
  [simulator, free] = await Promise.all([
    startSimulator(['--data', path, '--data', more, '--speed', '60', '--auth-seconds', '2']),
    startSimulator(['--synthetic', '1', '--speed', '30', '--plan', 'free', '--key', 'SIM-free', '--secret', 'secret']),
  ]);
});

afterAll(async () => {
  for (const data of streams) data.disconnect();
  await Promise.all([simulator.end(), free.end()]);
  removeTemporaryFolders();
});

describe('market streams with Alpaca’s SDK', () => {
  it('every message type arrives with its fields, and prices and nanoseconds as in the source', async () => {
    const { data, result } = await open('/v2/sip');
    expect(result.status).toBe('authenticated');
    const got: Record<string, Record<string, unknown>[]> = {};
    const keep = (name: string) => (message: object) => {
      got[name] ??= [];
      got[name].push(message as Record<string, unknown>);
    };
    const stock = data as streaming.StockDataStream;
    stock.onTrade(keep('t')).onQuote(keep('q')).onBar(keep('b')).onUpdatedBar(keep('u')).onDailyBar(keep('d'));
    stock.onStatus(keep('s')).onLuld(keep('l')).onImbalance(keep('i')).onCorrection(keep('c')).onCancelError(keep('x'));
    let confirmed: Record<string, string[]> = {};
    stock.on('subscription', (all: Record<string, string[]>) => {
      confirmed = all;
    });
    stock.subscribeForTrades(['AAA', 'BBB']);
    stock.subscribeForQuotes(['*']);
    stock.subscribeForBars(['*']);
    stock.subscribeForUpdatedBars(['*']);
    stock.subscribeForDailyBars(['AAA']);
    stock.subscribeForStatuses(['AAA']);
    stock.subscribeForLulds(['AAA']);
    stock.subscribeForImbalances(['AAA']);
    await waitFor(() => (confirmed.imbalances?.length && confirmed.lulds?.length ? true : undefined));
    expect(confirmed).toMatchObject({ trades: ['AAA', 'BBB'], quotes: ['*'], lulds: ['AAA'] });
    await waitFor(() => ('tqbudslixc'.split('').every((letter) => got[letter]) ? true : undefined), 30_000);
    const at = (name: string) => got[name]?.at(-1) as Record<string, unknown>;
    expect(at('q')).toMatchObject({ symbol: 'AAA', bidPrice: 10, askPrice: 10.1, bidSize: 300, askSize: 200 });
    expect(at('b')).toMatchObject({
      symbol: 'AAA',
      open: 10,
      high: 10.2,
      low: 9.9,
      close: 10.1,
      volume: 1200,
      tradeCount: 9,
    });
    expect(at('u')).toMatchObject({ close: 10.05, volume: 1300 });
    expect(at('d')).toMatchObject({ symbol: 'AAA', high: 10.2 });
    expect(at('s')).toMatchObject({ symbol: 'AAA' });
    expect(at('l')).toMatchObject({ limitUpPrice: 10.5, limitDownPrice: 9.5 });
    expect(at('c')).toMatchObject({ correctedPrice: 10.01 });
    expect(at('x')).toMatchObject({ symbol: 'BBB' });
    const trade = (await waitFor(() => got.t?.find(({ idRaw }) => idRaw === '62983525034326'))) as Record<
      string,
      unknown
    >;
    expect(trade).toMatchObject({
      price: 10,
      timestampRaw: '2026-03-10T14:40:02.000000001Z',
      conditions: [' '],
    });
    stock.unsubscribeFromTrades(['AAA']);
    await waitFor(() => (confirmed.trades?.join() === 'BBB' ? true : undefined));
  });

  it('the feeds iex, delayed_sip, test and crypto open too', async () => {
    for (const path of ['/v2/iex', '/v2/delayed_sip', '/v2/test', '/v1beta3/crypto/us']) {
      const { data, result } = await open(path);
      expect([path, result.status]).toEqual([path, 'authenticated']);
      const trades: { symbol: string; takerSide?: string | undefined }[] = [];
      data.onTrade((trade) => trades.push(trade));
      data.subscribeForTrades(['*']);
      if (path === '/v2/test') expect((await waitFor(() => trades[0])).symbol).toBe('FAKEPACA');
      if (path.includes('crypto')) expect((await waitFor(() => trades[0])).takerSide).toMatch(/^[BS]$/);
    }
  });

  it('every error code is understood by the SDK', async () => {
    const seen = new Set<number>();
    const { data, errors } = await open('/v2/sip', simulator, 'SIM-errors');
    const reported = async (code: number, text: string, from = errors) => {
      await waitFor(() => (from.some((error) => error.includes(text)) ? true : undefined));
      seen.add(code);
    };
    sendRaw(data, { action: 'subscribe' });
    await reported(400, 'invalid syntax');
    sendRaw(data, { action: 'auth', key: 'SIM-errors', secret: 'secret' });
    await reported(403, 'already authenticated');
    data.subscribeForOrderbooks(['AAA']);
    await reported(410, 'invalid subscribe action for this feed');
    const second = stream('/v2/sip', simulator, 'SIM-errors');
    second.data.connect();
    await reported(406, 'connection limit exceeded', second.errors);
    // Refused by the plan or by the keys.
    const wrong = await open('/v2/iex', free, 'SIM-other');
    expect([wrong.result.status, wrong.result.code]).toEqual(['server_rejected', 402]);
    seen.add(402);
    const sip = stream('/v2/sip', free, 'SIM-free');
    sip.data.connect();
    await reported(409, 'insufficient subscription', sip.errors);
    const limited = await open('/v2/iex', free, 'SIM-free');
    limited.data.subscribeForTrades(Array.from({ length: 31 }, (_, i) => `S${i}`));
    await reported(405, 'symbol limit exceeded', limited.errors);
    // Too early and too late: by a socket that asks first, and by one that says nothing.
    const early = stream('/v2/iex', simulator, 'SIM-early');
    (early.data as unknown as { sendAuth(): void }).sendAuth = () =>
      sendRaw(early.data, { action: 'subscribe', trades: ['AAA'] });
    early.data.connect();
    expect(await early.data.waitForAuthenticationResult(5_000)).toMatchObject({ status: 'server_rejected', code: 401 });
    seen.add(401);
    const mute = stream('/v2/iex', simulator, 'SIM-mute');
    (mute.data as unknown as { sendAuth(): void }).sendAuth = () => undefined;
    mute.data.connect();
    expect(await mute.data.waitForAuthenticationResult(5_000)).toMatchObject({ status: 'server_rejected', code: 404 });
    seen.add(404);
    // Those that only the server's own state brings about.
    for (const [code, text] of [
      [407, 'slow client'],
      [408, 'v2 not enabled'],
      [411, 'insufficient scope'],
      [500, 'internal error'],
    ] as const) {
      await free.fault({ name: 'stream_error', code, count: 1, path: '/v2/test' });
      const { data: failing, errors: texts } = await open('/v2/test', free, 'SIM-free');
      failing.subscribeForQuotes(['FAKEPACA']);
      await reported(code, text, texts);
      failing.disconnect();
      await waitFor(async () => ((await free.status()).connections <= 1 ? true : undefined));
    }
    expect([...seen].sort()).toEqual([400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 500]);
  });
});

describe('market-data REST with Alpaca’s SDK', () => {
  const start = new Date('2026-03-10T14:30:00Z');
  const both = { symbols: 'AAA,BBB', start };
  const one = { symbol: 'AAA', start };
  const crypto = { loc: 'us' as const, symbols: 'BTC/USD' };
  const stocks = (alpaca: Alpaca) => alpaca.marketData.stocks;
  const coins = (alpaca: Alpaca) => alpaca.marketData.crypto;

  /** Route → call and a text that its raw answer must hold. */
  const table: Record<string, [(alpaca: Alpaca) => Promise<unknown>, string]> = {
    '/v2/stocks/bars': [
      (a) => stocks(a).stockBars({ ...both, timeframe: '1Min' }),
      '"c":10.05,"v":1300,"n":10,"vw":10.04,"t":"2026-03-10T14:30:00Z"',
    ],
    '/v2/stocks/trades': [(a) => stocks(a).stockTrades({ ...both, limit: 2 }), '"next_page_token":"'],
    '/v2/stocks/quotes': [(a) => stocks(a).stockQuotes(both), '"ap":10.10'],
    '/v2/stocks/{symbol}/bars': [(a) => stocks(a).stockBarSingle({ ...one, timeframe: '5Min' }), '"symbol":"AAA"'],
    '/v2/stocks/{symbol}/trades': [(a) => stocks(a).stockTradeSingle(one), '"p":10.020,"s":1e2'],
    '/v2/stocks/{symbol}/quotes': [(a) => stocks(a).stockQuoteSingle(one), '"quotes":[{"bx":"N"'],
    '/v2/stocks/bars/latest': [(a) => stocks(a).stockLatestBars({ symbols: 'AAA' }), '{"bars":{"AAA":{"o":10'],
    '/v2/stocks/trades/latest': [(a) => stocks(a).stockLatestTrades({ symbols: 'AAA,BBB' }), '"BBB":{"i":1'],
    '/v2/stocks/quotes/latest': [(a) => stocks(a).stockLatestQuotes({ symbols: 'AAA' }), '"bp":10,'],
    '/v2/stocks/{symbol}/bars/latest': [(a) => stocks(a).stockLatestBarSingle({ symbol: 'AAA' }), '"bar":{'],
    '/v2/stocks/{symbol}/trades/latest': [
      (a) => stocks(a).stockLatestTradeSingle({ symbol: 'AAA' }),
      '"trade":{"i":63',
    ],
    '/v2/stocks/{symbol}/quotes/latest': [(a) => stocks(a).stockLatestQuoteSingle({ symbol: 'AAA' }), '"quote":{'],
    '/v2/stocks/snapshots': [(a) => stocks(a).stockSnapshots({ symbols: 'AAA,BBB' }), '"BBB":{"latestTrade":{"i":1'],
    '/v2/stocks/{symbol}/snapshot': [(a) => stocks(a).stockSnapshotSingle({ symbol: 'AAA' }), '"dailyBar":{"o":10'],
    '/v1beta3/crypto/us/bars': [
      (a) => coins(a).cryptoBars({ ...crypto, timeframe: '1Min' }),
      '"bars":{"BTC/USD":[{"o":',
    ],
    '/v1beta3/crypto/us/trades': [(a) => coins(a).cryptoTrades(crypto), '"tks":"'],
    '/v1beta3/crypto/us/quotes': [(a) => coins(a).cryptoQuotes(crypto), '"bs":0.'],
    '/v1beta3/crypto/us/latest/bars': [(a) => coins(a).cryptoLatestBars(crypto), '"bars":{"BTC/USD":{'],
    '/v1beta3/crypto/us/latest/trades': [(a) => coins(a).cryptoLatestTrades(crypto), '"trades":{"BTC/USD":{'],
    '/v1beta3/crypto/us/latest/quotes': [(a) => coins(a).cryptoLatestQuotes(crypto), '"quotes":{"BTC/USD":{'],
  };

  it('every route answers what the SDK can read, with rate-limit headers', async () => {
    await waitFor(async () => ((await simulator.status()).end_of_input ? true : undefined), 60_000);
    for (const [route, [call, text]] of Object.entries(table)) {
      const { alpaca, answers } = client();
      await call(alpaca);
      const answer = answers[0] as (typeof answers)[number];
      expect([route, answer.status, answer.body.includes(text), answer.body.slice(0, 300)]).toEqual([
        route,
        200,
        true,
        expect.anything(),
      ]);
      for (const name of ['limit', 'remaining', 'reset'])
        expect(answer.headers.get(`x-ratelimit-${name}`)).toMatch(/^\d+$/);
      visited.add(`GET ${route}`);
    }
  });

  it('the SDK follows the pages to the end', async () => {
    const { alpaca, answers } = client();
    const trades = await alpaca.marketData.getStockTrades({ symbols: ['AAA', 'BBB'], start, limit: 1 });
    expect(answers.length).toBeGreaterThan(4);
    expect(JSON.stringify(trades)).toContain('62983525034326');
  });

  it('wrong keys, exhausted limits and server failures come as the SDK’s typed errors', async () => {
    const call = (alpaca: Alpaca) => alpaca.marketData.stocks.stockLatestTrades({ symbols: 'AAPL' });
    const stranger = client(free, 'SIM-stranger');
    await expect(call(stranger.alpaca)).rejects.toMatchObject({ status: 403 });
    expect(stranger.answers[0]?.body).toBe('{"message":"forbidden."}');
    const known = client(free, 'SIM-free');
    await free.fault({ name: 'http_429', count: 1 });
    await expect(call(known.alpaca)).rejects.toMatchObject({ status: 429 });
    expect(known.answers[0]?.headers.get('x-ratelimit-remaining')).toBe('0');
    await free.fault({ name: 'http_500', count: 1, path: '/v2/stocks/trades/latest' });
    await expect(call(known.alpaca)).rejects.toMatchObject({ status: 500 });
    await call(known.alpaca);
    expect(known.answers.at(-1)?.status).toBe(200);
    const refused = await free.get('/v2/stocks/trades?symbols=AAPL&limit=0', {
      'APCA-API-KEY-ID': 'SIM-free',
      'APCA-API-SECRET-KEY': 'secret',
    });
    expect([refused.status, refused.body]).toEqual([
      400,
      '{"message":"invalid limit: it must be between 1 and 10000"}',
    ]);
  });

  it('every market route, stream and control route of the simulator was walked', async () => {
    for (const path of ['/_sim/status', '/_sim/faults', '/_sim/routes', '/healthz', '/readyz']) {
      expect([path, (await simulator.get(path)).status]).toEqual([path, 200]);
      visited.add(`GET ${path}`);
    }
    await simulator.fault({ name: 'silent' });
    visited.add('POST /_sim/faults');
    const removed = await fetch(`${simulator.url}/_sim/faults?name=silent`, { method: 'DELETE' });
    expect(await removed.json()).toEqual({ removed: 1 });
    visited.add('DELETE /_sim/faults');
    await expect(simulator.fault({ name: 'sillent' })).rejects.toThrow(/did you mean silent/);
    const routes = JSON.parse((await simulator.get('/_sim/routes')).body) as RouteDescription[];
    const ours = routes
      .filter(
        ({ path }) =>
          /^\/(v2\/stocks|v1beta3|_sim|healthz|readyz|v2\/(iex|sip|delayed_sip|test)$)/.test(path) &&
          path !== '/_sim/journal',
      )
      .map(({ method, path }) => `${method} ${path}`);
    expect([...visited].sort()).toEqual(ours.sort());
  });
});
