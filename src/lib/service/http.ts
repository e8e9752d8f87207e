/**
 * The small HTTP endpoint of every daemon: /healthz, /readyz, /metrics, /status. Loopback unless told otherwise.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { TorghutError, usageError } from './errors.ts';

export interface DaemonEndpoint {
  /** Process-only liveness. */
  isAlive(): boolean;
  /** Readiness with the reasons that keep it false, as a JSON object. */
  readiness(): { ready: boolean } & Record<string, unknown>;
  /** Counters and positions of the daemon as a JSON object. */
  status(): Record<string, unknown>;
  metrics?: Registry;
  /** Further routes, `METHOD /path`. */
  routes?: Record<string, (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void> | void>;
}

export interface RunningEndpoint {
  url: string;
  port: number;
  close(): Promise<void>;
}

/** Sends a value as JSON; bigints become decimal strings. */
export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? item.toString() : item));
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${body}\n`);
}

/** @throws `port_in_use` (exit 2) when the port is taken. */
export async function listen(server: Server, port: number, host = '127.0.0.1'): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE' && error.code !== 'EACCES') return reject(error);
      reject(
        usageError({
          code: 'port_in_use',
          what: `cannot listen on ${host}:${port}`,
          why: error.code === 'EACCES' ? 'the port needs more rights' : 'another process listens there',
          next: 'choose another port, or 0 for a free one',
          cause: error,
        }),
      );
    });
    server.listen(port, host, resolve);
  });
  return (server.address() as AddressInfo).port;
}

/** Serves a daemon's endpoint. @param port 0 picks a free one */
export async function serveEndpoint(
  endpoint: DaemonEndpoint,
  port: number,
  host = '127.0.0.1',
): Promise<RunningEndpoint> {
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const route = endpoint.routes?.[`${request.method} ${url.pathname}`];
    if (route) return route(request, response, url);
    if (url.pathname === '/healthz') {
      const alive = endpoint.isAlive();
      response.writeHead(alive ? 200 : 503, { 'content-type': 'text/plain' });
      return void response.end(alive ? 'ok\n' : 'not_alive\n');
    }
    if (url.pathname === '/readyz') {
      const readiness = endpoint.readiness();
      return sendJson(response, readiness.ready ? 200 : 503, readiness);
    }
    if (url.pathname === '/status') return sendJson(response, 200, endpoint.status());
    if (url.pathname === '/metrics' && endpoint.metrics) {
      response.writeHead(200, { 'content-type': endpoint.metrics.contentType });
      return void response.end(await endpoint.metrics.metrics());
    }
    sendJson(response, 404, { error: { code: 'not_found', message: `no route ${request.method} ${url.pathname}` } });
  };
  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      if (response.headersSent) {
        response.destroy();
        return;
      }
      const code = error instanceof TorghutError ? error.code : 'unexpected';
      sendJson(response, 500, { error: { code, message: (error as Error).message } });
    });
  });
  const bound = await listen(server, port, host);
  return {
    url: `http://${host}:${bound}`,
    port: bound,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
