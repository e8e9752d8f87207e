/**
 * Records of what could not be read (spec ingest 3.2): reason and raw text, at most 50 a machine second, the rest only counted.
 * Never anything of the authentication: only data frames come here.
 */
import { formatTimestampNs } from '../../lib/market/time.ts';
import type { Clock } from '../../lib/service/clock.ts';
import { machineMs } from '../../lib/service/machine.ts';
import type { WsMetrics } from './metrics.ts';
import type { Publisher } from './publisher.ts';
import type { Slots } from './records.ts';

export type DeadLetterReason = 'json' | 'msgpack' | 'schema' | 'invalid_event_ts' | 'unknown_type';

export interface DeadLetters {
  write(reason: DeadLetterReason, raw: string, error: string, symbol: string): void;
}

const MAX_RAW = 65_536;
const MAX_PER_SECOND = 50;

export function createDeadLetters(options: {
  feed: string;
  clock: Clock;
  slots: Slots;
  publisher: Publisher;
  producerEpochMs: number;
  metrics: WsMetrics;
}): DeadLetters {
  const { clock, slots, publisher, metrics } = options;
  let secondMs = 0;
  let inSecond = 0;
  return {
    write: (reason, raw, error, symbol) => {
      metrics.decodeFailures.inc({ reason });
      metrics.drops.inc({ feed: options.feed, reason });
      const now = machineMs();
      if (now - secondMs >= 1_000) {
        secondMs = now;
        inSecond = 0;
      }
      inSecond += 1;
      if (inSecond > MAX_PER_SECOND) return;
      const key = symbol || 'UNKNOWN';
      const value = {
        received_ts: formatTimestampNs(clock.nowNs()),
        feed: options.feed,
        reason,
        error,
        raw: raw.slice(0, MAX_RAW),
        truncated: raw.length > MAX_RAW,
        producer_epoch: options.producerEpochMs,
      };
      metrics.dlq.inc({ reason });
      publisher.enqueue({
        slot: slots.of('dlq', slots.partitionOf(key)),
        key,
        value: Buffer.from(JSON.stringify(value), 'utf8'),
        timestampMs: clock.nowMs(),
      });
    },
  };
}
