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
import { type ConfigOf, loadConfig } from '../../lib/service/config.ts';
import { codeOf, describeError, exitCode, refusedError, TorghutError } from '../../lib/service/errors.ts';
import { announceService, withdrawService } from '../../lib/service/home.ts';
import { serveEndpoint } from '../../lib/service/http.ts';
import { createLifecycle, type Lifecycle, runDaemon } from '../../lib/service/lifecycle.ts';
import { createLogger, type Logger } from '../../lib/service/logging.ts';
import { backoffMs, sleep } from '../../lib/service/machine.ts';
import { formatSecond, settingsOf } from '../../lib/ta/index.ts';
import { sinkVariables } from '../sink/variables.ts';
import { inputRoles } from './merge.ts';
import { createTaMetrics } from './metrics.ts';
import { PartitionTask, type TaskOptions, type TaskTopics } from './task.ts';
import type { TaskCounters } from './task-state.ts';
import { taVariables } from './variables.ts';

export interface TaDaemonOptions {
  home: string;
  /** Port of the health endpoint; undefined takes TA_HTTP_PORT. */
  port?: number;
  env?: NodeJS.ProcessEnv;
}

type TaConfig = ConfigOf<typeof taVariables>;

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

const topicsOf = (config: TaConfig): TaskTopics => ({
  trades: config.TA_TRADES_TOPIC,
  quotes: config.TA_QUOTES_TOPIC,
  bars: config.TA_BARS1M_TOPIC,
  taBars: config.TA_MICROBARS_TOPIC,
  taSignals: config.TA_SIGNALS_TOPIC,
  taLate: config.TA_LATE_TOPIC,
  taState: config.TA_STATE_TOPIC,
  taStatus: config.TA_STATUS_TOPIC,
});

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

const emptyCounters = (): TaskCounters => ({
  records: 0,
  bars: 0,
  signals: 0,
  revisions: 0,
  late: 0,
  duplicates: 0,
  rejected: 0,
  trades_without_price: 0,
  unknown_conditions: {},
});

/** The tasks of this process and what is told about them. */
class TaskSet {
  readonly tasks = new Map<number, PartitionTask>();
  readonly #running = new Map<number, { stop: AbortController; done: Promise<void> }>();
  readonly #open: (partition: number) => Promise<PartitionTask>;
  readonly #lifecycle: Lifecycle;
  readonly #log: Logger;

  constructor(open: (partition: number) => Promise<PartitionTask>, lifecycle: Lifecycle, log: Logger) {
    this.#open = open;
    this.#lifecycle = lifecycle;
    this.#log = log;
  }

  start(partition: number): void {
    const stop = new AbortController();
    const done = this.#keep(partition, stop.signal).finally(() => this.#running.delete(partition));
    this.#running.set(partition, { stop, done });
  }

  async stop(partitions: readonly number[]): Promise<void> {
    const stopping = partitions.map((partition) => this.#running.get(partition));
    for (const running of stopping) running?.stop.abort();
    await Promise.all(stopping.map((running) => running?.done));
  }

  async stopAll(): Promise<void> {
    await this.stop([...this.#running.keys()]);
  }

  /** Every owned partition has its task. */
  get isComplete(): boolean {
    return this.#running.size > 0 && [...this.#running.keys()].every((partition) => this.tasks.has(partition));
  }

  async #keep(partition: number, signal: AbortSignal): Promise<void> {
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        const task = await this.#open(partition);
        this.tasks.set(partition, task);
        this.#log.info({ partition, isReplaying: task.core.isReplaying }, 'task started');
        await task.run(signal);
      } catch (error) {
        if (!signal.aborted && !canTryAgain(error)) return this.#fail(error);
        const what = signal.aborted ? 'the last commit of a task failed' : 'the task is opened anew';
        this.#log.warn({ partition, attempt, err: describeError(error) }, what);
      } finally {
        this.tasks.delete(partition);
      }
      if (!signal.aborted)
        await sleep(
          backoffMs(Math.min(attempt, 10), 100, 5_000, () => 0.5),
          signal,
        );
    }
  }

