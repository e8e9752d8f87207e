/**
 * The plan of a restore and its execution (spec ta 6, R5): per table, on each server, in order, verified.
 * Guarantees: ta_signals first, then ta_microbars, then every other table; on a table whose metadata are lost the server with
 * the most keys begins, so the others find its rows; the keys of every partition are read on every server before and after, and
 * a restore that did not keep each of them is not called done. After a statement that failed nothing more is run; one that
 * outlives its request is waited for by its effect. Nothing here can be taken back: the plan is confirmed by its id.
 */
import { planIdOf } from '../../runbook/plan.ts';
import { describeError, refusedError } from '../../service/errors.ts';
import { machineMs, sleep } from '../../service/machine.ts';
import { quoteQualified } from '../sql-text.ts';
import { diagnose, type Finding, isKeeperAway } from './diagnose.ts';
import type { KeeperState } from './keeper.ts';
import { digestOf, type NodeState, type PartitionDigest, probeReplicas, type ReplicaNode } from './probes.ts';

export interface RestoreStep {
  replica: string;
  table: string;
  statement: string;
}

export interface RestorePlan {
  id: string;
  tables: string[];
  steps: RestoreStep[];
}

const firstTables = ['ta_signals', 'ta_microbars'];

/** @throws `keeper_unreachable`, `restore_unsafe`, `restore_not_needed` (exit 4) */
export function planRestore(
  database: string,
  nodes: readonly NodeState[],
  keepers: readonly KeeperState[],
  keysBy: ReadonlyMap<string, number>,
): RestorePlan {
  const findings = diagnose(nodes, keepers);
  if (isKeeperAway(nodes, keepers)) {
    throw refusedError({
      code: 'keeper_unreachable',
      what: 'nothing is restored while the keeper is away',
      why:
        keepers.map(({ address, why }) => `${address}: ${why ?? 'no answer'}`).join('; ') || 'no server has a session',
      next: 'bring the keeper back first; the servers reconnect by themselves within two minutes',
    });
  }
  const unsafe = findings.filter(({ refused }) => refused !== null);
  if (unsafe.length > 0) {
    throw refusedError({
      code: 'restore_unsafe',
      what: 'a restore now could lose rows',
      why: unsafe.map(({ table, replica, refused }) => `${table} on ${replica}: ${refused}`).join('; '),
      next: 'bring every server back and let them all ask the same keeper, then look again',
    });
  }
  const broken = findings.filter((finding) => finding.action !== null && finding.table !== null);
  const tables = [...new Set(broken.map(({ table }) => table as string))].sort(
    (a, b) => rank(database, a) - rank(database, b) || (a < b ? -1 : 1),
  );
  const steps = tables.flatMap((table) => stepsOf(table, broken, keysBy));
  if (steps.length === 0) {
    throw refusedError({
      code: 'restore_not_needed',
      what: 'no replica is read-only or without its metadata',
      next: 'see `torghut clickhouse replicas`; a lag has other causes: disk, merges, fetch errors, network',
    });
  }
  const facts = broken.map(({ replica, table, diagnosis }) => [replica, table, diagnosis]);
  return { id: planIdOf({ action: 'restore', facts, steps: steps.map((step) => ({ ...step })) }), tables, steps };
}

function rank(database: string, table: string): number {
  const at = firstTables.indexOf(table.startsWith(`${database}.`) ? table.slice(database.length + 1) : '');
  if (at >= 0) return at;
  return table.startsWith(`${database}.`) ? firstTables.length : firstTables.length + 1;
}

function stepsOf(table: string, broken: readonly Finding[], keysBy: ReadonlyMap<string, number>): RestoreStep[] {
  const name = quoteQualified(table);
  const keys = ({ replica }: Finding) => keysBy.get(`${replica} ${table}`) ?? 0;
  const here = broken.filter((finding) => finding.table === table);
  const ordered = [...here].sort((a, b) => keys(b) - keys(a) || (a.replica < b.replica ? -1 : 1));
  const repairs = ordered.flatMap(({ replica, action }) => [
    ...(action === 'restore' ? [] : [{ replica, table, statement: `SYSTEM RESTART REPLICA ${name}` }]),
    ...(action === 'restart' ? [] : [{ replica, table, statement: `SYSTEM RESTORE REPLICA ${name}` }]),
  ]);
  return [...repairs, ...ordered.map(({ replica }) => ({ replica, table, statement: `SYSTEM SYNC REPLICA ${name}` }))];
}

/** Number of keys by `replica table`, of every table that has to be repaired: who begins. */
export async function keysOf(
  nodes: readonly ReplicaNode[],
  tables: readonly string[],
): Promise<{ keys: Map<string, number>; digests: Digests }> {
  const digests = await digestsOf(nodes, tables);
  const keys = [...digests].map(
    ([at, partitions]) => [at, partitions.reduce((sum, each) => sum + each.keys, 0)] as const,
  );
  return { keys: new Map(keys), digests };
}

