/**
 * What could be freed, by class, and the recommended steps in the purge order of spec ta 5.4, until the target is reached.
 * Guarantees: every step is one exact statement with its bytes; parts that an operator detached (no reason) and broken ones
 * are never named; the last three days of the signal tables neither; the id names the steps, their bytes and the time of the
 * plan, so a plan that is old or whose facts have changed is refused.
 * Detached `covered-by-broken` parts stay: on a single node they may be the only copy of what the broken part held.
 */
import { createHash } from 'node:crypto';
import { quoteIdentifier, quoteLiteral } from '../sql-text.ts';
import type { DiskLevel } from './level.ts';
import type { StoreFacts } from './probes.ts';

export interface PlanStep {
  class: number;
  what: string;
  statement: string;
  bytes: number;
  reversible: string;
  /** `--confirm` runs it; the others are for a person to judge and run. */
  is_automatic: boolean;
}

export interface ReclaimableClass {
  class: number;
  name: string;
  bytes: number;
  objects: number;
}

export interface DiskPlan {
  id: string;
  target_free_ratio: number;
  /** Bytes that are missing to the target; 0 when it is reached. */
  needed_bytes: number;
  /** What the steps free. */
  freed_bytes: number;
  reaches_target: boolean;
  steps: PlanStep[];
  /** What no statement does: waiting, growing the volume. */
  notes: string[];
}

const droppableReasons = new Set(['ignored', 'clone', 'cloned', 'covered']);
const size = 'SETTINGS max_table_size_to_drop = 0';
const keptDays = 3;

/** Every class with all its steps, whether they are needed or not. */
function classesOf(facts: StoreFacts, database: string, level: DiskLevel): { name: string; steps: PlanStep[] }[] {
  const leftovers = facts.logTables.filter(({ table }) => /_\d+$/.test(table));
  // The last day of query_log tells what happened: it goes only when nothing else helps.
  const logs = facts.logTables.filter(
    ({ table, bytes }) => !/_\d+$/.test(table) && bytes > 0 && (table !== 'query_log' || level === 'emergency'),
  );
  const gone = 'no: diagnostics are lost';
  const logStep = (verb: 'DROP' | 'TRUNCATE') => (log: { table: string; bytes: number }) =>
    step(
      1,
      `system.${log.table}`,
      `${verb} TABLE system.${quoteIdentifier(log.table)} SYNC ${size}`,
      log.bytes,
      gone,
      true,
    );
  const detached = facts.detached
    .filter(({ reason, table }) => droppableReasons.has(reason) && table !== '')
    .map((part) =>
      step(
        2,
        `detached ${part.reason} part of ${part.database}.${part.table}`,
        `ALTER TABLE ${nameOf(part)} DROP DETACHED PART ${quoteLiteral(part.name)} SETTINGS allow_drop_detached = 1`,
        part.bytes,
        'no',
        true,
      ),
    );
  const databases = new Map<string, number>();
  for (const { database: name, bytes } of facts.tables) {
    if (/^torghut_(sim|replay)_/.test(name) && name !== database)
      databases.set(name, (databases.get(name) ?? 0) + bytes);
  }
  const dropDatabase = ([name, bytes]: [string, number]) =>
    step(4, `database ${name}`, `DROP DATABASE ${quoteIdentifier(name)} SYNC`, bytes, 'by a new run of it', false);
  const shadows = facts.tables.filter(({ table }) => /(__replicated_migration_v2|_kafka_staging)$/.test(table));
  const dropTable = (table: { database: string; table: string; bytes: number }) =>
    step(5, `${table.database}.${table.table}`, `DROP TABLE ${nameOf(table)} SYNC ${size}`, table.bytes, 'no', false);
  const dropPartition = (order: 8 | 9, reversible: string) => (part: StoreFacts['partitions'][number]) =>
    step(
      order,
      `${part.database}.${part.table} of ${part.partition}`,
      `ALTER TABLE ${nameOf(part)} DROP PARTITION ID ${quoteLiteral(part.partition_id)} SETTINGS max_partition_size_to_drop = 0`,
      part.bytes,
      reversible,
      false,
    );
  return [
    { name: 'system log tables', steps: [...leftovers.map(logStep('DROP')), ...logs.map(logStep('TRUNCATE'))] },
    { name: 'detached parts that are not needed', steps: detached },
    { name: 'databases of simulations and replays', steps: [...databases].map(dropDatabase) },
    { name: 'shadow and staging tables', steps: shadows.map(dropTable) },
    { name: 'signal partitions past their TTL', steps: facts.expired.map(dropPartition(8, 'no: already expired')) },
    {
      name: 'oldest signal partitions',
      steps: oldest(facts, database).map(dropPartition(9, 'by replay while the log still has that day')),
    },
  ];
}

