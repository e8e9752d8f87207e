/**
 * Minute bars for a source that brings none: `b` when a minute is over, `u` half a minute later when a late print, a
 * correction or a cancel changed it. Guarantees: a minute whose trades set no price has no bar; low ≤ open, close ≤ high.
 * Facts: alpaca-protocol 1 (t is the start of the minute, sent at +60 s and +90 s), spec sale-conditions.
 */
import { formatTimestampNs } from '../../lib/market/time.ts';
import { Heap } from '../sources/heap.ts';
import { BAR_DELAY_NS, UPDATED_BAR_DELAY_NS } from '../sources/source.ts';
import { allowedFields, EXTREME, LAST, VOLUME } from './sale-conditions.ts';

const MINUTE_NS = 60_000_000_000n;

interface MinuteTrade {
  eventNs: bigint;
  id: number;
  exchange: string;
  price: number;
  size: number;
  tape: string;
  allowed: number;
}

interface Minute {
  symbol: string;
  startNs: bigint;
  trades: MinuteTrade[];
  /** Last price of the symbol before this minute, for a minute without an open of its own. */
  lastBefore: number | undefined;
  /** Fields of the bar that was sent. */
  sent: string | undefined;
  isFirstDue: boolean;
}

export interface BuiltBar {
  letter: 'b' | 'u';
  symbol: string;
  eventNs: bigint;
  releaseNs: bigint;
  line: Buffer;
}

/** Rounded to six decimals: a mean of prices has no exact text. */
export function rounded(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}

function byTime(a: MinuteTrade, b: MinuteTrade): number {
  if (a.eventNs !== b.eventNs) return a.eventNs < b.eventNs ? -1 : 1;
  return a.id - b.id || (a.exchange < b.exchange ? -1 : Number(a.exchange > b.exchange));
}

export class MinuteBarBuilder {
  private readonly minutes = new Map<string, Minute>();
  private readonly dues = new Heap<Minute>();
  private readonly newest = new Map<string, bigint>();
  private readonly lastPrice = new Map<string, { eventNs: bigint; price: number }>();

  /** A trade, correction or cancel, in release order, after advance() to its release time. */
  apply(letter: string, message: Record<string, unknown>, eventNs: bigint, releaseNs: bigint): void {
    if (letter === 't') this.addTrade(message, eventNs, releaseNs);
    else if (letter === 'c') this.replace(message, eventNs, true);
    else if (letter === 'x') this.replace(message, eventNs, false);
  }

  /** The bars due at or before an instant, in order of release, then symbol. */
  advance(untilNs: bigint): BuiltBar[] {
    let built: BuiltBar[] = [];
    while (this.dues.size > 0 && (this.dues.leastKey as bigint) <= untilNs) {
      const at = this.dues.leastKey as bigint;
      const same: BuiltBar[] = [];
      while (this.dues.leastKey === at) {
        const minute = this.dues.pop() as Minute;
        const bar = this.close(minute, at);
        if (bar) same.push(bar);
      }
      built = built.concat(same.sort((a, b) => (a.symbol < b.symbol ? -1 : Number(a.symbol > b.symbol))));
    }
    return built;
  }

  private minuteOf(symbol: string, startNs: bigint): Minute | undefined {
    return this.minutes.get(`${symbol} ${startNs}`);
  }

  private addTrade(message: Record<string, unknown>, eventNs: bigint, releaseNs: bigint): void {
    const symbol = String(message.S);
    const newest = this.newest.get(symbol);
    const isInOrder = newest === undefined || eventNs >= newest;
    if (isInOrder) this.newest.set(symbol, eventNs);
    const startNs = (eventNs / MINUTE_NS) * MINUTE_NS;
    let minute = this.minuteOf(symbol, startNs);
    if (!minute) {
      // Later than the update was due: Alpaca leaves such a minute alone too.
      if (releaseNs >= startNs + UPDATED_BAR_DELAY_NS) return;
      const isFirstDue = releaseNs < startNs + BAR_DELAY_NS;
      minute = {
        symbol,
        startNs,
        trades: [],
        lastBefore: this.lastPrice.get(symbol)?.price,
        sent: undefined,
        isFirstDue,
      };
      this.minutes.set(`${symbol} ${startNs}`, minute);
      this.dues.push(startNs + (isFirstDue ? BAR_DELAY_NS : UPDATED_BAR_DELAY_NS), minute);
    }
    const trade = this.tradeOf(message, eventNs, isInOrder, ['i', 'x', 'p', 's', 'c']);
    minute.trades.push(trade);
    const last = this.lastPrice.get(symbol);
    if (trade.allowed & LAST && (!last || eventNs >= last.eventNs)) {
      this.lastPrice.set(symbol, { eventNs, price: trade.price });
    }
  }

