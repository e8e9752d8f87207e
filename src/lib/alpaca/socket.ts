/**
 * One WebSocket with the watch that every Alpaca stream needs: pings that carry the market time at which they were sent,
 * a dead-peer limit, and one end with one reason.
 * Guarantees: `onEnd` is called exactly once; after it nothing else is called. All limits here are machine time.
 */
import WebSocket, { type RawData } from 'ws';
import type { Clock } from '../service/clock.ts';
import { machineMs } from '../service/machine.ts';
import { type StreamErrorClass, upgradeErrorClass } from './stream-errors.ts';

export interface SocketEnd {
  errorClass: StreamErrorClass;
  detail: string;
  /** Close code of the peer, or HTTP status of a refused upgrade. */
  code?: number;
}

export interface WatchedSocketOptions {
  url: string;
  headers?: Record<string, string>;
  clock: Clock;
  /** Machine ms between pings. */
  pingMs: number;
  /** Machine ms without any answered ping after which the peer counts as dead. */
  pongTimeoutMs: number;
  connectTimeoutMs: number;
  onOpen(): void;
  onFrame(data: Buffer, isBinary: boolean): void;
  /** Should reading stop for a moment, because what was handed over is not yet worked off? Asked after each frame. */
  isCongested?(): boolean;
  /** A ping was answered: everything the peer sent before it has been handed over. @param sentNs market time of sending */
  onPong?(sentNs: bigint): void;
  onEnd(end: SocketEnd): void;
}

export interface WatchedSocket {
  /** Bytes go as a binary frame, anything else as JSON text. */
  send(message: unknown): void;
  /** Ends the connection for a reason of ours; the peer gets a close frame. */
  fail(end: SocketEnd): void;
  /** Closes with code 1000 and waits up to `waitMs` machine ms for the peer. */
  close(waitMs: number): Promise<void>;
}

/**
 * Longest time that reading stops at a stretch (machine ms): pongs and the peer's pings lie behind the data, and a reader that
 * stays slow has to spool rather than to be cut off.
 */
const MAX_PAUSE_MS = 250;
const PAUSE_STEP_MS = 1;

/** Sockets of this process that are not closed, by address: the provider counts them. */
const openSockets = new Map<string, number>();

/** How many sockets this process holds to an address. */
export function openSocketCount(url: string): number {
  return openSockets.get(url) ?? 0;
}

function countSocket(url: string, change: 1 | -1): void {
  const count = openSocketCount(url) + change;
  if (count > 0) openSockets.set(url, count);
  else openSockets.delete(url);
}

const joined = (data: RawData): Buffer =>
  Buffer.isBuffer(data) ? data : Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);

export function openSocket(options: WatchedSocketOptions): WatchedSocket {
  const { clock } = options;
  const socket = new WebSocket(options.url, {
    ...(options.headers ? { headers: options.headers } : {}),
    // Loopback and data centre: inflating costs more than it saves, and pongs would wait for it.
    perMessageDeflate: false,
    maxPayload: 64 * 1024 * 1024,
    handshakeTimeout: options.connectTimeoutMs,
  });
  countSocket(options.url, 1);
  let ended = false;
  let lastPongMs = machineMs();
  let lastPingMs = machineMs();
  let timer: NodeJS.Timeout | undefined;
  let closed: (() => void) | undefined;

  const end = (reason: SocketEnd) => {
    if (ended) return;
    ended = true;
    clearInterval(timer);
    options.onEnd(reason);
  };

  const watch = () => {
    const now = machineMs();
    // A stall of our own process is not the peer's silence: judge only after a ping went out on time.
    const wasStalled = now - lastPingMs > options.pongTimeoutMs;
    lastPingMs = now;
    if (!wasStalled && now - lastPongMs > options.pongTimeoutMs) {
      end({ errorClass: 'pong_timeout', detail: `no pong for ${Math.round(now - lastPongMs)} ms` });
      socket.terminate();
      return;
    }
    if (socket.readyState === WebSocket.OPEN) socket.ping(clock.nowNs().toString());
  };

  let isPaused = false;
  const pauseWhileCongested = () => {
    isPaused = true;
    const sinceMs = machineMs();
    socket.pause();
    const look = () => {
      if (!ended && options.isCongested?.() && machineMs() - sinceMs < MAX_PAUSE_MS) {
        setTimeout(look, PAUSE_STEP_MS);
        return;
      }
      isPaused = false;
      socket.resume();
    };
    setTimeout(look, PAUSE_STEP_MS);
  };

  socket.on('open', () => {
    lastPongMs = machineMs();
    lastPingMs = lastPongMs;
    timer = setInterval(watch, options.pingMs);
    if (!ended) options.onOpen();
  });
  socket.on('message', (data, isBinary) => {
    if (ended) return;
    options.onFrame(joined(data), isBinary);
    if (!isPaused && !ended && options.isCongested?.()) pauseWhileCongested();
  });
  socket.on('pong', (payload) => {
    lastPongMs = machineMs();
    const text = payload.toString('latin1');
    if (!ended && /^\d{1,19}$/.test(text)) options.onPong?.(BigInt(text));
  });
  socket.on('unexpected-response', (request, response) => {
    const status = response.statusCode ?? 0;
    end({
      errorClass: upgradeErrorClass(status),
      detail: `the upgrade was answered with HTTP ${status}`,
      code: status,
    });
    response.resume();
    request.destroy();
  });
  socket.on('error', (error) => end({ errorClass: 'connection_lost', detail: error.message }));
  socket.once('close', () => countSocket(options.url, -1));
  socket.on('close', (code) => {
    closed?.();
    end({ errorClass: 'connection_lost', detail: `closed with code ${code}`, code });
  });

  return {
    send: (message) => {
      if (socket.readyState !== WebSocket.OPEN) return;
      socket.send(message instanceof Uint8Array ? message : JSON.stringify(message));
    },
    fail: (reason) => {
      end(reason);
      // A peer that does not answer the close frame is cut off.
      socket.close(1000);
      setTimeout(() => socket.terminate(), 1_000).unref();
    },
    close: async (waitMs) => {
      end({ errorClass: 'connection_lost', detail: 'closed by us' });
      if (socket.readyState === WebSocket.CLOSED) return;
      await new Promise<void>((resolve) => {
        const limit = setTimeout(() => {
          socket.terminate();
          resolve();
        }, waitMs);
        closed = () => {
          clearTimeout(limit);
          resolve();
        };
        socket.close(1000);
      });
    },
  };
}
