/**
 * What is asked of the market stream and what the server has granted.
 * Facts: every acknowledgement carries the whole current subscription; `trades` brings `corrections` and `cancelErrors` by
 * itself (alpaca-protocol 1); missing ones are asked for again three times (spec ingest 2.2).
 */

export const marketChannels = [
  'trades', 'quotes', 'bars', 'updatedBars', 'statuses', 'lulds', 'corrections', 'cancelErrors',
] as const; // biome-ignore format: one list

export type MarketChannel = (typeof marketChannels)[number];

/** Channels that come with `trades` and are never asked for by name. */
const impliedByTrades: ReadonlySet<MarketChannel> = new Set(['corrections', 'cancelErrors']);

/** Machine ms to wait before the missing part is asked for again. */
export const resubscribeDelaysMs = [1_000, 5_000, 30_000] as const;

export type Subscription = ReadonlyMap<MarketChannel, ReadonlySet<string>>;

/** Every symbol under every channel. */
export function subscriptionOf(channels: readonly MarketChannel[], symbols: readonly string[]): Subscription {
  return new Map(channels.map((channel) => [channel, new Set(symbols)]));
}

/** A subscription less some symbols; channels that lose all are left out. */
export function withoutSymbols(part: Subscription, symbols: readonly string[]): Subscription {
  const left = new Set(symbols);
  const rest = [...part].map(
    ([channel, list]) => [channel, new Set([...list].filter((item) => !left.has(item)))] as const,
  );
  return new Map(rest.filter(([, list]) => list.size > 0));
}

/** Subscribe (or unsubscribe) messages: batches of symbols, each under every channel that is asked for. */
export function subscribeMessages(
  wanted: Subscription,
  batchSize: number,
  action: 'subscribe' | 'unsubscribe' = 'subscribe',
): Record<string, unknown>[] {
  const symbols = new Set<string>();
  const asked = [...wanted].filter(([channel]) => !(impliedByTrades.has(channel) && wanted.has('trades')));
  for (const [, list] of asked) for (const symbol of list) symbols.add(symbol);
  const all = [...symbols];
  const messages: Record<string, unknown>[] = [];
  for (let i = 0; i < all.length; i += batchSize) {
    const batch = all.slice(i, i + batchSize);
    const message: Record<string, unknown> = { action };
    for (const [channel, list] of asked) {
      const part = batch.filter((symbol) => list.has(symbol));
      if (part.length > 0) message[channel] = part;
    }
    messages.push(message);
  }
  return messages;
}

/** What was asked for and is not in an acknowledgement. */
export function missingFrom(
  wanted: Subscription,
  acknowledged: Record<string, unknown>,
): Map<MarketChannel, Set<string>> {
  const missing = new Map<MarketChannel, Set<string>>();
  for (const [channel, symbols] of wanted) {
    const list = acknowledged[channel];
    const granted = new Set(Array.isArray(list) ? (list as unknown[]) : []);
    if (granted.has('*')) continue;
    const rest = new Set([...symbols].filter((symbol) => !granted.has(symbol)));
    if (rest.size > 0) missing.set(channel, rest);
  }
  return missing;
}

export function countPairs(subscription: Subscription): number {
  let count = 0;
  for (const symbols of subscription.values()) count += symbols.size;
  return count;
}
