/**
 * The forwarder as a cluster shows it (spec ingest 6.1 S1 and S7, 6.2 steps 3, 4 and 9): deployment, pods, restarts, holders of
 * its key, secrets by name and age. Read-only; what may not be read is said, never guessed.
 */
import { codeOf, describeError } from '../service/errors.ts';
import { findHolders, type Holder } from './holders.ts';
import type { Kubectl } from './kubectl.ts';
import { type Deployment, deployment as deploymentSchema, type Pod, podList, workloadList } from './objects.ts';

/** Where the forwarder lives in the cluster, by the manifests. */
export interface WsPlace {
  deployment: string;
  /** Secret of the provider's keys, and of Kafka's password. */
  keySecret: string;
  kafkaSecret: string;
}

export const defaultPlace: WsPlace = {
  deployment: 'torghut-ws',
  keySecret: 'torghut-alpaca',
  kafkaSecret: 'torghut-ws',
};
export const defaultNamespace = 'torghut';

export interface PodFacts extends Record<string, unknown> {
  name: string;
  phase: string;
  ready: boolean;
  is_terminating: boolean;
  restarts: number;
  last_exit_reason: string | null;
  last_exit_at: string | null;
  waiting_reason: string | null;
  started_at: string | null;
}

export interface SecretFacts extends Record<string, unknown> {
  name: string;
  exists: boolean;
  created_at: string | null;
}

export interface ClusterFacts {
  namespace: string;
  deployment: string;
  exists: boolean;
  /** Changes with every change of the specification. */
  generation: number;
  replicas: number;
  ready: number;
  rollout: boolean;
  strategy: string | null;
  last_restart_at: string | null;
  limits: Record<string, string>;
  pods: PodFacts[];
  /** undefined when they may not be listed; `unread` says why. */
  holders: Holder[] | undefined;
  secrets: SecretFacts[];
  /** Port of the health endpoint in the pods. */
  port: number;
  unread: string[];
}

/** When ws was restarted on purpose; the runbook allows one restart in 15 minutes. */
export const RESTART_ANNOTATION = 'torghut.io/restarted-at';

function podFacts({ metadata, status }: Pod): PodFacts {
  const states = status?.containerStatuses ?? [];
  const last = states.map(({ lastState }) => lastState?.terminated).find((found) => found != null);
  return {
    name: metadata.name,
    phase: status?.phase ?? 'Unknown',
    ready: states.length > 0 && states.every(({ ready }) => ready === true),
    is_terminating: metadata.deletionTimestamp != null,
    restarts: states.reduce((sum, { restartCount }) => sum + (restartCount ?? 0), 0),
    last_exit_reason: last?.reason ?? null,
    last_exit_at: last?.finishedAt ?? null,
    waiting_reason: states.map(({ state }) => state?.waiting?.reason).find((found) => found != null) ?? null,
    started_at: status?.startTime ?? metadata.creationTimestamp ?? null,
  };
}

function portOf(found: Deployment | undefined): number {
  const ports = found?.spec.template.spec.containers.flatMap(({ ports: list }) => list ?? []) ?? [];
  return (ports.find(({ name }) => name === 'http') ?? ports[0])?.containerPort ?? 8080;
}

/** Name and date of a secret; its values never leave kubectl. */
async function secretFacts(kubectl: Kubectl, name: string): Promise<SecretFacts> {
  try {
    const path = 'jsonpath={.metadata.name}{" "}{.metadata.creationTimestamp}';
    const [found, created] = (await kubectl.text(['get', 'secret', name, '-o', path])).trim().split(' ');
    return { name, exists: found === name, created_at: created ?? null };
  } catch (error) {
    if (codeOf(error) === 'cluster_object_missing') return { name, exists: false, created_at: null };
    throw error;
  }
}

/** Mark of the key of ws itself, for the comparison with others; undefined when it is not known. */
export async function readCluster(kubectl: Kubectl, place: WsPlace, mark: string | undefined): Promise<ClusterFacts> {
  const unread: string[] = [];
  const found = await kubectl
    .get(['get', 'deployment', place.deployment, '-o', 'json'], deploymentSchema)
    .catch((error: unknown): undefined => {
      if (codeOf(error) === 'cluster_object_missing') return undefined;
      throw error;
    });
  const { items } = await kubectl.get(['get', 'pods', '-l', `app=${place.deployment}`, '-o', 'json'], podList);
  const orUnread = async <T>(what: string, read: Promise<T>): Promise<T | undefined> => {
    try {
      return await read;
    } catch (error) {
      unread.push(`${what}: ${describeError(error)}`);
      return undefined;
    }
  };
  const kinds = 'deployments,statefulsets,daemonsets,cronjobs,jobs,pods';
  const [workloads, keySecret, kafkaSecret] = await Promise.all([
    orUnread('other holders of the key', kubectl.get(['get', kinds, '--all-namespaces', '-o', 'json'], workloadList)),
    orUnread(`secret ${place.keySecret}`, secretFacts(kubectl, place.keySecret)),
    orUnread(`secret ${place.kafkaSecret}`, secretFacts(kubectl, place.kafkaSecret)),
  ]);
  const own = { namespace: kubectl.namespace, name: place.deployment };
  const labelled = new Set(items.map(({ metadata }) => metadata.name));
  const holders =
    workloads === undefined
      ? undefined
      : findHolders(workloads.items, { secret: place.keySecret, mark, own }).filter(
          // A loose pod with the label of ws counts among its pods.
          ({ kind, name, namespace }) => !(kind === 'Pod' && namespace === own.namespace && labelled.has(name)),
        );
  const replicas = found?.spec.replicas ?? (found ? 1 : 0);
  const status = found?.status;
  return {
    namespace: kubectl.namespace,
    deployment: place.deployment,
    exists: found !== undefined,
    generation: found?.metadata.generation ?? 0,
    replicas,
    ready: status?.readyReplicas ?? 0,
    rollout:
      found !== undefined &&
      ((status?.observedGeneration ?? 0) < found.metadata.generation || (status?.updatedReplicas ?? 0) < replicas),
    strategy: found?.spec.strategy?.type ?? null,
    last_restart_at: found?.metadata.annotations?.[RESTART_ANNOTATION] ?? null,
    limits: found?.spec.template.spec.containers[0]?.resources?.limits ?? {},
    pods: items.map(podFacts),
    holders,
    secrets: [keySecret, kafkaSecret].filter((item) => item !== undefined),
    port: portOf(found),
    unread,
  };
}
