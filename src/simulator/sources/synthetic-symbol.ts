/**
 * One symbol of the synthetic market, second by second: a price that wanders in short trends, bursts, silent gaps, halts,
 * odd lots, late prints, corrections and cancels, the auction prints of open and close.
 * Guarantee: everything comes from the seeded sequence and the second's start; no clock, no order of calls outside.
 */
import type { TradingDay } from '../../lib/market/calendar.ts';
import { formatTimestampNs } from '../../lib/market/time.ts';
import type { KindLetter } from '../market/message-line.ts';
import type { SeededRandom } from '../random.ts';
import { Heap } from './heap.ts';
import type { SymbolProfile } from './synthetic-profiles.ts';

const SECOND_NS = 1_000_000_000n;

export interface MadeEvent {
  letter: KindLetter;
  symbol: string;
  eventNs: bigint;
  releaseNs: bigint;
  line: Buffer;
}

/** What the second is: how busy, and which day's bells are near. */
export interface SecondFacts {
  startNs: bigint;
  session: 'pre' | 'regular' | 'post' | 'always';
  /** Factor on the rates of a calm regular second. */
  busyness: number;
  day: TradingDay | undefined;
}

interface MadeTrade {
  id: number;
  exchange: string;
  price: number;
  size: number;
  conditions: readonly string[];
  publicNs: bigint;
}

const exchanges = ['N', 'P', 'Q', 'Z', 'K', 'V', 'D', 'D'];
/** Shares of trades with these fates. */
const LATE = 0.006;
const CORRECTED = 0.0015;
const CANCELED = 0.0015;

export class SyntheticSymbol {
  private readonly profile: SymbolProfile;
  private readonly random: SeededRandom;
  private readonly head: string;
  private readonly scale: number;
  private mid: number;
  private drift = 0;
  private driftSeconds = 0;
  private burstSeconds = 0;
  private silentSeconds = 0;
  private halt: { seconds: number; isPause: boolean } | undefined;
  private nextId = 1;
  private bid = 0;
  private ask = 0;
  private readonly later = new Heap<(atNs: bigint) => MadeEvent>();

  constructor(profile: SymbolProfile, random: SeededRandom) {
    this.profile = profile;
    this.random = random;
    this.head = `","S":"${profile.symbol}",`;
    this.scale = 10 ** profile.decimals;
    this.mid = profile.priceTicks;
    this.setBook();
  }

  /** Everything of this second, by event time. */
  second(facts: SecondFacts): MadeEvent[] {
    const { startNs, session, day } = facts;
    const events: MadeEvent[] = [];
    const endNs = startNs + SECOND_NS;
    while (this.later.size > 0 && (this.later.leastKey as bigint) < endNs) {
      const at = this.later.leastKey as bigint;
      const make = this.later.pop() as (atNs: bigint) => MadeEvent;
      // What fell due while the market was closed comes with its first second.
      events.push(make(at > startNs ? at : startNs));
    }
    if (this.profile.tape !== undefined && session !== 'always') this.scheduled(facts, events);
    this.wander();
    if (!this.isHalted(facts, events)) this.active(facts, events);
    if (day && startNs === day.openNs) this.auction(startNs, 'O', 'Q', events);
    if (day && startNs === day.closeNs) this.auction(startNs, '6', 'M', events);
    // Array.sort is stable: equal times keep the order in which they were made.
    return events.sort((a, b) => (a.eventNs < b.eventNs ? -1 : Number(a.eventNs > b.eventNs)));
  }

  private price(ticks: number): number {
    return ticks / this.scale;
  }

  private wander(): void {
    const { random, profile } = this;
    if (this.driftSeconds-- <= 0) {
      this.driftSeconds = random.integer(5, 45);
      this.drift = (random.next() - 0.5) * 1.4 * profile.ticksPerSecond;
    }
    // A weak pull home keeps the price within some percent over the day.
    this.mid += this.drift - (this.mid - profile.priceTicks) * 0.0008;
  }

  private setBook(): void {
    const { spreadTicks } = this.profile;
    const spread = spreadTicks + (this.random.chance(0.2) ? this.random.integer(1, 2) * Math.ceil(spreadTicks / 2) : 0);
    this.bid = Math.max(1, Math.floor(this.mid - spread / 2));
    this.ask = this.bid + spread;
  }

  private event(letter: KindLetter, eventNs: bigint, fields: string, releaseNs = eventNs): MadeEvent {
    const line = Buffer.from(`{"T":"${letter}${this.head}${fields}}`);
    return { letter, symbol: this.profile.symbol, eventNs, releaseNs, line };
  }

