/**
 * The facts that a replay is judged by, asked live: what the log holds, what is settled, what the store keeps and has room for,
 * whether trading stands still. Reads only.
 */
import { existsSync } from 'node:fs';
import { z } from 'zod';
import type { EventLog, TopicDescription } from '../../../lib/log/port.ts';
import { newYorkTime, sessionOf, tradingDay } from '../../../lib/market/calendar.ts';
import type { ReplayFacts } from '../../../lib/runbook/ta-replay.ts';
import { codeOf } from '../../../lib/service/errors.ts';
import { findService, homePaths } from '../../../lib/service/home.ts';
import { readCoverage } from '../../../lib/signals/coverage.ts';
import { judgeDisk } from '../../../lib/signals/disk/level.ts';
import { storeFailure } from '../../../lib/signals/errors.ts';
import { readRecord } from '../../../lib/signals/run-record.ts';
import { openOperator } from '../../trade/operator.ts';
import { readLast, readValue } from '../../ws/tail.ts';
import { revisionReachMs } from '../recompute.ts';
import type { ReplayContext } from './context.ts';
import { replayNames } from './names.ts';
import { findReplay, isDestructive, type ReplayMethod } from './record.ts';
import { repairLimit, type Stretch } from './repair.ts';

export interface ReplayQuestion {
  id: string;
  method: ReplayMethod;
  /** Market ms. */
  fromMs: number | undefined;
  toMs: number | undefined;
  isKeptApart: boolean;
  duringSession: boolean;
  requiredDays: number;
  symbols: readonly string[];
}

export interface ReplayAnswer {
  facts: ReplayFacts;
  /** What would be read. */
  inputs: Stretch[];
  repair: Stretch[];
  partitions: number;
  /** The log begins with the first record of the run: averages come out as the live run has them. */
  isExact: boolean;
}

/** Bytes of a row with its share of the log of signals, twice: once stored, once staged (spec ta R7). */
const BYTES_PER_ROW = 250 * 2;
const MIN_LEAD_MS = 65 * 60_000;

export async function gatherFacts(context: ReplayContext, question: ReplayQuestion): Promise<ReplayAnswer> {
  const { log, clock, topics } = context;
  const nowMs = clock.nowMs();
  const names = [topics.trades, topics.quotes, topics.bars];
  const all = await log.describeTopics();
  const inputs = names.flatMap((name) => all.find((topic) => topic.name === name) ?? []);
  const counts = new Set(inputs.map(({ partitions }) => partitions.length));
  const hasInputs = inputs.length === names.length && counts.size === 1;
  const partitions = [...counts][0] ?? 0;
  const source = hasInputs ? await sourceOf(log, inputs) : undefined;
  const isFetched = question.method === 'm5';
  const settledMs = isFetched ? nowMs - revisionReachMs : (source?.settledMs ?? null);
  // m3 begins with the first record that is there, whatever was asked: everything after it is computed anew.
  const asked = question.method === 'm3' ? undefined : question.fromMs;
  const fromMs = asked ?? source?.firstMs ?? nowMs;
  const toMs = isDestructive(question.method) ? null : (question.toMs ?? settledMs ?? fromMs);
  const stretches = source && !isFetched ? await stretchesOf(log, inputs, toMs) : [];
  const repair = isFetched || isDestructive(question.method) ? [] : await repairOf(context, all, partitions);
  const store = await storeFacts(context, fromMs, toMs ?? nowMs, source?.firstMs);
  const facts: ReplayFacts = {
    method: question.method,
    nowMs,
    fromMs,
    toMs,
    settledMs,
    hasInputs,
    leadMs: leadOf(fromMs),
    source: { cutMs: source?.cutMs ?? null, rowsBefore: store.rowsBefore },
    ttlDays: store.ttlDays,
    isKeptApart: question.isKeptApart,
    idUsedBy: await usedBy(context, question.id, all),
    disk: store.disk,
    session: sessionOf(clock.nowNs()),
    duringSession: question.duringSession,
    trading: await tradingOf(context),
    running: isDestructive(question.method) ? await runningOf(context) : [],
    repairRecords: repair.reduce((sum, { start, end }) => sum + Number(end - start), 0),
    repairLimit,
    hasMarketDataKeys: Boolean(
      (context.env.ALPACA_KEY_ID || context.env.APCA_API_KEY_ID) &&
        (context.env.ALPACA_SECRET_KEY || context.env.APCA_API_SECRET_KEY),
    ),
    coverage: { ...store.coverage, requiredDays: question.requiredDays },
  };
  return { facts, inputs: stretches, repair, partitions, isExact: source?.cutMs === null };
}

