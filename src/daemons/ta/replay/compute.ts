/**
 * The computation of a replay: the live run's own tasks and sink, with the names of the replay, over the input of its plan.
 * Guarantees: outputs, state and positions are committed together and rows have keys, so a replay that is killed goes on and ends
 * with the same rows; it ends when every record of the plan is computed and every row stored; the live run goes first.
 */
import { constants, setPriority } from 'node:os';
import { crashPoint } from '../../../lib/service/crash-point.ts';
import { describeError, TorghutError, unreachableError } from '../../../lib/service/errors.ts';
import { createLogger } from '../../../lib/service/logging.ts';
import { backoffMs, machineMs, sleep } from '../../../lib/service/machine.ts';
import { Sink } from '../../sink/sink.ts';
import { revisionReachMs } from '../recompute.ts';
import { PartitionTask, type TaskOptions } from '../task.ts';
import { type ReplayContext, storeOf } from './context.ts';
import { ReplayInputs, ReplaySource } from './inputs.ts';
import { outputSpecs, replayNames } from './names.ts';
import { Pace } from './pace.ts';
import { interrupted, type ReplayRecord } from './record.ts';
import { type Insertion, missingRecords, type Stretch } from './repair.ts';
import { seedTasks } from './seed.ts';

export interface Computed {
  records: number;
  repaired: number;
  /** Repaired records that the topics had already. */
  known: number;
  /** The largest lag of the live run that was seen meanwhile, market ms. */
  worst_live_lag_ms: number;
  /** Machine s that the replay stood still for the live run. */
  held_seconds: number;
  /** Real offset of the first record that was read, by topic and partition. */
  first_offsets: Record<string, string>;
}

const TELL_EVERY_MS = 2_000;
/** Market ms by which event times may stay behind the record times that the end was chosen by. */
const SETTLE_SLACK_MS = 120_000;

/** The stretch of each input of a partition, in the order of the inputs. */
export function stretchesOf(record: ReplayRecord, partition: number): Stretch[] {
  return record.inputs.filter((place) => place.partition === partition);
}

async function findInsertions(context: ReplayContext, record: ReplayRecord) {
  const window = { fromMs: 0, toMs: (record.to_ms ?? 0) + revisionReachMs };
  let [repaired, known] = [0, 0];
  const byPlace = new Map<string, Insertion[]>();
  for (let partition = 0; partition < record.partitions; partition++) {
    const repair = record.repair.find((place) => place.partition === partition);
    const inputs = stretchesOf(record, partition);
    if (!repair || repair.end <= repair.start) continue;
    const found = await missingRecords(context.log, repair, inputs, window);
    known += found.known;
    for (const [i, insertions] of found.insertions.entries()) {
      repaired += insertions.length;
      byPlace.set(`${i} ${partition}`, insertions);
    }
  }
  return { byPlace, repaired, known };
}

export async function computeReplay(context: ReplayContext, record: ReplayRecord): Promise<Computed> {
  const { log, clock, config, tell, settings } = context;
  const names = replayNames(record.replay_id);
  // The live run goes first wherever both want the processor.
  try {
    setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // A machine that does not allow it: the pace still holds the replay back.
  }
  const { byPlace, repaired, known } = await findInsertions(context, record);
  if (repaired > 0) tell(`${repaired} repaired records are put where they belong, ${known} are in the topics already`);
  const sources = record.inputs.map(
    (stretch) => new ReplaySource(stretch, byPlace.get(`${indexOfInput(record, stretch)} ${stretch.partition}`) ?? []),
  );
  const inputs = new ReplayInputs(sources);
  const pace = new Pace({ home: context.home, log, outputs: [context.topics.taBars, context.topics.taSignals] });
  await log.ensureTopics(outputSpecs(names, record.partitions, clock.kind));
  await seedTasks({
    log,
    runId: names.runId,
    stateTopic: names.topics.taState,
    partitions: record.partitions,
    ownerOf: (partition) => names.owner.replaceAll('{p}', String(partition)),
    startOf: (partition) => stretchesOf(record, partition).map(({ start }) => start),
    giveFromMs: record.from_ms,
    nowMs: clock.nowMs(),
  });
  crashPoint('replay.seeded');

  const inputTopics = inputNames(record);
  const options: TaskOptions = {
    log: inputs.wrap(log, pace),
    clock,
    runId: names.runId,
    settings,
    topics: { ...inputTopics, ...names.topics },
    groupId: names.groupId,
    clientId: names.clientId,
    owner: names.owner,
    maxFutureMs: config.TA_MAX_FUTURE_MS,
    commitIntervalMs: config.TA_COMMIT_INTERVAL_MS,
    commitRecords: config.TA_COMMIT_RECORDS,
    heartbeatMs: 60_000,
    degradedAfterMs: config.TA_SOURCE_LAG_DEGRADED_AFTER_MS,
    offsetReset: 'none',
  };
  const stop = new AbortController();
  const signal = AbortSignal.any([context.signal, stop.signal]);
  const storing = storeRows(context, record, signal);
  let failure: unknown;
  const fail = (error: unknown) => {
    failure ??= error;
    stop.abort();
  };
  storing.done.catch(fail);
  const telling = setInterval(() => tell(progressText(sources, pace)), TELL_EVERY_MS);
  try {
    const partitions = Array.from({ length: record.partitions }, (_, partition) => partition);
    await Promise.all(partitions.map((partition) => runTask(options, partition, inputs, record, signal).catch(fail)));
    if (failure === undefined && !context.signal.aborted) await storing.untilStored();
  } finally {
    clearInterval(telling);
    stop.abort();
    await storing.done.catch(() => undefined);
  }
  if (failure !== undefined) throw failure;
  if (context.signal.aborted) throw interrupted(record.replay_id);
  return {
    records: pace.records,
    repaired,
    known,
    worst_live_lag_ms: pace.worstMs,
    held_seconds: Math.round(pace.heldMs / 100) / 10,
    first_offsets: Object.fromEntries(
      sources.map(({ stretch, firstOffset }) => [
        `${stretch.topic}/${stretch.partition}`,
        String(firstOffset ?? stretch.end),
      ]),
    ),
  };
}

