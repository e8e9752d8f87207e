/**
 * What a source of market messages is to the simulator: batches in reading order, each message with the market time at which
 * it becomes public. Guarantee: the same source with the same options gives the same messages in the same order.
 */
export interface SourceEvent {
  code: number;
  symbol: string;
  /** Time of the event itself. */
  eventNs: bigint;
  /** Place in the reading order; never falls. */
  readNs: bigint;
  /** When it becomes public: readNs, or later for bars and late prints. */
  releaseNs: bigint;
  /** Canonical line (market/message-line.ts); valid until the next batch is asked for. */
  line: Buffer;
}

export interface SourceBatch {
  events: SourceEvent[];
  /** Every message whose readNs is at or before this has been given. */
  completeNs: bigint;
}

export interface EventSource {
  /** Does the source bring its own minute bars? When not, the simulator builds them. */
  readonly hasBars: boolean;
  /** Symbols it will bring, sorted. */
  readonly symbols: readonly string[];
  /** Market time at which the market of this source begins. */
  readonly startNs: bigint;
  /** The next messages; undefined at the end. @throws `input_broken`, `input_unreadable` */
  next(): Promise<SourceBatch | undefined>;
  close(): void;
}

/** A minute bar is public when its minute is over; an updated one half a minute later. */
export const BAR_DELAY_NS = 60_000_000_000n;
export const UPDATED_BAR_DELAY_NS = 90_000_000_000n;
