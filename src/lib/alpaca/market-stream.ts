/**
 * Client of the market-data stream: greeting, authentication, subscription with its acknowledgements, errors by their rules,
 * back-off, watch for silence; then messages, cut out of their frames. What is done with the messages is the caller's.
 * Guarantees: messages are handed over in the order of arrival and only while the socket lives; every change of state is
 * reported once; credentials appear in the auth message alone. Facts: alpaca-protocol 1, spec ingest 1 and 2.2–2.4.
 */
import { encode as pack } from '@msgpack/msgpack';
import type { Clock } from '../service/clock.ts';
import { machineMs } from '../service/machine.ts';
import { type ConnectionState, isUp } from './connection-state.ts';
import { type ScannedMessage, scanFrame } from './frame-scanner.ts';
import { msgpackFrameToJson } from './msgpack-frame.ts';
import { type Connection, createReconnecting, type StateChange } from './reconnect.ts';
import { openSocket, type SocketEnd, type WatchedSocket } from './socket.ts';
import { streamErrorRule } from './stream-errors.ts';
import { Subscriber } from './subscriber.ts';
import { countPairs, type MarketChannel } from './subscription.ts';

export interface MarketStreamOptions {
  /** Full address, for example wss://stream.data.alpaca.markets/v2/sip */
  url: string;
  key: string;
  secret: string;
  channels: readonly MarketChannel[];
  /** Read anew for each connection; `setSymbols` changes the present one. */
  readonly symbols: readonly string[];
  batchSize: number;
  encoding: 'json' | 'msgpack';
  clock: Clock;
  random: () => number;
  /** Machine ms. */
  reconnectBaseMs: number;
  reconnectMaxMs: number;
  refusedRetryMs: number;
  pingMs: number;
  pongTimeoutMs: number;
  authTimeoutMs: number;
  /** Market ms without a data frame after which a socket that answers pings counts as mute, while `isSessionActive`. */
  readIdleMs: number;
  isSessionActive(): boolean;
  /** Should the socket rest for a moment, because its messages are not yet worked off? */
  isCongested?(): boolean;
  onState(change: StateChange): void;
  onMessage(message: ScannedMessage): void;
  /** A frame that could not be read; the session ends, and what it held is a gap. */
  onBadFrame(reason: 'json' | 'msgpack', text: string, detail: string): void;
  /** Everything sent before the ping of this market time has been handed over. */
  onPong(sentNs: bigint): void;
  /** An error that does not end the session (405, 403). */
  onNotice(errorClass: string, code: number | undefined, message: string): void;
}

export interface MarketStream {
  readonly state: ConnectionState;
  /** Connects, and again after every loss, until the signal aborts; resolves when the socket is closed. */
  run(signal: AbortSignal): Promise<void>;
  /** Ends the present connection for what its data show; the next one is dialled after the usual delay. */
  giveUp(errorClass: 'read_idle' | 'stale_data', detail: string): void;
  /** Brings the present connection to these symbols: unsubscribes first, then adds. */
  setSymbols(symbols: readonly string[]): void;
}

/** A socket is not called mute before this many machine ms, however fast the market clock runs. */
const MIN_IDLE_MACHINE_MS = 2_000;

