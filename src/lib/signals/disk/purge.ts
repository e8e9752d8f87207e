/**
 * Runs the automatic steps of a confirmed plan, verifies and journals.
 * Guarantees: each statement is one of the plan, run on the node that it names; nothing else is touched; what is stored of a
 * live day is journaled before the day is dropped; the journal says what was free before and after on every replica, and an
 * entry that a full disk refuses is written again once there is space.
 * On a full disk the engine refuses TRUNCATE and DROP PARTITION while DROP … SYNC works: a step that failed for want of space
 * is tried once more after the others, with the reserve given up.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { describeError, refusedError } from '../../service/errors.ts';
import { machineMs, sleep } from '../../service/machine.ts';
import { readCoverage } from '../coverage.ts';
import { kindOfStoreError } from '../errors.ts';
import { type DiskPlan, issuedAt, type PlanStep } from './plan.ts';

const planLifeSeconds = 600;

/** @throws `plan_too_old` (exit 4) when the id is not of a plan made within ten minutes. */
export function requireFreshPlan(id: string, nowSeconds: number): void {
  const issued = issuedAt(id);
  if (issued !== undefined && issued <= nowSeconds + 5 && nowSeconds - issued <= planLifeSeconds) return;
  throw refusedError({
    code: 'plan_too_old',
    what: `${id} is no plan of the last ten minutes`,
    next: 'read the plan again with --plan and confirm its new id',
  });
}

export interface StepOutcome {
  what: string;
  replica: string;
  statement: string;
  bytes: number;
  /** Null when it ran. */
  error: string | null;
}

export interface PurgeResult {
  plan_id: string;
  /** By replica; null where it did not answer. */
  free_before: Record<string, number | null>;
  free_after: Record<string, number | null>;
  /** Bytes of the steps that were done. */
  freed_bytes: number;
  steps: StepOutcome[];
  /** Each replica takes a row and gives it back; `ok` or why not. */
  canary: Record<string, string>;
  is_verified: boolean;
}

export type Journal = (entry: Record<string, unknown>) => void;

export interface PurgeNode {
  replica: string;
  client: ClickHouseClient;
}

export interface PurgeQuestion {
  database: string;
  plan: DiskPlan;
  journal: Journal;
  /** Gives up the reserve; bytes that came free. */
  releaseReserve(): number;
  /** Machine ms to wait for the space to come free. */
  settleMs?: number;
}

export function automaticSteps(plan: DiskPlan): PlanStep[] {
  return plan.steps.filter(({ is_automatic }) => is_automatic);
}

export async function purge(nodes: readonly PurgeNode[], question: PurgeQuestion): Promise<PurgeResult> {
  const { plan, journal, settleMs = 20_000 } = question;
  const steps = automaticSteps(plan);
  const before = await freeOf(nodes);
  journal({ phase: 'before', plan_id: plan.id, free_bytes: before, steps });
  const errors = new Map<PlanStep, unknown>();
  const run = async (step: PlanStep) => {
    try {
      const node = nodes.find(({ replica }) => replica === step.replica);
      if (!node) throw new Error(`there is no replica ${step.replica} any more`);
      if (step.class === 9) journal({ phase: 'coverage', ...(await coverageBefore(node.client, question, step)) });
      await node.client.command({ query: step.statement });
      errors.delete(step);
    } catch (error) {
      errors.set(step, error);
    }
  };
  for (const step of steps) await run(step);
  const refused = [...errors].filter(([, error]) => kindOfStoreError(error) === 'halt').map(([step]) => step);
  if (refused.length > 0) {
    const bytes = question.releaseReserve();
    if (bytes > 0) journal({ phase: 'reserve', freed_bytes: bytes });
    for (const step of refused) await run(step);
  }
  const done = steps.filter((step) => !errors.has(step));
  const after = await settle(nodes, before, done, settleMs);
  const outcomes = steps.map(({ what, replica, statement, bytes }, i): StepOutcome => {
    const error = errors.get(steps[i] as PlanStep);
    return { what, replica, statement, bytes, error: error === undefined ? null : describeError(error).slice(0, 300) };
  });
  const canary: Record<string, string> = {};
  for (const { replica, client } of nodes) canary[replica] = await tryCanary(client, question.database);
  const touched = new Set(steps.map(({ replica }) => replica));
  const result: PurgeResult = {
    plan_id: plan.id,
    free_before: before,
    free_after: after,
    freed_bytes: done.reduce((sum, { bytes }) => sum + bytes, 0),
    steps: outcomes,
    canary,
    is_verified:
      outcomes.every(({ error }) => error === null) && [...touched].every((replica) => canary[replica] === 'ok'),
  };
  journal({ phase: 'after', ...result });
  return result;
}

