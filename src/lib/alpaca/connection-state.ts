/**
 * The states of a stream connection, apart from sockets, protocol and data: what follows what, and nothing else.
 * Guarantees: an event that does not belong to a state is a programming error and throws; `draining` is final.
 */
import { isBlocking, type StreamErrorClass } from './stream-errors.ts';

export type ConnectionState =
  | 'disconnected'
  | 'connecting'
  | 'authenticating'
  | 'subscribing'
  | 'ready'
  /** Up with less than was asked for (some symbols or channels not granted). */
  | 'degraded'
  /** Down for a cause that reconnecting alone does not cure; attempts go on slowly. */
  | 'blocked'
  | 'draining';

export type ConnectionEvent =
  | { kind: 'dial' }
  | { kind: 'greeted' }
  | { kind: 'authenticated' }
  /** The whole subscription is known; `missing` counts the symbol-channel pairs not granted. */
  | { kind: 'subscribed'; missing: number }
  | { kind: 'failed'; errorClass: StreamErrorClass }
  | { kind: 'drain' };

/** The state that follows. @throws Error when the event cannot happen in this state */
export function nextConnectionState(state: ConnectionState, event: ConnectionEvent): ConnectionState {
  if (event.kind === 'drain') return 'draining';
  if (state === 'draining') return 'draining';
  switch (event.kind) {
    case 'dial':
      if (state === 'disconnected' || state === 'blocked') return 'connecting';
      break;
    case 'greeted':
      if (state === 'connecting') return 'authenticating';
      break;
    case 'authenticated':
      if (state === 'authenticating') return 'subscribing';
      break;
    case 'subscribed':
      if (state === 'subscribing' || state === 'ready' || state === 'degraded') {
        return event.missing === 0 ? 'ready' : 'degraded';
      }
      break;
    case 'failed':
      if (state !== 'disconnected' && state !== 'blocked') {
        return isBlocking(event.errorClass) ? 'blocked' : 'disconnected';
      }
      break;
  }
  throw new Error(`connection: ${event.kind} cannot happen while ${state}`);
}

/** Does the stream deliver data in this state? */
export function isUp(state: ConnectionState): boolean {
  return state === 'ready' || state === 'degraded';
}
