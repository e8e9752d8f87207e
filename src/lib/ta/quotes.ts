/**
 * The quotes of one symbol, indexed by time: the last quote of each market second, for the as-of join at window ends.
 * Guarantees: the join at a second sees the newest quote at or before it and never one after; O(1) per quote; bounded.
 * Windows end at whole seconds, so only the last quote of every second (previous end, end] can ever be joined.
 */
import type { ByteReader, ByteWriter } from './bytes.ts';
import type { QuoteEvent, QuoteJoin } from './events.ts';

interface HeldQuote {
  /** The whole second at or after the quote: the first window end that may see it. */
  bucket: number;
  sec: number;
  nano: number;
  seq: number;
  bidPrice: number;
  bidSize: number;
  askPrice: number;
  askSize: number;
}

/** How long quotes are kept behind the final second: a minute bar that comes late still finds its quote. */
export const quoteKeepSeconds = 120;

/** First window end that may see a quote of this time. */
export function bucketOf(sec: number, nano: number): number {
  return nano > 0 ? sec + 1 : sec;
}

export class QuoteBuffer {
  private held: HeldQuote[] = [];

  /** The newest second that has a quote; it is never forgotten. */
  get newest(): number {
    return this.held[this.held.length - 1]?.bucket ?? Number.NEGATIVE_INFINITY;
  }

  /** Takes a quote. @returns true when it became the last one of its second */
  add(event: QuoteEvent): boolean {
    const bucket = bucketOf(event.sec, event.nano);
    const { held } = this;
    let i = held.length - 1;
    while (i >= 0 && (held[i] as HeldQuote).bucket > bucket) i -= 1;
    const present = held[i];
    if (present === undefined || present.bucket !== bucket) {
      const { sec, nano, seq, bidPrice, bidSize, askPrice, askSize } = event;
      held.splice(i + 1, 0, { bucket, sec, nano, seq, bidPrice, bidSize, askPrice, askSize });
      return true;
    }
    const order = event.sec - present.sec || event.nano - present.nano || event.seq - present.seq;
    if (order <= 0) return false;
    present.sec = event.sec;
    present.nano = event.nano;
    present.seq = event.seq;
    present.bidPrice = event.bidPrice;
    present.bidSize = event.bidSize;
    present.askPrice = event.askPrice;
    present.askSize = event.askSize;
    return true;
  }

  /** Forgets what no join at or after the second needs; the newest quote before it stays. */
  prune(oldestJoin: number): void {
    const { held } = this;
    if (held.length < 2 || (held[1] as HeldQuote).bucket > oldestJoin) return;
    let drop = 1;
    while (drop + 1 < held.length && (held[drop + 1] as HeldQuote).bucket <= oldestJoin) drop += 1;
    held.splice(0, drop);
  }

  /** The quote valid at a window end; null when there is none or it is older than the limit (0 or less: no limit). */
  joinAt(end: number, staleAfterMs: number): QuoteJoin | null {
    const { held } = this;
    let i = held.length - 1;
    while (i >= 0 && (held[i] as HeldQuote).bucket > end) i -= 1;
    const quote = held[i];
    if (quote === undefined) return null;
    if (staleAfterMs > 0 && (end - quote.sec) * 1_000 - quote.nano / 1_000_000 > staleAfterMs) return null;
    const { bidPrice, bidSize, askPrice, askSize } = quote;
    // A side of price 0 means that there is no quote on that side.
    const spread = bidPrice > 0 && askPrice > 0 ? askPrice - bidPrice : null;
    return { spread, bidPrice, askPrice, bidSize, askSize };
  }

  encode(writer: ByteWriter): void {
    writer.uint(this.held.length);
    let sec = 0;
    let ticks = 0;
    for (const quote of this.held) {
      writer.uint(quote.sec - sec);
      sec = quote.sec;
      writer.uint(quote.nano);
      writer.uint(quote.seq);
      ticks = writer.price(quote.bidPrice, ticks);
      ticks = writer.price(quote.askPrice, ticks);
      writer.mostlyWhole(quote.bidSize);
      writer.mostlyWhole(quote.askSize);
    }
  }

  decode(reader: ByteReader): void {
    this.held = [];
    const count = reader.uint();
    let sec = 0;
    let ticks = 0;
    for (let i = 0; i < count; i++) {
      sec += reader.uint();
      const nano = reader.uint();
      const seq = reader.uint();
      const bidPrice = reader.price(ticks);
      ticks = reader.ticks;
      const askPrice = reader.price(ticks);
      ticks = reader.ticks;
      const bidSize = reader.mostlyWhole();
      const askSize = reader.mostlyWhole();
      this.held.push({ bucket: bucketOf(sec, nano), sec, nano, seq, bidPrice, bidSize, askPrice, askSize });
    }
  }
}

/** Are two joins equal in every field? */
export function isSameJoin(a: QuoteJoin | null, b: QuoteJoin | null): boolean {
  if (a === null || b === null) return a === b;
  return a.bidPrice === b.bidPrice && a.askPrice === b.askPrice && a.bidSize === b.bidSize && a.askSize === b.askSize;
}