  private tradeOf(
    message: Record<string, unknown>,
    eventNs: bigint,
    isInOrder: boolean,
    [id, exchange, price, size, conditions]: readonly [string, string, string, string, string],
  ): MinuteTrade {
    const letters = message[conditions];
    const tape = String(message.z ?? '');
    const list = Array.isArray(letters) ? letters.map(String) : typeof letters === 'string' ? [letters] : [];
    return {
      eventNs,
      id: Number(message[id] ?? 0),
      exchange: String(message[exchange] ?? ''),
      price: Number(message[price]),
      size: Number(message[size]),
      tape,
      allowed: allowedFields(list, tape, eventNs, isInOrder),
    };
  }

  /** A correction puts another trade in the place of the one it names; a cancel only removes it. */
  private replace(message: Record<string, unknown>, eventNs: bigint, isCorrection: boolean): void {
    const symbol = String(message.S);
    const id = Number(isCorrection ? message.oi : message.i);
    const current = (eventNs / MINUTE_NS) * MINUTE_NS;
    // What is not in these minutes is too old to make an update.
    for (const startNs of [current, current - MINUTE_NS, current - 2n * MINUTE_NS]) {
      const minute = this.minuteOf(symbol, startNs);
      const at =
        minute?.trades.findIndex((trade) => trade.id === id && trade.exchange === String(message.x ?? '')) ?? -1;
      const old = minute?.trades[at];
      if (!minute || !old) continue;
      minute.trades.splice(at, 1);
      if (isCorrection) {
        minute.trades.push(this.tradeOf({ z: old.tape, ...message }, old.eventNs, true, ['ci', 'x', 'cp', 'cs', 'cc']));
      }
      return;
    }
  }

  private close(minute: Minute, atNs: bigint): BuiltBar | undefined {
    const isFirst = minute.isFirstDue;
    if (isFirst) {
      minute.isFirstDue = false;
      this.dues.push(minute.startNs + UPDATED_BAR_DELAY_NS, minute);
    } else {
      this.minutes.delete(`${minute.symbol} ${minute.startNs}`);
    }
    const fields = barFields(minute);
    if (fields === undefined || fields === minute.sent) return undefined;
    minute.sent = fields;
    const letter = isFirst ? 'b' : 'u';
    return {
      letter,
      symbol: minute.symbol,
      eventNs: minute.startNs,
      releaseNs: atNs,
      line: Buffer.from(
        `{"T":"${letter}","S":"${minute.symbol}",${fields},"t":"${formatTimestampNs(minute.startNs)}"}`,
      ),
    };
  }
}

function barFields(minute: Minute): string | undefined {
  const trades = [...minute.trades].sort(byTime);
  let open: number | undefined;
  let close: number | undefined;
  let high = Number.NEGATIVE_INFINITY;
  let low = Number.POSITIVE_INFINITY;
  let volume = 0;
  let count = 0;
  let weighted = 0;
  let weight = 0;
  for (const { allowed, price, size } of trades) {
    if (allowed & LAST) {
      open ??= price;
      close = price;
    }
    if (allowed & EXTREME) {
      high = Math.max(high, price);
      low = Math.min(low, price);
      weighted += price * size;
      weight += size;
    }
    if (allowed & VOLUME) {
      volume += size;
      count += 1;
    }
  }
  if (open === undefined && high === Number.NEGATIVE_INFINITY) return undefined;
  const between = Math.min(Math.max(minute.lastBefore ?? low, low), high);
  open ??= minute.lastBefore ?? between;
  close ??= open;
  high = Math.max(high, open, close);
  low = Math.min(low, open, close);
  const mean = weight > 0 ? rounded(weighted / weight) : close;
  return `"o":${open},"h":${high},"l":${low},"c":${close},"v":${rounded(volume)},"n":${count},"vw":${mean}`;
}
