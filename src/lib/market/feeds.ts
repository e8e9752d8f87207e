/**
 * The market-data feeds: which there are, under which paths Alpaca serves them, and what belongs to the session calendar.
 * Facts: spec ingest 1.1 and 2.5 (the night's history goes by the name of its venue, crypto has no feed parameter).
 */
export const equityFeeds = ['iex', 'sip', 'delayed_sip', 'test', 'overnight'] as const;
/** Crypto has locations instead of feeds; the location is the feed's name in records. */
export const cryptoLocations = ['us', 'us-1', 'eu-1'] as const;

export type EquityFeed = (typeof equityFeeds)[number];
export type CryptoLocation = (typeof cryptoLocations)[number];
export type Feed = EquityFeed | CryptoLocation;

const locations: ReadonlySet<string> = new Set(cryptoLocations);

/** Crypto is traded around the clock: no sessions, no holidays. */
export function isCryptoFeed(feed: string): feed is CryptoLocation {
  return locations.has(feed);
}

/** Path of the market stream, without a leading slash. */
export function streamPathOf(feed: Feed): string {
  if (isCryptoFeed(feed)) return `v1beta3/crypto/${feed}`;
  return feed === 'overnight' ? 'v1beta1/overnight' : `v2/${feed}`;
}

/** Path of the history of a kind, without a leading slash. */
export function historyPathOf(feed: string, kind: 'trades' | 'quotes' | 'bars'): string {
  return isCryptoFeed(feed) ? `v1beta3/crypto/${feed}/${kind}` : `v2/stocks/${kind}`;
}

/** Value of the `feed` parameter of the history; undefined where there is none. */
export function historyFeedOf(feed: string): string | undefined {
  if (isCryptoFeed(feed)) return undefined;
  return feed === 'overnight' ? 'boats' : feed;
}
