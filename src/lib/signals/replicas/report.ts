/**
 * The report of `torghut clickhouse replicas`: every replica of every table, the keeper, findings by name, and one verdict.
 * Guarantees: read-only; a node without replicated tables is `n/a` and never `ok`; what could not be asked is `unknown`.
 */
import type { Check, Verdict } from '../../runbook/plan.ts';
import { exitCode } from '../../service/errors.ts';
import { type Diagnosis, diagnose, type Finding, isKeeperAway, lagLimits } from './diagnose.ts';
import { type KeeperState, probeKeeper } from './keeper.ts';
import { type NodeState, probeReplicas, type ReplicaNode } from './probes.ts';

/** Names of the checks, as the runbook page lists them. */
export const replicaCheckIds = ['servers', 'keeper', 'session', 'metadata', 'writable', 'parts', 'lag'] as const;

export interface ReplicaRow {
  replica: string;
  table: string;
  state: 'ok' | Diagnosis;
  is_readonly: boolean;
  is_session_expired: boolean;
  metadata: string;
  active: string;
  queue: number;
  delay_seconds: number | null;
  lost_parts: number;
}

export interface ReplicasReport {
  [name: string]: unknown;
  status: 'ok' | 'problem' | 'unknown' | 'n/a';
  /** Names of what is wrong, each once. */
  diagnosis: Diagnosis[];
  /** What to do about the first of them. */
  next: string | null;
  servers: number;
  keepers: KeeperState[];
  replicas: ReplicaRow[];
  findings: Finding[];
  checks: Check[];
}

export interface ReplicaFacts {
  nodes: NodeState[];
  keepers: KeeperState[];
}

/** @param given addresses of keepers to ask besides those that the servers name */
export async function readReplicas(nodes: readonly ReplicaNode[], given: readonly string[]): Promise<ReplicaFacts> {
  const states = await probeReplicas(nodes);
  const addresses = new Set([...given, ...states.flatMap(({ keepers }) => keepers)]);
  return { nodes: states, keepers: await Promise.all([...addresses].map(probeKeeper)) };
}

export function reportReplicas({ nodes, keepers }: ReplicaFacts): ReplicasReport {
  const findings = diagnose(nodes, keepers);
  const replicas = nodes.flatMap(({ replica, tables }) =>
    tables.map((table): ReplicaRow => {
      const name = `${table.database}.${table.table}`;
      const finding = findings.find((each) => each.replica === replica && each.table === name);
      return {
        replica,
        table: name,
        state: finding?.diagnosis ?? 'ok',
        is_readonly: table.is_readonly,
        is_session_expired: table.is_session_expired,
        metadata: table.metadata,
        active: `${table.active_replicas}/${table.total_replicas}`,
        queue: table.queue_size,
        // A table that never had a session counts from 1970.
        delay_seconds: table.is_readonly ? null : table.absolute_delay,
        lost_parts: table.lost_part_count,
      };
    }),
  );
  const isAnswered = nodes.some(({ error }) => error === null);
  const isEmpty = isAnswered && nodes.every(({ error }) => error === null) && replicas.length === 0;
  return {
    status: isEmpty ? 'n/a' : !isAnswered ? 'unknown' : findings.length > 0 ? 'problem' : 'ok',
    diagnosis: [...new Set(findings.map(({ diagnosis }) => diagnosis))],
    next: nextOf(findings),
    servers: nodes.length,
    keepers,
    replicas,
    findings,
    checks: isEmpty ? [] : checksOf(nodes, keepers, findings),
  };
}

const restoreNext = 'torghut clickhouse replicas --restore --dry-run';

/** In the order of causes: what has to be done before anything else. */
const nextBy: readonly (readonly [Diagnosis, string])[] = [
  ['keeper_unreachable', 'bring the keeper back; the servers reconnect by themselves within two minutes'],
  ['replica_unreachable', 'bring the server back'],
  ['metadata_lost', restoreNext],
  ['replica_metadata_lost', restoreNext],
  ['session_expired', `wait two minutes; then ${restoreNext}`],
  ['read_only', restoreNext],
  ['lost_parts', 'compare the days with `torghut clickhouse coverage`; a replay brings back what is lost'],
  ['lagging', 'look for the cause: disk, merges, fetch errors, network'],
];

