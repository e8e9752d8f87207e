/**
 * kafkajs as this project needs it: one client per purpose, errors in our words, and its one timer fault mended.
 * Facts: recipes of the project (kafkajs 2.2.4 against Kafka 4.4): one awaited send at a time keeps order; a transaction begun
 * right after a commit meets CONCURRENT_TRANSACTIONS, so the first retry must come soon.
 */
import { readFileSync } from 'node:fs';
import kafkajs, { type Kafka, type SASLOptions } from 'kafkajs';
import Cluster from 'kafkajs/src/cluster/index.js';
import loggers from 'kafkajs/src/loggers/index.js';
import RequestQueue from 'kafkajs/src/network/requestQueue/index.js';
import defaultSocketFactory from 'kafkajs/src/network/socketFactory.js';
import { codeOf, fencedError, TorghutError, unreachableError } from '../../service/errors.ts';
import { machineMs, sleep } from '../../service/machine.ts';
import type { KafkaSettings } from './settings.ts';

const READ_COMMITTED = 1;
const CHECK_INTERVAL_MS = 10;

// kafkajs computes a negative delay here and Node warns about it on every start.
const original = RequestQueue.prototype.scheduleCheckPendingRequests;
RequestQueue.prototype.scheduleCheckPendingRequests = function scheduleWithoutNegativeDelay(this: RequestQueue) {
  const past = this.throttledUntil;
  const clock = performance.timeOrigin + performance.now();
  if (past < clock) this.throttledUntil = clock + CHECK_INTERVAL_MS;
  original.call(this);
  if (past < clock) this.throttledUntil = past;
};

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

/** The retry of admin calls and consumers, machine ms. */
const steadyRetry = { initialRetryTime: 100, retries: 8, maxRetryTime: 5_000 };
/** Quick first retry: the broker finishes the last transaction within milliseconds. Lasts as long as a transaction may. */
const transactionRetry = { initialRetryTime: 10, retries: 40, maxRetryTime: 1_000 };

export function kafkaClient(settings: KafkaSettings): Kafka {
  return new kafkajs.Kafka({ ...connectionOptions(settings), retry: steadyRetry, logLevel: kafkajs.logLevel.NOTHING });
}

export function transactionalProducer(settings: KafkaSettings, transactionalId: string) {
  return new kafkajs.Kafka({
    ...connectionOptions(settings),
    retry: transactionRetry,
    logLevel: kafkajs.logLevel.NOTHING,
  }).producer({
    idempotent: true,
    transactionalId,
    transactionTimeout: settings.transactionTimeoutMs,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    retry: transactionRetry,
  });
}

/** A cluster handle for reading named partitions without a group. */
export function readerCluster(settings: KafkaSettings): Cluster {
  return new Cluster({
    ...connectionOptions(settings),
    logger: loggers.createLogger({ level: 0, logCreator: () => () => undefined }),
    retry: steadyRetry,
    socketFactory: defaultSocketFactory(),
    enforceRequestTimeout: true,
    metadataMaxAge: 30_000,
    allowAutoTopicCreation: false,
    maxInFlightRequests: null,
    isolationLevel: READ_COMMITTED,
    offsets: new Map(),
  });
}

export const isolationLevel = READ_COMMITTED;

/** Answers of a broker that pass by themselves: a topic just made, a leader or coordinator that moves or starts. */
export const passingTypes: ReadonlySet<string> = new Set([
  'UNKNOWN_TOPIC_OR_PARTITION', 'LEADER_NOT_AVAILABLE', 'NOT_LEADER_FOR_PARTITION', 'REPLICA_NOT_AVAILABLE',
  'REQUEST_TIMED_OUT', 'NETWORK_EXCEPTION', 'GROUP_LOAD_IN_PROGRESS', 'GROUP_COORDINATOR_NOT_AVAILABLE',
  'NOT_COORDINATOR_FOR_GROUP', 'NOT_ENOUGH_REPLICAS', 'NOT_ENOUGH_REPLICAS_AFTER_APPEND', 'NOT_CONTROLLER',
  'KAFKA_STORAGE_ERROR', 'LISTENER_NOT_FOUND', 'FENCED_LEADER_EPOCH', 'UNKNOWN_LEADER_EPOCH', 'OFFSET_NOT_AVAILABLE',
  'UNSTABLE_OFFSET_COMMIT', 'CONCURRENT_TRANSACTIONS',
]); // biome-ignore format: one list