  /** `,"t":…` and the tape where the market has one. */
  private tail(ns: bigint): string {
    const { tape } = this.profile;
    return `"t":"${formatTimestampNs(ns)}"${tape === undefined ? '' : `,"z":"${tape}"`}`;
  }

  private active(facts: SecondFacts, events: MadeEvent[]): void {
    const { random, profile } = this;
    if (this.silentSeconds > 0) {
      this.silentSeconds -= 1;
      return;
    }
    if (facts.session !== 'always' && random.chance(0.003)) this.silentSeconds = random.integer(4, 25);
    if (this.burstSeconds > 0) this.burstSeconds -= 1;
    else if (random.chance(0.015)) this.burstSeconds = random.integer(1, 4);
    const busy = facts.busyness * (0.3 + 1.4 * random.next()) * (this.burstSeconds > 0 ? 5 : 1);
    const count = (rate: number) => Math.floor(rate * busy) + (random.chance((rate * busy) % 1) ? 1 : 0);
    const trades = count(profile.tradesPerSecond);
    const quotes = count(profile.quotesPerSecond);
    const offsets = Array.from({ length: trades + quotes }, () => random.integer(0, 999_999_999)).sort((a, b) => a - b);
    const step = profile.ticksPerSecond / Math.sqrt(Math.max(1, quotes));
    let left = trades;
    offsets.forEach((offset, index) => {
      const isTrade = random.chance(left / (offsets.length - index));
      const previous = offsets[index - 1];
      // Some prints of one sweep carry one time.
      const at = isTrade && previous !== undefined && random.chance(0.12) ? previous : offset;
      const ns = facts.startNs + BigInt(at);
      if (isTrade) {
        left -= 1;
        this.trade(ns, facts, events);
      } else {
        this.mid += random.normal() * step;
        this.setBook();
        events.push(this.quote(ns));
      }
    });
  }

  private quote(ns: bigint): MadeEvent {
    const { random, profile } = this;
    const lot = profile.tape === undefined ? 0.0125 : 100;
    const size = () => Math.round(random.integer(1, profile.lots) * lot * 1e4) / 1e4;
    const bid = this.price(this.bid);
    const ask = this.price(this.ask);
    if (profile.tape === undefined) {
      return this.event('q', ns, `"bp":${bid},"bs":${size()},"ap":${ask},"as":${size()},${this.tail(ns)}`);
    }
    const sides = `"bx":"${random.pick(exchanges)}","bp":${bid},"bs":${size()},"ax":"${random.pick(exchanges)}","ap":${ask},"as":${size()}`;
    return this.event('q', ns, `${sides},"c":["R"],${this.tail(ns)}`);
  }

  private regular(): string {
    return this.profile.tape === 'C' ? '@' : ' ';
  }

  private trade(ns: bigint, facts: SecondFacts, events: MadeEvent[]): void {
    const { random, profile } = this;
    const isBuy = random.chance(0.5 + Math.max(-0.3, Math.min(0.3, this.drift / (4 * profile.ticksPerSecond))));
    const price = this.price(isBuy ? this.ask : this.bid);
    if (profile.tape === undefined) {
      const size = random.integer(1, 4_000) / 1e4;
      const side = isBuy ? 'B' : 'S';
      events.push(
        this.event('t', ns, `"p":${price},"s":${size},"i":${this.nextId++},"tks":"${side}",${this.tail(ns)}`),
      );
      return;
    }
    const isOddLot = random.chance(0.15);
    const size = isOddLot
      ? random.integer(1, 99)
      : 100 * (random.chance(0.08) ? random.integer(6, 40) : random.integer(1, 5));
    const conditions = [this.regular()];
    if (random.chance(0.15)) conditions.push('F');
    if (facts.session === 'pre' || facts.session === 'post') conditions.push('T');
    if (isOddLot) conditions.push('I');
    const isLate = facts.session !== 'always' && random.chance(LATE);
    if (isLate && random.chance(0.3)) conditions.push('Z');
    const publicNs = isLate ? ns + BigInt(random.integer(200, 9_500)) * 1_000_000n : ns;
    const made = {
      id: this.nextId++,
      exchange: isLate ? 'D' : random.pick(exchanges),
      price,
      size,
      conditions,
      publicNs,
    };
    events.push(this.event('t', ns, this.tradeFields(made, ns), publicNs));
    if (facts.session !== 'always') this.maybeTakeBack(made);
  }

  private tradeFields(trade: MadeTrade, ns: bigint): string {
    const { id, exchange, price, size, conditions } = trade;
    return `"i":${id},"x":"${exchange}","p":${price},"s":${size},"c":${JSON.stringify(conditions)},${this.tail(ns)}`;
  }

