/**
 * Environment of the event log (spec ingest 3.5, narrowed by design 6: an unset KAFKA_BOOTSTRAP means the embedded log; there is
 * no default password; kafkajs compresses with gzip or not at all). TLS needs a PEM file of the authority, not a Java truststore.
 */
import { type ConfigOf, kind, optional, type VariableTable } from '../service/config.ts';
import { usageError } from '../service/errors.ts';
import { defaultCompression, type KafkaSettings } from './kafka/settings.ts';

export const logVariables = {
  KAFKA_BOOTSTRAP: {
    parse: kind.csv,
    default: [] as readonly string[],
    describe: 'Kafka brokers, host:port with commas between; unset means the embedded log',
  },
  KAFKA_CLIENT_ID: { parse: kind.text, default: 'torghut', describe: 'client id towards the brokers' },
  KAFKA_SECURITY_PROTOCOL: {
    parse: optional(kind.oneOf('PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL')),
    default: undefined,
    describe: 'PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL; default PLAINTEXT on loopback, else SASL_SSL',
  },
  KAFKA_SASL_MECH: {
    parse: kind.oneOf('SCRAM-SHA-512', 'SCRAM-SHA-256', 'PLAIN'),
    default: 'SCRAM-SHA-512',
    describe: 'SASL mechanism',
  },
  KAFKA_SASL_USER: { parse: kind.text, default: '', describe: 'SASL user; required for SASL' },
  KAFKA_SASL_PASSWORD: {
    parse: kind.text,
    default: '',
    describe: 'SASL password; required for SASL, there is no default',
    secret: true,
  },
  KAFKA_TRUSTSTORE_PATH: {
    parse: optional(kind.text),
    default: undefined,
    describe: 'PEM file of the certificate authority, for SSL and SASL_SSL',
  },
  KAFKA_COMPRESSION: {
    parse: optional(kind.oneOf('none', 'gzip')),
    default: undefined,
    describe: 'none or gzip; default none on loopback, else gzip',
  },
  KAFKA_REQUEST_TIMEOUT_MS: {
    parse: kind.integer(1),
    default: 15_000,
    describe: 'longest wait for an answer of a broker, ms',
    time: 'machine',
  },
  KAFKA_TRANSACTION_TIMEOUT_MS: {
    parse: kind.integer(1_000),
    default: 15_000,
    describe: 'age at which a broker aborts the open transaction of a dead writer, ms',
    time: 'machine',
  },
  KAFKA_MAX_REQUEST_SIZE_BYTES: {
    parse: kind.integer(1),
    default: 524_288,
    describe: 'largest produce request before compression, bytes',
  },
} as const satisfies VariableTable;

export type LogConfig = ConfigOf<typeof logVariables>;

/** Is every broker on this machine? */
function isLoopback(brokers: readonly string[]): boolean {
  return brokers.every((broker) => /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]):/.test(broker));
}

/** Settings of the Kafka adapter. @throws `kafka_bootstrap_invalid` (exit 2) */
export function kafkaSettings(config: LogConfig): KafkaSettings {
  const brokers = config.KAFKA_BOOTSTRAP;
  const wrong = brokers.find((broker) => !/^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d+$/.test(broker));
  if (wrong !== undefined) {
    throw usageError({
      code: 'kafka_bootstrap_invalid',
      what: `KAFKA_BOOTSTRAP names ${JSON.stringify(wrong)}`,
      why: 'a broker is host:port',
      next: 'for example KAFKA_BOOTSTRAP=localhost:9092',
    });
  }
  return {
    brokers,
    clientId: config.KAFKA_CLIENT_ID,
    security: config.KAFKA_SECURITY_PROTOCOL ?? (isLoopback(brokers) ? 'PLAINTEXT' : 'SASL_SSL'),
    saslMechanism: config.KAFKA_SASL_MECH,
    user: config.KAFKA_SASL_USER,
    password: config.KAFKA_SASL_PASSWORD,
    caPath: config.KAFKA_TRUSTSTORE_PATH,
    compression: config.KAFKA_COMPRESSION ?? defaultCompression(brokers),
    requestTimeoutMs: config.KAFKA_REQUEST_TIMEOUT_MS,
    transactionTimeoutMs: config.KAFKA_TRANSACTION_TIMEOUT_MS,
    maxRequestBytes: config.KAFKA_MAX_REQUEST_SIZE_BYTES,
  };
}
