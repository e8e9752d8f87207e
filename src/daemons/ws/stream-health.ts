/**
 * What the life of a stream says about health (spec ingest 4.1): the class of its last failure, when it was last up, and
 * whether a restart could cure it. Machine time throughout.
 * Guarantee: authentication, entitlement, symbol limits, the log and silence never ask for a restart, which would not cure them.
 */
import { type ConnectionState, isUp } from '../../lib/alpaca/connection-state.ts';
import type { StateChange } from '../../lib/alpaca/reconnect.ts';
import type { StreamErrorClass } from '../../lib/alpaca/stream-errors.ts';

/** Machine ms after which each fault counts. */
export const STALLED_LOOP_MS = 30_000;
export const FORGOTTEN_MS = 120_000;
export const CURABLE_MS = 600_000;

/** A connection that ended without a close handshake may hold its slot at the provider this long (machine ms). */
export const ZOMBIE_MS = 300_000;

const RECENT_MS = 600_000;
/** More than ten minutes can hold at the shortest back-off. */
const MAX_ENDS = 2_000;

/** How a connection ended. */
export interface StreamEnd {
  errorClass: StreamErrorClass;
  code: number | undefined;
  /** Was the close handshake made? */
  isClean: boolean;
  /** Machine ms. */
  atMs: number;
}

/** Without a close frame the other side learns nothing. */
function isCleanEnd(errorClass: StreamErrorClass, code: number | undefined): boolean {
  if (errorClass === 'pong_timeout') return false;
  return errorClass !== 'connection_lost' || (code !== undefined && code !== 1006);
}

const curableClasses: ReadonlySet<StreamErrorClass> = new Set(['unknown', 'alpaca_406_second_connection']);

export class StreamHealth {
  state: ConnectionState = 'disconnected';
  lastErrorClass: StreamErrorClass | undefined;
  lastErrorCode: number | undefined;
  attempt = 0;
  /** Symbols asked for and not granted, by channel. */
  missing: Record<string, string[]> = {};
  /** The newest end of a connection; stays when the next one is up. */
  lastEnd: StreamEnd | undefined;
  /** Machine ms of the newest end without a close handshake. */
  lastUncleanMs: number | undefined;
  /** A refusal that did not end the session (405, 410) and still holds. */
  notice: { errorClass: string; code: number | undefined } | undefined;
  /** Market ms. */
  latestAuthMs: number | undefined;
  latestAckMs: number | undefined;
  #ends: number[] = [];
  #dueMs: number;
  #curableSinceMs: number | undefined;

  constructor(machineNowMs: number) {
    this.#dueMs = machineNowMs;
  }

  /** Connections that ended within the last ten minutes. */
  recentEnds(machineNowMs: number): number {
    this.#ends = this.#ends.filter((atMs) => machineNowMs - atMs <= RECENT_MS);
    return this.#ends.length;
  }

  /** The process before this one went without closing its connection. */
  inheritUncleanEnd(machineNowMs: number): void {
    this.lastUncleanMs = machineNowMs;
  }

  refused(errorClass: string, code: number | undefined): void {
    this.notice = { errorClass, code };
  }

  /** @param marketNowMs for the times that readiness tells */
  onState(change: StateChange, machineNowMs: number, marketNowMs?: number): void {
    this.state = change.to;
    if (change.to === 'subscribing') this.latestAuthMs = marketNowMs;
    if (isUp(change.to)) this.latestAckMs = marketNowMs;
    if (change.to === 'ready') this.notice = undefined;
    if (change.end) {
      const { errorClass, code } = change.end;
      this.lastEnd = { errorClass, code, isClean: isCleanEnd(errorClass, code), atMs: machineNowMs };
      this.#ends.push(machineNowMs);
      if (this.#ends.length > MAX_ENDS) this.#ends.shift();
      if (!this.lastEnd.isClean) this.lastUncleanMs = machineNowMs;
    }
    this.attempt = change.attempt;
    // A wait for the next attempt is no standstill.
    this.#dueMs = machineNowMs + (change.retryMs ?? 0);
    if (change.missing !== undefined) {
      this.missing = Object.fromEntries([...change.missing].map(([channel, symbols]) => [channel, [...symbols]]));
    }
    if (isUp(change.to)) {
      this.#curableSinceMs = undefined;
      this.lastErrorClass = undefined;
      this.lastErrorCode = undefined;
    } else if (change.end) {
      this.lastErrorClass = change.end.errorClass;
      this.lastErrorCode = change.end.code;
      if (!curableClasses.has(change.end.errorClass)) this.#curableSinceMs = undefined;
      else this.#curableSinceMs ??= machineNowMs;
    }
  }

  /** Why a restart could help, or undefined. */
  faultToCure(machineNowMs: number): string | undefined {
    if (isUp(this.state) || this.state === 'draining') return undefined;
    if (machineNowMs - this.#dueMs > FORGOTTEN_MS) return 'neither connected nor about to reconnect';
    if (this.#curableSinceMs !== undefined && machineNowMs - this.#curableSinceMs > CURABLE_MS) {
      return `${this.lastErrorClass ?? 'unknown'} for too long`;
    }
    return undefined;
  }
}

/** Notices that the event loop stood still: call `beat` every second. */
export class LoopWatch {
  #lastMs: number;

  constructor(machineNowMs: number) {
    this.#lastMs = machineNowMs;
  }

  beat(machineNowMs: number): void {
    this.#lastMs = machineNowMs;
  }

  isStalled(machineNowMs: number): boolean {
    return machineNowMs - this.#lastMs > STALLED_LOOP_MS;
  }
}

/** Class of a log that does not take records: by the code of its last failed commit (spec ingest 4.1). */
export function logErrorClass(code: string | undefined): string {
  if (code === undefined) return 'backpressure';
  if (/auth|sasl|acl/i.test(code)) return 'kafka_auth';
  if (/topic|metadata|leader|unreachable/i.test(code)) return 'kafka_metadata';
  return 'kafka_produce';
}
