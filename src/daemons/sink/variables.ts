/** Settings of the sink (spec ta 3, narrowed by design 4 and 5). */
import { kind, optional, type Variable } from '../../lib/service/config.ts';
import type { TtlDays } from '../../lib/signals/tables.ts';
import { registryVariables } from '../../lib/wire/variables.ts';
import { defaultControlTopic } from '../ta/control.ts';

const ttlDays = (text: string): TtlDays =>
  text.trim().toLowerCase() === 'none' ? undefined : kind.integer(1, 36_500)(text);

export const sinkVariables = {
  TORGHUT_RUN_ID: {
    parse: kind.text,
    default: 'live',
    describe: 'The run; one database holds one run',
  } satisfies Variable<string>,
  TA_MICROBARS_TOPIC: {
    parse: kind.text,
    default: 'torghut.ta.bars.1s.v1',
    describe: 'Topic of the micro-bars',
  } satisfies Variable<string>,
  TA_SIGNALS_TOPIC: {
    parse: kind.text,
    default: 'torghut.ta.signals.v1',
    describe: 'Topic of the signals',
  } satisfies Variable<string>,
  TA_CONTROL_TOPIC: {
    parse: kind.text,
    default: defaultControlTopic,
    describe: 'Compacted topic of one partition: which part of ta is paused, and why',
  } satisfies Variable<string>,
  TA_SCHEMA_REGISTRY_URL: registryVariables.TA_SCHEMA_REGISTRY_URL,
  TA_SCHEMA_REGISTRY_USER: registryVariables.TA_SCHEMA_REGISTRY_USER,
  TA_SCHEMA_REGISTRY_PASSWORD: registryVariables.TA_SCHEMA_REGISTRY_PASSWORD,
  TA_SINK_GROUP_ID: {
    parse: optional(kind.text),
    default: undefined,
    describe: 'Consumer group of the sink; unset: torghut-ta-sink-<run id>',
  } satisfies Variable<string | undefined>,
  TA_CLICKHOUSE_BATCH_SIZE: {
    parse: kind.integer(1, 100_000),
    default: 5_000,
    describe: 'Rows after which a batch is written',
  } satisfies Variable<number>,
  TA_CLICKHOUSE_FLUSH_MS: {
    parse: kind.integer(10, 600_000),
    default: 1_000,
    time: 'machine',
    describe: 'Machine ms after which a batch is written',
  } satisfies Variable<number>,
  TA_CLICKHOUSE_TTL_DAYS: {
    parse: ttlDays,
    default: 35,
    describe: 'Days that rows are kept after their event time, or none; a virtual clock implies none',
  } satisfies Variable<TtlDays>,
  TA_CLICKHOUSE_MIGRATE: {
    parse: kind.boolean,
    default: true,
    describe: 'Make or migrate the tables at start; false: only check them',
  } satisfies Variable<boolean>,
  TA_SINK_MIN_FREE_RATIO: {
    parse: optional(kind.number(0, 0.9)),
    default: undefined,
    describe:
      'Share of the store’s disk below which nothing is written; unset: 0.08 on a server, none on the embedded engine',
  } satisfies Variable<number | undefined>,
  TA_SINK_MIN_FREE_BYTES: {
    parse: optional(kind.integer(0)),
    default: undefined,
    describe:
      'Free bytes of the store’s disk below which nothing is written; unset: 2 GiB on a server, 24 MiB on the embedded engine',
  } satisfies Variable<number | undefined>,
  TA_SINK_HTTP_PORT: {
    parse: kind.integer(0, 65_535),
    default: 0,
    describe: 'Port of health, metrics and status; 0 picks a free one',
  } satisfies Variable<number>,
};

/** Bytes after which a batch is written (spec ta 4.5). */
export const batchBytes = 4 * 1024 * 1024;
