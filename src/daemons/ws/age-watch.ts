/**
 * Notices a busy stream that lies behind: the server buffers for a slow reader, pings are answered, data flow, and all of it is
 * minutes old. Age is our receipt less the event's time (market ms), of trades and quotes alone.
 * Guarantees: one late print, a delayed feed or a clock that is off by a constant never count, because only the least age of a
 * stretch is compared, with the least that this process has ever seen; a connection is given up only when the age has stood
 * above the limit for `WINDOW_MS` machine ms; when two new connections did not cure it, it is a clock and not a buffer, and
 * becomes the new measure. Until then what an answered ping proves is told less the age.
 */
import { machineMs } from '../../lib/service/machine.ts';

/** Machine ms over which the least age is taken; two halves, the older one complete. */
export const WINDOW_MS = 2_000;
/** New connections that may fail to help before the age is taken as given. */
const FUTILE = 2;
/** Machine ms that a stream has to lie behind as well: on a fast virtual clock a moment's work is many market seconds. */
const MIN_BEHIND_MACHINE_MS = 2_000;
/** Market ms of age that need no caution: what a busy machine makes. */
const NEGLIGIBLE_MS = 1_000;

export interface AgeWatchOptions {
  /** Market ms. */
  limitMs: number;
  onBehind(behindMs: number): void;
  /** Reconnecting does not help: a clock is off, or the feed is late by itself. */
  onAccepted(ageMs: number): void;
  nowMs?: () => number;
}

export class AgeWatch {
  readonly #options: AgeWatchOptions;
  readonly #nowMs: () => number;
  #bestMs = Number.POSITIVE_INFINITY;
  /** Least ages of the current half window and of the one before. */
  #currentMs = Number.POSITIVE_INFINITY;
  #previousMs: number | undefined;
  #halfSinceMs: number | undefined;
  #isGivenUp = false;
  #futile = 0;
  /** Market ms that pass in a machine ms, measured over the last half window. */
  #speed = 1;
  #halfSinceMarketMs = 0;

  constructor(options: AgeWatchOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? machineMs;
  }

  /** How far the stream lies behind (market ms); 0 when it does not, or is not yet known to. */
  get behindMs(): number {
    const leastMs = Math.min(this.#currentMs, this.#previousMs ?? this.#currentMs);
    if (!Number.isFinite(leastMs) || !Number.isFinite(this.#bestMs)) return 0;
    return Math.max(0, leastMs - this.#bestMs);
  }

  /** How far what an answered ping proves may be told (market ns). */
  cap(provenNs: bigint): bigint {
    const { behindMs } = this;
    return behindMs <= NEGLIGIBLE_MS ? provenNs : provenNs - BigInt(Math.ceil(behindMs)) * 1_000_000n;
  }

  /** A new connection delivers from now on. */
  begin(): void {
    this.#currentMs = Number.POSITIVE_INFINITY;
    this.#previousMs = undefined;
    this.#halfSinceMs = undefined;
    this.#isGivenUp = false;
  }

  /** The age of a trade or quote received at this market time. @param ageMs market ms, negative when a clock is off */
  observe(ageMs: number, marketMs: number): void {
    const now = this.#nowMs();
    if (this.#halfSinceMs === undefined) {
      this.#halfSinceMs = now;
      this.#halfSinceMarketMs = marketMs;
    } else if (now - this.#halfSinceMs >= WINDOW_MS / 2) {
      this.#speed = (marketMs - this.#halfSinceMarketMs) / (now - this.#halfSinceMs);
      this.#halfSinceMarketMs = marketMs;
      this.#judge();
      this.#previousMs = this.#currentMs;
      this.#currentMs = Number.POSITIVE_INFINITY;
      this.#halfSinceMs = now;
    }
    this.#currentMs = Math.min(this.#currentMs, ageMs);
    this.#bestMs = Math.min(this.#bestMs, ageMs);
  }

  #judge(): void {
    if (this.#isGivenUp || this.#previousMs === undefined) return;
    const { behindMs } = this;
    if (behindMs <= Math.max(this.#options.limitMs, this.#speed * MIN_BEHIND_MACHINE_MS)) {
      this.#futile = 0;
      return;
    }
    if (this.#futile >= FUTILE) {
      this.#bestMs += behindMs;
      this.#futile = 0;
      this.#options.onAccepted(this.#bestMs);
      return;
    }
    this.#futile += 1;
    this.#isGivenUp = true;
    this.#options.onBehind(behindMs);
  }
}
