/**
 * One connection to a market stream: greeting, auth, subscriptions, data, faults.
 * Guarantees: data go out in release order; a ping is answered only behind everything that was public when it came (a client
 * may take the pong as "all until then has been read"); a client that does not read is told 407 and dropped.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import { machineMs } from '../../lib/service/machine.ts';
import type { KeyCheck } from '../contract.ts';
import type { FaultRegistry } from '../faults.ts';
import type { StreamEndpoint } from './endpoint.ts';
import {
  controlFrame,
  dataFrame,
  decodeClientMessage,
  type Encoding,
  FRAME_BYTES,
  halfFrame,
  skewedLine,
} from './frames.ts';
import { droppingErrors, errorMessage, successMessage } from './protocol.ts';
import { Subscription } from './subscription.ts';

export interface SessionOptions {
  socket: WebSocket;
  request: IncomingMessage;
  endpoint: StreamEndpoint;
  keys: KeyCheck;
  faults: FaultRegistry;
  /** Machine ms within which a client has to authenticate. */
  authDeadlineMs: number;
  /** Bytes waiting for the client above which it counts as slow. */
  slowClientBytes: number;
}

/** Codes of a close handshake, as opposed to a connection that just went away. */
const uncleanCodes = new Set([1006]);

export class StreamSession {
  /** Data messages sent. */
  sent = 0;
  isAuthenticated = false;
  readonly encoding: Encoding;
  private readonly options: SessionOptions;
  private readonly subscription: Subscription;
  private keyId = '';
  private cursor: number;
  private authTimer: NodeJS.Timeout | undefined;
  private isMute = false;
  private heldUntilMs = 0;
  private isGone = false;
  /** Set when the fault `behind` has struck. */
  private behind: { sinceNs: bigint; rate: number } | undefined;
  private pings: { atNs: bigint; data: Buffer }[] = [];

  constructor(options: SessionOptions) {
    const { socket, request, endpoint } = options;
    this.options = options;
    this.encoding = String(request.headers['content-type'] ?? '').includes('msgpack') ? 'msgpack' : 'json';
    this.subscription = new Subscription({ offered: endpoint.offered, symbolLimit: endpoint.options.symbolLimit });
    this.cursor = endpoint.visible();
    socket.on('message', (data, isBinary) => this.receive(data as Buffer, isBinary));
    socket.on('ping', (data) => {
      this.pings.push({ atNs: endpoint.options.market.nowNs(), data });
      this.flush();
    });
    socket.on('error', () => socket.terminate());
    socket.on('close', (code) => this.gone(!uncleanCodes.has(code)));
    this.send(successMessage('connected'));
    this.armAuthDeadline();
    const header = (name: string) => String(request.headers[name] ?? '');
    if (!header('apca-api-key-id')) return;
    const error = this.authenticate(header('apca-api-key-id'), header('apca-api-secret-key'));
    if (error !== undefined) this.fail(error);
  }

  /** Sends what became public since the last call, then answers pings. */
  flush(): void {
    const { endpoint } = this.options;
    const { market } = endpoint.options;
    if (this.isGone) return;
    const reachedNs = market.reachedNs();
    const visible = this.visible();
    if (this.isHeld(visible > this.cursor)) return;
    if (visible > this.cursor) {
      const from = this.cursor;
      this.cursor = visible;
      if (this.isAuthenticated && !this.isMute && !this.subscription.isEmpty && !this.sendData(from, visible)) return;
    }
    while (
      this.pings.length > 0 &&
      !this.isGone &&
      (this.isMute || (this.pings[0] as { atNs: bigint }).atNs <= reachedNs)
    ) {
      const ping = this.pings.shift();
      if (this.options.socket.readyState === this.options.socket.OPEN) this.options.socket.pong(ping?.data);
    }
  }

  /** What may be sent now; behind the tape when the fault `behind` has struck this connection. */
  private visible(): number {
    const { endpoint, faults } = this.options;
    const visible = endpoint.visible();
    const { market, path } = endpoint.options;
    const struck = this.isAuthenticated && !this.behind ? faults.take('behind', { path }) : undefined;
    if (struck) this.behind = { sinceNs: market.nowNs(), rate: struck.number('rate', 0.5) };
    if (!this.behind) return visible;
    const { sinceNs, rate } = this.behind;
    const limitNs = sinceNs + BigInt(Math.round(Number(market.nowNs() - sinceNs) * rate));
    let reached = this.cursor;
    while (reached < visible && market.store.releaseNs(reached) <= limitNs) reached += 1;
    return reached;
  }

