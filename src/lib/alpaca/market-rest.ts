/**
 * Market-data REST for repair: trades, quotes and minute bars of a stretch of time, every page to its end.
 * Guarantees: an answer other than 2xx is a failure, never an empty market; 429 and 5xx are retried by their headers until the
 * signal aborts; item texts are unchanged. Facts: alpaca-protocol 3, spec ingest 2.5. All waits here are machine time.
 */

import { historyFeedOf, historyPathOf } from '../market/feeds.ts';
import { formatTimestampNs } from '../market/time.ts';
import { TorghutError } from '../service/errors.ts';
import { backoffMs, sleep } from '../service/machine.ts';
import type { ScannedMessage } from './frame-scanner.ts';
import { readRestPage } from './rest-page.ts';

export type HistoryKind = 'trades' | 'quotes' | 'bars';

const typeOfKind = { trades: 't', quotes: 'q', bars: 'b' } as const;

export interface MarketRestOptions {
  /** For example https://data.alpaca.markets */
  baseUrl: string;
  key: string;
  secret: string;
  feed: string;
  random: () => number;
  requestTimeoutMs: number;
  /** Called once per answer that has to be asked for again. */
  onRetry?(status: number | undefined, delayMs: number): void;
}

export interface HistoryQuery {
  kind: HistoryKind;
  symbols: readonly string[];
  /** Inclusive, market nanoseconds. */
  fromNs: bigint;
  /** Inclusive, market nanoseconds. */
  toNs: bigint;
}

export interface MarketRest {
  /**
   * Everything of a stretch, in the order of the pages (symbol by symbol).
   * @throws `market_data_refused` (no use to try again), `market_data_unreachable` (aborted while failing)
   */
  history(query: HistoryQuery, signal: AbortSignal): Promise<ScannedMessage[]>;
}

const PAGE_LIMIT = 10_000;

function refused(kind: string, status: number, body: string): TorghutError {
  let reason = body.slice(0, 200);
  try {
    const message = (JSON.parse(body) as { message?: unknown }).message;
    if (typeof message === 'string') reason = message;
  } catch {
    // Some gateways answer with plain text.
  }
  return new TorghutError({
    code: 'market_data_refused',
    what: `the market-data service refused ${kind} with HTTP ${status}`,
    why: reason,
    next: 'check the keys, the feed and what the plan allows',
  });
}

/** Machine ms that the answer asks to wait; undefined when it says nothing. */
function askedWaitMs(headers: Headers): number | undefined {
  const after = Number(headers.get('retry-after'));
  return headers.get('retry-after') !== null && Number.isFinite(after) ? Math.min(60_000, after * 1_000) : undefined;
}

export function createMarketRest(options: MarketRestOptions): MarketRest {
  const headers = { 'APCA-API-KEY-ID': options.key, 'APCA-API-SECRET-KEY': options.secret };

  const page = async (kind: HistoryKind, url: string, signal: AbortSignal) => {
    let last: unknown;
    for (let attempt = 1; !signal.aborted; attempt++) {
      let delay = backoffMs(attempt, 100, 5_000, options.random);
      let status: number | undefined;
      try {
        const limit = AbortSignal.timeout(options.requestTimeoutMs);
        const response = await fetch(url, { headers, signal: AbortSignal.any([signal, limit]) });
        status = response.status;
        const body = await response.text();
        if (response.ok) return readRestPage(body, kind, typeOfKind[kind]);
        if (status !== 429 && status < 500) throw refused(kind, status, body);
        last = `HTTP ${status}`;
        delay = askedWaitMs(response.headers) ?? delay;
      } catch (error) {
        if (error instanceof TorghutError) throw error;
        last = error;
      }
      if (signal.aborted) break;
      options.onRetry?.(status, delay);
      await sleep(delay, signal);
    }
    throw new TorghutError({
      code: 'market_data_unreachable',
      what: `the market-data service did not answer for ${kind}`,
      why: last === undefined ? 'the request was cancelled' : String((last as Error).message ?? last),
      next: 'check the address and the service; the gap stays recorded',
      canRetry: true,
    });
  };

  return {
    history: async (query, signal) => {
      const found: ScannedMessage[] = [];
      let token: string | undefined;
      do {
        const parameters = new URLSearchParams({
          symbols: query.symbols.join(','),
          start: formatTimestampNs(query.fromNs),
          end: formatTimestampNs(query.toNs),
          limit: String(PAGE_LIMIT),
          sort: 'asc',
        });
        const feed = historyFeedOf(options.feed);
        if (feed !== undefined) parameters.set('feed', feed);
        if (query.kind === 'bars') parameters.set('timeframe', '1Min');
        if (token !== undefined) parameters.set('page_token', token);
        const url = `${options.baseUrl}/${historyPathOf(options.feed, query.kind)}?${parameters}`;
        const answer = await page(query.kind, url, signal);
        for (const message of answer.messages) found.push(message);
        token = answer.nextPageToken;
      } while (token !== undefined);
      return found;
    },
  };
}