/** Faults of kafkajs without an answer of a broker that pass when the broker is back. */
const passingNames = new Set([
  'KafkaJSConnectionError', 'KafkaJSConnectionClosedError', 'KafkaJSRequestTimeoutError', 'KafkaJSBrokerNotFound',
  'KafkaJSGroupCoordinatorNotFound', 'KafkaJSMetadataNotLoaded', 'KafkaJSLockTimeout',
]); // biome-ignore format: one list

/** May the same request succeed later? */
export function isPassing(error: unknown): boolean {
  const type = protocolType(error);
  if (type !== undefined) return passingTypes.has(type);
  let at: unknown = error;
  for (let depth = 0; depth < 5 && typeof at === 'object' && at !== null; depth++) {
    const { name, cause, originalError } = at as { name?: unknown; cause?: unknown; originalError?: unknown };
    if (typeof name === 'string' && passingNames.has(name)) return true;
    at = cause ?? originalError;
  }
  return false;
}

/** Repeats after faults that pass, for about `forMs` machine ms. */
export async function withPatience<T>(work: () => Promise<T>, forMs = 15_000): Promise<T> {
  const started = machineMs();
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!isPassing(error) || machineMs() - started > forMs) throw error;
      await sleep(Math.min(1_000, 20 * 2 ** Math.min(attempt, 6)));
    }
  }
}

/** After a lost connection kafkajs must forget the broker, or it goes on with the dead connection. */
export function forgetLostBroker(cluster: Cluster, error: unknown): void {
  let at: unknown = error;
  for (let depth = 0; depth < 5 && typeof at === 'object' && at !== null; depth++) {
    const { name, host, port, cause } = at as { name?: unknown; host?: unknown; port?: unknown; cause?: unknown };
    if (name === 'KafkaJSConnectionClosedError' && typeof host === 'string' && typeof port === 'number') {
      cluster.removeBroker({ host, port });
      return;
    }
    at = cause;
  }
}

const fencedTypes = new Set([
  'INVALID_PRODUCER_EPOCH',
  'PRODUCER_FENCED',
  'TRANSACTION_COORDINATOR_FENCED',
  'INVALID_PRODUCER_ID_MAPPING',
]);

/** The protocol type of a kafkajs error (`INVALID_PRODUCER_EPOCH`), also behind a retry wrapper. */
export function protocolType(error: unknown): string | undefined {
  let at: unknown = error;
  for (let depth = 0; depth < 5 && typeof at === 'object' && at !== null; depth++) {
    const { type, cause, originalError } = at as { type?: unknown; cause?: unknown; originalError?: unknown };
    if (typeof type === 'string') return type;
    at = cause ?? originalError;
  }
  return undefined;
}

/** Any error of kafkajs in our words. */
export function kafkaError(error: unknown, what: string, owner?: string): TorghutError {
  if (error instanceof TorghutError) return error;
  const type = protocolType(error);
  if (owner !== undefined && type !== undefined && fencedTypes.has(type)) return fencedError(owner);
  const message = error instanceof Error ? error.message : String(error);
  if (/SASL|authenticat|ILLEGAL_SASL|AUTHORIZATION/i.test(`${type ?? ''} ${message}`)) {
    return unreachableError({
      code: 'kafka_auth',
      what,
      why: 'the broker refused the credentials',
      next: 'check KAFKA_SASL_USER, its secret and the ACLs',
      canRetry: false,
      cause: error,
    });
  }
  if (/codec|compression/i.test(message)) {
    return new TorghutError({
      code: 'topic_compression',
      what,
      why: 'the topic holds records in a compression that this client cannot read (only gzip and none)',
      next: 'kafka-configs.sh --alter --entity-type topics --entity-name TOPIC --add-config compression.type=producer, and producers without lz4 or zstd',
      exitCode: 4,
      cause: error,
    });
  }
  return unreachableError({
    code: 'log_unreachable',
    what,
    why: `${type ?? codeOf(error) ?? 'error'}: ${message}`,
    next: 'check that the brokers of KAFKA_BOOTSTRAP run and can be reached',
    cause: error,
  });
}
