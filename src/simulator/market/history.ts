/**
 * Released messages per symbol and channel in order of event time, for the history REST.
 * Guarantee: (event time, release order) is the order of every page, late prints at the place of their own time.
 */
import type { TapeStore } from './tape-store.ts';

export type HistoryChannel = 'trades' | 'quotes' | 'bars';

/** Channel of each kind code (t q b u …); other kinds have no history. */
const channelOfLetter: Record<string, HistoryChannel> = { t: 'trades', q: 'quotes', b: 'bars', u: 'bars' };

/** Growable list of store indexes. */
class IndexList {
  length = 0;
  private items = new Uint32Array(16);

  at(position: number): number {
    return this.items[position] as number;
  }

  /** Inserts by event time, behind equal ones; almost always at the end. */
  insert(store: TapeStore, index: number): void {
    if (this.length === this.items.length) {
      const grown = new Uint32Array(this.length * 2);
      grown.set(this.items);
      this.items = grown;
    }
    const eventNs = store.eventNs(index);
    let position = this.length;
    while (position > 0 && store.eventNs(this.items[position - 1] as number) > eventNs) {
      this.items[position] = this.items[position - 1] as number;
      position -= 1;
    }
    this.items[position] = index;
    this.length += 1;
  }

  /** First position whose event time is at or after the instant. */
  lowerBound(store: TapeStore, eventNs: bigint): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (store.eventNs(this.items[middle] as number) < eventNs) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export interface HistoryQuery {
  symbol: string;
  channel: HistoryChannel;
  /** Event times, both included. */
  startNs: bigint;
  endNs: bigint;
  isDescending: boolean;
  /** Only messages with a store index below this (what the feed has reached). */
  visible: number;
  /** Goes on behind this place (exclusive). */
  after?: { eventNs: bigint; index: number } | undefined;
}

export class History {
  private readonly store: TapeStore;
  private readonly lists = new Map<string, IndexList>();

  constructor(store: TapeStore) {
    this.store = store;
  }

  /** Takes in a message that was just released. */
  add(index: number): void {
    const channel = channelOfLetter[this.store.letter(index)];
    if (channel === undefined) return;
    const key = `${channel} ${this.store.symbolIdAt(index)}`;
    let list = this.lists.get(key);
    if (!list) {
      list = new IndexList();
      this.lists.set(key, list);
    }
    list.insert(this.store, index);
  }

  /** Store indexes that answer the query, in its order; of several bars of one minute only the newest visible. */
  *select(query: HistoryQuery): Generator<number, void, undefined> {
    const { symbol, channel, startNs, endNs, isDescending, visible, after } = query;
    const id = this.store.findSymbol(symbol);
    const list = id === undefined ? undefined : this.lists.get(`${channel} ${id}`);
    if (!list) return;
    const first = list.lowerBound(this.store, startNs);
    const behind = list.lowerBound(this.store, endNs + 1n);
    const isPast = (index: number): boolean => {
      if (!after) return true;
      const eventNs = this.store.eventNs(index);
      if (eventNs === after.eventNs) return isDescending ? index < after.index : index > after.index;
      return isDescending ? eventNs < after.eventNs : eventNs > after.eventNs;
    };
    const isSuperseded = (position: number): boolean => {
      const eventNs = this.store.eventNs(list.at(position));
      for (let next = position + 1; next < list.length; next++) {
        const other = list.at(next);
        if (this.store.eventNs(other) !== eventNs) return false;
        if (other < visible) return true;
      }
      return false;
    };
    let position = isDescending ? behind - 1 : first;
    if (after) {
      // Jump near the place instead of walking to it.
      const near = list.lowerBound(this.store, after.eventNs);
      position = isDescending
        ? Math.min(position, list.lowerBound(this.store, after.eventNs + 1n) - 1)
        : Math.max(position, near);
    }
    for (; position >= first && position < behind; position += isDescending ? -1 : 1) {
      const index = list.at(position);
      if (index >= visible || !isPast(index)) continue;
      if (channel === 'bars' && isSuperseded(position)) continue;
      yield index;
    }
  }

  /** The newest visible message by event time. */
  latest(symbol: string, channel: HistoryChannel, visible: number): number | undefined {
    const farthest = { startNs: -(1n << 62n), endNs: 1n << 62n };
    for (const index of this.select({ symbol, channel, ...farthest, isDescending: true, visible })) return index;
    return undefined;
  }
}
