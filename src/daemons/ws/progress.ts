/**
 * Progress records (design 5): they tell the readers of a quiet partition how far market time has come, so that their merge of
 * trades, quotes and bars can go on.
 * Guarantees: a record says only what an answered ping proves, and goes through the same queue behind everything accepted
 * before; none while the stream is down or the partition waits for a repair.
 */
import type { EnvelopeWriter } from '../../lib/market/envelope-text.ts';
import { formatTimestampNs } from '../../lib/market/time.ts';
import type { Clock } from '../../lib/service/clock.ts';
import type { Lane } from './lane.ts';
import type { Publisher, Slot } from './publisher.ts';

/** A partition that had a record within this many market ms needs no progress. */
export const QUIET_MS = 250;
/** At most 20 a machine second in each partition. */
export const PROGRESS_INTERVAL_MS = 50;
/**
 * Outside the session progress ends after this silence (market ms), so an idle night writes nothing. A virtual run may end with
 * the session's last second and still needs the 110 s that follow it to make everything final.
 */
const CLOSED_SILENCE_MS = { system: 20_000, virtual: 120_000 } as const;

export interface ProgressOptions {
  clock: Clock;
  /** `i/n`: which of how many forwarders tells. */
  shard: string;
  publisher: Publisher;
  envelopes: EnvelopeWriter;
  lanes: readonly Lane[];
  /** The market-data slots of a lane. */
  slotsOf(lane: Lane): readonly Slot[];
  isUp(): boolean;
  isSessionActive(): boolean;
  /** Market ms of the newest message of any symbol. */
  lastDataMs(): number;
  /** How far of what an answered ping proves may be told: a mute socket answers pings too. */
  confirmed(provenNs: bigint): bigint;
}

export interface ProgressTeller {
  /** A ping sent at this market time was answered: everything sent before it has been accepted. */
  proven(sentNs: bigint): void;
  /** The connection was lost: what was proven holds no longer for what comes next. */
  forget(): void;
  /** Called every `PROGRESS_INTERVAL_MS` machine ms. @returns records written */
  tick(): number;
}

export function createProgressTeller(options: ProgressOptions): ProgressTeller {
  let provenNs: bigint | undefined;
  const told = new Map<Slot, bigint>();
  const headers = { shard: options.shard };
  return {
    proven: (sentNs) => {
      if (provenNs === undefined || sentNs > provenNs) provenNs = sentNs;
    },
    forget: () => {
      provenNs = undefined;
    },
    tick: () => {
      if (provenNs === undefined || !options.isUp()) return 0;
      const nowMs = options.clock.nowMs();
      if (!options.isSessionActive() && nowMs - options.lastDataMs() > CLOSED_SILENCE_MS[options.clock.kind]) return 0;
      const toldNs = options.confirmed(provenNs);
      let written = 0;
      for (const lane of options.lanes) {
        if (!lane.isClear) continue;
        for (const slot of options.slotsOf(lane)) {
          if (nowMs - slot.lastRecordMs < QUIET_MS || (told.get(slot) ?? 0n) >= toldNs) continue;
          told.set(slot, toldNs);
          const text = options.envelopes.market({
            channel: 'progress',
            symbol: '',
            eventTs: formatTimestampNs(toldNs),
            session: null,
            payload: '{}',
            source: 'ws',
            isFinal: true,
          });
          options.publisher.enqueue({
            slot,
            key: null,
            value: Buffer.from(text, 'utf8'),
            timestampMs: nowMs,
            headers,
          });
          written += 1;
        }
      }
      return written;
    },
  };
}