  /** Some trades are corrected or canceled seconds later. */
  private maybeTakeBack(trade: MadeTrade): void {
    const { random } = this;
    const { id, exchange, price, size, conditions } = trade;
    const fate = random.next();
    if (fate >= CORRECTED + CANCELED) return;
    const atNs = trade.publicNs + BigInt(random.integer(800, 8_000)) * 1_000_000n;
    if (fate < CORRECTED) {
      const corrected = this.price(Math.round(price * this.scale) + (random.chance(0.5) ? 1 : -1));
      const newId = this.nextId++;
      const letters = JSON.stringify(conditions);
      const fields =
        `"x":"${exchange}","oi":${id},"op":${price},"os":${size},"oc":${letters},` +
        `"ci":${newId},"cp":${corrected},"cs":${size},"cc":${letters}`;
      this.later.push(atNs, (ns) => this.event('c', ns, `${fields},${this.tail(ns)}`));
    } else {
      const fields = `"i":${id},"x":"${exchange}","p":${price},"s":${size},"a":"${random.chance(0.7) ? 'C' : 'E'}"`;
      this.later.push(atNs, (ns) => this.event('x', ns, `${fields},${this.tail(ns)}`));
    }
  }

  /** Two prints of an auction: the trade itself and the official price that repeats it. */
  private auction(startNs: bigint, print: string, official: string, events: MadeEvent[]): void {
    const price = this.price(Math.round(this.mid));
    const size = 100 * this.random.integer(40, 400);
    const exchange = this.profile.tape === 'C' ? 'Q' : 'N';
    const at = startNs + BigInt(this.random.integer(1_000_000, 400_000_000));
    for (const letter of [print, official]) {
      const conditions = [this.regular(), letter];
      const made = { id: this.nextId++, exchange, price, size, conditions, publicNs: at };
      events.push(this.event('t', at, this.tradeFields(made, at)));
    }
  }

  /** Price bands every half minute of the session, order imbalances before the bells. */
  private scheduled(facts: SecondFacts, events: MadeEvent[]): void {
    const { startNs, session, day } = facts;
    const second = startNs / SECOND_NS;
    const at = startNs + BigInt(this.random.integer(0, 999)) * 1_000_000n;
    if (session === 'regular' && second % 30n === 0n) {
      const band = (factor: number) => this.price(Math.round(this.mid * factor));
      events.push(this.event('l', at, `"u":${band(1.05)},"d":${band(0.95)},"i":"B",${this.tail(at)}`));
    }
    const toBell = (bell: bigint) => bell - startNs;
    const isBeforeBell =
      day &&
      ((session === 'pre' && toBell(day.openNs) <= 60n * SECOND_NS) ||
        (session === 'regular' && toBell(day.closeNs) <= 600n * SECOND_NS));
    if (isBeforeBell && second % 5n === 0n) {
      events.push(this.event('i', at, `"p":${this.price(Math.round(this.mid))},${this.tail(at)}`));
    }
  }

  /** Halts begin by chance in the regular session, last one to three minutes, and end with quotes before trades. */
  private isHalted(facts: SecondFacts, events: MadeEvent[]): boolean {
    const { random, profile } = this;
    if (profile.tape === undefined || facts.session === 'always') return false;
    const at = facts.startNs + BigInt(random.integer(0, 999_999)) * 1_000n;
    const status = (sc: string, sm: string, rc: string, rm: string) =>
      events.push(this.event('s', at, `"sc":"${sc}","sm":"${sm}","rc":"${rc}","rm":"${rm}",${this.tail(at)}`));
    if (!this.halt) {
      if (facts.session !== 'regular' || !random.chance(1 / 2_400)) return false;
      const isPause = random.chance(0.5);
      this.halt = { seconds: random.integer(60, 180), isPause };
      if (isPause) status('P', 'Volatility Trading Pause', 'LUDP', 'Volatility Trading Pause');
      else status('H', 'Trading Halt', 'T1', 'Halt - News Pending');
      return true;
    }
    this.halt.seconds -= 1;
    if (this.halt.seconds === 15) status('Q', 'Quotation Resumption', 'R4', 'Qualifications Issues Reviewed');
    if (this.halt.seconds < 15) {
      this.setBook();
      events.push(this.quote(at));
    }
    if (this.halt.seconds > 0) return true;
    this.halt = undefined;
    status('T', 'Trading Resumption', 'R4', 'Qualifications Issues Reviewed');
    const made = {
      id: this.nextId++,
      exchange: profile.tape === 'C' ? 'Q' : 'N',
      price: this.price(Math.round(this.mid)),
      size: 100 * random.integer(5, 60),
      conditions: [this.regular(), '5'],
      publicNs: at + 1_000n,
    };
    events.push(this.event('t', at + 1_000n, this.tradeFields(made, at + 1_000n)));
    return true;
  }
}
