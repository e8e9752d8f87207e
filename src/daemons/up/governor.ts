/**
 * The speed of the virtual clock: at most what was asked, slower while rows lag behind trades by over 15 market seconds,
 * never below 1 (design 4). Also the lag itself, as the dashboard shows it.
 */

import { parseTimestampNs } from '../../lib/market/time.ts';
import type { ClockOwner } from '../../lib/service/clock.ts';
import { lowestWatermark } from './view.ts';
import type { Snapshot } from './watch.ts';

const slowAboveMs = 15_000;
const fastBelowMs = 6_000;

/**
 * How far the stored rows are behind the market, in market ms: what the forwarder lacks of what was sent, what the tasks lack
 * of what the forwarder has, and what the store lacks of the bars that the tasks gave out; the worst counts. A market without
 * trades is not behind, however old its newest row.
 */
export function tradeToRowLagMs(snapshot: Snapshot, marketNowMs: number): number {
  const { simulator, ws, ta, sink } = snapshot;
  if (!simulator || !ws) return 0;
  const released = sum(simulator.input, ['trades', 'quotes']);
  const acknowledged = sum(ws.acknowledged, ['trades', 'quotes']);
  const wsMs = toMs(ws.last_event_ts);
  const ingestLag = acknowledged < released && wsMs !== undefined ? marketNowMs - wsMs : 0;
  const watermark = lowestWatermark(snapshot);
  const taskLag = wsMs !== undefined && watermark !== undefined ? wsMs - Number(watermark / 1_000_000n) : 0;
  const newestBarMs = Math.max(...(ta?.latest ?? []).map(({ event_ts }) => toMs(event_ts) ?? 0));
  const storedMs = toMs(sink?.newest_event_ts);
  const storeLag = storedMs !== undefined ? newestBarMs - storedMs : 0;
  return Math.max(0, ingestLag, taskLag, storeLag);
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
