/**
 * `torghut ta verify`: everything from the event log computed once more, compared with the current rows of the signal store.
 * Guarantees: reads only; only rows that can no longer change are compared, so it may run beside a live pipeline; what cannot
 * be told (retention, a sink that is behind, rows still open) is said as such, never called equal.
 */
import { openSignalStore } from '../../embedded/connect.ts';
import { openEventLog } from '../../lib/log/open.ts';
import type { EventLog } from '../../lib/log/port.ts';
import { openClock } from '../../lib/service/clock.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { findService } from '../../lib/service/home.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { Comparison, type RowDifference } from '../../lib/signals/compare.ts';
import { type CurrentRow, endOfTime, StoredRows, type TimeRange } from '../../lib/signals/current-rows.ts';
import { undetermined } from '../../lib/signals/errors.ts';
import { sinkVariables } from '../sink/variables.ts';
import { inputFromLog, type RowInputs } from './input-of-row.ts';
import { recomputePartition, takeUntil } from './recompute.ts';
import { coreSettings, runIdOf, sinkGroupOf } from './settings.ts';
import { taVariables } from './variables.ts';

const SLICE_MS = 3_600_000;
/** Machine ms that the sink gets to store what is already computed. */
const SINK_WAIT_MS = 10_000;

export interface VerifyOptions {
  home: string;
  env?: NodeJS.ProcessEnv;
  /** Windows that end after this, epoch ms; without it all. */
  fromMs?: number | undefined;
  /** Windows that end at or before this, epoch ms; without it all that can no longer change. */
  toMs?: number | undefined;
}

export interface VerifyResult {
  /** `undetermined`: nothing to compare, or not everything that was asked for can be told yet. */
  verdict: 'equal' | 'different' | 'undetermined';
  reason: string | null;
  records: number;
  comparison: Comparison;
  /** Rows up to here were compared, epoch ms; null when everything was. */
  comparedUntilMs: number | null;
  first: RowDifference | undefined;
  /** The input of the first difference. */
  inputs: RowInputs | undefined;
}

/** @throws TorghutError with exit 11 when log or store cannot be read */
export async function verifyRun(options: VerifyOptions): Promise<VerifyResult> {
  try {
    return await verify(options);
  } catch (error) {
    throw undetermined(error);
  }
}

interface Setup {
  inputs: string[];
  outputs: string[];
  group: string;
  sinkGroup: string;
  partitions: number;
}

async function verify(options: VerifyOptions): Promise<VerifyResult> {
  const { home } = options;
  const env = options.env ?? process.env;
  const config = loadConfig(taVariables, env, Object.keys(sinkVariables)).values;
  const { TA_SINK_GROUP_ID } = loadConfig(sinkVariables, env, Object.keys(taVariables)).values;
  const settings = coreSettings(config);
  const log = await openEventLog({ home, env, clock: openClock(undefined) });
  try {
    const inputs = [config.TA_TRADES_TOPIC, config.TA_QUOTES_TOPIC, config.TA_BARS1M_TOPIC];
    const outputs = [config.TA_MICROBARS_TOPIC, config.TA_SIGNALS_TOPIC];
    const [trades] = await log.describeTopics(inputs);
    const setup: Setup = {
      inputs,
      outputs,
      group: config.TA_GROUP_ID,
      sinkGroup: sinkGroupOf(TA_SINK_GROUP_ID, runIdOf(home, config, env)),
      partitions: trades?.partitions.length ?? 0,
    };
    const comparison = new Comparison({ ignoresRevision: false });
    const committed = await log.groupOffsets(setup.group, inputs);
    // Who runs on a cluster is not known to this home.
    const isAlone = !env.KAFKA_BOOTSTRAP && findService(home, 'sink') === undefined;
    const behind = await sinkBehind(log, setup, isAlone ? 0 : SINK_WAIT_MS);
    if (behind > 0n) {
      const left = `the sink has ${behind} records of the ta topics still to store`;
      const nobody = ', and none runs in this home: the same `torghut up` goes on and stores them';
      return { ...nothing(comparison), reason: isAlone ? `${left}${nobody}` : left };
    }
    const store = await openSignalStore({ home, env });
    try {
      const stored = new StoredRows(store.client, store.database);
      const range = { fromMs: options.fromMs ?? 0, toMs: options.toMs ?? endOfTime };
      let records = 0;
      let untilMs = range.toMs;
      for (let partition = 0; partition < setup.partitions; partition++) {
        const done = await comparePartition({
          partition,
          range,
          stored,
          comparison,
          recompute: {
            log,
            inputs,
            settings,
            maxFutureMs: config.TA_MAX_FUTURE_MS,
            committed: inputs.map(
              (topic) => committed.find((c) => c.topic === topic && c.partition === partition)?.offset ?? 0n,
            ),
          },
        });
        records += done.records;
        untilMs = Math.min(untilMs, done.untilMs);
      }
      // Rows that say they come from a partition that there is not.
      comparison.add(new Map(), await stored.read(range, { fromPartition: setup.partitions }));
      const first = comparison.first;
      const inputsOfFirst =
        first && (await inputFromLog(log, { trades: inputs[0] as string, bars: inputs[2] as string }, first));
      return { ...verdictOf(comparison, options, untilMs, range), records, comparison, first, inputs: inputsOfFirst };
    } finally {
      await store.close();
    }
  } finally {
    await log.close();
  }
}