const freeSchema = z.array(z.object({ free: z.coerce.number() }));

/** Free bytes of all disks by replica. */
async function freeOf(nodes: readonly PurgeNode[]): Promise<Record<string, number | null>> {
  const found = await Promise.all(
    nodes.map(async ({ replica, client }): Promise<[string, number | null]> => {
      try {
        const result = await client.query({
          query: 'SELECT sum(free_space) AS free FROM system.disks',
          format: 'JSONEachRow',
        });
        return [replica, freeSchema.parse(await result.json())[0]?.free ?? null];
      } catch {
        return [replica, null];
      }
    }),
  );
  return Object.fromEntries(found);
}

/** Waits until what was dropped has come free on every replica, or the time is over. */
async function settle(
  nodes: readonly PurgeNode[],
  before: Record<string, number | null>,
  done: readonly PlanStep[],
  settleMs: number,
): Promise<Record<string, number | null>> {
  const expected = (replica: string) => done.reduce((sum, { frees }) => sum + (frees[replica] ?? 0), 0);
  const deadline = machineMs() + settleMs;
  for (;;) {
    const now = await freeOf(nodes);
    const isThere = nodes.every(({ replica }) => {
      const [was, is] = [before[replica] ?? null, now[replica] ?? null];
      return was === null || is === null || is >= was + expected(replica) * 0.95;
    });
    if (isThere || machineMs() > deadline) return now;
    await sleep(200);
  }
}

/** What is stored of the day that a step of class 9 drops. */
async function coverageBefore(
  client: ClickHouseClient,
  { database }: PurgeQuestion,
  { what }: PlanStep,
): Promise<Record<string, unknown>> {
  const [, table, day] = /\.(\w+) of (\d{4}-\d{2}-\d{2})$/.exec(what) ?? [];
  const from = Date.parse(`${day}T00:00:00Z`);
  if (table === undefined || Number.isNaN(from)) throw new Error(`${what} names no day`);
  const [fromNs, toNs] = [BigInt(from) * 1_000_000n, BigInt(from + 86_400_000) * 1_000_000n];
  const report = await readCoverage(client, {
    database,
    fromNs,
    toNs,
    nowNs: toNs,
    gapSeconds: 60,
    symbols: undefined,
  });
  return { what, rows: report.rows.filter((row) => row.table === table) };
}

/** Writes a row into a table of its own, reads it back, and drops the table. */
async function tryCanary(client: ClickHouseClient, database: string): Promise<string> {
  const table = `${database}.torghut_canary`;
  try {
    await client.command({ query: `CREATE TABLE IF NOT EXISTS ${table} (n UInt64) ENGINE = MergeTree ORDER BY n` });
    await client.insert({ table, values: [{ n: 1 }], format: 'JSONEachRow' });
    const read = await client.query({
      query: `SELECT count() AS free FROM ${table} WHERE n = 1`,
      format: 'JSONEachRow',
    });
    const [row] = freeSchema.parse(await read.json());
    return (row?.free ?? 0) > 0 ? 'ok' : 'a written row cannot be read back';
  } catch (error) {
    return describeError(error).slice(0, 300);
  } finally {
    await client.command({ query: `DROP TABLE IF EXISTS ${table} SYNC` }).catch(() => undefined);
  }
}
