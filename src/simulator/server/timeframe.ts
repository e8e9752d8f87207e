/**
 * Bars of longer time frames, aggregated from minute bars: [1-59]Min, [1-23]Hour, 1Day, 1Week, [1-12]Month.
 * Buckets begin at New York wall-clock marks for stocks and at UTC marks for crypto, as Alpaca labels them.
 */
import { newYorkInstant, newYorkTime } from '../../lib/market/calendar.ts';
import { formatTimestampNs } from '../../lib/market/time.ts';
import { RequestError } from './history-query.ts';

export interface Timeframe {
  count: number;
  unit: 'Min' | 'Hour' | 'Day' | 'Week' | 'Month';
}

const most: Record<Timeframe['unit'], number> = { Min: 59, Hour: 23, Day: 1, Week: 1, Month: 12 };
const shortUnits: Record<string, Timeframe['unit']> = { T: 'Min', H: 'Hour', D: 'Day', W: 'Week', M: 'Month' };

export function parseTimeframe(text: string | null): Timeframe {
  if (text === null || text === '') throw new RequestError(400, 'timeframe is required');
  const match = /^(\d{1,2})(Min|Hour|Day|Week|Month|T|H|D|W|M)$/.exec(text);
  const unit = match ? ((shortUnits[match[2] as string] ?? match[2]) as Timeframe['unit']) : undefined;
  const count = Number(match?.[1]);
  const isMonthCount = unit !== 'Month' || [1, 2, 3, 4, 6, 12].includes(count);
  if (!unit || count < 1 || count > most[unit] || !isMonthCount)
    throw new RequestError(400, `invalid timeframe: ${text}`);
  return { count, unit };
}

const DAY_MS = 86_400_000;

/** Start of the bucket that holds an instant. */
export function bucketStartNs(frame: Timeframe, ns: bigint, zone: 'new_york' | 'utc'): bigint {
  const utcMs = Number(ns / 1_000_000n);
  const local =
    zone === 'utc'
      ? { date: new Date(utcMs).toISOString().slice(0, 10), msOfDay: ((utcMs % DAY_MS) + DAY_MS) % DAY_MS }
      : newYorkTime(ns);
  const instant = (date: string, msOfDay: number): bigint =>
    zone === 'utc' ? BigInt(Date.parse(`${date}T00:00:00Z`) + msOfDay) * 1_000_000n : newYorkInstant(date, msOfDay);
  const [year, month, day] = local.date.split('-').map(Number) as [number, number, number];
  const dateOf = (ms: number) => new Date(ms).toISOString().slice(0, 10);
  switch (frame.unit) {
    case 'Min':
    case 'Hour': {
      const step = frame.count * (frame.unit === 'Min' ? 60_000 : 3_600_000);
      return instant(local.date, Math.floor(local.msOfDay / step) * step);
    }
    case 'Day':
      return instant(local.date, 0);
    case 'Week': {
      const weekday = (new Date(Date.UTC(year, month - 1, day)).getUTCDay() + 6) % 7;
      return instant(dateOf(Date.UTC(year, month - 1, day - weekday)), 0);
    }
    case 'Month':
      return instant(dateOf(Date.UTC(year, Math.floor((month - 1) / frame.count) * frame.count, 1)), 0);
  }
}

interface Bar {
  o: number;
  h: number;
  l: number;
  c: number;
  v: number;
  n?: number;
  vw?: number;
}

/** One bar of several minute bars in ascending order, as the text of a history item. */
export function aggregateBar(minutes: readonly Record<string, unknown>[], startNs: bigint): string {
  const bars = minutes as unknown as Bar[];
  const first = bars[0] as Bar;
  let { h, l, c } = first;
  let volume = 0;
  let count = 0;
  let weighted = 0;
  for (const bar of bars) {
    h = Math.max(h, bar.h);
    l = Math.min(l, bar.l);
    c = bar.c;
    volume += bar.v;
    count += bar.n ?? 0;
    weighted += (bar.vw ?? 0) * bar.v;
  }
  const six = (value: number) => Math.round(value * 1e6) / 1e6;
  return JSON.stringify({
    o: first.o,
    h,
    l,
    c,
    v: six(volume),
    ...(bars.every((bar) => bar.n !== undefined) ? { n: count } : {}),
    ...(volume > 0 && bars.every((bar) => bar.vw !== undefined) ? { vw: six(weighted / volume) } : {}),
    t: formatTimestampNs(startNs),
  });
}
