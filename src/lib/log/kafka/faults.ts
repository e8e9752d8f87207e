/**
 * Faults of kafkajs in our words: which pass by themselves, which mean that the writer was fenced, and what a person is told.
 */
import type Cluster from 'kafkajs/src/cluster/index.js';
import { codeOf, fencedError, TorghutError, unreachableError } from '../../service/errors.ts';
import { machineMs, sleep } from '../../service/machine.ts';

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
  'KafkaJSGroupCoordinatorNotFound', 'KafkaJSMetadataNotLoaded', 'KafkaJSLockTimeout', 'NoAnswerError',
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

/** Work with a broker that did not end in its time. */
export class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError';
}

/**
 * The outcome of the work, or a NoAnswerError after so many machine ms. kafkajs can lose a request for good: its own time-out
 * ends with the connection, and some of its waits have none. What the work still does then has to be without harm.
 */
export async function within<T>(ms: number, work: Promise<T>, what = 'the brokers did not answer'): Promise<T> {
  const timer = new AbortController();
  const late = sleep(Math.max(0, ms), timer.signal).then((): never => {
    throw new NoAnswerError(`${what} within ${Math.round(ms)} ms`);
  });
  // Neither of the two is waited for when the other was first.
  late.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    timer.abort();
  }
}

/** Longest machine ms for one attempt of anything: longer than what kafkajs takes with all its own repetitions. */
export const ATTEMPT_MS = 60_000;

/** Repeats after faults that pass, for about `forMs` machine ms. */
export async function withPatience<T>(work: () => Promise<T>, forMs = 15_000): Promise<T> {
  const started = machineMs();
  for (let attempt = 1; ; attempt++) {
    try {
      return await within(ATTEMPT_MS, work());
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