  /** The fault `slow` holds back everything, pongs too: what is late on the wire stays in order. */
  private isHeld(hasData: boolean): boolean {
    if (this.heldUntilMs > 0) {
      if (machineMs() < this.heldUntilMs) return true;
      this.heldUntilMs = 0;
      return false;
    }
    const { faults, endpoint } = this.options;
    const slow = hasData && this.isAuthenticated ? faults.take('slow', { path: endpoint.options.path }) : undefined;
    if (slow) this.heldUntilMs = machineMs() + slow.number('delay_ms', 500);
    return slow !== undefined;
  }

  close(): void {
    this.options.socket.close(1001, 'server shutting down');
  }

  /** Sends the wanted messages of a range. Returns false when the rest is lost: the connection is gone or mute. */
  private sendData(from: number, to: number): boolean {
    const { market } = this.options.endpoint.options;
    let lines: Buffer[] = [];
    let bytes = 0;
    for (let index = from; index < to; index++) {
      if (!this.subscription.wants(market.store.code(index), market.store.symbolAt(index))) continue;
      const line = market.store.line(index);
      lines.push(line);
      bytes += line.length + 1;
      if (bytes < FRAME_BYTES) continue;
      if (!this.sendFrame(lines)) return false;
      lines = [];
      bytes = 0;
    }
    return lines.length === 0 || this.sendFrame(lines);
  }

  /** Sends one data frame unless a fault strikes. Returns false when no more may be sent now. */
  private sendFrame(lines: Buffer[]): boolean {
    const { socket, faults, slowClientBytes, endpoint } = this.options;
    const at = { path: endpoint.options.path };
    const failing = faults.take('stream_error', at);
    if (failing) {
      this.fail(failing.number('code', 500));
      if (this.isGone) return false;
    }
    if (faults.take('silent', at)) {
      this.isMute = true;
      return false;
    }
    const skew = faults.take('skew', at);
    const frame = dataFrame(
      skew ? lines.map((line) => skewedLine(line, skew.number('ms', 5_000))) : lines,
      this.encoding,
    );
    if (faults.take('drop_mid_frame', at)) {
      this.isGone = true;
      const raw = (socket as unknown as { _socket: Socket })._socket;
      raw.write(halfFrame(frame, this.encoding), () => raw.destroy());
      return false;
    }
    if (socket.bufferedAmount > slowClientBytes) {
      this.fail(407);
      return false;
    }
    this.sent += lines.length;
    socket.send(frame, { binary: this.encoding === 'msgpack' });
    return true;
  }

  private receive(data: Buffer, isBinary: boolean): void {
    const error = this.answer(decodeClientMessage(data, isBinary, this.encoding));
    if (error !== undefined) this.fail(error);
  }

  /** Does what the client asks, or returns the error code to send. */
  private answer(message: Record<string, unknown> | undefined): number | undefined {
    if (!message) return 400;
    if (message.action === 'auth') return this.authenticate(String(message.key ?? ''), String(message.secret ?? ''));
    if (!this.isAuthenticated) return 401;
    if (message.action !== 'subscribe' && message.action !== 'unsubscribe') return 400;
    // What was public before a subscription is not part of it.
    this.flush();
    const error = this.subscription.apply(message);
    if (error === undefined) this.send(this.subscription.describe());
    return error;
  }

  private authenticate(keyId: string, secret: string): number | undefined {
    const { endpoint, keys, faults } = this.options;
    const at = { path: endpoint.options.path };
    if (this.isAuthenticated) return 403;
    this.armAuthDeadline();
    if (faults.take('auth_402', at) || !keys.accepts(keyId, secret)) return 402;
    if (!endpoint.options.isEntitled) return 409;
    if (faults.take('connection_406', at) || !endpoint.takeSlot(keyId)) return 406;
    clearTimeout(this.authTimer);
    this.keyId = keyId;
    this.isAuthenticated = true;
    this.cursor = endpoint.visible();
    this.send(successMessage('authenticated'));
    return undefined;
  }

  /** Each attempt starts the deadline anew: clients retry 406 on the same connection. */
  private armAuthDeadline(): void {
    clearTimeout(this.authTimer);
    this.authTimer = setTimeout(() => this.fail(404), this.options.authDeadlineMs);
    this.authTimer.unref();
  }

  private fail(code: number): void {
    this.send(errorMessage(code));
    if (!droppingErrors.has(code)) return;
    const { socket } = this.options;
    this.gone(true);
    socket.close(1008, String(errorMessage(code).msg));
    // A client that reads nothing never answers the close.
    setTimeout(() => socket.terminate(), 500).unref();
  }

  private send(message: Record<string, unknown>): void {
    const { socket } = this.options;
    if (socket.readyState !== socket.OPEN) return;
    socket.send(controlFrame(message, this.encoding), { binary: this.encoding === 'msgpack' });
  }

  private gone(isClean: boolean): void {
    clearTimeout(this.authTimer);
    if (this.isAuthenticated) this.options.endpoint.giveSlot(this.keyId, isClean);
    this.isAuthenticated = false;
    this.isGone = true;
  }
}
