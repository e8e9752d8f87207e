/**
 * Where a run of ta begins, as state: a task record per partition with the offsets of the plan (spec ta H1). The engine goes on
 * from it as from any commit, so the start is stored with the run and cannot be taken from somewhere else.
 */
import type { EventLog } from '../../../lib/log/port.ts';
import { inputRoles } from '../merge.ts';
import { firstMark } from '../task-core.ts';
import { emptyCounters, encodeTaskRecord, readTaskState, taskKey } from '../task-state.ts';

export interface SeedOptions {
  log: EventLog;
  runId: string;
  stateTopic: string;
  partitions: number;
  ownerOf(partition: number): string;
  /** First offset of each input, in the order of `inputRoles`. */
  startOf(partition: number): readonly bigint[];
  /** Windows that end at or before it are warm-up; null gives out everything. */
  giveFromMs: number | null;
  /** Market ms. */
  nowMs: number;
}

/** Writes the beginning of every partition that has no state yet. */
export async function seedTasks(options: SeedOptions): Promise<void> {
  const { log, runId, stateTopic, giveFromMs, nowMs } = options;
  for (let partition = 0; partition < options.partitions; partition++) {
    const writer = await log.openWriter({ owner: options.ownerOf(partition) });
    try {
      if ((await readTaskState(log, stateTopic, partition)).task) continue;
      const start = options.startOf(partition);
      if (start.length !== inputRoles.length) throw new Error(`partition ${partition} has ${start.length} inputs`);
      const mark = firstMark(start);
      const task = { runId, committed: mark, replayFrom: mark, counters: emptyCounters(), giveFromMs };
      const value = encodeTaskRecord(task);
      await writer.commit({ records: [{ topic: stateTopic, partition, key: taskKey, value, timestampMs: nowMs }] });
    } finally {
      await writer.close();
    }
  }
}