const classNumbers = [1, 2, 4, 5, 8, 9];

function nameOf({ database, table }: { database: string; table: string }): string {
  return `${quoteIdentifier(database)}.${quoteIdentifier(table)}`;
}

function step(
  order: number,
  what: string,
  statement: string,
  bytes: number,
  reversible: string,
  isAutomatic: boolean,
): PlanStep {
  return { class: order, what, statement, bytes, reversible, is_automatic: isAutomatic };
}

/** Day by day, signals before bars, never the newest three days that have rows. The signal log is what trade reads: not here. */
function oldest(facts: StoreFacts, database: string): StoreFacts['partitions'] {
  const days = facts.partitions.filter(
    (part) => part.database === database && ['ta_signals', 'ta_microbars'].includes(part.table),
  );
  const newest = [...new Set(days.map(({ partition }) => partition))].sort().slice(-keptDays);
  return days
    .filter((part) => !newest.includes(part.partition) && !facts.expired.includes(part))
    .sort((a, b) => b.table.localeCompare(a.table) || (a.partition < b.partition ? -1 : 1));
}

export function reclaimable(facts: StoreFacts, database: string, level: DiskLevel): ReclaimableClass[] {
  const found = classesOf(facts, database, level).map(({ name, steps }, i) => ({
    class: classNumbers[i] as number,
    name,
    bytes: sum(steps),
    objects: steps.length,
  }));
  const waiting = {
    class: 3,
    name: 'inactive parts (freed by themselves)',
    bytes: facts.inactive.bytes,
    objects: facts.inactive.parts,
  };
  return [...found, waiting].sort((a, b) => a.class - b.class);
}

const sum = (steps: readonly PlanStep[]): number => steps.reduce((total, { bytes }) => total + bytes, 0);

/** @param issuedSeconds wall time of the plan by the server */
export function planPurge(
  facts: StoreFacts,
  question: { database: string; level: DiskLevel; freeBytes: number; totalBytes: number; targetFreeRatio: number },
  issuedSeconds: number = facts.nowSeconds,
): DiskPlan {
  const { freeBytes, totalBytes, targetFreeRatio } = question;
  const needed = Math.max(0, Math.ceil(targetFreeRatio * totalBytes) - freeBytes);
  const steps: PlanStep[] = [];
  for (const { steps: candidates } of classesOf(facts, question.database, question.level)) {
    for (const candidate of candidates) {
      if (sum(steps) >= needed) break;
      if (candidate.bytes > 0) steps.push(candidate);
    }
  }
  const freed = sum(steps);
  const notes: string[] = [];
  if (needed > 0 && facts.inactive.bytes > 0) notes.push('inactive parts are freed by themselves within 10 minutes');
  if (freed < needed) notes.push('the steps do not reach the target: grow the volume, or free what is not ClickHouse');
  if (steps.some(({ class: order }) => order === 9)) {
    notes.push(
      'before dropping live days: run `torghut clickhouse coverage` for them and keep its output; growing the volume comes first',
    );
  }
  if (steps.some(({ class: order }) => order === 4)) notes.push('drop a database only when no run uses it any more');
  return {
    id: planId(steps, targetFreeRatio, issuedSeconds),
    target_free_ratio: targetFreeRatio,
    needed_bytes: needed,
    freed_bytes: freed,
    reaches_target: freed >= needed,
    steps,
    notes,
  };
}

function planId(steps: readonly PlanStep[], target: number, issuedSeconds: number): string {
  const facts = JSON.stringify([steps, target, issuedSeconds]);
  return `${createHash('sha256').update(facts).digest('hex').slice(0, 12)}-${issuedSeconds.toString(36)}`;
}

/** When a plan was made, wall seconds; undefined when the text is no id of a plan. */
export function issuedAt(id: string): number | undefined {
  const match = /^[0-9a-f]{12}-([0-9a-z]{1,9})$/.exec(id);
  return match ? Number.parseInt(match[1] as string, 36) : undefined;
}
