/**
 * The tasks of one process and what is told about them.
 * Guarantees: an owned partition has a task, or an attempt to open one, unless ta is paused; a passing fault of the log opens
 * the task anew from its state, anything else ends the process.
 */
import { codeOf, describeError, exitCode, TorghutError } from '../../lib/service/errors.ts';
import type { Lifecycle } from '../../lib/service/lifecycle.ts';
import type { Logger } from '../../lib/service/logging.ts';
import { backoffMs, sleep } from '../../lib/service/machine.ts';
import { formatSecond } from '../../lib/ta/index.ts';
import type { PartitionTask } from './task.ts';
import { emptyCounters, type TaskCounters } from './task-state.ts';

export class TaskSet {
  readonly tasks = new Map<number, PartitionTask>();
  readonly #running = new Map<number, { stop: AbortController; done: Promise<void> }>();
  /** What the group gave to this process; while paused nothing of it runs. */
  readonly #owned = new Set<number>();
  #isPaused = false;
  readonly #open: (partition: number) => Promise<PartitionTask>;
  readonly #lifecycle: Lifecycle;
  readonly #log: Logger;

  constructor(open: (partition: number) => Promise<PartitionTask>, lifecycle: Lifecycle, log: Logger) {
    this.#open = open;
    this.#lifecycle = lifecycle;
    this.#log = log;
  }

  /** Every owned partition has to have its task again, or none may have one. Ends when what ran has committed and ended. */
  async setPaused(isPaused: boolean): Promise<void> {
    this.#isPaused = isPaused;
    if (isPaused) await this.#end([...this.#running.keys()]);
    else for (const partition of this.#owned) this.#launch(partition);
  }

  start(partition: number): void {
    this.#owned.add(partition);
    this.#launch(partition);
  }

  #launch(partition: number): void {
    if (this.#isPaused || this.#running.has(partition)) return;
    const stop = new AbortController();
    const done = this.#keep(partition, stop.signal).finally(() => this.#running.delete(partition));
    this.#running.set(partition, { stop, done });
  }

  async stop(partitions: readonly number[]): Promise<void> {
    for (const partition of partitions) this.#owned.delete(partition);
    await this.#end(partitions);
  }

  async #end(partitions: readonly number[]): Promise<void> {
    const stopping = partitions.map((partition) => this.#running.get(partition));
    for (const running of stopping) running?.stop.abort();
    await Promise.all(stopping.map((running) => running?.done));
  }

  async stopAll(): Promise<void> {
    await this.stop([...this.#owned]);
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
