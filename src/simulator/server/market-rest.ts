/**
 * Market-data REST under Alpaca's paths: history, latest values and snapshots of stocks and crypto, up to market now.
 * Guarantee: nothing is shown that is not public on the asked feed at market now. Facts: alpaca-protocol 3.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { KeyCheck, RouteDescription } from '../contract.ts';
import type { FaultRegistry } from '../faults.ts';
import type { HistoryChannel } from '../market/history.ts';
import type { Market } from '../market/market.ts';
import { collectPage, itemOf, pageBody } from './history-pages.ts';
import { historyParameters, RequestError, symbolsParameter } from './history-query.ts';
import type { RateLimit } from './rate-limit.ts';
import { bucketStartNs, parseTimeframe } from './timeframe.ts';

export interface MarketRestOptions {
  stocks: Market;
  crypto: Market;
  /** Store index below which messages are public on a stock feed; undefined for an unknown feed. */
  visibleOn(feed: string): number | undefined;
  keys: KeyCheck;
  faults: FaultRegistry;
  rateLimit: RateLimit;
}

const CHANNELS = 'bars|trades|quotes';
const patterns = {
  stocks: new RegExp(`^/v2/stocks/(${CHANNELS})$`),
  stock: new RegExp(`^/v2/stocks/([^/]+)/(${CHANNELS})$`),
  stocksLatest: new RegExp(`^/v2/stocks/(${CHANNELS})/latest$`),
  stockLatest: new RegExp(`^/v2/stocks/([^/]+)/(${CHANNELS})/latest$`),
  stocksSnapshots: /^\/v2\/stocks\/snapshots$/,
  stockSnapshot: /^\/v2\/stocks\/([^/]+)\/snapshot$/,
  crypto: new RegExp(`^/v1beta3/crypto/us/(${CHANNELS})$`),
  cryptoLatest: new RegExp(`^/v1beta3/crypto/us/latest/(${CHANNELS})$`),
};

const channelNames = ['bars', 'trades', 'quotes'] as const;
const both = (path: (channel: string) => string, describe: string): RouteDescription[] =>
  channelNames.map((channel) => ({ method: 'GET', path: path(channel), describe: `${describe}: ${channel}` }));

export const marketRoutes: readonly RouteDescription[] = [
  ...both((channel) => `/v2/stocks/${channel}`, 'history of several symbols'),
  ...both((channel) => `/v2/stocks/{symbol}/${channel}`, 'history of one symbol'),
  ...both((channel) => `/v2/stocks/${channel}/latest`, 'newest of several symbols'),
  ...both((channel) => `/v2/stocks/{symbol}/${channel}/latest`, 'newest of one symbol'),
  { method: 'GET', path: '/v2/stocks/snapshots', describe: 'newest trade, quote and bars of several symbols' },
  { method: 'GET', path: '/v2/stocks/{symbol}/snapshot', describe: 'newest trade, quote and bars of one symbol' },
  ...both((channel) => `/v1beta3/crypto/us/${channel}`, 'crypto history'),
  ...both((channel) => `/v1beta3/crypto/us/latest/${channel}`, 'crypto newest'),
];

const single: Record<HistoryChannel, string> = { bars: 'bar', trades: 'trade', quotes: 'quote' };

function sendBody(response: ServerResponse, status: number, body: Buffer | string): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=UTF-8' });
  response.end(body);
}

/** The path with its escapes resolved; one that cannot be resolved stays and matches nothing. */
function decodedPath(url: URL): string {
  try {
    return decodeURIComponent(url.pathname);
  } catch {
    return url.pathname;
  }
}

