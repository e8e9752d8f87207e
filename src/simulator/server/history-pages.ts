/**
 * Pages of the history REST as bytes: items are the lines of the tape without T and S, number text unchanged.
 */
import type { History, HistoryChannel } from '../market/history.ts';
import type { Market } from '../market/market.ts';
import { itemOffset } from '../market/message-line.ts';
import { encodeToken, type HistoryParameters, type PageToken } from './history-query.ts';
import { aggregateBar, bucketStartNs, type Timeframe } from './timeframe.ts';

export interface Page {
  /** Items per symbol, in symbol order; symbols without items are left out. */
  items: Map<string, Buffer[]>;
  next: PageToken | undefined;
}

interface Placed {
  item: Buffer;
  place: PageToken;
}

const brace = Buffer.from('{');

/** The item of a stored message: its line without T and S. */
export function itemOf(market: Market, index: number): Buffer {
  return Buffer.concat([brace, market.store.line(index, itemOffset(market.store.symbolAt(index)))]);
}

function* plainItems(
  market: Market,
  channel: HistoryChannel,
  symbol: string,
  parameters: HistoryParameters,
  visible: number,
  after: PageToken | undefined,
): Generator<Placed, void, undefined> {
  const { startNs, endNs, isDescending } = parameters;
  const query: Parameters<History['select']>[0] = { symbol, channel, startNs, endNs, isDescending, visible, after };
  for (const index of market.history.select(query)) {
    yield { item: itemOf(market, index), place: { symbol, eventNs: market.store.eventNs(index), index } };
  }
}

/** Aggregated bars: a bucket belongs to the page when its start lies in the interval. */
function* bucketItems(
  market: Market,
  frame: Timeframe,
  zone: 'new_york' | 'utc',
  symbol: string,
  parameters: HistoryParameters,
  visible: number,
  after: PageToken | undefined,
): Generator<Placed, void, undefined> {
  const { startNs, endNs, isDescending } = parameters;
  const farNs = 1n << 62n;
  let minutes: Record<string, unknown>[] = [];
  let current: bigint | undefined;
  const finish = function* (): Generator<Placed, void, undefined> {
    if (current === undefined || current < startNs || current > endNs) return;
    if (after && (isDescending ? current >= after.eventNs : current <= after.eventNs)) return;
    const ordered = isDescending ? minutes.reverse() : minutes;
    yield { item: Buffer.from(aggregateBar(ordered, current)), place: { symbol, eventNs: current, index: 0 } };
  };
  // Minutes behind the interval's end still belong to a bucket that starts in it; descending has to begin with them.
  const query = { symbol, channel: 'bars' as const, startNs, endNs: farNs, isDescending, visible };
  for (const index of market.history.select(query)) {
    const start = bucketStartNs(frame, market.store.eventNs(index), zone);
    if (start !== current) {
      yield* finish();
      minutes = [];
      current = start;
      if (!isDescending && start > endNs) return;
    }
    minutes.push(market.store.parse(index));
  }
  yield* finish();
}

/** Collects one page over all symbols, symbol by symbol. */
export function collectPage(
  market: Market,
  channel: HistoryChannel,
  parameters: HistoryParameters,
  visible: number,
  aggregate?: { frame: Timeframe; zone: 'new_york' | 'utc' },
): Page {
  const { token, limit } = parameters;
  const items = new Map<string, Buffer[]>();
  let count = 0;
  let last: PageToken | undefined;
  for (const symbol of parameters.symbols) {
    if (token && symbol < token.symbol) continue;
    const after = token && symbol === token.symbol ? token : undefined;
    const placed = aggregate
      ? bucketItems(market, aggregate.frame, aggregate.zone, symbol, parameters, visible, after)
      : plainItems(market, channel, symbol, parameters, visible, after);
    const list: Buffer[] = [];
    for (const { item, place } of placed) {
      // One more than fits shows that there is a next page.
      if (count === limit) {
        if (list.length > 0) items.set(symbol, list);
        return { items, next: last };
      }
      list.push(item);
      last = place;
      count += 1;
    }
    if (list.length > 0) items.set(symbol, list);
  }
  return { items, next: undefined };
}

/** The body of a page: `{"trades":{"SYM":[…]},"next_page_token":…}`, or a list with `symbol` for one symbol in the path. */
export function pageBody(channel: HistoryChannel, page: Page, single: string | undefined): Buffer {
  const parts: Buffer[] = [];
  const text = (value: string) => parts.push(Buffer.from(value));
  const list = (items: readonly Buffer[]) => {
    text('[');
    items.forEach((item, index) => {
      if (index > 0) text(',');
      parts.push(item);
    });
    text(']');
  };
  text(`{"${channel}":`);
  if (single !== undefined) {
    list(page.items.get(single) ?? []);
    text(`,"symbol":${JSON.stringify(single)}`);
  } else {
    let isFirst = true;
    text('{');
    for (const [symbol, items] of page.items) {
      text(`${isFirst ? '' : ','}${JSON.stringify(symbol)}:`);
      list(items);
      isFirst = false;
    }
    text('}');
  }
  text(`,"next_page_token":${page.next ? JSON.stringify(encodeToken(page.next)) : 'null'}}`);
  return Buffer.concat(parts);
}
