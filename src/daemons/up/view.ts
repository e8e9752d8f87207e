/**
 * What the dashboard shows, as plain data and plain lines: rates, lag, watermark, newest bars, positions, orders, health.
 */
import { formatTimestampNs, parseTimestampNs } from '../../lib/market/time.ts';
import type { ServiceName } from '../../lib/service/home.ts';
import type { Restart } from './run-file.ts';
import type { Snapshot } from './watch.ts';

export interface ViewInput {
  snapshot: Snapshot;
  isUp(name: ServiceName): boolean;
  marketNowNs: bigint;
  speed: number;
  maximumSpeed: number;
  lagMs: number;
  phase: string;
  restarts: readonly Restart[];
  rates: Record<string, number>;
  closes: ReadonlyMap<string, readonly number[]>;
  home: string;
}

export const childNames = ['simulator', 'ws', 'ta', 'sink', 'trade', 'clickhouse', 'postgres'] as const;

const blocks = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;

/** Values as a line of block characters, lowest to highest. */
export function sparkline(values: readonly number[]): string {
  const low = Math.min(...values);
  const high = Math.max(...values);
  return values
    .map((value) => blocks[high === low ? 3 : Math.round(((value - low) / (high - low)) * (blocks.length - 1))])
    .join('');
}

/** 1234567 as 1,234,567. */
export function grouped(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** Market time as HH:MM:SS in UTC with the date in front. */
export function marketText(ns: bigint): string {
  return `${formatTimestampNs((ns / 1_000_000_000n) * 1_000_000_000n)
    .replace('T', ' ')
    .replace('Z', '')} UTC`;
}

/** The lowest watermark of all tasks; undefined before the first. */
export function lowestWatermark(snapshot: Snapshot): bigint | undefined {
  let lowest: bigint | undefined;
  for (const task of snapshot.ta?.tasks ?? []) {
    const ns = task.watermark ? parseTimestampNs(task.watermark) : undefined;
    if (ns !== undefined && (lowest === undefined || ns < lowest)) lowest = ns;
  }
  return lowest;
}

/** One line for logs and pipes. */
export function plainLine(input: ViewInput): string {
  const { snapshot } = input;
  const acknowledged = snapshot.ws?.acknowledged ?? {};
  const down = childNames.filter((name) => !input.isUp(name));
  return [
    `market ${marketText(input.marketNowNs)}`,
    `speed ${input.speed.toFixed(1)}x`,
    `lag ${(input.lagMs / 1000).toFixed(1)}s`,
    `trades ${grouped(acknowledged.trades ?? 0)}`,
    `quotes ${grouped(acknowledged.quotes ?? 0)}`,
    `bars ${grouped(snapshot.ta?.bars_out ?? 0)}`,
    `signals ${grouped(snapshot.ta?.signals_out ?? 0)}`,
    `decisions ${grouped(total(snapshot.trade?.decisions))}`,
    `restarts ${input.restarts.length}`,
    down.length === 0 ? input.phase : `${input.phase}; not answering: ${down.join(' ')}`,
  ].join('  ');
}

function total(values: Record<string, number> | undefined): number {
  return Object.values(values ?? {}).reduce((sum, value) => sum + value, 0);
}
