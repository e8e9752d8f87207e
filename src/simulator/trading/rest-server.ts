/**
 * The mechanics around the trading routes: keys, rate limit, body, faults, error bodies.
 * Guarantees: every answer carries the X-RateLimit headers; every POST of an order that was read is in the journal before it
 * is looked at, with its client order id and arrival times, and its outcome after; no error leaves as anything but Alpaca's
 * body, unless a fault wants it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { systemClock } from '../../lib/service/clock.ts';
import { describeError } from '../../lib/service/errors.ts';
import { sleep } from '../../lib/service/machine.ts';
import type { KeyCheck } from '../contract.ts';
import type { FaultHit, FaultRegistry } from '../faults.ts';
import type { Broker } from './broker.ts';
import { BrokerError, invalidParameter, rateLimited, unauthorized } from './broker-error.ts';
import type { OrderLog } from './order-log.ts';
import type { RateLimit } from './rate-limit.ts';
import { type RouteAnswer, type TradingRoute, tradingRoutes } from './routes.ts';

const MAX_BODY_BYTES = 1_000_000;

export interface RestParts {
  broker: Broker;
  log: OrderLog;
  faults: FaultRegistry;
  keys: KeyCheck;
  limit: RateLimit;
  logger: Logger;
}

interface Outcome {
  status: number;
  body?: unknown;
  /** Sent as it is instead of JSON. */
  html?: string;
  /** The connection is kept open and nothing is ever sent. */
  isSilent?: boolean;
  fault?: string;
}

const faultText: Record<number, { code: number; message: string }> = {
  500: { code: 50010000, message: 'internal server error' },
  503: { code: 50310000, message: 'service unavailable' },
  504: { code: 50410000, message: 'request timed out' },
};

const html = (status: number) =>
  `<html>\r\n<head><title>${status} Bad Gateway</title></head>\r\n<body>\r\n<center><h1>${status} Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n`;

export class RestServer {
  readonly #parts: RestParts;
  readonly #wall = systemClock();

  constructor(parts: RestParts) {
    this.#parts = parts;
  }

  /** Answers a request of a trading route; false when the path is none. */
  async handle(request: IncomingMessage, response: ServerResponse, url: URL): Promise<boolean> {
    const named = tradingRoutes.flatMap((route) => {
      const params = matchPath(route.path, url.pathname);
      return params ? [{ route, params }] : [];
    });
    if (named.length === 0) return false;
    const { limit, keys } = this.#parts;
    const isWithin = limit.admit(keys.keyIdOf(request), response);
    const found = named.find(({ route }) => route.method === request.method);
    let outcome: Outcome;
    try {
      const body = await readBody(request);
      if (!keys.acceptsRequest(request)) throw unauthorized();
      if (!isWithin) throw rateLimited();
      if (!found) throw new BrokerError(405, 40510000, 'method not allowed');
      outcome = await this.#call(found.route, found.params, url, body, keys.keyIdOf(request));
    } catch (error) {
      outcome = this.#refusal(error);
    }
    send(response, outcome);
    return true;
  }

