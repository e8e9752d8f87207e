/** Settings of the schema registry (spec ta 3), common to everything that writes or reads the ta topics. */
import { kind, optional, type VariableTable } from '../service/config.ts';

export const registryVariables = {
  TA_SCHEMA_REGISTRY_URL: {
    parse: optional(kind.url('http:', 'https:')),
    default: undefined as string | undefined,
    describe: 'schema registry (Confluent API); set: bars, signals and heartbeats are Avro, unset: JSON. Both are read',
  },
  TA_SCHEMA_REGISTRY_USER: {
    parse: optional(kind.text),
    default: undefined as string | undefined,
    describe: 'user of the schema registry, when it asks for one',
  },
  TA_SCHEMA_REGISTRY_PASSWORD: {
    parse: optional(kind.text),
    default: undefined as string | undefined,
    describe: 'password of that user',
    secret: true,
  },
  TA_SCHEMA_AUTO_REGISTER: {
    parse: kind.boolean,
    default: true,
    describe: 'register new versions of the schemas at start; false: a missing one ends the start',
  },
} satisfies VariableTable;
