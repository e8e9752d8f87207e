/**
 * Market time: the one source of "now" for event stamps, sessions, polls, cooldowns and ages (design 4).
 * Guarantees: `system` is the wall clock; `virtual` follows a clock file and never passes the file's `until`, so it stands
 * still within 100 machine ms when its owner dies, and it never goes back.
 */
import { closeSync, openSync, readSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { refusedError } from './errors.ts';
import { machineNs, sleep } from './machine.ts';

export interface Clock {
  readonly kind: 'system' | 'virtual';
  /** Market nanoseconds since the Unix epoch. */
  nowNs(): bigint;
  /** Market milliseconds since the Unix epoch, rounded down. */
  nowMs(): number;
  /** Waits until market now has reached the instant (nanoseconds); resolves early when the signal aborts. */
  sleepUntil(instantNs: bigint, signal?: AbortSignal): Promise<void>;
}

export const NS_PER_MS = 1_000_000n;

/** Sleeps and looks again until market now has reached the instant. `waitMs`: machine ms to sleep for market ms left. */
function sleepUntilBy(nowNs: () => bigint, waitMs: (leftMs: number) => number): Clock['sleepUntil'] {
  return async (instantNs, signal) => {
    while (!signal?.aborted) {
      const leftNs = instantNs - nowNs();
      if (leftNs <= 0n) return;
      await sleep(waitMs(Number(leftNs / NS_PER_MS)), signal);
    }
  };
}

export function systemClock(): Clock {
  // One reading of the wall clock, then the monotonic clock: market time never goes back when NTP steps the machine.
  const wallNs = BigInt(Date.now()) * NS_PER_MS;
  const startNs = machineNs();
  let last = 0n;
  const nowNs = () => {
    const wall = BigInt(Date.now()) * NS_PER_MS;
    const steady = wallNs + (machineNs() - startNs);
    // Follow the wall clock when it moved away by over a second (suspend, NTP), otherwise keep sub-millisecond steps.
    const drift = wall - steady;
    const value = drift > 1_000_000_000n || drift < -1_000_000_000n ? wall : steady;
    if (value > last) last = value;
    return last;
  };
  return {
    kind: 'system',
    nowNs,
    nowMs: () => Number(nowNs() / NS_PER_MS),
    sleepUntil: sleepUntilBy(nowNs, (leftMs) => Math.min(60_000, leftMs + 1)),
  };
}

/** One state of the clock file. */
export interface ClockFileState {
  /** CLOCK_MONOTONIC nanoseconds at which `marketNs` held. */
  machineNs: bigint;
  marketNs: bigint;
  /** Market seconds per machine second. */
  speed: number;
  /** Market nanoseconds that no reader may pass. */
  untilNs: bigint;
}

const CLOCK_FILE_BYTES = 48;
const CLOCK_FILE_MAGIC = 0x544f5247; // "TORG"

function checksum(buffer: Buffer): number {
  let sum = 0x811c9dc5;
  for (let i = 0; i < 40; i++) sum = Math.imul(sum ^ (buffer[i] as number), 0x01000193) >>> 0;
  return sum;
}

function encodeClock(state: ClockFileState): Buffer {
  const buffer = Buffer.alloc(CLOCK_FILE_BYTES);
  buffer.writeBigInt64LE(state.machineNs, 0);
  buffer.writeBigInt64LE(state.marketNs, 8);
  buffer.writeDoubleLE(state.speed, 16);
  buffer.writeBigInt64LE(state.untilNs, 24);
  buffer.writeUInt32LE(CLOCK_FILE_MAGIC, 32);
  buffer.writeUInt32LE(1, 36); // layout version
  buffer.writeUInt32LE(checksum(buffer), 40);
  return buffer;
}

function decodeClock(buffer: Buffer): ClockFileState | undefined {
  if (buffer.readUInt32LE(32) !== CLOCK_FILE_MAGIC || buffer.readUInt32LE(40) !== checksum(buffer)) return undefined;
  return {
    machineNs: buffer.readBigInt64LE(0),
    marketNs: buffer.readBigInt64LE(8),
    speed: buffer.readDoubleLE(16),
    untilNs: buffer.readBigInt64LE(24),
  };
}

/** Market now by a clock-file state, at a CLOCK_MONOTONIC reading. */
export function marketAt(state: ClockFileState, atMachineNs: bigint): bigint {
  const elapsed = atMachineNs > state.machineNs ? atMachineNs - state.machineNs : 0n;
  // Speeds are multiples of 1/1000 at most; integer arithmetic keeps the clock exact over days.
  const market = state.marketNs + (elapsed * BigInt(Math.round(state.speed * 1000))) / 1000n;
  return market < state.untilNs ? market : state.untilNs;
}

/** Reads the state of a clock file once; undefined when the file is absent or torn. */
export function readClockFile(path: string): ClockFileState | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    const buffer = Buffer.alloc(CLOCK_FILE_BYTES);
    if (readSync(fd, buffer, 0, CLOCK_FILE_BYTES, 0) !== CLOCK_FILE_BYTES) return undefined;
    return decodeClock(buffer);
  } finally {
    closeSync(fd);
  }
}

