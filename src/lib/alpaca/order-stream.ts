/**
 * Client of the order-event stream (`trade_updates`): authenticate, wait for `authorized`, listen, verify what was granted,
 * hand over the `data` of every update as raw text.
 * Guarantees: nothing is sent before its predecessor was answered; a refusal or silence ends the session by the class
 * `alpaca_auth` or `alpaca_auth_timeout`. Facts: frames are single objects, binary on paper (alpaca-protocol 2, ingest 1.5).
 */
import type { Clock } from '../service/clock.ts';
import type { ConnectionState } from './connection-state.ts';
import { skipSpace, skipValue, stringAt } from './frame-scanner.ts';
import { type Connection, createReconnecting, type StateChange } from './reconnect.ts';
import { openSocket, type SocketEnd, type WatchedSocket } from './socket.ts';

export interface OrderStreamOptions {
  url: string;
  key: string;
  secret: string;
  clock: Clock;
  random: () => number;
  /** Machine ms. */
  reconnectBaseMs: number;
  reconnectMaxMs: number;
  refusedRetryMs: number;
  pingMs: number;
  pongTimeoutMs: number;
  authTimeoutMs: number;
  onState(change: StateChange): void;
  /** @param raw text of the update's `data` object, as the provider wrote it */
  onUpdate(raw: string): void;
  onBadFrame(text: string, detail: string): void;
}

export interface OrderStream {
  readonly state: ConnectionState;
  run(signal: AbortSignal): Promise<void>;
}

/** Stream name and raw data of a frame. @throws Error when it is no such object */
export function readOrderFrame(text: string): { stream: string; data: string } {
  let i = skipSpace(text, 0);
  let stream = '';
  let data = '';
  if (text[i] !== '{') throw new Error('expected an object');
  i = skipSpace(text, i + 1);
  while (text[i] !== '}') {
    if (text[i] !== '"') throw new Error('expected a key');
    const keyEnd = skipValue(text, i);
    const key = stringAt(text, i, keyEnd);
    i = skipSpace(text, keyEnd);
    if (text[i] !== ':') throw new Error('expected :');
    const from = skipSpace(text, i + 1);
    const to = skipValue(text, from);
    if (key === 'stream' && text[from] === '"') stream = stringAt(text, from, to);
    if (key === 'data' && text[from] === '{') data = text.slice(from, to);
    i = skipSpace(text, to);
    if (text[i] === ',') i = skipSpace(text, i + 1);
    else if (text[i] !== '}') throw new Error('expected , or }');
  }
  if (skipSpace(text, i + 1) !== text.length) throw new Error('text after the frame');
  if (stream === '' || data === '') throw new Error('no stream or no data');
  return { stream, data };
}

export function createOrderStream(options: OrderStreamOptions): OrderStream {
  const session = (connection: Connection, signal: AbortSignal): Promise<SocketEnd> =>
    new Promise((resolve) => {
      let closing = Promise.resolve();
      const answerTimer = setTimeout(() => {
        socket.fail({ errorClass: 'alpaca_auth_timeout', detail: `no answer while ${connection.state}` });
      }, options.authTimeoutMs);
      const onAbort = () => {
        closing = socket.close(1_000);
      };
      const onAuthorization = (data: string) => {
        const { status } = JSON.parse(data) as { status?: unknown };
        if (status !== 'authorized') {
          return socket.fail({ errorClass: 'alpaca_auth', detail: 'the stream answered unauthorized' });
        }
        if (connection.state !== 'authenticating') return;
        connection.go({ kind: 'authenticated' });
        socket.send({ action: 'listen', data: { streams: ['trade_updates'] } });
      };
      const onListening = (data: string) => {
        const { streams } = JSON.parse(data) as { streams?: unknown };
        if (!Array.isArray(streams) || !streams.includes('trade_updates')) {
          return socket.fail({ errorClass: 'alpaca_auth', detail: 'trade_updates was not granted' });
        }
        if (connection.state !== 'subscribing') return;
        clearTimeout(answerTimer);
        connection.go({ kind: 'subscribed', missing: 0 });
      };

      const socket: WatchedSocket = openSocket({
        url: options.url,
        clock: options.clock,
        pingMs: options.pingMs,
        pongTimeoutMs: options.pongTimeoutMs,
        connectTimeoutMs: options.authTimeoutMs,
        onOpen: () => {
          // This stream does not greet: the client speaks first.
          connection.go({ kind: 'greeted' });
          socket.send({ action: 'authenticate', data: { key_id: options.key, secret_key: options.secret } });
        },
        onFrame: (bytes) => {
          const text = bytes.toString('utf8');
          let frame: { stream: string; data: string };
          try {
            frame = readOrderFrame(text);
          } catch (error) {
            options.onBadFrame(text, (error as Error).message);
            return;
          }
          if (frame.stream === 'authorization') onAuthorization(frame.data);
          else if (frame.stream === 'listening') onListening(frame.data);
          else if (frame.stream === 'trade_updates') options.onUpdate(frame.data);
        },
        onEnd: (end) => {
          clearTimeout(answerTimer);
          signal.removeEventListener('abort', onAbort);
          queueMicrotask(() => void closing.then(() => resolve(end)));
        },
      });
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });

  const { reconnectBaseMs: baseMs, reconnectMaxMs: maxMs, refusedRetryMs: refusedMs, random } = options;
  const retry = { baseMs, maxMs, refusedMs, random };
  return createReconnecting({ retry, onState: options.onState, session });
}
