/**
 * How fast a replay may go: as fast as the machine lets it, unless the live run falls behind; then it stands still until the
 * live run has caught up.
 * Guarantees: what is measured is the live run's own word (its status), in market ms; it counts as behind only while it has
 * something to read or to store. A live run that does not answer, or that is paused, is not waited for; one that does not catch
 * up within 30 machine s is not behind because of the replay, which then goes on.
 */
import { z } from 'zod';
import type { EventLog } from '../../../lib/log/port.ts';
import { findService } from '../../../lib/service/home.ts';
import { machineMs, sleep } from '../../../lib/service/machine.ts';

/** Market ms of lag at which the replay stands still, and at which it goes on. */
export const holdAboveMs = 2_500;
export const resumeBelowMs = 1_800;
const LOOK_EVERY_MS = 200;
const PATIENCE_MS = 30_000;

const offsets = z.record(z.string(), z.string().regex(/^\d+$/).transform(BigInt));
const engineSchema = z.looseObject({
  market_now: z.string(),
  phase: z.string(),
  tasks: z.array(z.looseObject({ watermark: z.string().nullable(), positions: offsets, ends: offsets })),
});
const sinkSchema = z.looseObject({
  newest_event_ts: z.string().nullable(),
  is_paused: z.boolean(),
  positions: z.record(z.string(), offsets),
});

async function ask<T>(url: string | undefined, schema: z.ZodType<T>): Promise<T | undefined> {
  if (url === undefined) return undefined;
  try {
    const response = await fetch(new URL('/status', url), { signal: AbortSignal.timeout(2_000) });
    return response.ok ? schema.parse(await response.json()) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Market ms by which the live run of a home is behind: from its oldest watermark to now while there is input to read, from its
 * newest watermark to the newest stored row while there are rows to store.
 */
export async function liveLagMs(home: string, log: EventLog, outputs: readonly string[]): Promise<number> {
  const engine = await ask(findService(home, 'ta')?.url, engineSchema);
  if (engine?.phase !== 'running') return 0;
  const marks = engine.tasks.flatMap(({ watermark }) => (watermark === null ? [] : [Date.parse(watermark)]));
  if (marks.length === 0) return 0;
  const hasInput = engine.tasks.some(({ positions, ends }) =>
    Object.entries(ends).some(([topic, end]) => end > (positions[topic] ?? 0n)),
  );
  const engineMs = hasInput ? Math.max(0, Date.parse(engine.market_now) - Math.min(...marks)) : 0;
  const sink = await ask(findService(home, 'sink')?.url, sinkSchema);
  if (!sink || sink.is_paused || sink.newest_event_ts === null) return engineMs;
  const sinkMs = Math.max(0, Math.max(...marks) - Date.parse(sink.newest_event_ts));
  if (sinkMs <= Math.max(engineMs, resumeBelowMs)) return engineMs;
  const described = await log.describeTopics([...outputs]);
  const isBehind = described.some(({ name, partitions }) =>
    partitions.some(({ partition, latest }) => latest > (sink.positions[name]?.[String(partition)] ?? 0n)),
  );
  return isBehind ? sinkMs : engineMs;
}

export interface PaceOptions {
  home: string;
  log: EventLog;
  /** Topics that the live sink reads. */
  outputs: readonly string[];
}

export class Pace {
  /** Records that were given out. */
  records = 0;
  /** Machine ms that the replay stood still for the live run. */
  heldMs = 0;
  /** Largest lag that was seen, market ms. */
  worstMs = 0;
  /** Machine ms. */
  readonly startedAt = machineMs();
  readonly #options: PaceOptions;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #lagMs = 0;
  #looking: Promise<void> | undefined;
  #holdingSince: number | undefined;
  /** The live run did not catch up although the replay stood still. */
  #isHopeless = false;

  constructor(options: PaceOptions) {
    this.#options = options;
  }

  took(records: number): void {
    this.records += records;
  }

  get lagMs(): number {
    return this.#lagMs;
  }

  /** Waits while the live run is behind. */
  async hold(signal: AbortSignal | undefined): Promise<void> {
    await this.#look();
    while (this.#holdingSince !== undefined && !signal?.aborted) {
      await sleep(50, signal);
      await this.#look();
    }
  }

  #look(): Promise<void> {
    if (machineMs() - this.#lookedAt < LOOK_EVERY_MS) return Promise.resolve();
    this.#looking ??= this.#measure().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #measure(): Promise<void> {
    const { home, log, outputs } = this.#options;
    // A log that does not answer is the reader's to report.
    this.#lagMs = await liveLagMs(home, log, outputs).catch(() => 0);
    const now = machineMs();
    this.#lookedAt = now;
    this.worstMs = Math.max(this.worstMs, this.#lagMs);
    if (this.#lagMs < resumeBelowMs) this.#isHopeless = false;
    if (this.#holdingSince === undefined) {
      if (this.#lagMs > holdAboveMs && !this.#isHopeless) this.#holdingSince = now;
      return;
    }
    if (now - this.#holdingSince > PATIENCE_MS) this.#isHopeless = true;
    if (this.#lagMs >= resumeBelowMs && !this.#isHopeless) return;
    // Counted here, once: every partition of the replay waits for the same live run.
    this.heldMs += now - this.#holdingSince;
    this.#holdingSince = undefined;
  }
}
