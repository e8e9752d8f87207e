/**
 * kafkajs as this project needs it: one client per purpose, retries that end, and some of its faults mended: a negative timer,
 * two sockets for one connection, authentication without a time-out.
 * Facts: recipes of the project (kafkajs 2.2.4 against Kafka 4.4): one awaited send at a time keeps order; a transaction begun
 * right after a commit meets CONCURRENT_TRANSACTIONS, so the first retry must come soon.
 */
import { readFileSync } from 'node:fs';
import kafkajs, { type Kafka, type Producer, type SASLOptions } from 'kafkajs';
import Cluster from 'kafkajs/src/cluster/index.js';
import loggers from 'kafkajs/src/loggers/index.js';
import Connection from 'kafkajs/src/network/connection.js';
import RequestQueue from 'kafkajs/src/network/requestQueue/index.js';
import defaultSocketFactory from 'kafkajs/src/network/socketFactory.js';
import { machineMs } from '../../service/machine.ts';
import { NoAnswerError, within } from './faults.ts';
import { encodeProduceInOnePiece } from './produce-encoding.ts';
import type { KafkaSettings } from './settings.ts';

const READ_COMMITTED = 1;
const CHECK_INTERVAL_MS = 10;
/** kafkajs' own time-out for a connection comes first. */
const CONNECT_MARGIN_MS = 1_000;

// kafkajs computes a negative delay here and Node warns about it on every start.
const original = RequestQueue.prototype.scheduleCheckPendingRequests;
RequestQueue.prototype.scheduleCheckPendingRequests = function scheduleWithoutNegativeDelay(this: RequestQueue) {
  const past = this.throttledUntil;
  const clock = performance.timeOrigin + performance.now();
  if (past < clock) this.throttledUntil = clock + CHECK_INTERVAL_MS;
  original.call(this);
  if (past < clock) this.throttledUntil = past;
};

/** Under the name of its connection error kafkajs gives a connection up and looks for another broker. */
async function orConnectionError<T>(of: Connection, ms: number, work: Promise<T>, what: string): Promise<T> {
  try {
    return await within(ms, work, what);
  } catch (error) {
    if (!(error instanceof NoAnswerError)) throw error;
    throw new kafkajs.KafkaJSConnectionError(error.message, { broker: of.broker });
  }
}

// Two requests that find a connection closed each open a socket for it (several reads at once do): the first socket is forgotten,
// keeps the process alive, and when the broker closes it as idle it takes the other's requests along. And a connection that the
// other side ends while it is opened is never reported.
const connecting = new WeakMap<Connection, Promise<boolean>>();
const { connect, sendAuthRequest } = Connection.prototype;
Connection.prototype.connect = function connectOnce(this: Connection) {
  const known = connecting.get(this);
  if (known !== undefined) return known;
  const limitMs = this.connectionTimeout + CONNECT_MARGIN_MS;
  const opened = orConnectionError(this, limitMs, connect.call(this), 'the connection was not opened');
  connecting.set(this, opened);
  const isOver = () => connecting.delete(this);
  opened.then(isOver, isOver);
  return opened;
};

// The requests of an authentication have no time-out in kafkajs.
Connection.prototype.sendAuthRequest = function sendWithinTime(this: Connection, request: unknown) {
  const sent = sendAuthRequest.call(this, request);
  return orConnectionError(this, this.requestTimeout, sent, 'the broker was silent when the connection began');
};

encodeProduceInOnePiece();

/** Connection options shared by the public client and the manual reader. */
function connectionOptions(settings: KafkaSettings) {
  const sasl: SASLOptions | undefined = settings.security.startsWith('SASL')
    ? ({
        mechanism: settings.saslMechanism.toLowerCase(),
        username: settings.user,
        password: settings.password,
      } as SASLOptions)
    : undefined;
  const isTls = settings.security.endsWith('SSL');
  const ca = settings.caPath === undefined ? undefined : [readFileSync(settings.caPath, 'utf8')];
  return {
    clientId: settings.clientId,
    brokers: [...settings.brokers],
    connectionTimeout: 3_000,
    requestTimeout: settings.requestTimeoutMs,
    ...(sasl && { sasl }),
    ...(isTls && { ssl: ca ? { ca } : true }),
  };
}

/**
 * How long kafkajs may repeat. Its retries are nested (a send looks for its coordinator, which looks for a broker) and go on
 * after a disconnect, where they would keep a finished process alive; so their number is asked for at every attempt and is
 * nought when the window has closed.
 */
export interface RetryWindow {
  /** Machine time (machineMs) of the end. */
  until: number;
}

function retryIn(window: RetryWindow, most: number, times: { initialRetryTime: number; maxRetryTime: number }) {
  const retries = { valueOf: () => (machineMs() < window.until ? most : 0) };
  // kafkajs only compares it with numbers, which asks valueOf.
  return { ...times, retries: retries as unknown as number };
}

/** Calls without a time limit of their own: a few attempts each. */
const steady = { initialRetryTime: 100, maxRetryTime: 1_000 };
/** Quick first retry: the broker finishes the last transaction within milliseconds. */
const quick = { initialRetryTime: 10, maxRetryTime: 500 };

/** The public client for admin calls; close the window with it. */
export function kafkaClient(settings: KafkaSettings, window: RetryWindow): Kafka {
  const retry = retryIn(window, 5, steady);
  return new kafkajs.Kafka({ ...connectionOptions(settings), retry, logLevel: kafkajs.logLevel.NOTHING });
}

/** A producer that repeats until the window closes, however often. */
export function transactionalProducer(settings: KafkaSettings, transactionalId: string, window: RetryWindow): Producer {
  const retry = retryIn(window, Number.MAX_SAFE_INTEGER, quick);
  return new kafkajs.Kafka({
    ...connectionOptions(settings),
    retry,
    logLevel: kafkajs.logLevel.NOTHING,
  }).producer({
    idempotent: true,
    transactionalId,
    transactionTimeout: settings.transactionTimeoutMs,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    retry,
  });
}

/** A cluster handle for reading named partitions without a group. Nothing is repeated after its disconnect. */
export function readerCluster(settings: KafkaSettings): Cluster {
  const window = { until: Number.POSITIVE_INFINITY };
  const cluster = new Cluster({
    ...connectionOptions(settings),
    logger: loggers.createLogger({ level: 0, logCreator: () => () => undefined }),
    retry: retryIn(window, 3, steady),
    socketFactory: defaultSocketFactory(),
    enforceRequestTimeout: true,
    metadataMaxAge: 30_000,
    allowAutoTopicCreation: false,
    maxInFlightRequests: null,
    isolationLevel: READ_COMMITTED,
    offsets: new Map(),
  });
  const disconnect = cluster.disconnect.bind(cluster);
  cluster.disconnect = () => {
    window.until = 0;
    return disconnect();
  };
  return cluster;
}

export const isolationLevel = READ_COMMITTED;
