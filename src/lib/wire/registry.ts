/**
 * The schema registry of the Confluent API: connecting, what its errors mean, and the schema of an id.
 * Guarantees: no request waits longer than `REQUEST_MS`; a registry that is away (`isAway`) is told from one that says no.
 */
import type { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import type { ConfigOf } from '../service/config.ts';
import { describeError, refusedError, TorghutError, unreachableError } from '../service/errors.ts';
import type { registryVariables } from './variables.ts';

export type RegistrySettings = ConfigOf<typeof registryVariables>;

/** The client's own name of the language, without loading the client. */
export const AVRO = 'AVRO' as SchemaType.AVRO;

/** Machine ms of one request: one that takes the connection and never answers is away too. */
const REQUEST_MS = 5_000;

/** The client is loaded only where a registry is configured: it brings readers of every schema language. */
export async function connect(settings: RegistrySettings, host: string): Promise<SchemaRegistry> {
  const { SchemaRegistry } = await import('@kafkajs/confluent-schema-registry');
  const { TA_SCHEMA_REGISTRY_USER: username, TA_SCHEMA_REGISTRY_PASSWORD: password } = settings;
  return new SchemaRegistry({
    host,
    ...(username !== undefined && password !== undefined ? { auth: { username, password } } : {}),
    retry: { maxRetryTimeInSecs: 2, initialRetryTimeInSecs: 0.1, factor: 0.2, multiplier: 2, retries: 5 },
    middlewares: [() => ({ prepareRequest: async (next) => (await next()).enhance({ timeout: REQUEST_MS }) })],
  });
}

export const statusOf = (error: unknown): number | undefined =>
  typeof error === 'object' && error !== null && 'status' in error && typeof error.status === 'number'
    ? error.status
    : undefined;

/** What was asked, as an error that says whose fault it is. */
export function registryError(error: unknown, what: string): unknown {
  if (error instanceof TorghutError) return error;
  const status = statusOf(error);
  if (status === 401 || status === 403) {
    return refusedError({
      code: 'schema_registry_auth',
      what: `${what}: the schema registry refuses the user`,
      next: 'check TA_SCHEMA_REGISTRY_USER and TA_SCHEMA_REGISTRY_PASSWORD',
      cause: error,
    });
  }
  return unreachableError({
    code: 'schema_registry_unreachable',
    what,
    why: describeError(error).slice(0, 300),
    next: 'look at the schema registry (torghut asks TA_SCHEMA_REGISTRY_URL); records stay in the log',
    canRetry: true,
    cause: error,
  });
}

/** Does the registry not answer, so that the same question may be asked again later? */
export const isAway = (error: unknown): boolean =>
  error instanceof TorghutError && error.code === 'schema_registry_unreachable';

/** The schema under an id, as plain JSON: the registry client has its own copy of the Avro library. */
export async function schemaOf(registry: SchemaRegistry, id: number): Promise<unknown> {
  return JSON.parse(JSON.stringify(await registry.getSchema(id)));
}
