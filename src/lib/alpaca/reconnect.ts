/**
 * The life of a stream over many connections: one session after another, back-off between them, one state for all.
 * Guarantees: the attempt counter starts anew only after a minute of stable service, so a flapping server is not hammered
 * (spec ingest 2.4); when the signal aborts the last socket is closed before `run` resolves.
 */
import { machineMs, sleep } from '../service/machine.ts';
import { type ConnectionEvent, type ConnectionState, nextConnectionState } from './connection-state.ts';
import type { SocketEnd } from './socket.ts';
import { type RetrySettings, retryDelayMs } from './stream-errors.ts';
import type { MarketChannel } from './subscription.ts';

export interface StateChange {
  from: ConnectionState;
  to: ConnectionState;
  /** Failed attempts in a row. */
  attempt: number;
  end?: SocketEnd;
  /** Machine ms until the next attempt, with `end`. */
  retryMs?: number;
  /** Symbol-channel pairs that were asked for and not granted. */
  missing?: ReadonlyMap<MarketChannel, ReadonlySet<string>>;
}

export interface Connection {
  readonly state: ConnectionState;
  go(event: ConnectionEvent, extra?: Partial<StateChange>): void;
}

const STABLE_MS = 60_000;

export interface ReconnectOptions {
  retry: RetrySettings;
  onState(change: StateChange): void;
  /** One connection from dial to loss. */
  session(connection: Connection, signal: AbortSignal): Promise<SocketEnd>;
}

export function createReconnecting(options: ReconnectOptions): {
  readonly state: ConnectionState;
  run(signal: AbortSignal): Promise<void>;
} {
  let state: ConnectionState = 'disconnected';
  let attempt = 0;
  let upSinceMs: number | undefined;
  const connection: Connection = {
    get state() {
      return state;
    },
    go: (event, extra = {}) => {
      const from = state;
      state = nextConnectionState(state, event);
      if (event.kind === 'subscribed') upSinceMs ??= machineMs();
      if (state !== from || event.kind === 'failed') options.onState({ from, to: state, attempt, ...extra });
    },
  };
  return {
    get state() {
      return state;
    },
    run: async (signal) => {
      const drain = () => {
        if (state !== 'draining') connection.go({ kind: 'drain' });
      };
      signal.addEventListener('abort', drain, { once: true });
      while (!signal.aborted) {
        upSinceMs = undefined;
        connection.go({ kind: 'dial' });
        const end = await options.session(connection, signal);
        if (signal.aborted) break;
        attempt = upSinceMs !== undefined && machineMs() - upSinceMs >= STABLE_MS ? 1 : attempt + 1;
        const retryMs = retryDelayMs(end.errorClass, attempt, options.retry);
        connection.go({ kind: 'failed', errorClass: end.errorClass }, { end, retryMs });
        await sleep(retryMs, signal);
      }
      drain();
    },
  };
}
