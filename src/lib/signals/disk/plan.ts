/**
 * The recommended steps in the purge order of spec ta 5.4 until every replica reaches the target.
 * Guarantees: every step is one exact statement with its bytes; the id names the steps, the target and the time of the plan, so
 * a plan that is old or whose facts have changed is refused: another object, other rows in it, another verdict of a guard.
 * A log table that goes on growing is no change.
 */
import { createHash } from 'node:crypto';
import { type Candidate, type ClassQuestion, candidatesOf, classNames, type NodeFacts } from './classes.ts';

export interface PlanStep {
  class: number;
  what: string;
  statement: string;
  /** Where it is run. */
  replica: string;
  /** What it frees, on all replicas together. */
  bytes: number;
  frees: Record<string, number>;
  reversible: string;
  /** `--confirm` runs it. */
  is_automatic: boolean;
  /** Why `--confirm` does not run it; null when it does. */
  held: string | null;
  /** What must still be so when it is confirmed. */
  fact: string;
}

export interface ReclaimableClass {
  class: number;
  name: string;
  bytes: number;
  objects: number;
  /** Objects that something holds back. */
  held: number;
}

export interface DiskPlan {
  id: string;
  target_free_ratio: number;
  /** Bytes that are missing to the target by replica; 0 where it is reached. */
  needed: Record<string, number>;
  needed_bytes: number;
  /** What the steps that `--confirm` runs free. */
  freed_bytes: number;
  reaches_target: boolean;
  steps: PlanStep[];
  /** What no statement does: waiting, growing the volume. */
  notes: string[];
}

export interface NodeSpace {
  replica: string;
  freeBytes: number;
  totalBytes: number;
}

export interface PlanQuestion extends ClassQuestion {
  targetFreeRatio: number;
  /** One for each node that answers: its fullest disk. */
  spaces: readonly NodeSpace[];
  /** Wall seconds by the server. */
  issuedSeconds: number;
}

export function reclaimable(nodes: readonly NodeFacts[], question: ClassQuestion): ReclaimableClass[] {
  const candidates = candidatesOf(nodes, { ...question, liveDays: true });
  const inactive = nodes.map(({ facts }) => facts?.inactive ?? { bytes: 0, parts: 0 });
  return Object.entries(classNames).map(([order, name]) => {
    const own = candidates.filter((candidate) => candidate.class === Number(order));
    if (order === '3') {
      const bytes = sum(inactive.map((each) => each.bytes));
      return { class: 3, name, bytes, objects: sum(inactive.map(({ parts }) => parts)), held: 0 };
    }
    const held = own.filter((candidate) => candidate.held !== null).length;
    return { class: Number(order), name, bytes: sum(own.map(bytesOf)), objects: own.length, held };
  });
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const bytesOf = ({ frees }: Pick<Candidate, 'frees'>): number => sum(Object.values(frees));

export function planPurge(nodes: readonly NodeFacts[], question: PlanQuestion): DiskPlan {
  const { targetFreeRatio, spaces, issuedSeconds } = question;
  const needed = Object.fromEntries(
    spaces.map(({ replica, freeBytes, totalBytes }) => [
      replica,
      Math.max(0, Math.ceil(targetFreeRatio * totalBytes) - freeBytes),
    ]),
  );
  const missing = { ...needed };
  const steps: PlanStep[] = [];
  for (const candidate of candidatesOf(nodes, question)) {
    const helps = Object.entries(candidate.frees).some(([replica, bytes]) => bytes > 0 && (missing[replica] ?? 0) > 0);
    if (!helps) continue;
    steps.push({ ...candidate, bytes: bytesOf(candidate), is_automatic: candidate.held === null });
    // What is held back may never come: the steps behind it are shown as well.
    if (candidate.held !== null) continue;
    for (const [replica, bytes] of Object.entries(candidate.frees)) missing[replica] = (missing[replica] ?? 0) - bytes;
  }
  const reachesTarget = Object.values(missing).every((bytes) => bytes <= 0);
  const freed = sum(steps.filter(({ is_automatic }) => is_automatic).map(({ bytes }) => bytes));
  return {
    id: planId(steps, targetFreeRatio, issuedSeconds),
    target_free_ratio: targetFreeRatio,
    needed,
    needed_bytes: sum(Object.values(needed)),
    freed_bytes: freed,
    reaches_target: reachesTarget,
    steps,
    notes: notesOf(nodes, question, steps, needed, reachesTarget),
  };
}

function notesOf(
  nodes: readonly NodeFacts[],
  question: PlanQuestion,
  steps: readonly PlanStep[],
  needed: Record<string, number>,
  reachesTarget: boolean,
): string[] {
  const notes: string[] = [];
  const isNeeded = Object.values(needed).some((bytes) => bytes > 0);
  if (isNeeded && nodes.some(({ facts }) => (facts?.inactive.bytes ?? 0) > 0)) {
    notes.push('class 3: inactive parts are freed by themselves within 10 minutes');
  }
  if (isNeeded && !reachesTarget) {
    notes.push('class 10: the steps do not reach the target; grow the volume, or free what is not ClickHouse');
    if (!question.liveDays) notes.push('class 9 (days that are not expired) is planned only with --live-days');
  }
  if (steps.some((step) => step.class === 9)) {
    notes.push(
      'what is stored of the live days is written to the journal before they are dropped; growing the volume comes first',
    );
  }
  for (const { replica, facts } of nodes)
    if (!facts) notes.push(`replica ${replica} does not answer: nothing is planned there`);
  return notes;
}

function planId(steps: readonly PlanStep[], target: number, issuedSeconds: number): string {
  const rests = steps.map(({ statement, replica, fact, held }) => [statement, replica, fact, held === null]);
  const facts = JSON.stringify([rests, target, issuedSeconds]);
  return `${createHash('sha256').update(facts).digest('hex').slice(0, 12)}-${issuedSeconds.toString(36)}`;
}

/** When a plan was made, wall seconds; undefined when the text is no id of a plan. */
export function issuedAt(id: string): number | undefined {
  const match = /^[0-9a-f]{12}-([0-9a-z]{1,9})$/.exec(id);
  return match ? Number.parseInt(match[1] as string, 36) : undefined;
}