function nextOf(findings: readonly Finding[]): string | null {
  const refused = findings.find((finding) => finding.refused !== null)?.refused;
  const first = nextBy.find(([name]) => findings.some(({ diagnosis }) => diagnosis === name));
  if (!first) return null;
  return refused && first[1].endsWith(restoreNext) ? `nothing is restored: ${refused}` : first[1];
}

export function exitCodeOf({ status }: ReplicasReport): number {
  if (status === 'unknown') return exitCode.cannotDetermine;
  return status === 'problem' ? exitCode.problemFound : exitCode.ok;
}

function checksOf(nodes: readonly NodeState[], keepers: readonly KeeperState[], findings: readonly Finding[]): Check[] {
  const named = (...names: Diagnosis[]) => {
    const found = findings.filter(({ diagnosis }) => names.includes(diagnosis));
    return found.map(({ replica, table, why }) => `${table ? `${table} on ` : ''}${replica}: ${why}`);
  };
  const check = (
    id: (typeof replicaCheckIds)[number],
    signal: string,
    problems: string[],
    good: string,
    unknown = false,
  ): Check => ({
    id,
    signal,
    value: problems.join('; ') || (unknown ? 'cannot be told now' : good),
    verdict: problems.length > 0 ? 'problem' : unknown ? 'unknown' : 'ok',
  });
  const tables = nodes.flatMap((node) => node.tables);
  // What only the keeper knows is not well because nobody could ask it.
  const isBlind = tables.some(({ metadata }) => metadata === 'unknown');
  const answering = nodes.filter(({ error }) => error === null);
  const isAway = isKeeperAway(nodes, keepers);
  const alive = keepers.filter(({ answer }) => answer === 'ok' || answer === 'refused');
  const dead = keepers.filter(({ answer }) => answer === 'none' || answer === 'bad');
  const hasSession = answering.some(({ has_session }) => has_session === true);
  const keeperVerdict: Verdict = isAway ? 'problem' : alive.length > 0 || hasSession ? 'ok' : 'unknown';
  const says = keepers.map(({ address, answer, mode, why }) => `${address} ${mode ?? answer}${why ? ` (${why})` : ''}`);
  return [
    check('servers', 'every server answers', named('replica_unreachable'), `${answering.length} answer`),
    {
      id: 'keeper',
      signal: 'the keeper answers, or a server has a session with it',
      value:
        says.join('; ') || (hasSession ? 'a server has a session' : isAway ? 'no server has a session' : 'nobody says'),
      // One dead keeper of several is worth knowing while the others serve.
      verdict: keeperVerdict === 'ok' && alive.length > 0 && dead.length > 0 ? 'problem' : keeperVerdict,
    },
    check(
      'session',
      'no session with the keeper is over',
      named('session_expired', 'keeper_unreachable'),
      'all are open',
    ),
    check(
      'metadata',
      'the keeper has every table and replica',
      named('metadata_lost', 'replica_metadata_lost'),
      'all are there',
      isBlind,
    ),
    check(
      'writable',
      'no table is read-only',
      [...named('read_only'), ...readOnlyOthers(nodes, findings)],
      'all take inserts',
    ),
    check('parts', 'no part is lost on all replicas', named('lost_parts'), 'none', isBlind),
    check(
      'lag',
      `at most ${lagLimits.delaySeconds} s behind, ${lagLimits.queue} entries and ${lagLimits.inserts} inserts waiting`,
      named('lagging'),
      'none behind',
      isBlind,
    ),
  ];
}

/** Tables that are read-only for a reason that another check names. */
function readOnlyOthers(nodes: readonly NodeState[], findings: readonly Finding[]): string[] {
  return nodes.flatMap(({ replica, tables }) =>
    tables
      .filter((table) => table.is_readonly)
      .map((table) => `${table.database}.${table.table}`)
      .filter((name) =>
        findings.some((each) => each.replica === replica && each.table === name && each.diagnosis !== 'read_only'),
      )
      .map((name) => `${name} on ${replica}`),
  );
}
