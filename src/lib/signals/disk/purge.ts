/**
 * Runs the automatic steps of a confirmed plan (system log tables, detached parts that are not needed), verifies and journals.
 * Guarantees: each statement is one of the plan; nothing else is touched; the journal says what was free before and after, and
 * an entry that a full disk refuses is written again once there is space. On a full disk the engine refuses TRUNCATE while
 * DROP TABLE SYNC works, so a failed step does not stop the others.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { describeError, refusedError } from '../../service/errors.ts';
import { machineMs, sleep } from '../../service/machine.ts';
import { type DiskPlan, issuedAt, type PlanStep } from './plan.ts';
import { probeStore, type StoreFacts } from './probes.ts';

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
  statement: string;
  bytes: number;
  /** Null when it ran and its object is gone. */
  error: string | null;
}

export interface PurgeResult {
  plan_id: string;
  free_before: number;
  free_after: number;
  /** Bytes of the steps that were done. */
  freed_bytes: number;
  steps: StepOutcome[];
  /** The store answers, and takes and returns a row. */
  canary: 'ok' | string;
  is_verified: boolean;
}

export type Journal = (entry: Record<string, unknown>) => void;

export function automaticSteps(plan: DiskPlan): PlanStep[] {
  return plan.steps.filter(({ is_automatic }) => is_automatic);
}

/** @param settleMs machine ms to wait for the space to come free @throws errors of the client while probing */
export async function purge(
  client: ClickHouseClient,
  question: { database: string; plan: DiskPlan; journal: Journal; settleMs?: number },
): Promise<PurgeResult> {
  const { database, plan, journal, settleMs = 20_000 } = question;
  const before = await probeStore(client, database);
  const steps = automaticSteps(plan);
  journal({ phase: 'before', plan_id: plan.id, at_seconds: before.nowSeconds, free_bytes: freeOf(before), steps });
  const errors = new Map<PlanStep, string>();
  for (const step of steps) {
    try {
      await client.command({ query: step.statement });
    } catch (error) {
      errors.set(step, describeError(error).slice(0, 300));
    }
  }
  const planned = steps.filter((step) => !errors.has(step)).reduce((sum, { bytes }) => sum + bytes, 0);
  const deadline = machineMs() + settleMs;
  let after = await probeStore(client, database);
  while (freeOf(after) < freeOf(before) + planned * 0.95 && machineMs() < deadline) {
    await sleep(200);
    after = await probeStore(client, database);
  }
  const outcomes = steps.map((step): StepOutcome => {
    const left =
      errors.get(step) ?? (isStillThere(step, after) ? 'the statement ran, but its object is still there' : null);
    return { what: step.what, statement: step.statement, bytes: step.bytes, error: left };
  });
  const canary = await tryCanary(client, database);
  const result: PurgeResult = {
    plan_id: plan.id,
    free_before: freeOf(before),
    free_after: freeOf(after),
    freed_bytes: outcomes.reduce((sum, { bytes, error }) => sum + (error === null ? bytes : 0), 0),
    steps: outcomes,
    canary,
    is_verified: canary === 'ok' && outcomes.every(({ error }) => error === null),
  };
  journal({ phase: 'after', at_seconds: after.nowSeconds, ...result });
  return result;
}

function freeOf(facts: StoreFacts): number {
  return facts.disks.reduce((sum, { free_bytes }) => sum + free_bytes, 0);
}

/** By the plan's own question: is there still something to run this statement for? A log table may have new rows already. */
function isStillThere(step: PlanStep, facts: StoreFacts): boolean {
  if (step.class === 2) return facts.detached.some(({ name }) => step.statement.includes(`'${name}'`));
  return facts.logTables.some(({ table, bytes }) => `system.${table}` === step.what && bytes > 0.5 * step.bytes);
}

/** Writes a row into a table of its own, reads it back, and drops the table. */
async function tryCanary(client: ClickHouseClient, database: string): Promise<'ok' | string> {
  const table = `${database}.torghut_canary`;
  try {
    await client.command({ query: `CREATE TABLE IF NOT EXISTS ${table} (n UInt64) ENGINE = MergeTree ORDER BY n` });
    await client.insert({ table, values: [{ n: 1 }], format: 'JSONEachRow' });
    const read = await client.query({
      query: `SELECT count() AS found FROM ${table} WHERE n = 1`,
      format: 'JSONEachRow',
    });
    const [row] = (await read.json()) as { found: unknown }[];
    return Number(row?.found) > 0 ? 'ok' : 'a written row cannot be read back';
  } catch (error) {
    return describeError(error).slice(0, 300);
  } finally {
    await client.command({ query: `DROP TABLE IF EXISTS ${table} SYNC` }).catch(() => undefined);
  }
}
