/**
 * What may be traded at all (spec trading 2.5): a list of the environment, or one that a service keeps.
 * Guarantees: the allowlist bounds every source; a service that fails is bridged with its last answer for a while, then
 * nothing may be opened; an answer is never more than the service said.
 */
import { z } from 'zod';
import type { Clock } from '../service/clock.ts';
import { describeError } from '../service/errors.ts';

export type UniverseStatus = 'ok' | 'degraded' | 'error';

export interface Universe {
  symbols: readonly string[] | 'all';
  status: UniverseStatus;
  /** Stable code of how it came to be. */
  reason: string;
  /** Market ms of the answer that it rests on; undefined for a static list. */
  asOfMs: number | undefined;
  /** Nothing may be opened: the source is out of date, or gave nothing although it must. */
  isBlocked: boolean;
}

export interface UniverseSource {
  readonly now: Universe;
  /** Asks the service when its answer is due. Never throws. */
  refresh(signal?: AbortSignal): Promise<Universe>;
}

type Symbols = readonly string[] | 'all';

const symbol = z
  .string()
  .trim()
  .transform((text) => text.toUpperCase());
const bodySchema = z.union([
  z.looseObject({ symbols: z.array(symbol) }).transform(({ symbols }) => symbols),
  z
    .looseObject({ items: z.array(z.looseObject({ symbol, enabled: z.boolean().default(true) })) })
    .transform(({ items }) => items.filter((item) => item.enabled).map((item) => item.symbol)),
]);
const isSymbol = (text: string): boolean => /^[A-Z][A-Z0-9./]{0,15}$/.test(text);

export function intersect(a: Symbols, b: Symbols): Symbols {
  if (a === 'all') return b;
  if (b === 'all') return a;
  return a.filter((item) => b.includes(item));
}

export function staticUniverse(symbols: Symbols): UniverseSource {
  const now: Universe = { symbols, status: 'ok', reason: 'static', asOfMs: undefined, isBlocked: false };
  return { now, refresh: () => Promise.resolve(now) };
}

export interface UrlUniverseOptions {
  url: string | undefined;
  clock: Clock;
  /** Market seconds. */
  cacheSeconds: number;
  maxStaleSeconds: number;
  /** Machine ms of one request. */
  timeoutMs: number;
  allowlist: Symbols;
  /** The static list, used when the service is gone for too long; undefined: nothing then. */
  fallback: Symbols | undefined;
  /** An empty answer blocks the cycle. */
  requireNonEmpty: boolean;
  log: { warn(fields: object, message: string): void };
}

type Fetched = { ok: true; symbols: readonly string[] } | { ok: false; reason: string; why: string };

/** One look at the service. */
async function ask(options: UrlUniverseOptions, signal: AbortSignal | undefined): Promise<Fetched> {
  const failed = (reason: string, why: string): Fetched => ({ ok: false, reason, why });
  if (options.url === undefined) return failed('url_missing', 'UNIVERSE_SYMBOLS_URL is not set');
  if (!URL.canParse(options.url)) return failed('url_invalid_host', 'it is no URL');
  const url = new URL(options.url);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return failed('url_invalid_scheme', url.protocol);
  const limit = AbortSignal.timeout(options.timeoutMs);
  let body: unknown;
  try {
    const response = await fetch(url, { signal: signal ? AbortSignal.any([signal, limit]) : limit });
    if (!response.ok) return failed('http_error', `HTTP ${response.status}`);
    body = await response.json();
  } catch (error) {
    return failed(error instanceof SyntaxError ? 'payload_decode_failed' : 'fetch_failed', describeError(error));
  }
  const parsed = bodySchema.safeParse(body);
  if (!parsed.success) return failed('payload_decode_failed', 'neither {symbols:[…]} nor {items:[{symbol,enabled}]}');
  const symbols = [...new Set(parsed.data.filter(isSymbol))];
  if (symbols.length === 0) return failed('payload_empty', 'no symbol in the answer');
  const allowed = intersect(symbols, options.allowlist);
  if (allowed === 'all' || allowed.length === 0) {
    return failed('payload_no_allowed_symbols', 'none of its symbols is in TRADING_UNIVERSE_SYMBOL_ALLOWLIST');
  }
  return { ok: true, symbols: allowed };
}

export function urlUniverse(options: UrlUniverseOptions): UniverseSource {
  const { clock, cacheSeconds, maxStaleSeconds } = options;
  const blocked = options.requireNonEmpty;
  let good: { symbols: readonly string[]; atMs: number } | undefined;
  let askedAtMs: number | undefined;
  let now: Universe = { symbols: [], status: 'error', reason: 'not_asked_yet', asOfMs: undefined, isBlocked: blocked };

  const without = (reason: string, nowMs: number): Universe => {
    if (good && nowMs - good.atMs <= maxStaleSeconds * 1_000) {
      const { symbols, atMs: asOfMs } = good;
      return { symbols, status: 'degraded', reason: `${reason}_using_stale_cache`, asOfMs, isBlocked: false };
    }
    if (options.fallback !== undefined) {
      const symbols = intersect(options.fallback, options.allowlist);
      const isBlocked = blocked && symbols !== 'all' && symbols.length === 0;
      return { symbols, status: 'degraded', reason: `${reason}_using_static_fallback`, asOfMs: undefined, isBlocked };
    }
    return { symbols: [], status: 'error', reason, asOfMs: good?.atMs, isBlocked: blocked };
  };

  return {
    get now() {
      return now;
    },
    refresh: async (signal) => {
      const nowMs = clock.nowMs();
      // After a failure the service is asked again with the next cycle: its time-out bounds what that costs.
      if (good && askedAtMs === good.atMs && nowMs - good.atMs < cacheSeconds * 1_000) {
        now = { ...now, reason: 'cache_hit' };
        return now;
      }
      askedAtMs = nowMs;
      const fetched = await ask(options, signal);
      if (fetched.ok) {
        good = { symbols: fetched.symbols, atMs: nowMs };
        now = { symbols: good.symbols, status: 'ok', reason: 'fetch_ok', asOfMs: nowMs, isBlocked: false };
        return now;
      }
      const next = without(fetched.reason, nowMs);
      if (next.reason !== now.reason)
        options.log.warn({ reason: next.reason, why: fetched.why }, 'universe source failed');
      now = next;
      return now;
    },
  };
}
