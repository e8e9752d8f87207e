/**
 * A replay that ends the live run (spec ta M1t and M3, narrowed by design 5): the current rows from its start on are dropped, the
 * ta topics are made anew, their state says where the new run begins, and the database gets the new run id. The engine then
 * computes everything once more from the log and goes on.
 * Guarantees: the rows are kept in the database of the replay until it is discarded; each step may be repeated after a crash;
 * the signal log is not touched, so what trade decided on stays where its decisions point.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { topicSpec } from '../../../lib/log/topics.ts';
import { crashPoint } from '../../../lib/service/crash-point.ts';
import { storeError } from '../../../lib/signals/errors.ts';
import { layoutOfRecord, readRecord, recordChangeStatement } from '../../../lib/signals/run-record.ts';
import { createTableSql } from '../../../lib/signals/tables.ts';
import { readRunFile, writeRunFile } from '../../up/run-file.ts';
import { inputRoles } from '../merge.ts';
import { taskOwner } from '../task.ts';
import { type ReplayContext, storeOf } from './context.ts';
import { leadOf } from './facts.ts';
import { outputRoles, replayNames } from './names.ts';
import { note } from './promote.ts';
import type { ReplayRecord } from './record.ts';
import { seedTasks } from './seed.ts';
import { currentTables, refillLatest, swapDay } from './swap.ts';

const DAY_MS = 86_400_000;
/** Later than every row. */
const END_MS = 4_102_444_800_000;

export interface LiveLoss {
  partitions: { table: string; day: string; rows: number }[];
  steps: string[];
}

const partitionSchema = z.object({ day: z.string(), rows: z.coerce.number() });

/** Days of a live table that hold rows after a time. */
async function daysAfter(
  client: ClickHouseClient,
  name: string,
  fromMs: number,
): Promise<z.output<typeof partitionSchema>[]> {
  try {
    const result = await client.query({
      query: `SELECT toString(toDate(event_ts)) AS day, toString(count()) AS rows FROM ${name}
WHERE event_ts > fromUnixTimestamp64Milli({from:Int64}, 'UTC') GROUP BY day ORDER BY day`,
      query_params: { from: fromMs },
      format: 'JSONEachRow',
    });
    return z.array(partitionSchema).parse(await result.json());
  } catch (error) {
    throw error instanceof z.ZodError ? error : storeError(error);
  }
}

export async function lossOfLiveRun(context: ReplayContext, fromMs: number): Promise<LiveLoss> {
  const client = await context.store.client();
  const partitions: LiveLoss['partitions'] = [];
  for (const table of currentTables) {
    for (const { day, rows } of await daysAfter(client, `${context.store.database}.${table.name}`, fromMs))
      partitions.push({ table: table.name, day, rows });
  }
  const from = new Date(fromMs).toISOString();
  return {
    partitions,
    steps: [
      `keep and drop the rows after ${from}: ${partitions.length} partitions of ${context.store.database}`,
      'delete the topics of bars, signals, late events, heartbeats and state, and make them anew',
      'write the beginning of the new run into its state, and the new run id into the database',
      'start ta again with the new run id: it computes from there to the live head',
    ],
  };
}

/** Ends the live run step by step. @returns the record, and what to do next */
export async function endLiveRun(
  context: ReplayContext,
  begun: ReplayRecord,
): Promise<{ record: ReplayRecord; next: string }> {
  const names = replayNames(begun.replay_id);
  const client = await context.store.client();
  let record = begun;
  if (record.step === 'created') {
    await keepRows(context, client, record);
    record = note(context, { ...record, step: 'kept' });
    crashPoint('replay.kept');
  }
  if (record.step === 'kept') {
    await dropRows(context, client, record);
    record = note(context, { ...record, step: 'dropped' });
    crashPoint('replay.dropped');
  }
  if (record.step === 'dropped') {
    const topics = outputRoles.map((role) => context.topics[role]);
    const there = (await context.log.describeTopics()).map(({ name }) => name);
    await context.log.deleteTopics(topics.filter((name) => there.includes(name)));
    for (const group of [context.config.TA_GROUP_ID, context.sinkGroupId]) await context.log.deleteGroup(group);
    record = note(context, { ...record, step: 'emptied' });
    crashPoint('replay.emptied');
  }
  if (record.step === 'emptied') {
    await seed(context, record);
    record = note(context, { ...record, step: 'seeded' });
    crashPoint('replay.reseeded');
  }
  if (record.step === 'seeded') {
    await recordRun(context, client, record.live_database, names.runId);
    crashPoint('replay.recorded');
    record = note(context, { ...record, step: 'handed_over' });
  }
  const next = readRunFile(context.home)
    ? 'start `torghut up` again with the same arguments'
    : `start ta, the sink and trade again with TORGHUT_RUN_ID=${names.runId}`;
  return { record, next };
}

