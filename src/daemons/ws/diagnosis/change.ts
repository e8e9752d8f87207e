/**
 * The change that a case proposes, and how it is made: as an edit of the manifests (GitOps) or, where asked for, in the cluster.
 * Guarantees: only cases A, C and G change anything; at most one restart in 15 minutes per deployment; a controlled restart ends
 * with one replica wanted, whatever happens on the way (spec ingest 6.2).
 */
import { type ManifestEdit, planManifestEdit } from '../../../lib/cluster/gitops.ts';
import type { Kubectl } from '../../../lib/cluster/kubectl.ts';
import { podList } from '../../../lib/cluster/objects.ts';
import { type ClusterFacts, RESTART_ANNOTATION } from '../../../lib/cluster/ws-deployment.ts';
import { formatTimestampNs } from '../../../lib/market/time.ts';
import { planIdOf } from '../../../lib/runbook/plan.ts';
import type { Clock } from '../../../lib/service/clock.ts';
import { refusedError, TorghutError } from '../../../lib/service/errors.ts';
import { machineMs, sleep } from '../../../lib/service/machine.ts';
import type { Decision } from './decide.ts';
import type { DiagnosisFacts } from './facts.ts';

export type Change = 'one_replica' | 'restart';

/** A slot without its owner is given back within this time; before, waiting is the cure (spec ingest 6.2, case C). */
const ZOMBIE_WAIT_MS = 120_000;
const RESTART_PAUSE_MS = 900_000;
const POD_WAIT_MS = 180_000;

/** The change that would cure it; undefined where a person has to act, or where waiting is the cure. */
export function changeFor(decision: Decision, facts: DiagnosisFacts): Change | undefined {
  const { cluster, ws } = facts;
  if (!cluster?.exists) return undefined;
  switch (decision.case) {
    case 'A':
      return cluster.replicas === 1 ? undefined : 'one_replica';
    case 'C': {
      const unclean = ws?.status.connection.last_unclean_age_ms ?? Number.POSITIVE_INFINITY;
      return (ws?.status.connection.active_sockets ?? 0) > 1 || unclean >= ZOMBIE_WAIT_MS ? 'restart' : undefined;
    }
    case 'G': {
      // A restart helps once the secret was corrected after the pod began.
      const secret = cluster.secrets.find(({ name, exists }) => exists && name !== 'torghut-alpaca');
      const began = cluster.pods.map(({ started_at }) => started_at).find((at) => at !== null);
      return secret?.created_at && began && secret.created_at > began ? 'restart' : undefined;
    }
    default:
      return undefined;
  }
}

export interface ChangePlan {
  change: Change;
  id: string;
  /** What is done, in one line. */
  what: string;
  /** The commands that a person would type for it. */
  commands: string[];
  /** Present: the edit of the manifests; absent: in the cluster. */
  edit: ManifestEdit | undefined;
}

function sinceRestart(at: unknown, nowMs: number): number {
  return typeof at === 'string' ? nowMs - Date.parse(at) : Number.POSITIVE_INFINITY;
}

/**
 * @param gitops folder with the manifests; undefined changes the cluster
 * @throws `restart_too_soon` (exit 4)
 */
