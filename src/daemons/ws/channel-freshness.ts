/**
 * Are the channels fresh (spec ingest 4.2)? A channel is judged only while its session runs, after a warm-up; by market time.
 * Guarantees: a closed market, a half day's end, a halted symbol and one quiet symbol never make ws not ready; silence of more
 * than half of the symbols does, and so do records that arrive and are old.
 */
import { newYorkInstant, newYorkTime, sessionOf, tradingDay } from '../../lib/market/calendar.ts';
import { type Feed, isCryptoFeed } from '../../lib/market/feeds.ts';
import { NS_PER_MS } from '../../lib/service/clock.ts';

/** Market ms without a durable record after which a symbol or channel is stale. */
export const STALE_MS = 180_000;
/** Market ms after the session's begin, or after the subscription, in which nothing is judged. */
export const WARM_UP_MS = 120_000;
const HOUR_MS = 3_600_000;

/** Begin (market ms) of the session in which this feed brings data; undefined while it brings none. */
export function feedSessionStartMs(feed: Feed, nowMs: number): number | undefined {
  if (feed === 'test' || isCryptoFeed(feed)) return Number.NEGATIVE_INFINITY;
  const nowNs = BigInt(nowMs) * NS_PER_MS;
  const session = sessionOf(nowNs);
  const { date, msOfDay } = newYorkTime(nowNs);
  if (feed === 'overnight') {
    if (session !== 'overnight') return undefined;
    // After midnight it began four hours before the day.
    const at = msOfDay >= 20 * HOUR_MS ? newYorkInstant(date, 20 * HOUR_MS) : newYorkInstant(date, -4 * HOUR_MS);
    return Number(at / NS_PER_MS);
  }
  const day = tradingDay(date);
  const isActive = session === 'regular' || (feed !== 'iex' && (session === 'pre' || session === 'post'));
  if (!day || !isActive) return undefined;
  return Number((feed === 'iex' ? day.openNs : day.preOpenNs) / NS_PER_MS);
}

export interface ChannelHealth {
  feed: string;
  channel: string;
  ready: boolean;
  required: boolean;
  gate_active: boolean;
  market_session_state: string;
  readiness_mode: 'continuous_symbols' | 'continuous_channel' | 'conditional';
  /** `market_data_channel_…` (spec ingest 4.2). */
  reason: string;
  freshness_required: boolean;
  symbol_coverage_required: boolean;
  /** Some symbols are stale, not so many that the channel is. */
  degraded: boolean;
  latest_provider_event_at_ms: number | null;
  latest_kafka_success_at_ms: number | null;
  /** Market ms of the newest complete acknowledgement of the subscription, and the age of it. */
  latest_subscription_ack_at_ms: number | null;
  subscription_ack_lag_ms: number | null;
  latest_symbol: string | null;
  /** Market ms since the newest durable record of each symbol that had one. */
  symbol_lag_ms: Record<string, number>;
  subscribed_symbol_count: number;
  observed_symbol_count: number;
  fresh_symbol_count: number;
  missing_symbols: string[];
  stale_symbols: string[];
  halted_symbols: string[];
  /** Market ms since the newest durable record of the channel. */
  lag_ms: number | null;
  max_lag_ms: number;
}

interface Seen {
  ackedMs: number;
  eventMs: number;
}

const modes: Readonly<Record<string, ChannelHealth['readiness_mode']>> = {
  trades: 'continuous_symbols',
  quotes: 'continuous_symbols',
  bars: 'continuous_channel',
  updated_bars: 'conditional',
};

/** Status codes that stop trading and that let it go on: consolidated tapes A/B, then C (spec ingest 1.3). */
const haltCodes: ReadonlySet<unknown> = new Set(['2', 'H', 'P']);
const resumeCodes: ReadonlySet<unknown> = new Set(['3', 'T']);

export class ChannelFreshness {
  readonly #feed: Feed;
  #symbols: ReadonlySet<string>;
  readonly #channels: readonly string[];
  readonly #seen = new Map<string, Map<string, Seen>>();
  readonly #halted = new Set<string>();
  /** Market ms at which a symbol joined a running stream. */
  readonly #addedMs = new Map<string, number>();
  #upSinceMs: number | undefined;
  #ackedSubscriptionMs: number | undefined;

