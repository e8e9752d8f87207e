/**
 * Parameters of the history REST: symbols, start, end, limit, sort, page_token, timeframe.
 * Guarantee: a page token names the last item given, so no item is given twice or left out while pages follow each other.
 * Facts: alpaca-protocol 3 (pages are symbol-major, limit 1 to 10,000 counts over all symbols, both ends included).
 */
import { newYorkInstant, newYorkTime } from '../../lib/market/calendar.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';

/** A refusal with its HTTP status and message. */
export class RequestError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface HistoryParameters {
  /** Sorted and distinct. */
  symbols: string[];
  startNs: bigint;
  endNs: bigint;
  limit: number;
  isDescending: boolean;
  token: PageToken | undefined;
}

export interface PageToken {
  symbol: string;
  eventNs: bigint;
  /** Store index of the last message given; for aggregated bars the bar's start alone counts. */
  index: number;
}

export function encodeToken(token: PageToken): string {
  return Buffer.from(`${token.symbol}|${token.eventNs}|${token.index}`).toString('base64');
}

function decodeToken(text: string): PageToken {
  const match = /^([^|]+)\|(-?\d+)\|(\d+)$/.exec(Buffer.from(text, 'base64').toString('latin1'));
  if (!match) throw new RequestError(400, 'invalid page_token');
  return { symbol: match[1] as string, eventNs: BigInt(match[2] as string), index: Number(match[3]) };
}

/** RFC 3339, or a date, which means its midnight (New York for stocks, UTC for crypto). */
function timeParameter(url: URL, name: string, zone: 'new_york' | 'utc'): bigint | undefined {
  const text = url.searchParams.get(name);
  if (text === null || text === '') return undefined;
  const isDate = /^\d{4}-\d{2}-\d{2}$/.test(text);
  const ns = parseTimestampNs(isDate ? `${text}T00:00:00Z` : text);
  if (ns === undefined)
    throw new RequestError(400, `invalid ${name}: ${JSON.stringify(text)} is neither RFC-3339 nor YYYY-MM-DD`);
  return isDate && zone === 'new_york' ? newYorkInstant(text, 0) : ns;
}

export function symbolsParameter(url: URL, fromPath: string | undefined): string[] {
  const text = fromPath ?? url.searchParams.get('symbols') ?? '';
  const symbols = [...new Set(text.split(',').map((symbol) => symbol.trim()))].filter(Boolean).sort();
  if (symbols.length === 0) throw new RequestError(400, 'symbols is required');
  return symbols;
}

export function historyParameters(
  url: URL,
  fromPath: string | undefined,
  nowNs: bigint,
  zone: 'new_york' | 'utc',
): HistoryParameters {
  const limitText = url.searchParams.get('limit');
  const limit = limitText === null || limitText === '' ? 1_000 : Number(limitText);
  if (!Number.isInteger(limit) || limit < 1 || limit > 10_000) {
    throw new RequestError(400, 'invalid limit: it must be between 1 and 10000');
  }
  const sort = url.searchParams.get('sort') ?? 'asc';
  if (sort !== 'asc' && sort !== 'desc') throw new RequestError(400, 'invalid sort: it must be asc or desc');
  const tokenText = url.searchParams.get('page_token');
  const { date } = newYorkTime(nowNs);
  const dayStartNs = zone === 'utc' ? nowNs - (nowNs % 86_400_000_000_000n) : newYorkInstant(date, 0);
  const startNs = timeParameter(url, 'start', zone) ?? dayStartNs;
  const endNs = timeParameter(url, 'end', zone) ?? nowNs;
  if (endNs < startNs) throw new RequestError(400, 'end should not be before start');
  return {
    symbols: symbolsParameter(url, fromPath),
    startNs,
    endNs,
    limit,
    isDescending: sort === 'desc',
    token: tokenText ? decodeToken(tokenText) : undefined,
  };
}