export function planChange(
  change: Change,
  question: { decision: Decision; cluster: ClusterFacts; kubectl: Kubectl; gitops: string | undefined; clock: Clock },
): ChangePlan {
  const { cluster, kubectl, gitops, clock } = question;
  const nowMs = clock.nowMs();
  const now = formatTimestampNs(clock.nowNs()).replace(/\.\d+Z$/, 'Z');
  const annotation = ['spec', 'template', 'metadata', 'annotations', RESTART_ANNOTATION];
  const set =
    change === 'one_replica' ? [{ path: ['spec', 'replicas'], value: 1 }] : [{ path: annotation, value: now }];
  const object = { kind: 'Deployment', name: cluster.deployment, namespace: cluster.namespace };
  const edit = gitops === undefined ? undefined : planManifestEdit(gitops, object, set);
  if (change === 'restart') {
    const since = Math.min(sinceRestart(cluster.last_restart_at, nowMs), sinceRestart(edit?.before(annotation), nowMs));
    if (since < RESTART_PAUSE_MS) {
      throw refusedError({
        code: 'restart_too_soon',
        what: `${cluster.deployment} was restarted ${Math.round(since / 1_000)} s ago`,
        why: 'at most one restart in 15 minutes: each costs a gap, and a half-open socket may be the cause',
        next: 'wait with the back-off running, and look again',
      });
    }
  }
  const scale = (replicas: number) =>
    kubectl.line(['scale', `deployment/${cluster.deployment}`, `--replicas=${replicas}`]);
  const commands =
    change === 'one_replica'
      ? [scale(1)]
      : [
          scale(0),
          kubectl.line(['wait', '--for=delete', 'pod', '-l', `app=${cluster.deployment}`]),
          'sleep 60',
          scale(1),
        ];
  const what =
    change === 'one_replica' ? `${cluster.deployment}: 1 replica` : `${cluster.deployment}: one controlled restart`;
  const id = planIdOf({
    case: question.decision.case,
    change,
    where: gitops === undefined ? 'cluster' : 'manifest',
    generation: cluster.generation,
    replicas: cluster.replicas,
    pods: cluster.pods.map(({ name, restarts }) => `${name} ${restarts}`).sort(),
    manifest: edit?.hash ?? null,
  });
  return { change, id, what, commands, edit };
}

async function waitUntilNoPod(kubectl: Kubectl, deployment: string, signal: AbortSignal): Promise<void> {
  const endMs = machineMs() + POD_WAIT_MS;
  while (!signal.aborted) {
    const { items } = await kubectl.get(['get', 'pods', '-l', `app=${deployment}`, '-o', 'json'], podList);
    if (items.length === 0) return;
    if (machineMs() > endMs) {
      throw new TorghutError({
        code: 'pods_remain',
        what: `${items.length} pods of ${deployment} are still there`,
        why: `after ${POD_WAIT_MS / 1_000} s without a wanted replica`,
        next: 'look at the node and at finalizers of the pod; the deployment wants one replica again',
        exitCode: 3,
      });
    }
    await sleep(1_000, signal);
  }
}

/**
 * Makes the change. Interrupted, a restart still ends with one replica wanted.
 * @param settleMs machine ms without any pod before the new one: the provider gives the slot back
 */
export async function makeChange(
  plan: ChangePlan,
  context: {
    kubectl: Kubectl;
    cluster: ClusterFacts;
    clock: Clock;
    settleMs: number;
    signal: AbortSignal;
    tell(line: string): void;
  },
): Promise<void> {
  const { kubectl, cluster, signal, tell } = context;
  const { deployment } = cluster;
  if (plan.edit) {
    plan.edit.write();
    tell(`${plan.edit.file} is edited; commit and sync it`);
    return;
  }
  tell('the next sync may revert this: change Git as well');
  if (plan.change === 'one_replica') {
    await kubectl.patch('deployment', deployment, { spec: { replicas: 1 } });
    return;
  }
  const at = formatTimestampNs(context.clock.nowNs()).replace(/\.\d+Z$/, 'Z');
  await kubectl.patch('deployment', deployment, {
    metadata: { annotations: { [RESTART_ANNOTATION]: at } },
    spec: { replicas: 0 },
  });
  try {
    tell('0 replicas wanted; waiting until no pod is left');
    await waitUntilNoPod(kubectl, deployment, signal);
    tell(`no pod is left; waiting ${Math.round(context.settleMs / 1_000)} s for the slot`);
    await sleep(context.settleMs, signal);
  } finally {
    await kubectl.patch('deployment', deployment, { spec: { replicas: 1 } });
    tell('1 replica wanted');
  }
}