export type Digests = Map<string, PartitionDigest[]>;

async function digestsOf(nodes: readonly ReplicaNode[], tables: readonly string[]): Promise<Digests> {
  const digests: Digests = new Map();
  for (const { replica, client } of nodes) {
    for (const name of tables) {
      digests.set(`${replica} ${name}`, await digestOf(client, name));
    }
  }
  return digests;
}

export interface RestoreResult {
  plan_id: string;
  steps: (RestoreStep & { error: string | null })[];
  /** What is not as it must be afterwards; empty when the restore is done. */
  problems: string[];
  is_verified: boolean;
}

type Journal = (entry: Record<string, unknown>) => void;

/** @param limitMs machine ms for the replicas to become well after the statements */
export async function runRestore(
  nodes: readonly ReplicaNode[],
  plan: RestorePlan,
  question: { before: Digests; journal: Journal; limitMs: number },
): Promise<RestoreResult> {
  const { before, journal, limitMs } = question;
  journal({ phase: 'before', plan_id: plan.id, steps: plan.steps, digests: Object.fromEntries(before) });
  const until = machineMs() + limitMs;
  const done: RestoreResult['steps'] = [];
  for (const step of plan.steps) {
    const hasFailed = done.some(({ error }) => error !== null);
    const error = hasFailed ? 'not run: a statement before it failed' : await runStep(nodes, step, until);
    done.push({ ...step, error });
    journal({ phase: 'step', plan_id: plan.id, ...step, error });
  }
  let problems = await problemsOf(nodes, plan, before);
  while (problems.length > 0 && machineMs() < until && done.every(({ error }) => error === null)) {
    await sleep(500);
    problems = await problemsOf(nodes, plan, before);
  }
  const result = { plan_id: plan.id, steps: done, problems, is_verified: problems.length === 0 };
  journal({ phase: 'after', ...result });
  return result;
}

/** @returns why it failed; null when it ran, or when it still may: its effect is waited for and verified */
async function runStep(nodes: readonly ReplicaNode[], step: RestoreStep, until: number): Promise<string | null> {
  const node = nodes.find(({ replica }) => replica === step.replica);
  if (!node) return 'there is no such server';
  const isRestore = step.statement.startsWith('SYSTEM RESTORE');
  try {
    // A restart reaches read-only a moment after it answers; RESTORE refuses before.
    if (isRestore) await untilReadOnly(node, step.table, true, until);
    await node.client.command({ query: step.statement });
    return null;
  } catch (error) {
    if (!/timeout/i.test(describeError(error))) return describeError(error).split('\n')[0]?.slice(0, 300) ?? '';
    // A large table takes longer than one request may; the server goes on without us.
    if (isRestore) await untilReadOnly(node, step.table, false, until);
    return null;
  }
}

async function untilReadOnly(node: ReplicaNode, name: string, wanted: boolean, until: number): Promise<void> {
  for (;;) {
    const [state] = await probeReplicas([node]);
    const table = state?.tables.find((each) => `${each.database}.${each.table}` === name);
    if (table?.is_readonly === wanted || machineMs() > until) return;
    await sleep(200);
  }
}

async function problemsOf(nodes: readonly ReplicaNode[], plan: RestorePlan, before: Digests): Promise<string[]> {
  const problems: string[] = [];
  const states = await probeReplicas(nodes);
  for (const { replica, error, tables } of states) {
    if (error !== null) problems.push(`${replica}: ${error}`);
    for (const name of plan.tables) {
      const table = tables.find((each) => `${each.database}.${each.table}` === name);
      if (!table) continue;
      const at = `${name} on ${replica}`;
      if (table.is_readonly) problems.push(`${at} is still read-only`);
      else if (table.active_replicas < table.total_replicas || table.total_replicas === 0)
        problems.push(`${at} sees ${table.active_replicas} of ${table.total_replicas} replicas active`);
      if (table.queue_size > 0) problems.push(`${at} has ${table.queue_size} entries in its queue`);
    }
  }
  if (problems.length > 0) return problems;
  const after = await digestsOf(nodes, plan.tables);
  for (const [at, partitions] of before) {
    for (const { partition, keys } of partitions) {
      const now = after.get(at)?.find((each) => each.partition === partition)?.keys ?? 0;
      if (now < keys) problems.push(`${at}: partition ${partition} has ${now} keys, it had ${keys}`);
    }
  }
  for (const name of plan.tables) {
    const there = nodes.flatMap(({ replica }) => {
      const partitions = after.get(`${replica} ${name}`);
      return partitions ? [{ replica, text: JSON.stringify(partitions) }] : [];
    });
    const other = there.find(({ text }) => text !== there[0]?.text);
    if (other) problems.push(`${name}: ${there[0]?.replica} and ${other.replica} hold different keys`);
  }
  return problems;
}