/** A reader of the clock file. @throws `clock_unreadable` (exit 4) when the file is absent. */
export function virtualClock(path: string): Clock {
  const first = readClockFile(path);
  if (!first) {
    throw refusedError({
      code: 'clock_unreadable',
      what: `cannot read the clock file ${path}`,
      why: 'it is absent or damaged',
      next: 'start the run with `torghut up`, which writes it',
    });
  }
  const fd = openSync(path, 'r');
  const buffer = Buffer.alloc(CLOCK_FILE_BYTES);
  let state = first;
  let readAtNs = machineNs();
  let last = 0n;
  const nowNs = () => {
    const at = machineNs();
    if (at - readAtNs > NS_PER_MS) {
      readAtNs = at;
      if (readSync(fd, buffer, 0, CLOCK_FILE_BYTES, 0) === CLOCK_FILE_BYTES) state = decodeClock(buffer) ?? state;
    }
    const market = marketAt(state, at);
    if (market > last) last = market;
    return last;
  };
  return {
    kind: 'virtual',
    nowNs,
    nowMs: () => Number(nowNs() / NS_PER_MS),
    // The speed may change and the clock may stand still: sleep short and look again.
    sleepUntil: sleepUntilBy(nowNs, (leftMs) => Math.min(20, Math.max(1, leftMs / Math.max(state.speed, 0.001)))),
  };
}

/** How far ahead of now the owner lets the readers go, in machine ms; also the longest run-on after its death. */
const LEASE_MS = 100;

export interface ClockOwner extends Clock {
  /** Changes the speed from now on (market seconds per machine second, 0 stands still). */
  setSpeed(speed: number): void;
  readonly speed: number;
  /** Moves `until` ahead; call every 50 machine ms. */
  renew(): void;
  /** Market time never passes this instant (nanoseconds) whatever the speed; undefined removes the bound. */
  setCeiling(ns: bigint | undefined): void;
  close(): void;
}

/**
 * Creates the clock file, or takes it over: a resumed clock starts at the old `until` when that is later than `startNs`.
 * One owner at a time; only `up`, or `simulator` alone, owns it.
 */
export function ownClockFile(path: string, startNs: bigint, speed: number): ClockOwner {
  const old = readClockFile(path);
  const from = old && old.untilNs > startNs ? old.untilNs : startNs;
  let state: ClockFileState = { machineNs: machineNs(), marketNs: from, speed, untilNs: from };
  let ceiling: bigint | undefined;
  if (!old) {
    writeFileSync(`${path}.new`, encodeClock(state));
    renameSync(`${path}.new`, path);
  }
  const fd = openSync(path, 'r+');
  const write = () => writeSync(fd, encodeClock(state), 0, CLOCK_FILE_BYTES, 0);
  const clamp = (ns: bigint) => (ceiling !== undefined && ns > ceiling ? ceiling : ns);
  const rebase = (nextSpeed: number) => {
    const at = machineNs();
    const market = marketAt(state, at);
    const lease = market + (BigInt(Math.round(nextSpeed * 1000)) * BigInt(LEASE_MS) * NS_PER_MS) / 1000n;
    // `until` never moves back: a reader may already be there.
    const until = clamp(lease) > state.untilNs ? clamp(lease) : state.untilNs;
    state = { machineNs: at, marketNs: market, speed: nextSpeed, untilNs: until };
    write();
  };
  write();
  const nowNs = () => marketAt(state, machineNs());
  return {
    kind: 'virtual',
    nowNs,
    nowMs: () => Number(nowNs() / NS_PER_MS),
    sleepUntil: sleepUntilBy(nowNs, () => 10),
    setSpeed: rebase,
    get speed() {
      return state.speed;
    },
    renew: () => rebase(state.speed),
    setCeiling: (ns) => {
      ceiling = ns;
    },
    close: () => closeSync(fd),
  };
}

/**
 * The clock that a process is told to use: `TORGHUT_CLOCK` unset or `system` is the wall clock, anything else the path of a
 * clock file.
 */
export function openClock(setting: string | undefined): Clock {
  return setting === undefined || setting === '' || setting === 'system' ? systemClock() : virtualClock(setting);
}

/**
 * Market now of a run for somebody who only looks, also when nothing of it is running: its clock file where it has one, the
 * wall clock otherwise. Nanoseconds.
 */
export function marketNowOfHome(clockPath: string | undefined): bigint {
  const state = clockPath === undefined ? undefined : readClockFile(clockPath);
  return state ? marketAt(state, machineNs()) : systemClock().nowNs();
}
