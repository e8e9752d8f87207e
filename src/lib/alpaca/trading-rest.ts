/**
 * Reads of the trading REST API: free for everybody, retried (429, 5xx, time-outs: 3 tries, 0.5 to 8 s with jitter), inside
 * the request budget. Mutations are in trading-mutations.ts and need the firewall's capability.
 */
import { randomInt } from 'node:crypto';
import { ZodError } from 'zod';
import { describeError, TorghutError, unreachableError } from '../service/errors.ts';
import { registerSecret } from '../service/logging.ts';
import { backoffMs, sleep } from '../service/machine.ts';
import type { RequestBudget } from './trading-budget.ts';
import { parseErrorBody } from './trading-errors.ts';
import {
  type BrokerAccount, type BrokerAsset, type BrokerClock, type BrokerOrder, type BrokerPosition, type CalendarDay,
  type FillActivity, parseAccount, parseAsset, parseCalendar, parseClock, parseFillActivities, parseOrder, parseOrders,
  parsePositions,
} from './trading-schema.ts'; // biome-ignore format: one list

export interface TradingConnection {
  /** From checkBrokerHost. */
  baseUrl: string;
  keyId: string;
  secretKey: string;
  budget: RequestBudget;
  /** Machine ms for one read (default 10 000). */
  readTimeoutMs?: number;
  /** Tries of a read (default 3). */
  readTries?: number;
  /** First wait between tries, machine ms (default 500). */
  retryBaseMs?: number;
}

export interface OrderPage {
  status: 'open' | 'closed' | 'all';
  /** Exclusive, on the submission time, RFC 3339. */
  after?: string;
  until?: string;
  direction?: 'asc' | 'desc';
  /** 1 to 500 (default 500). */
  limit?: number;
}

export interface TradingReads {
  account(signal?: AbortSignal): Promise<BrokerAccount>;
  positions(signal?: AbortSignal): Promise<BrokerPosition[]>;
  orders(page: OrderPage, signal?: AbortSignal): Promise<BrokerOrder[]>;
  /** undefined on a definite 404. */
  orderById(id: string, signal?: AbortSignal): Promise<BrokerOrder | undefined>;
  orderByClientId(clientOrderId: string, signal?: AbortSignal): Promise<BrokerOrder | undefined>;
  /** Fills in ascending order; `pageToken` is the id of the last one of the page before. */
  fillActivities(
    page: { after?: string; pageToken?: string; pageSize?: number },
    signal?: AbortSignal,
  ): Promise<FillActivity[]>;
  clock(signal?: AbortSignal): Promise<BrokerClock>;
  calendar(range: { start: string; end: string }, signal?: AbortSignal): Promise<CalendarDay[]>;
  /** undefined on a definite 404. */
  asset(symbol: string, signal?: AbortSignal): Promise<BrokerAsset | undefined>;
}

/** Headers of every request; the secret is masked in every log line from here on. */
export function tradingHeaders(connection: Pick<TradingConnection, 'keyId' | 'secretKey'>): Record<string, string> {
  registerSecret(connection.secretKey);
  return {
    'APCA-API-KEY-ID': connection.keyId,
    'APCA-API-SECRET-KEY': connection.secretKey,
    accept: 'application/json',
  };
}

/** Machine ms until the broker's limit begins anew, by its own clock; undefined when it does not say. */
function untilResetMs(response: Response): number | undefined {
  const reset = Number(response.headers.get('x-ratelimit-reset'));
  const serverMs = Date.parse(response.headers.get('date') ?? '');
  if (!Number.isFinite(reset) || reset <= 0 || !Number.isFinite(serverMs)) return undefined;
  return Math.max(0, reset * 1_000 - serverMs);
}

/** How long the broker asks to wait (machine ms), by Retry-After, or by its own clock in X-RateLimit-Reset. */
function askedWaitMs(response: Response): number | undefined {
  const after = Number(response.headers.get('retry-after'));
  if (Number.isFinite(after) && after > 0) return after * 1_000;
  return untilResetMs(response);
}

const MAX_WAIT_MS = 8_000;

function unreachable(path: string, why: string, cause?: unknown): TorghutError {
  return unreachableError({
    code: 'broker_unreachable',
    what: `the broker did not answer GET ${path}`,
    why,
    next: 'check APCA_API_BASE_URL and the network; the read is done again at the next pass',
    cause,
  });
}

