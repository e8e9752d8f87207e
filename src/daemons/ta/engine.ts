/**
 * `torghut ta --only engine`: joins the group, runs one task per owned partition number, serves health and status.
 * Guarantees: a fenced task ends the process with code `fenced`; a passing fault of the log opens the task anew from its state;
 * anything else ends the process with its error, and the next start goes on from the last commit.
 */
import { openEventLog } from '../../lib/log/open.ts';
import type { EventLog } from '../../lib/log/port.ts';
import { type TopicRole, topicSpec } from '../../lib/log/topics.ts';
import { sessionOf } from '../../lib/market/calendar.ts';
import { type Clock, openClock } from '../../lib/service/clock.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { describeError, exitCode, refusedError, TorghutError } from '../../lib/service/errors.ts';
import { announceService, withdrawService } from '../../lib/service/home.ts';
import { serveEndpoint } from '../../lib/service/http.ts';
import { createLifecycle, endBy, type Lifecycle, runDaemon } from '../../lib/service/lifecycle.ts';
import { createLogger, type Logger } from '../../lib/service/logging.ts';
import { sleep } from '../../lib/service/machine.ts';
import { openTaEncoder, type TaEncoder } from '../../lib/wire/ta-encoder.ts';
import type { TaRecordKind } from '../../lib/wire/ta-schemas.ts';
import { sinkVariables } from '../sink/variables.ts';
import { followControl, type PauseGate } from './control.ts';
import { inputRoles } from './merge.ts';
import { createTaMetrics } from './metrics.ts';
import { coreSettings, type TaConfig, taskTopics } from './settings.ts';
import { PartitionTask, type TaskOptions, type TaskTopics } from './task.ts';
import { TaskSet } from './task-set.ts';
import { taVariables } from './variables.ts';

export interface TaDaemonOptions {
  home: string;
  /** Port of the health endpoint; undefined takes TA_HTTP_PORT. */
  port?: number;
  env?: NodeJS.ProcessEnv;
}

/** Runs until a signal, the parent's death or a fatal error. @returns the exit code */
export async function runEngineDaemon(options: TaDaemonOptions): Promise<number> {
  const env = options.env ?? process.env;
  const log = createLogger('ta');
  const clock = openClock(env.TORGHUT_CLOCK);
  // The other parts' variables are known to them; a TA_ name that neither part knows is worth a warning.
  const foreign = Object.keys(env).filter((name) => !name.startsWith('TA_') || name.startsWith('TA_CLICKHOUSE_'));
  const { values, warnings } = loadConfig(taVariables, env, [...Object.keys(sinkVariables), ...foreign]);
  for (const warning of warnings) log.warn(warning);
  const lifecycle = createLifecycle({ log });
  return runDaemon(lifecycle, log, () => start({ ...options, env }, values, clock, lifecycle, log));
}

/** What the records of the topics that may be Avro are. */
const recordKinds = ({ taBars, taSignals, taStatus }: TaskTopics): Map<string, TaRecordKind> =>
  new Map([
    [taBars, 'bar'],
    [taSignals, 'signal'],
    [taStatus, 'status'],
  ]);

/**
 * Waits for the input topics and makes the outputs with the same partitions.
 * @throws `topic_mismatch` (exit 4) when the inputs differ, `topic_retention` when a virtual clock's records would be deleted
 */
async function prepareTopics(log: EventLog, topics: TaskTopics, clock: Clock, signal: AbortSignal): Promise<void> {
  const names = inputRoles.map((role) => topics[role]);
  for (;;) {
    const described = (await log.describeTopics()).filter((topic) => names.includes(topic.name));
    if (described.length === names.length) {
      const counts = new Set(described.map((topic) => topic.partitions.length));
      if (counts.size > 1) {
        throw refusedError({
          code: 'topic_mismatch',
          what: `${names.join(', ')} have different numbers of partitions`,
          why: 'a task reads the same partition number of all three',
          next: 'create them with one number of partitions',
        });
      }
      const short = described.find((topic) => topic.retentionMs !== -1);
      if (clock.kind === 'virtual' && short) {
        throw refusedError({
          code: 'topic_retention',
          what: `the topic ${short.name} deletes by age (retention.ms ${short.retentionMs})`,
          why: 'the clock of this run is virtual: its records look old',
          next: `set retention.ms=-1 and retention.bytes=-1 on ${short.name}`,
        });
      }
      const [partitions] = counts;
      const roles: TopicRole[] = ['taBars', 'taSignals', 'taLate', 'taState', 'taStatus'];
      const options = { names: topics, clock: clock.kind, partitions: partitions ?? 1 };
      await log.ensureTopics(roles.map((role) => topicSpec(role, options)));
      return;
    }
    if (signal.aborted) return;
    await sleep(200, signal);
  }
}

