/**
 * What ta, the sink and trade of a home say about themselves, for the report of the store. A daemon that is down or elsewhere
 * is said so; nothing here fails because of it.
 */
import { z } from 'zod';
import { findService, type ServiceName } from '../../lib/service/home.ts';
import type { PipelineState } from '../../lib/signals/disk/report.ts';

const timeoutMs = 2_000;

const shown: Record<'ta' | 'sink' | 'trade', readonly string[]> = {
  ta: ['lag_ms', 'bars_out', 'signals_out'],
  sink: ['circuit', 'newest_event_ts', 'error'],
  trade: ['enabled', 'paused', 'kill_switch', 'emergency_stop', 'store_emergency', 'session', 'last_error'],
};

export async function readPipelineState(home: string): Promise<PipelineState> {
  const [ta, sink, trade] = await Promise.all([stateOf(home, 'ta'), stateOf(home, 'sink'), stateOf(home, 'trade')]);
  return { ta, sink, trade };
}

async function stateOf(
  home: string,
  name: Extract<ServiceName, 'ta' | 'sink' | 'trade'>,
): Promise<Record<string, unknown>> {
  const url = findService(home, name)?.url;
  if (url === undefined) return { state: 'not running in this home' };
  try {
    const response = await fetch(new URL('/status', url), { signal: AbortSignal.timeout(timeoutMs) });
    const status = z.record(z.string(), z.unknown()).parse(await response.json());
    const fields = shown[name].filter((field) => status[field] !== undefined).map((field) => [field, status[field]]);
    return { state: 'running', ...Object.fromEntries(fields) };
  } catch {
    return { state: 'does not answer' };
  }
}