export function openTradingReads(connection: TradingConnection): TradingReads {
  const headers = tradingHeaders(connection);
  const { budget, readTimeoutMs = 10_000, readTries = 3, retryBaseMs = 500 } = connection;
  const random = () => randomInt(1_000_000) / 1_000_000;

  /** undefined on 404. @throws `broker_unreachable`, `broker_auth`, `broker_refused`, `broker_reply_unreadable` */
  const get = async <T>(
    path: string,
    query: Record<string, string>,
    parse: (value: unknown) => T,
    signal?: AbortSignal,
  ) => {
    const search = new URLSearchParams(query).toString();
    const url = `${connection.baseUrl}${path}${search ? `?${search}` : ''}`;
    let failure: TorghutError | undefined;
    for (let attempt = 1; attempt <= readTries; attempt++) {
      if (!(await budget.take('normal', signal))) throw unreachable(path, 'the call was given up');
      let waitMs = backoffMs(attempt, retryBaseMs, MAX_WAIT_MS, random);
      try {
        const limit = AbortSignal.timeout(readTimeoutMs);
        const response = await fetch(url, { headers, signal: signal ? AbortSignal.any([signal, limit]) : limit });
        const text = await response.text();
        const remaining = response.headers.get('x-ratelimit-remaining');
        if (remaining !== null && /^\d+$/.test(remaining)) budget.heard(Number(remaining), untilResetMs(response) ?? 0);
        if (response.ok) return parse(JSON.parse(text));
        if (response.status === 404 && parseErrorBody(text)) return undefined;
        if (response.status !== 429 && response.status !== 408 && response.status < 500)
          throw refused(path, response.status, text);
        failure = unreachable(path, `HTTP ${response.status}`);
        waitMs = Math.min(MAX_WAIT_MS, askedWaitMs(response) ?? waitMs);
      } catch (error) {
        if (error instanceof TorghutError) throw error;
        if (error instanceof ZodError || error instanceof SyntaxError) throw unreadable(path, error);
        failure = unreachable(path, describeError(error), error);
      }
      if (signal?.aborted) break;
      if (attempt < readTries) await sleep(waitMs, signal);
    }
    throw failure ?? unreachable(path, 'the call was given up');
  };

  const getExisting = async <T>(
    path: string,
    query: Record<string, string>,
    parse: (value: unknown) => T,
    signal?: AbortSignal,
  ) => {
    const value = await get(path, query, parse, signal);
    if (value === undefined) throw refused(path, 404, '');
    return value;
  };

  return {
    account: (signal) => getExisting('/v2/account', {}, parseAccount, signal),
    positions: (signal) => getExisting('/v2/positions', {}, parsePositions, signal),
    orders: (page, signal) => {
      const query: Record<string, string> = { status: page.status, limit: String(page.limit ?? 500) };
      if (page.after !== undefined) query.after = page.after;
      if (page.until !== undefined) query.until = page.until;
      if (page.direction !== undefined) query.direction = page.direction;
      return getExisting('/v2/orders', query, parseOrders, signal);
    },
    orderById: (id, signal) => get(`/v2/orders/${encodeURIComponent(id)}`, {}, parseOrder, signal),
    orderByClientId: (clientOrderId, signal) =>
      get('/v2/orders:by_client_order_id', { client_order_id: clientOrderId }, parseOrder, signal),
    fillActivities: (page, signal) => {
      const query: Record<string, string> = { direction: 'asc', page_size: String(page.pageSize ?? 100) };
      if (page.after !== undefined) query.after = page.after;
      if (page.pageToken !== undefined) query.page_token = page.pageToken;
      return getExisting('/v2/account/activities/FILL', query, parseFillActivities, signal);
    },
    clock: (signal) => getExisting('/v2/clock', {}, parseClock, signal),
    calendar: (range, signal) =>
      getExisting('/v2/calendar', { start: range.start, end: range.end }, parseCalendar, signal),
    asset: (symbol, signal) => get(`/v2/assets/${encodeURIComponent(symbol)}`, {}, parseAsset, signal),
  };
}

function refused(path: string, status: number, text: string): TorghutError {
  const isAuth = status === 401;
  return new TorghutError({
    code: isAuth ? 'broker_auth' : 'broker_refused',
    what: `the broker refused GET ${path}`,
    why: `HTTP ${status}${text ? `: ${parseErrorBody(text)?.message ?? 'no readable message'}` : ''}`,
    next: isAuth
      ? 'check APCA_API_KEY_ID and APCA_API_SECRET_KEY and the environment they belong to'
      : 'see the message',
    exitCode: isAuth ? 4 : 1,
  });
}

function unreadable(path: string, error: Error): TorghutError {
  return new TorghutError({
    code: 'broker_reply_unreadable',
    what: `cannot read the broker's answer to GET ${path}`,
    why: error.message.slice(0, 300),
    next: 'compare the answer with the documentation of the trading API',
    cause: error,
  });
}