/** The ids of a start without the registry hold until it answers: others end the process, and its next start asks anew. */
async function confirmSchemaIds(encoder: TaEncoder | undefined, lifecycle: Lifecycle, log: Logger): Promise<void> {
  if (!encoder?.remembered) return;
  log.warn(
    { why: encoder.remembered.why },
    'the schema registry is away: writing the schema ids that this home remembers',
  );
  try {
    await encoder.remembered.confirm(lifecycle.signal);
    if (!lifecycle.signal.aborted) log.info('the schema registry answers: the remembered schema ids are right');
  } catch (error) {
    endBy(error, lifecycle, log);
  }
}

async function start(
  options: TaDaemonOptions & { env: NodeJS.ProcessEnv },
  config: TaConfig,
  clock: Clock,
  lifecycle: Lifecycle,
  log: Logger,
): Promise<void> {
  const { home, env } = options;
  const { signal } = lifecycle;
  const topics = taskTopics(config);
  const eventLog = await openEventLog({ home, env, clock });
  lifecycle.onClose('event log', () => eventLog.close());
  const encoder = await openTaEncoder(config, recordKinds(topics), home);
  const taskOptions: TaskOptions = {
    log: eventLog,
    clock,
    runId: config.TORGHUT_RUN_ID,
    settings: coreSettings(config),
    topics,
    groupId: config.TA_GROUP_ID,
    clientId: config.TA_CLIENT_ID,
    maxFutureMs: config.TA_MAX_FUTURE_MS,
    commitIntervalMs: config.TA_COMMIT_INTERVAL_MS,
    commitRecords: config.TA_COMMIT_RECORDS,
    heartbeatMs: config.TA_CHECKPOINT_INTERVAL_MS,
    degradedAfterMs: config.TA_SOURCE_LAG_DEGRADED_AFTER_MS,
    offsetReset: config.TA_AUTO_OFFSET_RESET,
    encoder,
    isSinkEnabled: (env.TA_CLICKHOUSE_URL ?? '').trim() !== '',
  };
  const set = new TaskSet((partition) => PartitionTask.open(taskOptions, partition), lifecycle, log);
  void confirmSchemaIds(encoder, lifecycle, log);
  let phase = 'waiting_for_input_topics';
  let gate: PauseGate | undefined;
  const metrics = createTaMetrics({
    counters: () => set.counters(),
    tasks: () =>
      [...set.tasks.values()].map(({ partition, core }) => ({
        partition,
        watermarkMs:
          core.engine.watermark && core.engine.watermark.sec * 1_000 + core.engine.watermark.nano / 1_000_000,
      })),
    marketNowMs: () => clock.nowMs(),
  });
  const endpoint = await serveEndpoint(
    {
      isAlive: () => !signal.aborted,
      readiness: () => ({ ready: phase === 'running' && set.isComplete, phase }),
      status: () => ({
        phase,
        ready: phase === 'running' && set.isComplete,
        market_now: new Date(clock.nowMs()).toISOString(),
        session: sessionOf(clock.nowNs()),
        control: gate?.control ?? null,
        ...set.status(config.TORGHUT_RUN_ID),
      }),
      metrics,
    },
    options.port ?? config.TA_HTTP_PORT,
    config.TA_HTTP_HOST,
  );
  lifecycle.onClose('endpoint', () => endpoint.close());
  announceService(home, 'ta', { url: endpoint.url });
  lifecycle.onClose('endpoint file', () => withdrawService(home, 'ta'));

  await prepareTopics(eventLog, topics, clock, signal);
  if (signal.aborted) return;
  const obey = async (isPaused: boolean) => {
    phase = isPaused ? 'pausing' : 'running';
    await set.setPaused(isPaused);
    if (isPaused) phase = 'paused';
  };
  gate = await followControl({
    log: eventLog,
    topic: config.TA_CONTROL_TOPIC,
    part: 'engine',
    signal,
    logger: log,
    onChange: ({ paused }) => obey(paused),
  });
  await obey(gate.control.paused);
  const member = await eventLog.joinGroup({
    groupId: config.TA_GROUP_ID,
    topics: inputRoles.map((role) => topics[role]),
    onAssigned: async (partitions) => {
      for (const partition of partitions) set.start(partition);
    },
    onRevoked: (partitions) => set.stop(partitions),
    sessionTimeoutMs: config.TA_GROUP_SESSION_MS,
    signal,
  });
  lifecycle.onClose('group', () => member.close());
  lifecycle.onClose('tasks', () => set.stopAll());
  void member.ended?.then((reason) => {
    if (signal.aborted) return;
    log.error({ err: describeError(reason) }, 'the membership in the group ended');
    lifecycle.stop('group_lost', reason instanceof TorghutError ? reason.exitCode : exitCode.unexpected);
  });
}
