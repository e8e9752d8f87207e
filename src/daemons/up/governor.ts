/**
 * The speed of the virtual clock: at most what was asked, slower while rows lag behind trades by over 15 market seconds,
 * never below 1 (design 4). Also the lag itself, as the dashboard shows it.
 */

import { parseTimestampNs } from '../../lib/market/time.ts';
import type { ClockOwner } from '../../lib/service/clock.ts';
import type { Snapshot } from './watch.ts';

const slowAboveMs = 15_000;
const fastBelowMs = 6_000;

/**
 * How far the stored rows are behind the market, in market ms: while the forwarder has everything, its newest event against
 * the newest stored row; while it has not, market now against its newest event.
 */
export function tradeToRowLagMs(snapshot: Snapshot, marketNowMs: number): number {
  const { simulator, ws, sink } = snapshot;
  if (!simulator || !ws) return 0;
  const released = sum(simulator.input, ['trades', 'quotes']);
  const acknowledged = sum(ws.acknowledged, ['trades', 'quotes']);
  const wsMs = toMs(ws.last_event_ts);
  const storedMs = toMs(sink?.newest_event_ts);
  const ingestLag = acknowledged < released && wsMs !== undefined ? marketNowMs - wsMs : 0;
  // Nothing stored yet: the bars of the first seconds wait for the watermark.
  const storeLag = wsMs !== undefined && storedMs !== undefined ? wsMs - storedMs : 0;
  return Math.max(0, ingestLag, storeLag);
}

function sum(values: Record<string, number>, names: string[]): number {
  return names.reduce((total, name) => total + (values[name] ?? 0), 0);
}

function toMs(text: string | null | undefined): number | undefined {
  const ns = text ? parseTimestampNs(text) : undefined;
  return ns === undefined ? undefined : Number(ns / 1_000_000n);
}

/** Next speed of the clock, from its present speed and the lag. */
export function nextSpeed(speed: number, maximum: number, lagMs: number): number {
  if (lagMs > slowAboveMs) return Math.max(Math.min(1, maximum), speed * 0.75);
  if (lagMs < fastBelowMs && speed < maximum) return Math.min(maximum, Math.max(speed * 1.15, Math.min(1, maximum)));
  return speed;
}

/** Applies the next speed; call a few times per machine second. */
export function govern(clock: ClockOwner, maximum: number, lagMs: number): void {
  const wanted = Math.round(nextSpeed(clock.speed, maximum, lagMs) * 1000) / 1000;
  if (wanted !== clock.speed) clock.setSpeed(wanted);
}
