/**
 * The simulator's one port: control, market-data REST, trading REST, and the streams by upgrade. Loopback only.
 * Guarantee: every tick releases what market now has reached, to the trading side first and then to the streams.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { describeError } from '../../lib/service/errors.ts';
import { listen, sendJson } from '../../lib/service/http.ts';
import type { Logger } from '../../lib/service/logging.ts';
import { sleep } from '../../lib/service/machine.ts';
import type { KeyCheck, RouteDescription, TradingSide } from '../contract.ts';
import type { FaultRegistry } from '../faults.ts';
import type { Market } from '../market/market.ts';
import { type ControlOptions, controlRoutes, handleControl } from './control.ts';
import { createMarketRest, marketRoutes } from './market-rest.ts';
import { createRateLimit } from './rate-limit.ts';
import { type Streams, streamRoutes } from './streams.ts';

/** Machine ms between two looks at the clock. */
const TICK_MS = 3;

export interface ServerOptions {
  stocks: Market;
  crypto: Market;
  test: Market;
  streams: Streams;
  trading: TradingSide | undefined;
  keys: KeyCheck;
  faults: FaultRegistry;
  log: Logger;
  port: number;
  knownLastNs: bigint | undefined;
  describeSource: Record<string, unknown>;
}

export interface RunningServer {
  port: number;
  close(): Promise<void>;
}

export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { stocks, crypto, test, streams, trading, keys, faults, log } = options;
  const marketRest = createMarketRest({
    stocks,
    crypto,
    visibleOn: (feed) => streams.visibleOn(feed),
    keys,
    faults,
    rateLimit: createRateLimit(),
  });
  const routes = (): readonly RouteDescription[] => [
    ...controlRoutes,
    ...marketRoutes,
    ...streamRoutes,
    ...(trading?.routes() ?? []),
  ];
  const control: ControlOptions = {
    market: stocks,
    streams,
    faults,
    trading: () => trading,
    routes,
    knownLastNs: options.knownLastNs,
    describeSource: options.describeSource,
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    if (await handleControl(control, request, response, url)) return;
    if (marketRest(request, response, url)) return;
    if (trading && (await trading.handleHttp(request, response, url))) return;
    sendJson(response, 404, { code: 40410000, message: 'endpoint not found.' });
  };

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      log.error({ err: error, path: request.url?.split('?')[0] }, 'request failed');
      if (response.headersSent) response.destroy();
      else sendJson(response, 500, { code: 50010000, message: 'internal server error occurred' });
    });
  });
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', (error) => log.debug({ err: describeError(error) }, 'connection failed'));
    streams.upgrade(request, socket, head, trading);
  });
  const port = await listen(server, options.port);

  const stopping = new AbortController();
  const ticking = (async () => {
    while (!stopping.signal.aborted) {
      for (const market of [stocks, test, crypto]) market.pump();
      streams.flush();
      await sleep(TICK_MS, stopping.signal);
    }
  })();

  return {
    port,
    close: async () => {
      stopping.abort();
      await ticking;
      streams.close();
      await trading?.close();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        setTimeout(resolve, 1_000).unref();
      });
    },
  };
}