const nothing = (comparison: Comparison): VerifyResult => ({
  verdict: 'undetermined',
  reason: null,
  records: 0,
  comparison,
  comparedUntilMs: Number.NEGATIVE_INFINITY,
  first: undefined,
  inputs: undefined,
});

function verdictOf(
  comparison: Comparison,
  options: VerifyOptions,
  untilMs: number,
  range: TimeRange,
): Pick<VerifyResult, 'verdict' | 'reason' | 'comparedUntilMs'> {
  const comparedUntilMs = untilMs < range.toMs ? untilMs : null;
  if (!comparison.isEqual) return { verdict: 'different', reason: null, comparedUntilMs };
  if (options.toMs !== undefined && comparedUntilMs !== null) {
    return {
      verdict: 'undetermined',
      reason: 'later rows may still be revised or are not computed yet',
      comparedUntilMs,
    };
  }
  if (comparison.rows === 0) {
    return {
      verdict: 'undetermined',
      reason: 'there is no row in this range, neither computed nor stored',
      comparedUntilMs,
    };
  }
  return { verdict: 'equal', reason: null, comparedUntilMs };
}

/** Waits machine ms for the sink. @returns records of the ta topics that are not stored; later ones are not waited for */
async function sinkBehind(log: EventLog, setup: Setup, waitMs: number): Promise<bigint> {
  const ends = (await log.describeTopics(setup.outputs)).flatMap(({ name, partitions }) =>
    partitions.map(({ partition, earliest, latest }) => ({ topic: name, partition, earliest, latest })),
  );
  const deadline = machineMs() + waitMs;
  for (;;) {
    const stored = await log.groupOffsets(setup.sinkGroup, setup.outputs);
    const behind = ends.reduce((sum, { topic, partition, earliest, latest }) => {
      const at = stored.find((place) => place.topic === topic && place.partition === partition)?.offset ?? earliest;
      return at < latest ? sum + latest - at : sum;
    }, 0n);
    if (behind === 0n || machineMs() > deadline) return behind;
    await sleep(100);
  }
}

interface PartitionWork {
  partition: number;
  range: TimeRange;
  stored: StoredRows;
  comparison: Comparison;
  recompute: Omit<Parameters<typeof recomputePartition>[0], 'partition' | 'onSettled' | 'sliceMs'>;
}

/** @returns up to where its rows were compared */
async function comparePartition(work: PartitionWork): Promise<{ records: number; untilMs: number }> {
  const { partition, range, stored, comparison } = work;
  /** Compares everything from the last compared time on. */
  let reachedMs = range.fromMs;
  const compareUntil = async (limitMs: number, rows: Map<string, CurrentRow>) => {
    const untilMs = Math.min(limitMs, range.toMs);
    if (untilMs <= reachedMs) return;
    const part = { fromMs: reachedMs, toMs: untilMs };
    const wanted = new Map([...rows].filter(([, { eventMs }]) => eventMs > part.fromMs && eventMs <= part.toMs));
    // One slice of the store in memory at a time.
    const starts = new Set(await stored.slices(part, SLICE_MS, { partition }));
    for (const { eventMs } of wanted.values()) starts.add(Math.floor((eventMs - 1) / SLICE_MS) * SLICE_MS);
    for (const start of [...starts].sort((a, b) => a - b)) {
      const slice = { fromMs: Math.max(start, part.fromMs), toMs: Math.min(start + SLICE_MS, part.toMs) };
      comparison.add(takeUntil(wanted, slice.toMs), await stored.read(slice, { partition }));
    }
    reachedMs = untilMs;
  };
  const { records, rest, isCaughtUp, settledMs } = await recomputePartition({
    ...work.recompute,
    partition,
    sliceMs: SLICE_MS,
    onSettled: compareUntil,
  });
  const untilMs = isCaughtUp ? range.toMs : settledMs;
  await compareUntil(untilMs, rest);
  return { records, untilMs };
}
