/**
 * The running daily bar `d`: after each minute bar the day so far (alpaca-protocol 1). Its `t` is New York midnight.
 * Guarantee: made from the minute bars alone, updated ones included, so the two never contradict each other.
 */
import { newYorkInstant, newYorkTime } from '../../lib/market/calendar.ts';
import { formatTimestampNs } from '../../lib/market/time.ts';
import { rounded } from './minute-bars.ts';

interface MinuteBar {
  o: number;
  h: number;
  l: number;
  c: number;
  v: number;
  n: number | undefined;
  vw: number | undefined;
}

interface Day {
  date: string;
  startNs: bigint;
  minutes: Map<bigint, MinuteBar>;
  /** Sum of all minutes but those after an update, which sums anew. */
  sum: (MinuteBar & { weighted: number }) | undefined;
}

const optional = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);

export class DailyBarBuilder {
  private readonly days = new Map<string, Day>();

  /** Takes a minute bar (`b` or `u`) and returns the line of the daily bar with its event time. */
  apply(message: Record<string, unknown>, eventNs: bigint): { eventNs: bigint; line: Buffer } {
    const symbol = String(message.S);
    const { date } = newYorkTime(eventNs);
    let day = this.days.get(symbol);
    if (day?.date !== date) {
      day = { date, startNs: newYorkInstant(date, 0), minutes: new Map(), sum: undefined };
      this.days.set(symbol, day);
    }
    const bar: MinuteBar = {
      o: Number(message.o),
      h: Number(message.h),
      l: Number(message.l),
      c: Number(message.c),
      v: Number(message.v),
      n: optional(message.n),
      vw: optional(message.vw),
    };
    const isUpdate = day.minutes.has(eventNs);
    day.minutes.set(eventNs, bar);
    if (isUpdate) {
      day.sum = undefined;
      for (const [, minute] of [...day.minutes].sort(([a], [b]) => (a < b ? -1 : 1))) day.sum = added(day.sum, minute);
    } else {
      day.sum = added(day.sum, bar);
    }
    const sum = day.sum as NonNullable<Day['sum']>;
    const fields: Record<string, unknown> = {
      T: 'd',
      S: symbol,
      o: sum.o,
      h: sum.h,
      l: sum.l,
      c: sum.c,
      v: rounded(sum.v),
      ...(sum.n === undefined ? {} : { n: sum.n }),
      ...(sum.vw === undefined || sum.v === 0 ? {} : { vw: rounded(sum.weighted / sum.v) }),
      t: formatTimestampNs(day.startNs),
    };
    return { eventNs: day.startNs, line: Buffer.from(JSON.stringify(fields)) };
  }
}

function added(sum: Day['sum'], bar: MinuteBar): NonNullable<Day['sum']> {
  const weighted = (sum?.weighted ?? 0) + (bar.vw ?? 0) * bar.v;
  if (!sum) return { ...bar, weighted };
  return {
    o: sum.o,
    h: Math.max(sum.h, bar.h),
    l: Math.min(sum.l, bar.l),
    c: bar.c,
    v: sum.v + bar.v,
    n: sum.n === undefined || bar.n === undefined ? undefined : sum.n + bar.n,
    vw: sum.vw === undefined || bar.vw === undefined ? undefined : bar.vw,
    weighted,
  };
}
