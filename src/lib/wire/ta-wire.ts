/**
 * Avro on the ta topics: framed by a schema registry of the Confluent API (0x00, schema id, binary), when one is configured.
 * Guarantees
 * - Nothing is written before the schemas of all topics are registered under `<topic>-value` and known to read every record of
 *   the version before them (checked here, and by the registry's own BACKWARD rule).
 * - A registry that is away later stops no writer: its ids are known. A reader waits for it only at a schema that it never saw.
 * - Readers take both forms: Avro of this or an older version comes out as the flat JSON record, JSON as it is.
 */
import type { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import avro from 'avsc';
import type { LogRecord, NewRecord } from '../log/port.ts';
import type { ConfigOf } from '../service/config.ts';
import { describeError, refusedError, TorghutError, unreachableError } from '../service/errors.ts';
import { flattened, nested, type TaRecordKind, taSchemas } from './ta-schemas.ts';
import type { registryVariables } from './variables.ts';

export type RegistrySettings = ConfigOf<typeof registryVariables>;

type Resolver = ReturnType<avro.Type['createResolver']>;

/** The client's own name of the language, without loading the client. */
const AVRO = 'AVRO' as SchemaType.AVRO;

/** First byte of a framed record; JSON begins with a brace. */
const MAGIC = 0;
const FRAME = 5;

export const isFramed = (value: Buffer | null): value is Buffer => value !== null && value[0] === MAGIC;

const types: Record<TaRecordKind, avro.Type> = {
  bar: typeOf(taSchemas.bar),
  signal: typeOf(taSchemas.signal),
  status: typeOf(taSchemas.status),
};

const kinds = Object.keys(taSchemas) as TaRecordKind[];

function typeOf(schema: unknown): avro.Type {
  return avro.Type.forSchema(schema as avro.Schema);
}

/** The resolver by which records of a writer's schema are read as this version's. @throws when they cannot be */
export function resolverFrom(kind: TaRecordKind, writer: unknown): Resolver {
  return types[kind].createResolver(typeOf(writer));
}

/** A record in Avro binary, without a frame. @throws when a field does not fit its schema */
export function toAvro(kind: TaRecordKind, flat: Record<string, unknown>): Buffer {
  return types[kind].toBuffer(nested(kind, flat));
}

/** The flat record of Avro binary that was written by this version, or by the resolver's. */
export function fromAvro(kind: TaRecordKind, body: Buffer, resolver?: Resolver): Record<string, unknown> {
  return flattened(kind, types[kind].fromBuffer(body, resolver) as Record<string, unknown>);
}

/** The client is loaded only where a registry is configured: it brings readers of every schema language. */
async function connect(settings: RegistrySettings, host: string): Promise<SchemaRegistry> {
  const { SchemaRegistry } = await import('@kafkajs/confluent-schema-registry');
  const { TA_SCHEMA_REGISTRY_USER: username, TA_SCHEMA_REGISTRY_PASSWORD: password } = settings;
  return new SchemaRegistry({
    host,
    ...(username !== undefined && password !== undefined ? { auth: { username, password } } : {}),
    retry: { maxRetryTimeInSecs: 2, initialRetryTimeInSecs: 0.1, factor: 0.2, multiplier: 2, retries: 5 },
  });
}

const statusOf = (error: unknown): number | undefined =>
  typeof error === 'object' && error !== null && 'status' in error && typeof error.status === 'number'
    ? error.status
    : undefined;

function registryError(error: unknown, what: string): unknown {
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

/** Turns the records of the ta topics into Avro, all others stay. */
export interface TaEncoder {
  encode(records: readonly NewRecord[]): NewRecord[];
}

/**
 * Registers the schemas of the topics, or finds them.
 * @param topics the kind of record of each topic
 * @throws `schema_incompatible`, `schema_rule`, `schema_subject_missing`, `schema_registry_auth` (exit 4),
 * `schema_registry_unreachable` (exit 3)
 */
export async function openTaEncoder(
  settings: RegistrySettings,
  topics: ReadonlyMap<string, TaRecordKind>,
): Promise<TaEncoder | undefined> {
  const host = settings.TA_SCHEMA_REGISTRY_URL;
  if (host === undefined) return undefined;
  const registry = await connect(settings, host);
  const frames = new Map<string, { kind: TaRecordKind; frame: Buffer }>();
  for (const [topic, kind] of topics) {
    const id = await registered(registry, `${topic}-value`, kind, settings.TA_SCHEMA_AUTO_REGISTER);
    const frame = Buffer.alloc(FRAME);
    frame.writeInt32BE(id, 1);
    frames.set(topic, { kind, frame });
  }
  return {
    encode: (records) =>
      records.map((record) => {
        const found = frames.get(record.topic);
        if (!found || record.value === null) return record;
        const flat = JSON.parse(record.value.toString('utf8')) as Record<string, unknown>;
        return { ...record, value: Buffer.concat([found.frame, toAvro(found.kind, flat)]) };
      }),
  };
}

/** The id of this version's schema under a subject. */
async function registered(
  registry: SchemaRegistry,
  subject: string,
  kind: TaRecordKind,
  mayRegister: boolean,
): Promise<number> {
  const schema = JSON.stringify(taSchemas[kind]);
  const what = `the schema of ${subject} cannot be registered`;
  try {
    await refuseIncompatible(registry, subject, kind);
    if (!mayRegister) return await knownId(registry, subject, schema);
    const { id } = await registry.register({ type: AVRO, schema }, { subject });
    return id;
  } catch (error) {
    if (statusOf(error) === 409) throw incompatible(subject, describeError(error), error);
    if (error instanceof Error && error.name === 'ConfluentSchemaRegistryCompatibilityError') {
      throw refusedError({
        code: 'schema_rule',
        what: `the schema registry does not hold ${subject} to BACKWARD compatibility`,
        why: error.message,
        next: `set its rule: PUT /config/${subject} with {"compatibility":"BACKWARD"}`,
        cause: error,
      });
    }
    throw registryError(error, what);
  }
}

async function knownId(registry: SchemaRegistry, subject: string, schema: string): Promise<number> {
  try {
    return await registry.getRegistryIdBySchema(subject, { type: AVRO, schema });
  } catch (error) {
    if (statusOf(error) !== 404 && (error as Error).name !== 'ConfluentSchemaRegistryError') throw error;
    throw refusedError({
      code: 'schema_subject_missing',
      what: `the schema registry does not know this version's schema of ${subject}`,
      why: 'TA_SCHEMA_AUTO_REGISTER is false',
      next: 'register it first (schemas/ta holds it), or set TA_SCHEMA_AUTO_REGISTER=true',
      cause: error,
    });
  }
}

/** This version must read what the newest registered one wrote: checked here, whatever rule the registry has. */
async function refuseIncompatible(registry: SchemaRegistry, subject: string, kind: TaRecordKind): Promise<void> {
  let writer: unknown;
  try {
    writer = await schemaOf(registry, await registry.getLatestSchemaId(subject));
  } catch (error) {
    if (statusOf(error) === 404) return;
    throw error;
  }
  try {
    resolverFrom(kind, writer);
  } catch (error) {
    throw incompatible(subject, (error as Error).message, error);
  }
}

function incompatible(subject: string, why: string, cause: unknown): TorghutError {
  return refusedError({
    code: 'schema_incompatible',
    what: `the schema of ${subject} in the registry and that of this version do not fit`,
    why: why.slice(0, 300),
    next: 'use the version of torghut that wrote the topic, or topics of their own (TA_MICROBARS_TOPIC, TA_SIGNALS_TOPIC, TA_STATUS_TOPIC)',
    cause,
  });
}

/** The schema under an id, as plain JSON: the registry client has its own copy of the Avro library. */
async function schemaOf(registry: SchemaRegistry, id: number): Promise<unknown> {
  return JSON.parse(JSON.stringify(await registry.getSchema(id)));
}

/** Reads records of the ta topics in both forms. */
export class TaDecoder {
  readonly #settings: RegistrySettings;
  readonly #readers = new Map<number, { kind: TaRecordKind; resolver: Resolver }>();
  #registry: SchemaRegistry | undefined;

  constructor(settings: RegistrySettings) {
    this.#settings = settings;
  }

  /**
   * The record with its value as JSON text.
   * @throws `schema_registry_unset`, `schema_incompatible` (exit 4), `schema_registry_unreachable` (exit 3, may be asked again)
   */
  async toJson<T extends Pick<LogRecord, 'topic' | 'value'>>(item: T): Promise<T> {
    if (!isFramed(item.value)) return item;
    const id = item.value.length >= FRAME ? item.value.readInt32BE(1) : -1;
    const { kind, resolver } = this.#readers.get(id) ?? (await this.#reader(item.topic, id));
    const flat = fromAvro(kind, item.value.subarray(FRAME), resolver);
    return { ...item, value: Buffer.from(JSON.stringify(flat)) };
  }

  async #reader(topic: string, id: number): Promise<{ kind: TaRecordKind; resolver: Resolver }> {
    const host = this.#settings.TA_SCHEMA_REGISTRY_URL;
    if (host === undefined) {
      throw refusedError({
        code: 'schema_registry_unset',
        what: `${topic} holds Avro records, and no schema registry is configured`,
        next: 'set TA_SCHEMA_REGISTRY_URL to the registry that the writer of the topic uses',
      });
    }
    this.#registry ??= await connect(this.#settings, host);
    let writer: unknown;
    try {
      writer = await schemaOf(this.#registry, id);
    } catch (error) {
      throw registryError(error, `the schema ${id} of ${topic} cannot be read`);
    }
    // The library gives the name with its namespace.
    const name = String((writer as { name?: unknown }).name).replace(/^torghut\.ta\./, '');
    const kind = kinds.find((one) => taSchemas[one].name === name);
    if (kind === undefined) throw incompatible(`${topic}-value`, `it is a schema of ${name}`, undefined);
    try {
      const found = { kind, resolver: resolverFrom(kind, writer) };
      this.#readers.set(id, found);
      return found;
    } catch (error) {
      throw incompatible(`${topic}-value`, (error as Error).message, error);
    }
  }
}