  /** @param channels names as counters have them: trades, quotes, bars, updated_bars */
  constructor(feed: Feed, symbols: readonly string[], channels: readonly string[]) {
    this.#feed = feed;
    this.#symbols = new Set(symbols);
    this.#channels = channels.filter((channel) => modes[channel] !== undefined);
    for (const channel of this.#channels) this.#seen.set(channel, new Map());
  }

  /** The symbols wanted from now on; a new one has the time of a silent one to bring its first record. */
  setSymbols(symbols: readonly string[], nowMs: number): void {
    const before = this.#symbols;
    this.#symbols = new Set(symbols);
    for (const seen of this.#seen.values()) {
      for (const symbol of [...seen.keys()]) if (!this.#symbols.has(symbol)) seen.delete(symbol);
    }
    for (const symbol of symbols) if (!before.has(symbol)) this.#addedMs.set(symbol, nowMs);
  }

  /** A record is durable. @param eventMs provider time where it is known to be the record's due time */
  acked(channel: string, symbol: string, receivedMs: number, eventMs: number | undefined): void {
    const ofChannel = this.#seen.get(channel);
    if (ofChannel === undefined) return;
    const seen = ofChannel.get(symbol);
    if (seen === undefined) {
      if (this.#symbols.has(symbol)) ofChannel.set(symbol, { ackedMs: receivedMs, eventMs: eventMs ?? receivedMs });
      return;
    }
    if (receivedMs > seen.ackedMs) seen.ackedMs = receivedMs;
    const event = eventMs ?? receivedMs;
    if (event > seen.eventMs) seen.eventMs = event;
  }

  /** A trading status of a symbol. */
  status(symbol: string, code: unknown): void {
    if (haltCodes.has(code)) this.#halted.add(symbol);
    else if (resumeCodes.has(code)) this.#halted.delete(symbol);
  }

  /** The stream delivers from this market time on. */
  up(nowMs: number): void {
    this.#upSinceMs = nowMs;
    this.#ackedSubscriptionMs = nowMs;
  }

  down(): void {
    this.#upSinceMs = undefined;
  }

  /** @param isGapOpen repair is under way: what comes is not yet let through */
  judge(nowMs: number, isGapOpen: boolean): ChannelHealth[] {
    const startMs = feedSessionStartMs(this.#feed, nowMs);
    // Before the session and before the subscription nothing could come.
    const sinceMs =
      startMs === undefined || this.#upSinceMs === undefined ? undefined : Math.max(startMs, this.#upSinceMs);
    const isActive = sinceMs !== undefined && nowMs - sinceMs >= WARM_UP_MS;
    return this.#channels.map((channel) => this.#judgeChannel(channel, nowMs, sinceMs ?? nowMs, isActive, isGapOpen));
  }

  #judgeChannel(channel: string, nowMs: number, sinceMs: number, isActive: boolean, isGapOpen: boolean): ChannelHealth {
    const seen = this.#seen.get(channel) as Map<string, Seen>;
    const mode = modes[channel] as ChannelHealth['readiness_mode'];
    let latest: { symbol: string; seen: Seen } | undefined;
    for (const [symbol, item] of seen) {
      if (latest === undefined || item.ackedMs > latest.seen.ackedMs) latest = { symbol, seen: item };
    }
    const judged = [...this.#symbols].filter((symbol) => !this.#halted.has(symbol));
    const isNew = (symbol: string) => nowMs - (this.#addedMs.get(symbol) ?? Number.NEGATIVE_INFINITY) <= STALE_MS;
    const missing = judged.filter((symbol) => !seen.has(symbol) && !isNew(symbol));
    const isStale = (item: Seen) => nowMs - Math.max(item.ackedMs, sinceMs) > STALE_MS;
    const isOld = (item: Seen) => this.#feed !== 'delayed_sip' && nowMs - Math.max(item.eventMs, sinceMs) > STALE_MS;
    const isMissingLate = nowMs - sinceMs > STALE_MS;
    const stale = judged.filter((symbol) => {
      const item = seen.get(symbol);
      return item !== undefined && (isStale(item) || isOld(item));
    });
    const bad = stale.length + (isMissingLate ? missing.length : 0);
    const reason = ((): string => {
      if (isGapOpen) return 'gap_open';
      if (!isActive) return 'gate_inactive';
      if (mode === 'conditional') return seen.size === 0 ? 'conditional_no_events' : 'conditional_observed';
      if (judged.length === 0) return 'fresh';
      if (mode === 'continuous_channel') {
        if (latest === undefined) return isMissingLate ? 'missing_kafka_success' : 'fresh';
        return isStale(latest.seen) ? 'stale' : 'fresh';
      }
      if (bad * 2 <= judged.length) return 'fresh';
      return stale.length > 0 ? 'stale_symbol_coverage' : 'missing_symbol_coverage';
    })();
    const isReady = ['gate_inactive', 'conditional_no_events', 'conditional_observed', 'fresh'].includes(reason);
    return {
      feed: this.#feed,
      channel,
      ready: isReady,
      required: mode !== 'conditional',
      gate_active: isActive,
      market_session_state: sessionOf(BigInt(nowMs) * NS_PER_MS),
      readiness_mode: mode,
      freshness_required: mode !== 'conditional',
      symbol_coverage_required: mode === 'continuous_symbols',
      reason: `market_data_channel_${reason}`,
      degraded: isReady && isActive && mode === 'continuous_symbols' && bad > 0,
      latest_provider_event_at_ms: latest?.seen.eventMs ?? null,
      latest_kafka_success_at_ms: latest?.seen.ackedMs ?? null,
      latest_subscription_ack_at_ms: this.#ackedSubscriptionMs ?? null,
      subscription_ack_lag_ms:
        this.#ackedSubscriptionMs === undefined ? null : Math.max(0, nowMs - this.#ackedSubscriptionMs),
      latest_symbol: latest?.symbol ?? null,
      symbol_lag_ms: Object.fromEntries([...seen].map(([symbol, item]) => [symbol, Math.max(0, nowMs - item.ackedMs)])),
      subscribed_symbol_count: this.#symbols.size,
      observed_symbol_count: seen.size,
      fresh_symbol_count: judged.length - stale.length - missing.length,
      missing_symbols: missing,
      stale_symbols: stale,
      halted_symbols: [...this.#halted].filter((symbol) => this.#symbols.has(symbol)),
      lag_ms: latest === undefined ? null : Math.max(0, nowMs - latest.seen.ackedMs),
      max_lag_ms: STALE_MS,
    };
  }
}
