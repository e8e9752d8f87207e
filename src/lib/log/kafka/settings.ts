/** What the Kafka adapter needs to know, read from KAFKA_* once. */
import { usageError } from '../../service/errors.ts';

export interface KafkaSettings {
  brokers: readonly string[];
  clientId: string;
  security: 'PLAINTEXT' | 'SSL' | 'SASL_PLAINTEXT' | 'SASL_SSL';
  saslMechanism: string;
  user: string;
  password: string;
  /** PEM file of the authority, for SSL. */
  caPath: string | undefined;
  compression: 'none' | 'gzip';
  requestTimeoutMs: number;
  /** Machine ms; a dead writer's open transaction hides later commits of its partitions for so long. */
  transactionTimeoutMs: number;
  /** Largest produce request, bytes before compression. */
  maxRequestBytes: number;
}

/** Loopback brokers need no compression; everything else is worth it. */
export function defaultCompression(brokers: readonly string[]): 'none' | 'gzip' {
  return brokers.every((broker) => /^(localhost|127\.|\[::1\])/.test(broker)) ? 'none' : 'gzip';
}

/** @throws `kafka_password_missing` (exit 2) when SASL is asked for without credentials */
export function checkSettings(settings: KafkaSettings): KafkaSettings {
  if (settings.security.startsWith('SASL') && (settings.user === '' || settings.password === '')) {
    throw usageError({
      code: 'kafka_password_missing',
      what: `KAFKA_SECURITY_PROTOCOL is ${settings.security} but KAFKA_SASL_USER or KAFKA_SASL_PASSWORD is not set`,
      next: 'set both, or KAFKA_SECURITY_PROTOCOL=PLAINTEXT for a broker without authentication',
    });
  }
  return settings;
}
