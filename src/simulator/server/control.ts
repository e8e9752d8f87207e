/**
 * The simulator's own routes under /_sim/: status, faults, routes. The journal belongs to the trading side.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { formatTimestampNs } from '../../lib/market/time.ts';
import { TorghutError } from '../../lib/service/errors.ts';
import { sendJson } from '../../lib/service/http.ts';
import type { RouteDescription, TradingSide } from '../contract.ts';
import type { FaultRegistry } from '../faults.ts';
import type { Market } from '../market/market.ts';
import { type KindLetter, kindCode } from '../market/message-line.ts';
import type { Streams } from './streams.ts';

export const controlRoutes: readonly RouteDescription[] = [
  { method: 'GET', path: '/_sim/status', describe: 'counters, market now, end of the input' },
  { method: 'GET', path: '/_sim/faults', describe: 'active and known faults' },
  { method: 'POST', path: '/_sim/faults', describe: 'add a fault: name, count, probability and its parameters' },
  { method: 'DELETE', path: '/_sim/faults', describe: 'remove the faults of ?name=, or all' },
  { method: 'GET', path: '/_sim/routes', describe: 'every route and stream of the simulator' },
  { method: 'GET', path: '/healthz', describe: 'is the process alive' },
  { method: 'GET', path: '/readyz', describe: 'is the simulator at market now' },
];

export interface ControlOptions {
  market: Market;
  streams: Streams;
  faults: FaultRegistry;
  trading(): TradingSide | undefined;
  routes(): readonly RouteDescription[];
  /** Last event time where the source is known to end there before it is read. */
  knownLastNs: bigint | undefined;
  describeSource: Record<string, unknown>;
}

const counted: Record<string, KindLetter> = {
  trades: 't',
  quotes: 'q',
  bars: 'b',
  updated_bars: 'u',
  daily_bars: 'd',
  statuses: 's',
  lulds: 'l',
  corrections: 'c',
  cancels: 'x',
  imbalances: 'i',
};

export function simulatorStatus(options: ControlOptions): Record<string, unknown> {
  const { market, streams } = options;
  const end = market.end();
  const lastNs = end.lastEventNs ?? options.knownLastNs;
  const reachedNs = market.reachedNs();
  const trading = options.trading();
  const { orders, ...rest } = trading?.status() ?? { orders: 0 };
  return {
    input: Object.fromEntries(
      Object.entries(counted).map(([name, letter]) => [name, market.counts[kindCode(letter)] ?? 0]),
    ),
    sent_total: streams.sentTotal(),
    end_of_input: end.hasEnded,
    last_event_ts: lastNs === undefined ? null : formatTimestampNs(lastNs),
    // Bars and updates that are still to come after the last event.
    pending: end.pending,
    market_now: formatTimestampNs(market.nowNs()),
    reached: formatTimestampNs(reachedNs),
    source: options.describeSource,
    symbols: market.symbols(),
    connections: streams.connections(),
    orders,
    trading: rest,
  };
}

/** Answers a control request; false when the path is none. */
export async function handleControl(
  options: ControlOptions,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<boolean> {
  const { faults } = options;
  switch (`${request.method} ${url.pathname}`) {
    case 'GET /_sim/status':
      sendJson(response, 200, simulatorStatus(options));
      return true;
    case 'GET /_sim/routes':
      sendJson(response, 200, options.routes());
      return true;
    case 'GET /_sim/faults':
      sendJson(response, 200, { active: faults.list(), known: faults.known() });
      return true;
    case 'DELETE /_sim/faults':
      sendJson(response, 200, { removed: faults.remove(url.searchParams.get('name') ?? undefined) });
      return true;
    case 'POST /_sim/faults': {
      const body = await readJson(request);
      try {
        sendJson(response, 200, faults.add(body));
      } catch (error) {
        if (!(error instanceof TorghutError)) throw error;
        sendJson(response, 422, { error: { code: error.code, message: error.message, next: error.next } });
      }
      return true;
    }
    case 'GET /healthz':
    case 'GET /readyz':
      sendJson(response, 200, { ready: true });
      return true;
    default:
      return false;
  }
}

const BODY_LIMIT = 65_536;

async function readJson(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > BODY_LIMIT) return undefined;
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString('utf8'));
  } catch {
    return undefined;
  }
}
