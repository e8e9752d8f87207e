/** The checks of `ws status` that only a cluster can answer: S1 (replicas, pods, restarts) and its part of S7 (secrets). Pure. */
import type { ClusterFacts } from '../../lib/cluster/ws-deployment.ts';

export interface ClusterVerdict {
  detail: string;
  isWell: boolean;
  /** Exit code when this is what is wrong (spec ingest 6.1). */
  exitCode: number;
}

const RESTART_MS = 600_000;

/** S1: one replica, one pod, no restart and no out-of-memory within ten minutes. */
export function judgePods(cluster: ClusterFacts, nowMs: number): ClusterVerdict {
  if (!cluster.exists) {
    const detail = `no deployment ${cluster.deployment} in namespace ${cluster.namespace}`;
    return { detail, isWell: false, exitCode: 18 };
  }
  const bad = cluster.pods.filter(
    ({ last_exit_at, waiting_reason }) =>
      waiting_reason === 'CrashLoopBackOff' || (last_exit_at !== null && nowMs - Date.parse(last_exit_at) < RESTART_MS),
  );
  const isExtra = cluster.pods.length > 1 || cluster.replicas > 1;
  const pods = cluster.pods.map((pod) =>
    [
      pod.name,
      pod.is_terminating ? 'Terminating' : pod.phase,
      pod.ready ? 'ready' : 'not ready',
      `${pod.restarts} restarts`,
      pod.last_exit_reason === null ? undefined : `last end ${pod.last_exit_reason} at ${pod.last_exit_at}`,
      pod.waiting_reason ?? undefined,
    ]
      .filter((text) => text !== undefined)
      .join(' '),
  );
  const rollout = cluster.rollout ? ', a roll-out is under way' : '';
  const strategy =
    cluster.strategy === 'Recreate' ? '' : `, strategy ${cluster.strategy ?? 'none'} instead of Recreate`;
  return {
    detail: `${cluster.ready}/${cluster.replicas} ready${rollout}${strategy}; ${pods.join('; ') || 'no pod'}`,
    isWell: !isExtra && bad.length === 0 && cluster.pods.length === 1 && cluster.replicas === 1 && strategy === '',
    exitCode: isExtra ? 10 : 18,
  };
}

/** S7: the secrets by name and age; never a value. */
export function judgeSecrets(cluster: ClusterFacts, nowMs: number, keySecret: string): ClusterVerdict {
  const age = (at: string | null) =>
    at === null ? '' : ` ${Math.floor((nowMs - Date.parse(at)) / 86_400_000)} days old`;
  const missing = cluster.secrets.find(({ exists }) => !exists);
  const texts = cluster.secrets.map(({ name, exists, created_at }) =>
    exists ? `${name}${age(created_at)}` : `${name} is missing`,
  );
  const unread = cluster.unread.filter((text) => text.startsWith('secret '));
  return {
    detail: [...texts, ...unread].join(', '),
    isWell: missing === undefined && unread.length === 0,
    exitCode: missing === undefined ? 0 : missing.name === keySecret ? 11 : 13,
  };
}