/** Warm-up before a time (spec ta R7): 65 minutes, or from the open of its session when that is longer ago. Market ms. */
export function leadOf(fromMs: number): number {
  const ns = BigInt(fromMs) * 1_000_000n;
  const day = tradingDay(newYorkTime(ns).date);
  const sinceOpenMs = day ? fromMs - Number(day.openNs / 1_000_000n) : 0;
  return Math.max(MIN_LEAD_MS, sinceOpenMs < 86_400_000 ? sinceOpenMs : 0);
}

/** Records of a partition that are looked at for the oldest event. */
const FIRST_RECORDS = 500;

interface Source {
  /** Oldest event of trades or quotes that is there, whole second before it. */
  firstMs: number;
  /** Time from which on every input is whole; null when nothing was removed. */
  cutMs: number | null;
  settledMs: number | null;
}

async function sourceOf(log: EventLog, inputs: readonly TopicDescription[]): Promise<Source | undefined> {
  const firsts: number[] = [];
  const cuts: number[] = [];
  const lasts: number[] = [];
  for (const [i, { name, partitions }] of inputs.entries()) {
    for (const { partition, earliest, latest } of partitions) {
      if (latest === earliest) {
        // An input without records says nothing about where it is: nothing behind it is settled.
        lasts.push(Number.NEGATIVE_INFINITY);
        if (earliest > 0n) cuts.push(Number.POSITIVE_INFINITY);
        continue;
      }
      const place = { topic: name, partition };
      const reader = await log.openReader({ partitions: [{ ...place, start: earliest }] });
      try {
        const first = await reader.poll({ maxRecords: FIRST_RECORDS, waitMs: 2_000 });
        if (first[0] && earliest > 0n) cuts.push(first[0].timestampMs);
        // Records are stamped when they come: what the first ones tell of is older.
        const events = first.flatMap((record) => readValue(record).eventNs ?? []);
        if (i < 2 && first.length > 0)
          firsts.push(
            Math.min(...first.map(({ timestampMs }) => timestampMs), ...events.map((ns) => Number(ns / 1_000_000n))),
          );
      } finally {
        await reader.close();
      }
      const tail = await readLast(log, place, 1);
      lasts.push(Math.max(...tail.map(({ record }) => record.timestampMs)));
    }
  }
  if (firsts.length === 0) return undefined;
  const settledMs = Math.floor((Math.min(...lasts) - revisionReachMs) / 1_000) * 1_000;
  return {
    firstMs: Math.floor(Math.min(...firsts) / 1_000) * 1_000,
    cutMs: cuts.length === 0 ? null : Math.max(...cuts),
    settledMs: Number.isFinite(settledMs) ? settledMs : null,
  };
}

/** From the first record that is there (the longest warm-up) to the first that proves the window final. */
async function stretchesOf(
  log: EventLog,
  inputs: readonly TopicDescription[],
  toMs: number | null,
): Promise<Stretch[]> {
  const found: Stretch[] = [];
  for (const { name, partitions } of inputs) {
    for (const { partition, earliest, latest } of partitions) {
      const proof =
        toMs === null ? latest : (await log.offsetForTime({ topic: name, partition }, toMs + revisionReachMs)) + 1n;
      found.push({ topic: name, partition, start: earliest, end: proof < latest ? proof : latest });
    }
  }
  return found;
}

async function repairOf(
  context: ReplayContext,
  all: readonly TopicDescription[],
  partitions: number,
): Promise<Stretch[]> {
  const topic = all.find(({ name }) => name === context.repairTopic);
  if (!topic || topic.partitions.length !== partitions) return [];
  return topic.partitions.map(({ partition, earliest, latest }) => ({
    topic: topic.name,
    partition,
    start: earliest,
    end: latest,
  }));
}

async function usedBy(context: ReplayContext, id: string, all: readonly TopicDescription[]): Promise<string[]> {
  const names = replayNames(id);
  const found: string[] = [];
  if (findReplay(context.home, id)) found.push('a record in this home');
  const own = all.find(({ name }) => name.startsWith(`torghut.replay.${id}.`));
  if (own) found.push(`the topic ${own.name}`);
  const offsets = await context.log.groupOffsets(names.groupId, Object.values(context.topics));
  if (offsets.length > 0) found.push(`offsets of the group ${names.groupId}`);
  const [database] = await rowsOf(
    context,
    z.object({ name: z.string() }),
    'SELECT name FROM system.databases WHERE name = {name:String}',
    { name: names.database },
  );
  if (database) found.push(`the database ${names.database}`);
  return found;
}

async function rowsOf<T>(
  context: ReplayContext,
  schema: z.ZodType<T>,
  query: string,
  parameters: Record<string, unknown> = {},
): Promise<T[]> {
  try {
    const client = await context.store.client();
    const result = await client.query({ query, query_params: parameters, format: 'JSONEachRow' });
    return z.array(schema).parse(await result.json());
  } catch (error) {
    throw error instanceof z.ZodError ? error : storeFailure(error);
  }
}

const countSchema = z.object({ rows: z.coerce.number(), before: z.coerce.number() });
const diskSchema = z.object({ free: z.coerce.number(), total: z.coerce.number() });