export function createMarketStream(options: MarketStreamOptions): MarketStream {
  let failSession: ((errorClass: SocketEnd['errorClass'], detail: string) => void) | undefined;
  let changeSession: ((symbols: readonly string[]) => void) | undefined;

  /** One connection from dial to loss; resolves with the reason. */
  const session = (connection: Connection, signal: AbortSignal): Promise<SocketEnd> =>
    new Promise((resolve) => {
      let closing = Promise.resolve();
      let lastDataNs = options.clock.nowNs();
      let lastDataMs = machineMs();
      let isDataFrame = false;

      const authTimer = setTimeout(() => {
        fail('alpaca_auth_timeout', 'no answer to the authentication in time');
      }, options.authTimeoutMs);
      const idleTimer = setInterval(() => {
        if (!isUp(connection.state) || !options.isSessionActive()) return;
        const silentMs = Number((options.clock.nowNs() - lastDataNs) / 1_000_000n);
        if (silentMs > options.readIdleMs && machineMs() - lastDataMs > MIN_IDLE_MACHINE_MS) {
          fail('read_idle', `no data for ${silentMs} market ms on an open socket`);
        }
      }, 250);

      const finish = (end: SocketEnd) => {
        failSession = undefined;
        changeSession = undefined;
        clearTimeout(authTimer);
        subscriber.end();
        clearInterval(idleTimer);
        signal.removeEventListener('abort', onAbort);
        // The close handshake of a wanted end runs on; the session ends with it.
        queueMicrotask(() => void closing.then(() => resolve(end)));
      };
      const fail = (errorClass: SocketEnd['errorClass'], detail: string, code?: number) =>
        socket.fail({ errorClass, detail, ...(code === undefined ? {} : { code }) });
      const onAbort = () => {
        closing = socket.close(1_000);
      };

      const send = (message: unknown) => socket.send(options.encoding === 'msgpack' ? pack(message) : message);
      const subscriber = new Subscriber({
        channels: options.channels,
        symbols: options.symbols,
        batchSize: options.batchSize,
        send,
        onSettled: (missing) => connection.go({ kind: 'subscribed', missing: countPairs(missing) }, { missing }),
      });
      changeSession = (symbols) =>
        subscriber.change(symbols, connection.state === 'subscribing' || isUp(connection.state));

      const onError = (raw: string) => {
        const body = JSON.parse(raw) as { code?: unknown; msg?: unknown };
        const code = typeof body.code === 'number' ? body.code : undefined;
        const message = typeof body.msg === 'string' ? body.msg : '';
        const rule = streamErrorRule(code, message);
        if (rule.action === 'reconnect') return fail(rule.errorClass, message, code);
        options.onNotice(rule.errorClass, code, message);
        if (rule.action === 'keep') return subscriber.refused();
        if (rule.action === 'dropChannel' && !subscriber.dropOptional()) fail(rule.errorClass, message, code);
      };

      const onMessage = (message: ScannedMessage) => {
        switch (message.type) {
          case 'success': {
            const text = (JSON.parse(message.raw) as { msg?: unknown }).msg;
            if (text === 'connected' && connection.state === 'connecting') {
              connection.go({ kind: 'greeted' });
              send({ action: 'auth', key: options.key, secret: options.secret });
            } else if (text === 'authenticated' && connection.state === 'authenticating') {
              clearTimeout(authTimer);
              connection.go({ kind: 'authenticated' });
              subscriber.begin();
            }
            return;
          }
          case 'error':
            return onError(message.raw);
          case 'subscription':
            return subscriber.acknowledged(message.raw);
          default:
            isDataFrame = true;
            options.onMessage(message);
        }
      };

      const socket: WatchedSocket = openSocket({
        url: options.url,
        ...(options.encoding === 'msgpack' ? { headers: { 'content-type': 'application/msgpack' } } : {}),
        clock: options.clock,
        pingMs: options.pingMs,
        pongTimeoutMs: options.pongTimeoutMs,
        connectTimeoutMs: options.authTimeoutMs,
        onOpen: () => undefined,
        ...(options.isCongested ? { isCongested: options.isCongested } : {}),
        onFrame: (data, isBinary) => {
          let text: string;
          const first = data[0];
          // Some feeds send JSON in binary frames; MessagePack never starts with [ or {.
          const isPacked = isBinary && first !== 0x5b && first !== 0x7b;
          try {
            text = isPacked ? msgpackFrameToJson(data) : data.toString('utf8');
          } catch (error) {
            options.onBadFrame('msgpack', data.toString('base64'), (error as Error).message);
            return fail('alpaca_protocol', 'a frame that is no MessagePack');
          }
          isDataFrame = false;
          const fault = scanFrame(text, onMessage);
          if (isDataFrame) {
            lastDataNs = options.clock.nowNs();
            lastDataMs = machineMs();
          }
          if (fault) {
            options.onBadFrame('json', text, `${fault.reason} at ${fault.at}`);
            fail('alpaca_protocol', 'a frame that is no JSON');
          }
        },
        onPong: (sentNs) => {
          if (isUp(connection.state)) options.onPong(sentNs);
        },
        onEnd: finish,
      });
      failSession = fail;
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });

  const { reconnectBaseMs: baseMs, reconnectMaxMs: maxMs, refusedRetryMs: refusedMs, random } = options;
  const retry = { baseMs, maxMs, refusedMs, random };
  const reconnecting = createReconnecting({ retry, onState: options.onState, session });
  return {
    get state() {
      return reconnecting.state;
    },
    run: reconnecting.run,
    giveUp: (errorClass, detail) => failSession?.(errorClass, detail),
    setSymbols: (symbols) => changeSession?.(symbols),
  };
}
