/**
 * Avro on the ta topics: framed by a schema registry of the Confluent API (0x00, schema id, binary), when one is configured.
 * Here is the form itself and the reader; the writer is in `ta-encoder.ts`.
 * Guarantees
 * - Readers take both forms: Avro of this or an older version comes out as the flat JSON record, JSON as it is.
 * - A reader waits for a registry that is away only at a schema that neither it nor the home has seen.
 */
import type { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import avro from 'avsc';
import type { LogRecord } from '../log/port.ts';
import { refusedError, type TorghutError } from '../service/errors.ts';
import { connect, isAway, type RegistrySettings, registryError, schemaOf } from './registry.ts';
import { openSchemaMemory, type SchemaMemory } from './schema-memory.ts';
import { flattened, nested, type TaRecordKind, taSchemas } from './ta-schemas.ts';

export type { RegistrySettings } from './registry.ts';

type Resolver = ReturnType<avro.Type['createResolver']>;

/** First byte of a framed record; JSON begins with a brace. */
const MAGIC = 0;
export const FRAME = 5;

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

/** The schemas of registry and program do not fit. */
export function incompatible(subject: string, why: string, cause: unknown): TorghutError {
  return refusedError({
    code: 'schema_incompatible',
    what: `the schema of ${subject} in the registry and that of this version do not fit`,
    why: why.slice(0, 300),
    next: 'use the version of torghut that wrote the topic, or topics of their own (TA_MICROBARS_TOPIC, TA_SIGNALS_TOPIC, TA_STATUS_TOPIC)',
    cause,
  });
}

/** Reads records of the ta topics in both forms. */
export class TaDecoder {
  readonly #settings: RegistrySettings;
  readonly #readers = new Map<number, { kind: TaRecordKind; resolver: Resolver }>();
  readonly #memory: SchemaMemory | undefined;
  #registry: SchemaRegistry | undefined;

  /** @param home run home that remembers schemas; without it the registry has to answer */
  constructor(settings: RegistrySettings, home?: string) {
    this.#settings = settings;
    const host = settings.TA_SCHEMA_REGISTRY_URL;
    if (home !== undefined && host !== undefined) this.#memory = openSchemaMemory(home, host);
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
    const writer = await this.#writerSchema(host, topic, id);
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

  /** The registry's word first: what the home remembers only stands in for it. */
  async #writerSchema(host: string, topic: string, id: number): Promise<unknown> {
    this.#registry ??= await connect(this.#settings, host);
    try {
      const schema = await schemaOf(this.#registry, id);
      this.#memory?.keepSchema(id, JSON.stringify(schema));
      return schema;
    } catch (error) {
      const told = registryError(error, `the schema ${id} of ${topic} cannot be read`);
      const known = isAway(told) ? this.#memory?.schemaOf(id) : undefined;
      if (known === undefined) throw told;
      return JSON.parse(known);
    }
  }
}
