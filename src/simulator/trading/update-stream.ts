/**
 * The trade_updates stream on an upgraded socket: authorization, listen, one object per binary frame that holds JSON text.
 * Guarantees: one authorized session at a time; nothing is replayed; an event is sent only after the journal has it. Facts:
 * alpaca-protocol 2 (both forms of authorization, listen replaces, unknown stream names are left out).
 */
import type { IncomingMessage } from 'node:http';
import type { WebSocket } from 'ws';
import { z } from 'zod';
import { formatNewYork } from '../../lib/market/calendar.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import { sleep } from '../../lib/service/machine.ts';
import type { KeyCheck } from '../contract.ts';
import type { FaultRegistry } from '../faults.ts';
import { eventUlid } from './identity.ts';
import type { BrokerUpdate } from './order-log.ts';

const STREAM = 'trade_updates';
/** A socket that never authorizes is closed after this many machine ms. */
const AUTH_DEADLINE_MS = 10_000;

const requestSchema = z.looseObject({
  action: z.string(),
  key: z.string().optional(),
  secret: z.string().optional(),
  data: z
    .looseObject({
      key_id: z.string().optional(),
      secret_key: z.string().optional(),
      streams: z.array(z.string()).optional(),
    })
    .optional(),
});

interface Session {
  socket: WebSocket;
  isAuthorized: boolean;
  streams: Set<string>;
  deadline: NodeJS.Timeout;
}

export class UpdateStream {
  readonly #keys: KeyCheck;
  readonly #faults: FaultRegistry;
  readonly #sessions = new Set<Session>();
  /** Delayed events keep their order behind each other. */
  #queue: Promise<void> = Promise.resolve();
  #waiting = 0;
  #sent = 0;

  constructor(keys: KeyCheck, faults: FaultRegistry) {
    this.#keys = keys;
    this.#faults = faults;
  }

  get connections(): number {
    return [...this.#sessions].filter((session) => session.isAuthorized).length;
  }

  get sent(): number {
    return this.#sent;
  }

  open(socket: WebSocket, _request: IncomingMessage): void {
    const deadline = setTimeout(() => socket.close(1008, 'authorization timeout'), AUTH_DEADLINE_MS);
    const session: Session = { socket, isAuthorized: false, streams: new Set(), deadline };
    this.#sessions.add(session);
    socket.on('message', (data) => this.#onMessage(session, data.toString()));
    socket.on('error', () => socket.terminate());
    socket.on('close', () => {
      clearTimeout(deadline);
      this.#sessions.delete(session);
    });
  }

  #onMessage(session: Session, text: string): void {
    let given: unknown;
    try {
      given = JSON.parse(text);
    } catch {
      given = undefined;
    }
    const parsed = requestSchema.safeParse(given);
    if (!parsed.success) {
      send(session, { action: 'error', data: { error_message: 'invalid message' } });
      return;
    }
    const { action, data, key, secret } = parsed.data;
    if (action === 'authenticate' || action === 'auth') {
      this.#authorize(session, data?.key_id ?? key, data?.secret_key ?? secret);
    } else if (action === 'listen') {
      this.#listen(session, data?.streams ?? []);
    } else {
      send(session, { action: 'error', data: { error_message: `unknown action ${action}` } });
    }
  }

  #authorize(session: Session, keyId: string | undefined, secret: string | undefined): void {
    const isTaken = [...this.#sessions].some((other) => other !== session && other.isAuthorized);
    session.isAuthorized = session.isAuthorized || (this.#keys.accepts(keyId, secret) && !isTaken);
    if (session.isAuthorized) clearTimeout(session.deadline);
    const status = session.isAuthorized ? 'authorized' : 'unauthorized';
    send(session, { stream: 'authorization', data: { status, action: 'authenticate' } });
  }

  #listen(session: Session, streams: string[]): void {
    if (!session.isAuthorized) {
      send(session, { stream: 'authorization', data: { status: 'unauthorized', action: 'listen' } });
      return;
    }
    session.streams = new Set(streams.filter((name) => name === STREAM));
    send(session, { stream: 'listening', data: { streams: [...session.streams] } });
  }

  /** Sends an event to whoever listens now, as the faults allow. */
  publish(update: BrokerUpdate): void {
    const filter = { event: update.event, symbol: update.order.symbol };
    if (this.#faults.take('updates_drop', filter)) return;
    const copies = this.#faults.take('updates_duplicate', filter)?.number('copies', 2) ?? 1;
    const delay = this.#faults.take('updates_delay', filter)?.number('ms', 1000) ?? 0;
    const frame = { stream: STREAM, data: updateView(update) };
    const deliver = () => {
      for (let copy = 0; copy < copies; copy++) this.#broadcast(frame);
    };
    if (delay === 0 && this.#waiting === 0) {
      deliver();
      return;
    }
    this.#waiting += 1;
    this.#queue = this.#queue.then(async () => {
      await sleep(delay);
      this.#waiting -= 1;
      deliver();
    });
  }

  #broadcast(frame: unknown): void {
    for (const session of this.#sessions) {
      if (!session.streams.has(STREAM)) continue;
      this.#sent += 1;
      send(session, frame);
    }
  }

  close(): void {
    for (const session of this.#sessions) {
      clearTimeout(session.deadline);
      session.socket.close(1001, 'going away');
    }
  }
}

function updateView(update: BrokerUpdate): Record<string, unknown> {
  const ns = parseTimestampNs(update.at) ?? 0n;
  const { fill } = update;
  return {
    event: update.event,
    event_id: eventUlid(ns, update.seq),
    at: update.at,
    execution_id: update.executionId,
    order: update.order,
    // The real stream mixes Z with numeric offsets: the event's own time comes in New York's.
    timestamp: formatNewYork(ns),
    ...(fill ? { price: fill.price, qty: fill.qty, position_qty: fill.position_qty } : {}),
  };
}

function send(session: Session, frame: unknown): void {
  if (session.socket.readyState === session.socket.OPEN)
    session.socket.send(Buffer.from(JSON.stringify(frame)), { binary: true });
}
