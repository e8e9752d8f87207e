/** `torghut ta --only sink`: the sink as a process, with its endpoint and its lifecycle. */
import { Registry } from 'prom-client';
import { signalStoreSource } from '../../embedded/connect.ts';
import { storeVariables } from '../../embedded/variables.ts';
import { openEventLog } from '../../lib/log/open.ts';
import type { EventLog } from '../../lib/log/port.ts';
import { type Clock, openClock } from '../../lib/service/clock.ts';
import { type LoadedConfig, loadConfig } from '../../lib/service/config.ts';
import { refusedError } from '../../lib/service/errors.ts';
import { announceService, withdrawService } from '../../lib/service/home.ts';
import { serveEndpoint } from '../../lib/service/http.ts';
import { createLifecycle, type Lifecycle, runDaemon } from '../../lib/service/lifecycle.ts';
import { createLogger, type Logger } from '../../lib/service/logging.ts';
import { sleep } from '../../lib/service/machine.ts';
import { TaDecoder } from '../../lib/wire/ta-wire.ts';
import { followControl } from '../ta/control.ts';
import { sinkGroupOf } from '../ta/settings.ts';
import { Sink } from './sink.ts';
import { sinkVariables } from './variables.ts';

export interface SinkDaemonOptions {
  home: string;
  env?: NodeJS.ProcessEnv;
  /** Overrides TA_SINK_HTTP_PORT. */
  port?: number;
}

/** Runs until it is told to stop; returns the exit code. */
export async function runSinkDaemon(options: SinkDaemonOptions): Promise<number> {
  const env = options.env ?? process.env;
  const logger = createLogger('sink');
  // A mistake in the environment is the caller's error, before anything runs.
  const { values } = loadConfig(sinkVariables, env, Object.keys(storeVariables));
  const lifecycle = createLifecycle({ log: logger });
  return runDaemon(lifecycle, logger, () => main(options, env, values, lifecycle, logger));
}

async function main(
  options: SinkDaemonOptions,
  env: NodeJS.ProcessEnv,
  values: LoadedConfig<typeof sinkVariables>['values'],
  lifecycle: Lifecycle,
  logger: Logger,
): Promise<void> {
  const { home } = options;
  const clock = openClock(env.TORGHUT_CLOCK);
  const isVirtual = clock.kind === 'virtual';
  if (isVirtual && (env.TA_CLICKHOUSE_TTL_DAYS ?? 'none').toLowerCase() !== 'none') {
    throw refusedError({
      code: 'ttl_on_virtual_clock',
      what: `TA_CLICKHOUSE_TTL_DAYS is ${values.TA_CLICKHOUSE_TTL_DAYS} on a virtual clock`,
      why: 'ClickHouse deletes by the wall clock: rows of a recorded day would be gone seconds after the insert',
      next: 'unset it, or set it to none',
    });
  }
  const log = await openEventLog({ home, env, clock, signal: lifecycle.signal });
  lifecycle.onClose('log', () => log.close());
  if (lifecycle.signal.aborted) return;
  const names = { taBars: values.TA_MICROBARS_TOPIC, taSignals: values.TA_SIGNALS_TOPIC };
  const store = signalStoreSource({ home, env, signal: lifecycle.signal });
  lifecycle.onClose('store', () => store.close());
  const registry = new Registry();
  const runId = values.TORGHUT_RUN_ID;
  const gate = await followControl({
    log,
    topic: values.TA_CONTROL_TOPIC,
    part: 'sink',
    signal: lifecycle.signal,
    logger,
  });
  const { TA_SINK_MIN_FREE_RATIO: minFreeRatio, TA_SINK_MIN_FREE_BYTES: minFreeBytes } = values;
  const sink = new Sink({
    gate,
    log,
    store,
    clock,
    logger,
    registry,
    target: { database: store.database, runId, ttlDays: isVirtual ? undefined : values.TA_CLICKHOUSE_TTL_DAYS },
    migrates: values.TA_CLICKHOUSE_MIGRATE,
    groupId: sinkGroupOf(values.TA_SINK_GROUP_ID, runId),
    barsTopic: names.taBars,
    signalsTopic: names.taSignals,
    batchRows: values.TA_CLICKHOUSE_BATCH_SIZE,
    flushMs: values.TA_CLICKHOUSE_FLUSH_MS,
    decoder: new TaDecoder({ ...values, TA_SCHEMA_AUTO_REGISTER: false }, home),
    space: {
      ...(minFreeRatio === undefined ? {} : { minFreeRatio }),
      ...(minFreeBytes === undefined ? {} : { minFreeBytes }),
    },
  });
  const endpoint = await serveEndpoint(
    {
      isAlive: () => true,
      readiness: () => sink.readiness(),
      status: () => ({ run_id: runId, ...sink.status() }),
      metrics: registry,
    },
    options.port ?? values.TA_SINK_HTTP_PORT,
  );
  lifecycle.onClose('endpoint', () => endpoint.close());
  announceService(home, 'sink', { url: endpoint.url });
  lifecycle.onClose('announcement', () => withdrawService(home, 'sink'));
  logger.info({ url: endpoint.url, run_id: runId, database: store.database }, 'the sink is running');
  await waitForTopics(log, Object.values(names), clock, lifecycle.signal);
  await sink.run(lifecycle.signal);
}

/**
 * Waits until the ta topics exist: the engine makes them, with the partitions of its inputs.
 * @throws `topic_retention`, `partitions_differ` (exit 4)
 */
async function waitForTopics(
  log: EventLog,
  names: readonly string[],
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const found = (await log.describeTopics()).filter(({ name }) => names.includes(name));
    const short = found.find(({ retentionMs }) => retentionMs !== -1);
    if (clock.kind === 'virtual' && short) {
      throw refusedError({
        code: 'topic_retention',
        what: `the topic ${short.name} deletes by age (retention.ms ${short.retentionMs})`,
        why: 'the clock of this run is virtual: its records look old',
        next: `set retention.ms=-1 and retention.bytes=-1 on ${short.name}`,
      });
    }
    if (found.length === names.length) {
      if (new Set(found.map(({ partitions }) => partitions.length)).size === 1) return;
      throw refusedError({
        code: 'partitions_differ',
        what: `${names.join(' and ')} have different numbers of partitions`,
        why: 'all ta topics have the same number, so that one process reads a symbol as a whole',
        next: 'create them with one number of partitions',
      });
    }
    await sleep(200, signal);
  }
}
