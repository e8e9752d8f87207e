/**
 * The WebSocket side of the server: which path leads to which stream endpoint, and the sessions that are open.
 */
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import type { KeyCheck, RouteDescription, TradingSide } from '../contract.ts';
import type { FaultRegistry } from '../faults.ts';
import type { Market } from '../market/market.ts';
import { StreamEndpoint } from '../stream/endpoint.ts';
import type { StreamChannel } from '../stream/protocol.ts';
import { StreamSession } from '../stream/session.ts';

export interface StreamOptions {
  stocks: Market;
  test: Market;
  crypto: Market;
  keys: KeyCheck;
  faults: FaultRegistry;
  /** `free`: feed iex only, 30 symbols over trades and quotes. */
  plan: 'unlimited' | 'free';
  authDeadlineMs: number;
  slowClientBytes: number;
  ghostMs: number;
  connectionLimit: number;
}

const stockChannels: StreamChannel[] = [
  'trades', 'quotes', 'bars', 'updatedBars', 'dailyBars', 'statuses', 'lulds', 'corrections', 'cancelErrors', 'imbalances',
]; // biome-ignore format: one list
const testChannels: StreamChannel[] = [
  'trades',
  'quotes',
  'bars',
  'updatedBars',
  'dailyBars',
  'corrections',
  'cancelErrors',
];
const cryptoChannels: StreamChannel[] = ['trades', 'quotes', 'bars', 'updatedBars', 'dailyBars'];
/** Delay of the delayed_sip feed. */
const DELAY_NS = 900_000_000_000n;

export const streamRoutes: readonly RouteDescription[] = [
  { method: 'WS', path: '/v2/iex', describe: 'market stream, same tape as sip' },
  { method: 'WS', path: '/v2/sip', describe: 'market stream' },
  { method: 'WS', path: '/v2/delayed_sip', describe: 'market stream, 15 market minutes late' },
  { method: 'WS', path: '/v1beta1/overnight', describe: 'overnight stream, same tape as sip' },
  { method: 'WS', path: '/v2/test', describe: 'market stream of FAKEPACA, always on' },
  { method: 'WS', path: '/v1beta3/crypto/us', describe: 'crypto stream' },
];

export class Streams {
  private readonly endpoints = new Map<string, StreamEndpoint>();
  private readonly sessions = new Set<StreamSession>();
  private sentByGone = 0;
  private readonly options: StreamOptions;
  private readonly server: WebSocketServer;
  /** The trading stream answers pings itself. */
  private readonly tradingServer: WebSocketServer;

  constructor(options: StreamOptions) {
    this.options = options;
    const { stocks, test, crypto, plan } = options;
    const isUnlimited = plan === 'unlimited';
    const add = (
      path: string,
      feed: string,
      market: Market,
      offered: StreamChannel[],
      isEntitled: boolean,
      delayNs = 0n,
    ) => {
      const { ghostMs, connectionLimit } = options;
      const symbolLimit = isUnlimited ? undefined : 30;
      this.endpoints.set(
        path,
        new StreamEndpoint({ path, feed, market, offered, delayNs, isEntitled, symbolLimit, connectionLimit, ghostMs }),
      );
    };
    add('/v2/iex', 'iex', stocks, stockChannels, true);
    add('/v2/sip', 'sip', stocks, stockChannels, isUnlimited);
    add('/v2/delayed_sip', 'delayed_sip', stocks, stockChannels, true, DELAY_NS);
    add('/v1beta1/overnight', 'overnight', stocks, stockChannels, isUnlimited);
    add('/v2/test', 'test', test, testChannels, true);
    add('/v1beta3/crypto/us', 'us', crypto, cryptoChannels, true);
    const perMessageDeflate = { threshold: 1_024, zlibDeflateOptions: { level: 1 }, concurrencyLimit: 4 };
    // A pong must wait for the data before it (stream/session.ts).
    this.server = new WebSocketServer({ noServer: true, autoPong: false, perMessageDeflate });
    this.tradingServer = new WebSocketServer({ noServer: true, perMessageDeflate });
  }

  /** Store index below which messages are public on a stock feed; undefined for an unknown one. */
  visibleOn(feed: string): number | undefined {
    // The night's history goes by the name of the venue.
    const name = feed === 'boats' ? 'overnight' : feed;
    for (const endpoint of this.endpoints.values()) {
      if (endpoint.options.feed === name && endpoint.options.market === this.options.stocks) return endpoint.visible();
    }
    return undefined;
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, trading: TradingSide | undefined): void {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname.replace(/\/$/, '');
    const refuse = (status: string, message: string) => {
      const body = JSON.stringify({ message });
      socket.end(
        `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
      );
    };
    const endpoint = this.endpoints.get(path);
    if (!endpoint && !(path === '/stream' && trading)) {
      refuse('404 Not Found', 'endpoint not found.');
      return;
    }
    if (this.options.faults.take('upgrade_429', { path })) {
      refuse('429 Too Many Requests', 'too many requests.');
      return;
    }
    const refused = this.options.faults.take('upgrade_refused', { path });
    if (refused) {
      const status = refused.number('status', 403);
      refuse(`${status} ${STATUS_CODES[status] ?? 'Refused'}`, 'request is not authorized.');
      return;
    }
    if (!endpoint) {
      this.tradingServer.handleUpgrade(request, socket, head, (opened) => trading?.handleStream(opened, request));
      return;
    }
    this.server.handleUpgrade(request, socket, head, (opened) => {
      const { keys, faults, authDeadlineMs, slowClientBytes } = this.options;
      const session = new StreamSession({
        socket: opened,
        request,
        endpoint,
        keys,
        faults,
        authDeadlineMs,
        slowClientBytes,
      });
      this.sessions.add(session);
      opened.on('close', () => {
        this.sessions.delete(session);
        this.sentByGone += session.sent;
      });
    });
  }

  /** Sends everything that became public. */
  flush(): void {
    for (const session of this.sessions) session.flush();
  }

  /** Authenticated market-stream connections. */
  connections(): number {
    return [...this.sessions].filter((session) => session.isAuthenticated).length;
  }

  /** Data messages sent in the life of this process. */
  sentTotal(): number {
    return [...this.sessions].reduce((sum, session) => sum + session.sent, this.sentByGone);
  }

  close(): void {
    for (const session of this.sessions) session.close();
    this.server.close();
    this.tradingServer.close();
  }
}
