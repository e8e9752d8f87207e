/**
 * The report of `torghut clickhouse disk` over every replica. Its JSON is stable: every key is always there.
 * Guarantee: what could not be asked is `unknown`, never ok; one silent replica leaves the others in the report.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { describeError } from '../../service/errors.ts';
import { type Advice, adviceOf } from './advice.ts';
import type { ClassQuestion } from './classes.ts';
import type { DiskSample } from './history.ts';
import { type DiskLevel, levelExitCode, worst } from './level.ts';
import { type DiskState, fullestOf, type Health, type NodeReport, reportNode, silentNode } from './node-report.ts';
import { type DiskPlan, planPurge, type ReclaimableClass, reclaimable } from './plan.ts';
import { type FreshnessMode, probeStore, type StoreFacts } from './probes.ts';

export interface DiskQuestion extends Omit<ClassQuestion, 'level'> {
  /** The disk is on this machine: its inodes can be counted. */
  isLocal: boolean;
  targetFreeRatio: number;
  /** The time that a confirmed plan says it was made at, wall seconds. */
  issuedSeconds?: number | undefined;
  samples: readonly DiskSample[];
}

/** What the daemons of the home say; a part that is not of this home or does not answer is said so. */
export interface PipelineState {
  ta: Record<string, unknown>;
  sink: Record<string, unknown>;
  trade: Record<string, unknown>;
}

type OnReplica<T> = T & { replica: string };

export interface DiskReport {
  level: DiskLevel;
  exit_code: number;
  reasons: string[];
  database: string;
  /** RFC 3339, a server's wall clock; null when none answers. */
  checked_at: string | null;
  disks: DiskState[];
  /** Of the node that is full first. */
  growth: NodeReport['growth'];
  nodes: NodeReport[];
  top_tables: OnReplica<StoreFacts['tables'][number]>[];
  top_partitions: OnReplica<StoreFacts['partitions'][number]>[];
  replicas: Health;
  keeper: Health;
  pipeline: PipelineState | null;
  reclaimable: ReclaimableClass[];
  advice: Advice[];
  plan: DiskPlan | null;
}

const top = 10;

export interface Asked {
  replica: string;
  facts: StoreFacts | undefined;
  /** Why it did not answer. */
  error: string;
}

/** Asks every node; one that does not answer is said so. */
export async function askNodes(
  nodes: readonly { replica: string; client: ClickHouseClient }[],
  database: string,
  freshness: FreshnessMode = 'auto',
): Promise<Asked[]> {
  return Promise.all(
    nodes.map(async ({ replica, client }): Promise<Asked> => {
      try {
        return { replica, facts: await probeStore(client, database, freshness), error: '' };
      } catch (error) {
        // A mistake in this program is no silent store.
        if (error instanceof TypeError || error instanceof ReferenceError) throw error;
        return { replica, facts: undefined, error: describeError(error).slice(0, 300) };
      }
    }),
  );
}

export function reportDisk(
  asked: readonly Asked[],
  question: DiskQuestion,
  pipeline: PipelineState | null,
): DiskReport {
  const { database, isLocal, samples } = question;
  const nodes = asked.map(({ replica, facts, error }) =>
    facts ? reportNode({ replica, facts, isLocal, samples }) : silentNode(replica, error),
  );
  const verdict = worst(nodes);
  const { level } = verdict;
  const answering = asked.filter((each): each is Asked & { facts: StoreFacts } => each.facts !== undefined);
  const nowSeconds = answering[0]?.facts.nowSeconds;
  const spaces = nodes.flatMap(({ replica, disks }) => {
    const fullest = fullestOf(disks);
    return fullest ? [{ replica, freeBytes: fullest.free_bytes, totalBytes: fullest.total_bytes }] : [];
  });
  const classes: ClassQuestion = { ...question, level };
  const plan =
    nowSeconds === undefined
      ? null
      : planPurge(asked, { ...question, level, spaces, issuedSeconds: question.issuedSeconds ?? nowSeconds });
  const largest = <T extends { bytes: number }>(pick: (facts: StoreFacts) => readonly T[]): OnReplica<T>[] =>
    answering
      .flatMap(({ replica, facts }) => pick(facts).map((each) => ({ ...each, replica })))
      .sort((a, b) => b.bytes - a.bytes)
      .slice(0, top);
  return {
    level,
    exit_code: levelExitCode[level],
    reasons: verdict.reasons,
    database,
    checked_at: nowSeconds === undefined ? null : new Date(nowSeconds * 1000).toISOString(),
    disks: nodes.flatMap(({ disks }) => disks),
    growth: soonest(nodes),
    nodes,
    top_tables: largest(({ tables }) => tables),
    top_partitions: largest(({ partitions }) => partitions),
    replicas: worstHealth(nodes.map(({ replica, replication }) => ({ replica, ...replication }))),
    keeper: worstHealth(nodes.map(({ replica, keeper }) => ({ replica, ...keeper }))),
    pipeline,
    reclaimable: plan === null ? [] : reclaimable(asked, classes),
    advice: adviceOf(level, nodes, plan),
    plan,
  };
}

/** The report when there is not even a node to ask: unknown, which counts as critical. */
export function unknownReport(database: string, why: string): DiskReport {
  return reportDisk(
    [{ replica: 'unknown', facts: undefined, error: why }],
    { database, isLocal: false, targetFreeRatio: 0, runs: new Map(), liveDays: false, samples: [] },
    null,
  );
}

function soonest(nodes: readonly NodeReport[]): NodeReport['growth'] {
  const known = nodes.filter(({ error }) => error === null).map(({ growth }) => growth);
  const [first] = known.sort(
    (a, b) => (a.days_to_full ?? Number.POSITIVE_INFINITY) - (b.days_to_full ?? Number.POSITIVE_INFINITY),
  );
  return first ?? { bytes_per_day: null, days_to_full: null, basis: 'no node answers' };
}

function worstHealth(all: readonly OnReplica<Health>[]): Health {
  const order: Health['status'][] = ['n/a', 'ok', 'unknown', 'problem'];
  const status = all.reduce<Health['status']>(
    (most, each) => (order.indexOf(each.status) > order.indexOf(most) ? each.status : most),
    'n/a',
  );
  const why = all
    .filter((each) => each.status === status)
    .map((each) => (all.length > 1 ? `${each.replica}: ${each.why}` : each.why));
  return { status, why: why.join('; ') };
}