async function storeFacts(context: ReplayContext, fromMs: number, toMs: number, sourceMs: number | undefined) {
  const { database } = context.store;
  const client = await context.store.client();
  const record = await readRecord(client, database).catch((error: unknown) => {
    throw storeFailure(error);
  });
  const counts = { rows: 0, before: 0 };
  for (const table of record ? ['ta_microbars', 'ta_signals', 'ta_signal_log'] : []) {
    const [found] = await rowsOf(
      context,
      countSchema,
      `SELECT toString(count()) AS rows, toString(countIf(event_ts <= fromUnixTimestamp64Milli({source:Int64}, 'UTC'))) AS before
FROM ${database}.${table} WHERE event_ts > fromUnixTimestamp64Milli({from:Int64}, 'UTC') AND event_ts <= fromUnixTimestamp64Milli({to:Int64}, 'UTC')`,
      { from: fromMs, to: toMs, source: sourceMs ?? fromMs },
    );
    counts.rows += found?.rows ?? 0;
    // Rows of the window that the log cannot give again.
    if (table !== 'ta_signal_log') counts.before += found?.before ?? 0;
  }
  const disks = await rowsOf(
    context,
    diskSchema,
    "SELECT toString(free_space) AS free, toString(total_space) AS total FROM system.disks WHERE name = 'default'",
  );
  const estimateBytes = counts.rows * BYTES_PER_ROW;
  const [disk] = disks;
  return {
    rowsBefore: counts.before,
    ttlDays: record?.ttl_days ?? null,
    disk: {
      freeBytes: disk?.free ?? null,
      level: disk ? levelOf(context, Math.max(0, disk.free - estimateBytes), disk.total) : 'unknown',
      estimateBytes,
    },
    coverage: record ? await coverageOf(context, fromMs, toMs) : { days: 0, rows: 0, gaps: 0 },
  };
}

/** What an embedded engine, which shares the disk of somebody's machine, is left with. */
const EMBEDDED_FREE_BYTES = 256 * 1024 ** 2;

/** How full the disk would be afterwards. */
function levelOf(context: ReplayContext, freeBytes: number, totalBytes: number): string {
  if (context.store.isEmbedded) return freeBytes < EMBEDDED_FREE_BYTES ? 'critical' : 'ok';
  return judgeDisk({ freeBytes, totalBytes, largestPartitionBytes: 0, daysToFull: null }).level;
}

/** Minutes without a row of a symbol that count as a hole of the live store. */
const GAP_SECONDS = 60;

async function coverageOf(context: ReplayContext, fromMs: number, toMs: number) {
  if (toMs <= fromMs) return { days: 0, rows: 0, gaps: 0 };
  const client = await context.store.client();
  const nowNs = context.clock.nowNs();
  try {
    const report = await readCoverage(client, {
      database: context.store.database,
      fromNs: BigInt(fromMs) * 1_000_000n,
      toNs: BigInt(toMs) * 1_000_000n,
      gapSeconds: GAP_SECONDS,
      nowNs,
      symbols: undefined,
    });
    const bars = report.rows.filter(({ table }) => table === 'ta_microbars');
    return {
      days: report.sessions.length,
      rows: bars.reduce((sum, { rows }) => sum + rows, 0),
      gaps: report.gaps.filter(({ table }) => table === 'ta_microbars').length,
    };
  } catch (error) {
    // Too long a range to judge is not ready, and no reason to end.
    if (codeOf(error)?.startsWith('coverage_')) return { days: 0, rows: 0, gaps: 1 };
    throw storeFailure(error);
  }
}

/** Does the trading loop of this home's ledger decide? */
async function tradingOf(context: ReplayContext): Promise<ReplayFacts['trading']> {
  const { home, env } = context;
  const hasLedger = Boolean(env.DB_DSN || env.DB_URL || env.DATABASE_URL) || existsSync(homePaths.postgres(home));
  if (!hasLedger) return findService(home, 'trade') ? 'unknown' : 'none';
  try {
    const operator = await openOperator({ home, env });
    try {
      const controls = await operator.ledger.read.account.controls(operator.accountLabel);
      return controls.paused || controls.killSwitch ? 'paused' : 'running';
    } finally {
      await operator.close();
    }
  } catch {
    return 'unknown';
  }
}

/** What works on the live run now: processes of this home, members of its groups anywhere. */
async function runningOf(context: ReplayContext): Promise<string[]> {
  const found: string[] = [];
  for (const name of ['ta', 'sink'] as const) if (findService(context.home, name)) found.push(`${name} of this home`);
  const groups = [context.config.TA_GROUP_ID, context.sinkGroupId];
  for (const { groupId, members } of await context.log.describeGroups())
    if (groups.includes(groupId) && members.length > 0) found.push(`${members.length} members of ${groupId}`);
  return found;
}