/** The partitions as they are, by reference to the same files, into the database of the replay. */
async function keepRows(context: ReplayContext, client: ClickHouseClient, record: ReplayRecord): Promise<void> {
  const { database } = replayNames(record.replay_id);
  await storeOf(context, database).createDatabase();
  for (const table of currentTables) {
    const live = `${record.live_database}.${table.name}`;
    await run(client, createTableSql(database, table, undefined));
    for (const { day } of await daysAfter(client, live, record.from_ms)) {
      context.tell(`keeping ${live} ${day}`);
      await run(client, `ALTER TABLE ${database}.${table.name} REPLACE PARTITION '${day}' FROM ${live}`);
    }
  }
}

async function dropRows(context: ReplayContext, client: ClickHouseClient, record: ReplayRecord): Promise<void> {
  const { database } = replayNames(record.replay_id);
  const firstDay = new Date(Math.floor(record.from_ms / DAY_MS) * DAY_MS).toISOString().slice(0, 10);
  const liveDatabase = record.live_database;
  const ttlDays = (await readRecord(client, liveDatabase))?.ttl_days ?? undefined;
  for (const table of currentTables) {
    const live = `${liveDatabase}.${table.name}`;
    for (const { day } of await daysAfter(client, live, record.from_ms)) {
      context.tell(`dropping ${live} ${day}`);
      // Of the first day the rows before the start stay.
      if (day === firstDay) {
        const window = { fromMs: record.from_ms, toMs: END_MS };
        await swapDay({ client, liveDatabase, database, table, source: undefined, window, day, ttlDays });
      } else await run(client, `ALTER TABLE ${live} DROP PARTITION '${day}'`);
      crashPoint('replay.dropping');
    }
  }
  await refillLatest(client, liveDatabase);
}

/** Topics of the new run, and in their state where each partition begins. */
async function seed(context: ReplayContext, record: ReplayRecord): Promise<void> {
  const { log, clock, config, topics } = context;
  const { runId } = replayNames(record.replay_id);
  const { partitions } = record;
  await log.ensureTopics(outputRoles.map((role) => topicSpec(role, { names: topics, partitions, clock: clock.kind })));
  const leadMs = record.from_ms - leadOf(record.from_ms);
  const starts = new Map<number, bigint[]>();
  for (let partition = 0; partition < partitions; partition++) {
    const offsets: bigint[] = [];
    for (const role of inputRoles) {
      const place = record.inputs.find((input) => input.topic === topics[role] && input.partition === partition);
      const earliest = place?.start ?? 0n;
      // M3 begins with the first record that is there, M1t with its warm-up.
      const at =
        record.method === 'm3' ? earliest : await log.offsetForTime({ topic: topics[role], partition }, leadMs);
      offsets.push(at > earliest ? at : earliest);
    }
    starts.set(partition, offsets);
  }
  await seedTasks({
    log,
    runId,
    stateTopic: topics.taState,
    partitions,
    ownerOf: (partition) => taskOwner({ log, clientId: config.TA_CLIENT_ID, runId }, partition),
    startOf: (partition) => starts.get(partition) ?? [],
    giveFromMs: record.method === 'm3' ? null : record.from_ms,
    nowMs: clock.nowMs(),
  });
}

async function recordRun(
  context: ReplayContext,
  client: ClickHouseClient,
  database: string,
  runId: string,
): Promise<void> {
  const known = await readRecord(client, database);
  const target = { database, runId, ttlDays: known?.ttl_days ?? undefined };
  await run(client, recordChangeStatement(target, layoutOfRecord(known)));
  const file = readRunFile(context.home);
  if (file) writeRunFile(context.home, { ...file, run_id: runId, finished: null });
}

async function run(client: ClickHouseClient, query: string): Promise<void> {
  try {
    await client.command({ query });
  } catch (error) {
    throw storeError(error);
  }
}