  /** Runs a route, a POST of an order with its two journal entries around it. */
  async #call(
    route: TradingRoute,
    params: Record<string, string>,
    url: URL,
    text: string,
    keyId: string,
  ): Promise<Outcome> {
    const isOrder = route.method === 'POST';
    const request = isOrder ? this.#received(text, keyId) : undefined;
    const outcome = await this.#withFaults(route, url, () => {
      const call = {
        broker: this.#parts.broker,
        faults: this.#parts.faults,
        params,
        query: url.searchParams,
        body: parseJson(text),
      };
      return route.answer(request === undefined ? call : { ...call, request });
    });
    if (request !== undefined) {
      const code = (outcome.body as { code?: number } | undefined)?.code;
      const id = (outcome.body as { id?: string } | undefined)?.id;
      this.#parts.log.append('post_answered', this.#parts.broker.engine.settle(), {
        request,
        http_status: outcome.isSilent ? 0 : outcome.status,
        ...(code === undefined ? {} : { code }),
        ...(id === undefined ? {} : { order_id: id }),
        ...(outcome.fault === undefined ? {} : { fault: outcome.fault }),
      });
    }
    return outcome;
  }

  /** Who asked is written down too: the journal alone then shows who submitted what. */
  #received(text: string, keyId: string): number {
    const { broker, log } = this.#parts;
    const request = broker.state.requests + 1;
    let body: unknown;
    try {
      body = parseJson(text);
    } catch {
      body = text;
    }
    const id = (body as { client_order_id?: unknown } | null | undefined)?.client_order_id;
    log.append('post_received', broker.engine.settle(), {
      request,
      machine_at: new Date(this.#wall.nowMs()).toISOString(),
      key_id: keyId,
      client_order_id: typeof id === 'string' ? id : null,
      body,
    });
    return request;
  }

  async #withFaults(route: TradingRoute, url: URL, act: () => RouteAnswer): Promise<Outcome> {
    const strike = (name: string) => this.#parts.faults.take(name, { method: route.method, path: url.pathname });
    const slow = strike('slow');
    if (slow && slow.text('when', 'before') === 'before') await sleep(slow.number('delay_ms', 1000));
    if (strike('http_429')) return this.#refusal(rateLimited(), 'http_429');
    const before = strike('http_5xx_before');
    if (before) return failure(before, 500);
    const page = strike('html_error');
    if (page) return { status: page.number('status', 502), html: html(page.number('status', 502)), fault: page.name };
    let outcome: Outcome;
    try {
      outcome = act();
    } catch (error) {
      outcome = this.#refusal(error);
    }
    if (slow && slow.text('when', 'before') === 'after') await sleep(slow.number('delay_ms', 1000));
    const isChange = route.method !== 'GET' && outcome.status < 300;
    const after = isChange ? strike('http_5xx_after') : undefined;
    if (after) return failure(after, 504);
    const silent = isChange ? strike('post_timeout_after') : undefined;
    return silent ? { ...outcome, isSilent: true, fault: silent.name } : outcome;
  }

  #refusal(error: unknown, fault?: string): Outcome {
    if (error instanceof BrokerError) {
      return { status: error.status, body: error.body(), ...(fault === undefined ? {} : { fault }) };
    }
    this.#parts.logger.error({ err: describeError(error) }, 'a trading request failed');
    return { status: 500, body: faultText[500] };
  }
}

function failure(hit: FaultHit, fallback: number): Outcome {
  const status = hit.number('status', fallback);
  return { status, body: faultText[status] ?? { code: status * 100_000, message: 'error' }, fault: hit.name };
}

function send(response: ServerResponse, outcome: Outcome): void {
  if (outcome.isSilent || response.destroyed) return;
  if (outcome.html !== undefined) {
    response.writeHead(outcome.status, { 'content-type': 'text/html' }).end(outcome.html);
    return;
  }
  if (outcome.body === undefined) {
    response.writeHead(outcome.status).end();
    return;
  }
  response.writeHead(outcome.status, { 'content-type': 'application/json; charset=UTF-8' });
  response.end(JSON.stringify(outcome.body));
}

/** Variable parts of a path that fits a pattern; undefined when it does not. */
export function matchPath(pattern: string, path: string): Record<string, string> | undefined {
  const names = pattern.split('/');
  const parts = path.replace(/\/+$/, '').split('/');
  if (names.length !== parts.length) return undefined;
  const params: Record<string, string> = {};
  for (const [at, name] of names.entries()) {
    const given = parts[at] as string;
    const variable = /^\{(.+)\}$/.exec(name)?.[1];
    if (variable === undefined && name !== given) return undefined;
    if (variable === undefined) continue;
    try {
      params[variable] = decodeURIComponent(given);
    } catch {
      return undefined;
    }
    if (params[variable] === '') return undefined;
  }
  return params;
}

/** @throws BrokerError 400 for text that is no JSON */
function parseJson(text: string): unknown {
  if (text.trim() === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    throw new BrokerError(400, 40010000, 'request body format is invalid');
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    chunks.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    if (size > MAX_BODY_BYTES) throw invalidParameter('request body is too large');
  }
  return Buffer.concat(chunks).toString('utf8');
}