function indexOfInput(record: ReplayRecord, { topic }: Stretch): number {
  return [...new Set(record.inputs.map((place) => place.topic))].indexOf(topic);
}

/** The input topics, which stand in the record in the order of the inputs. */
function inputNames(record: ReplayRecord): { trades: string; quotes: string; bars: string } {
  const [trades, quotes, bars] = [...new Set(record.inputs.map(({ topic }) => topic))];
  if (trades === undefined || quotes === undefined || bars === undefined)
    throw new Error('the replay does not name its inputs');
  return { trades, quotes, bars };
}

/** Runs the task of a partition to the end of its input; a passing fault of the log opens it anew from its state. */
async function runTask(
  options: TaskOptions,
  partition: number,
  inputs: ReplayInputs,
  record: ReplayRecord,
  signal: AbortSignal,
): Promise<void> {
  for (let attempt = 1; !signal.aborted; attempt++) {
    try {
      const task = await PartitionTask.open(options, partition);
      await task.run(signal, () => {
        if (inputs.sources.some(({ reached, start }) => reached > start)) crashPoint('replay.computing');
        return inputs.isExhausted(partition);
      });
      if (signal.aborted) return;
      demandSettled(task, record);
      return;
    } catch (error) {
      if (!(error instanceof TorghutError && error.canRetry) || attempt >= 20) throw error;
      createLogger('ta').warn({ partition, attempt, err: describeError(error) }, 'the task is opened anew');
      await sleep(
        backoffMs(attempt, 100, 5_000, () => 0.5),
        signal,
      );
    }
  }
}

/** @throws `replay_unsettled` (exit 3) when the input ended before the window was final */
function demandSettled(task: PartitionTask, record: ReplayRecord): void {
  const { newestEvent } = task.core.engine;
  const neededMs = (record.to_ms ?? 0) + revisionReachMs - SETTLE_SLACK_MS;
  if (newestEvent && newestEvent.sec * 1_000 >= neededMs) return;
  throw unreachableError({
    code: 'replay_unsettled',
    what: `the input of partition ${task.partition} ends before the window is final`,
    why: `its newest event is of ${newestEvent ? new Date(newestEvent.sec * 1_000).toISOString() : 'no time'}`,
    next: 'discard the replay and plan a shorter window',
    canRetry: false,
  });
}

function progressText(sources: readonly ReplaySource[], pace: Pace): string {
  const total = sources.reduce((sum, { start, end }) => sum + Number(end - start), 0);
  const done = sources.reduce((sum, { start, reached }) => sum + Number(reached - start), 0);
  const seconds = (machineMs() - pace.startedAt) / 1_000;
  const rate = seconds > 0 ? pace.records / seconds : 0;
  const left = rate > 0 ? `${Math.ceil((total - done) / rate)} s left` : 'time left unknown';
  const share = total === 0 ? 100 : (100 * done) / total;
  return `computed ${done} of ${total} records (${share.toFixed(1)} %), ${Math.round(rate)}/s, ${left}, live lag ${(pace.lagMs / 1_000).toFixed(1)} s`;
}

/** The sink of the replay, until it is stopped. */
function storeRows(context: ReplayContext, record: ReplayRecord, signal: AbortSignal) {
  const { log, clock, sinkBatch } = context;
  const names = replayNames(record.replay_id);
  const store = storeOf(context, names.database);
  const sink = new Sink({
    log,
    store,
    clock,
    logger: createLogger('sink'),
    // Its rows are as old as its input: they stay until the replay is discarded.
    target: { database: names.database, runId: names.runId, ttlDays: undefined },
    migrates: true,
    groupId: names.sinkGroupId,
    barsTopic: names.topics.taBars,
    signalsTopic: names.topics.taSignals,
    batchRows: sinkBatch,
    flushMs: 500,
  });
  const done = sink.run(signal);
  const topics = [names.topics.taBars, names.topics.taSignals];
  const untilStored = async () => {
    const described = await log.describeTopics(topics);
    const ends = described.flatMap(({ name, partitions }) =>
      partitions.map(({ partition, earliest, latest }) => ({ topic: name, partition, earliest, latest })),
    );
    for (let lookedAt = machineMs(); !signal.aborted; ) {
      const stored = await log.groupOffsets(names.sinkGroupId, topics);
      const behind = ends.reduce((sum, { topic, partition, earliest, latest }) => {
        const at = stored.find((place) => place.topic === topic && place.partition === partition)?.offset ?? earliest;
        return at < latest ? sum + Number(latest - at) : sum;
      }, 0);
      if (behind === 0) return;
      if (machineMs() - lookedAt > TELL_EVERY_MS) {
        lookedAt = machineMs();
        context.tell(`${behind} rows are still to be stored`);
      }
      await sleep(50, signal);
    }
  };
  return { done, untilStored };
}
