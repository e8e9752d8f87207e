/**
 * The writer of Avro on the ta topics.
 * Guarantees
 * - Nothing is written before the schemas of all topics are registered under `<topic>-value` and known to read every record of
 *   the version before them (checked here, and by the registry's own BACKWARD rule).
 * - A registry that is away stops no writer whose ids the home knows, also not its start: it writes the remembered ids and asks
 *   until the registry answers. Ids that are others by then end the writer.
 */
import type { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import type { NewRecord } from '../log/port.ts';
import { describeError, refusedError, type TorghutError } from '../service/errors.ts';
import { sleep } from '../service/machine.ts';
import { AVRO, connect, isAway, type RegistrySettings, registryError, schemaOf, statusOf } from './registry.ts';
import { openSchemaMemory, type SchemaMemory } from './schema-memory.ts';
import { type TaRecordKind, taSchemas } from './ta-schemas.ts';
import { FRAME, incompatible, resolverFrom, toAvro } from './ta-wire.ts';

/** Machine ms between two questions to a registry that was away at the start. */
const ASK_AGAIN_MS = 5_000;

/** Turns the records of the ta topics into Avro, all others stay. */
export interface TaEncoder {
  encode(records: readonly NewRecord[]): NewRecord[];
  /** Present when the registry did not answer at the start, and the ids are those that the home remembers. */
  remembered?: {
    /** What the registry was asked, and what came of it. */
    why: string;
    /**
     * Asks until the registry answers, or the signal aborts; without an error the ids are right.
     * @throws `schema_ids_changed`, `schema_incompatible`, `schema_rule`, `schema_subject_missing`, `schema_registry_auth`
     * (exit 4)
     */
    confirm(signal: AbortSignal, everyMs?: number): Promise<void>;
  };
}

/**
 * Registers the schemas of the topics, or finds them.
 * @param topics the kind of record of each topic
 * @param home run home that remembers the ids; without it the registry has to answer
 * @throws `schema_incompatible`, `schema_rule`, `schema_subject_missing`, `schema_registry_auth` (exit 4),
 * `schema_registry_unreachable` (exit 3)
 */
export async function openTaEncoder(
  settings: RegistrySettings,
  topics: ReadonlyMap<string, TaRecordKind>,
  home?: string,
): Promise<TaEncoder | undefined> {
  const host = settings.TA_SCHEMA_REGISTRY_URL;
  if (host === undefined) return undefined;
  const memory = home === undefined ? undefined : openSchemaMemory(home, host);
  try {
    const ids = await askIds(settings, host, topics);
    keepIds(memory, topics, ids);
    return encoderOf(topics, ids);
  } catch (error) {
    const ids = isAway(error) ? rememberedIds(memory, topics) : undefined;
    if (ids === undefined) throw error;
    const confirm = async (signal: AbortSignal, everyMs = ASK_AGAIN_MS) => {
      for (;;) {
        await sleep(everyMs, signal);
        if (signal.aborted) return;
        try {
          const now = await askIds(settings, host, topics);
          // From now on these are true, whatever was written before.
          keepIds(memory, topics, now);
          for (const [topic, id] of ids) if (now.get(topic) !== id) throw idsChanged(topic, id, now.get(topic));
          return;
        } catch (later) {
          if (!isAway(later)) throw later;
        }
      }
    };
    return { ...encoderOf(topics, ids), remembered: { why: describeError(error), confirm } };
  }
}

function encoderOf(topics: ReadonlyMap<string, TaRecordKind>, ids: ReadonlyMap<string, number>): TaEncoder {
  const frames = new Map<string, { kind: TaRecordKind; frame: Buffer }>();
  for (const [topic, kind] of topics) {
    const frame = Buffer.alloc(FRAME);
    frame.writeInt32BE(ids.get(topic) as number, 1);
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

const subjectOf = (topic: string): string => `${topic}-value`;
const textOf = (kind: TaRecordKind): string => JSON.stringify(taSchemas[kind]);

/** The ids as the registry has them now. */
async function askIds(
  settings: RegistrySettings,
  host: string,
  topics: ReadonlyMap<string, TaRecordKind>,
): Promise<Map<string, number>> {
  const registry = await connect(settings, host);
  const ids = new Map<string, number>();
  for (const [topic, kind] of topics) {
    ids.set(topic, await registered(registry, subjectOf(topic), kind, settings.TA_SCHEMA_AUTO_REGISTER));
  }
  return ids;
}

function keepIds(
  memory: SchemaMemory | undefined,
  topics: ReadonlyMap<string, TaRecordKind>,
  ids: ReadonlyMap<string, number>,
): void {
  for (const [topic, kind] of topics) memory?.keepId(subjectOf(topic), textOf(kind), ids.get(topic) as number);
}

/** All of them, or nothing. */
function rememberedIds(
  memory: SchemaMemory | undefined,
  topics: ReadonlyMap<string, TaRecordKind>,
): Map<string, number> | undefined {
  const ids = new Map<string, number>();
  for (const [topic, kind] of topics) {
    const id = memory?.idOf(subjectOf(topic), textOf(kind));
    if (id === undefined) return undefined;
    ids.set(topic, id);
  }
  return ids;
}

function idsChanged(topic: string, before: number, now: number | undefined): TorghutError {
  return refusedError({
    code: 'schema_ids_changed',
    what: `the schema registry gives ${topic} the id ${now}, and records since the start carry ${before}`,
    why: 'it was away at the start, and is another registry now, or has lost its schemas',
    next: `restore the registry's schemas, or register the schema of ${topic} under ${before} again; a start of ta writes the new id`,
  });
}

/** The id of this version's schema under a subject. */
async function registered(
  registry: SchemaRegistry,
  subject: string,
  kind: TaRecordKind,
  mayRegister: boolean,
): Promise<number> {
  const schema = textOf(kind);
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