  #fail(error: unknown): void {
    if (error instanceof TorghutError) {
      this.#log.error({ code: error.code, why: error.why, next: error.next }, error.what);
      this.#lifecycle.stop(error.code, error.exitCode);
    } else {
      this.#log.error({ err: error }, 'a task failed unexpectedly');
      this.#lifecycle.stop('unexpected', exitCode.unexpected);
    }
  }

  counters(): TaskCounters {
    const sum = emptyCounters();
    for (const task of this.tasks.values()) {
      const { unknown_conditions, ...numbers } = task.core.counters;
      for (const name of Object.keys(numbers) as (keyof typeof numbers)[]) sum[name] += numbers[name];
      for (const [letter, count] of Object.entries(unknown_conditions)) {
        sum.unknown_conditions[letter] = (sum.unknown_conditions[letter] ?? 0) + count;
      }
    }
    return sum;
  }

  status(runId: string): Record<string, unknown> {
    const { bars, signals, ...counters } = this.counters();
    const tasks = [...this.tasks.values()].sort((a, b) => a.partition - b.partition);
    const latest = tasks
      .flatMap((task) => [...task.core.latest.values()])
      .sort((a, b) => (a.symbol < b.symbol ? -1 : 1));
    return {
      run_id: runId,
      tasks: tasks.map((task) => ({ partition: task.partition, ...task.status() })),
      bars_out: bars,
      signals_out: signals,
      ...counters,
      latest: latest.map((bar) => ({
        symbol: bar.symbol,
        event_ts: formatSecond(bar.end),
        o: bar.open,
        h: bar.high,
        l: bar.low,
        c: bar.close,
        v: bar.volume,
        count: bar.count,
      })),
    };
  }
}

const passingCodes = new Set([
  'log_full',
  'log_unreachable',
  'log_locked',
  'writer_lost',
  'commit_unknown',
  'ta_state_stuck',
]);

function canTryAgain(error: unknown): boolean {
  return passingCodes.has(codeOf(error) ?? '') || (error instanceof TorghutError && error.canRetry);
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
  const topics = topicsOf(config);
  const eventLog = await openEventLog({ home, env, clock });
  lifecycle.onClose('event log', () => eventLog.close());
  const settings = settingsOf(config.TA_PROFILE, {
    quoteStaleAfterMs: config.TA_QUOTE_STALE_AFTER_MS,
    vwapWindowSeconds: config.TA_VWAP_WINDOW_SECONDS,
    realizedVolWindowSeconds: config.TA_REALIZED_VOL_WINDOW,
    ...(config.TA_MAX_OUT_OF_ORDER_MS === undefined ? {} : { maxOutOfOrderMs: config.TA_MAX_OUT_OF_ORDER_MS }),
  });
  const taskOptions: TaskOptions = {
    log: eventLog,
    clock,
    runId: config.TORGHUT_RUN_ID,
    settings,
    topics,
    groupId: config.TA_GROUP_ID,
    clientId: config.TA_CLIENT_ID,
    maxFutureMs: config.TA_MAX_FUTURE_MS,
    commitIntervalMs: config.TA_COMMIT_INTERVAL_MS,
    commitRecords: config.TA_COMMIT_RECORDS,
    heartbeatMs: config.TA_CHECKPOINT_INTERVAL_MS,
    degradedAfterMs: config.TA_SOURCE_LAG_DEGRADED_AFTER_MS,
    offsetReset: config.TA_AUTO_OFFSET_RESET,
  };
  const set = new TaskSet((partition) => PartitionTask.open(taskOptions, partition), lifecycle, log);
  let phase = 'waiting_for_input_topics';
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
  phase = 'running';
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