export function createMarketRest(options: MarketRestOptions) {
  const { stocks, crypto, keys, faults, rateLimit } = options;

  const stockView = (url: URL): { market: Market; visible: number; zone: 'new_york' } => {
    const feed = url.searchParams.get('feed') || 'sip';
    stocks.pump();
    const visible = options.visibleOn(feed);
    if (visible === undefined) throw new RequestError(400, `invalid feed: ${feed}`);
    return { market: stocks, visible, zone: 'new_york' };
  };
  const cryptoView = (): { market: Market; visible: number; zone: 'utc' } => {
    crypto.pump();
    return { market: crypto, visible: crypto.released, zone: 'utc' };
  };
  type View = { market: Market; visible: number; zone: 'new_york' | 'utc' };

  const history = (url: URL, view: View, channel: HistoryChannel, symbol: string | undefined): Buffer => {
    const parameters = historyParameters(url, symbol, view.market.nowNs(), view.zone);
    const frame = channel === 'bars' ? parseTimeframe(url.searchParams.get('timeframe')) : undefined;
    const isMinute = !frame || (frame.unit === 'Min' && frame.count === 1);
    const aggregate = isMinute ? undefined : { frame, zone: view.zone };
    const from =
      frame && !isMinute ? { ...parameters, startNs: firstBucket(frame, parameters.startNs, view.zone) } : parameters;
    return pageBody(channel, collectPage(view.market, channel, from, view.visible, aggregate), symbol);
  };
  /** The first bucket start at or after an instant: a bucket that began earlier is not part of the answer. */
  const firstBucket = (frame: Parameters<typeof bucketStartNs>[0], ns: bigint, zone: 'new_york' | 'utc'): bigint => {
    const start = bucketStartNs(frame, ns, zone);
    return start < ns ? start + 1n : start;
  };

  const latest = (url: URL, view: View, channel: HistoryChannel, symbol: string | undefined): string => {
    const found = symbolsParameter(url, symbol).map((name) => {
      const index = view.market.history.latest(name, channel, view.visible);
      return { name, item: index === undefined ? undefined : itemOf(view.market, index).toString('utf8') };
    });
    if (symbol !== undefined) {
      const item = found[0]?.item;
      if (item === undefined) throw new RequestError(404, `no ${single[channel]} found for ${symbol}`);
      return `{"${single[channel]}":${item},"symbol":${JSON.stringify(symbol)}}`;
    }
    const items = found
      .filter(({ item }) => item !== undefined)
      .map(({ name, item }) => `${JSON.stringify(name)}:${item}`);
    return `{"${channel}":{${items.join(',')}}}`;
  };

  const snapshot = (view: View, symbol: string): string | undefined => {
    const { market, visible } = view;
    const newest = (channel: HistoryChannel) => {
      const index = market.history.latest(symbol, channel, visible);
      return index === undefined ? undefined : itemOf(market, index).toString('utf8');
    };
    const day = (isDescending: boolean) => {
      const frame = { count: 1, unit: 'Day' as const };
      const parameters = {
        symbols: [symbol],
        startNs: 0n,
        endNs: market.nowNs(),
        limit: 2,
        isDescending,
        token: undefined,
      };
      return collectPage(market, 'bars', parameters, visible, { frame, zone: view.zone }).items.get(symbol) ?? [];
    };
    const [today, yesterday] = day(true);
    const fields = {
      latestTrade: newest('trades'),
      latestQuote: newest('quotes'),
      minuteBar: newest('bars'),
      dailyBar: today?.toString('utf8'),
      prevDailyBar: yesterday?.toString('utf8'),
    };
    if (Object.values(fields).every((value) => value === undefined)) return undefined;
    return Object.entries(fields)
      .map(([name, value]) => `"${name}":${value ?? 'null'}`)
      .join(',');
  };

  const answer = (url: URL): Buffer | string | undefined => {
    const path = decodedPath(url);
    const match = (name: keyof typeof patterns) => patterns[name].exec(path);
    let found = match('stocks');
    if (found) return history(url, stockView(url), found[1] as HistoryChannel, undefined);
    found = match('stocksLatest');
    if (found) return latest(url, stockView(url), found[1] as HistoryChannel, undefined);
    if (match('stocksSnapshots')) {
      const view = stockView(url);
      const all = symbolsParameter(url, undefined).map((symbol) => [symbol, snapshot(view, symbol)] as const);
      return `{${all.flatMap(([symbol, fields]) => (fields ? [`${JSON.stringify(symbol)}:{${fields}}`] : [])).join(',')}}`;
    }
    found = match('stockSnapshot');
    if (found) {
      const symbol = found[1] as string;
      const fields = snapshot(stockView(url), symbol);
      if (fields === undefined) throw new RequestError(404, `no snapshot found for ${symbol}`);
      return `{"symbol":${JSON.stringify(symbol)},${fields}}`;
    }
    found = match('stock');
    if (found) return history(url, stockView(url), found[2] as HistoryChannel, found[1]);
    found = match('stockLatest');
    if (found) return latest(url, stockView(url), found[2] as HistoryChannel, found[1]);
    found = match('crypto');
    if (found) return history(url, cryptoView(), found[1] as HistoryChannel, undefined);
    found = match('cryptoLatest');
    if (found) return latest(url, cryptoView(), found[1] as HistoryChannel, undefined);
    return undefined;
  };

  /** Crypto is open to everybody who brings no keys (Alpaca's SDK sends none there); wrong keys are refused everywhere. */
  const mayRead = (request: IncomingMessage, path: string): boolean =>
    keys.acceptsRequest(request) || (path.startsWith('/v1beta3/crypto/') && keys.keyIdOf(request) === '');

  /** Answers a market-data request; false when the path is none. */
  return (request: IncomingMessage, response: ServerResponse, url: URL): boolean => {
    const path = decodedPath(url);
    if (!path.startsWith('/v2/stocks/') && !path.startsWith('/v1beta3/crypto/')) return false;
    if (!Object.values(patterns).some((pattern) => pattern.test(path))) return false;
    const fail = (status: number, message: string) => sendBody(response, status, JSON.stringify({ message }));
    if (request.method !== 'GET') {
      fail(405, 'method not allowed');
      return true;
    }
    const limited = faults.take('http_429', { path });
    rateLimit.apply(response, keys.keyIdOf(request), limited !== undefined);
    if (limited) fail(429, 'too many requests.');
    else if (!mayRead(request, path)) fail(403, 'forbidden.');
    else if (faults.take('http_500', { path })) fail(500, 'internal server error occurred');
    else {
      try {
        const body = answer(url);
        if (body === undefined) fail(404, 'endpoint not found.');
        else sendBody(response, 200, body);
      } catch (error) {
        if (!(error instanceof RequestError)) throw error;
        fail(error.status, error.message);
      }
    }
    return true;
  };
}
