/**
 * The parts of Kubernetes objects that torghut reads, each parsed once. Facts: the apps/v1, batch/v1 and core/v1 APIs. Of
 * secrets nothing but names and dates ever leaves kubectl.
 */
import { z } from 'zod';

const metadata = z.looseObject({
  name: z.string(),
  namespace: z.string().default(''),
  uid: z.string().default(''),
  generation: z.number().default(0),
  creationTimestamp: z.string().nullish(),
  deletionTimestamp: z.string().nullish(),
  labels: z.record(z.string(), z.string()).nullish(),
  annotations: z.record(z.string(), z.string()).nullish(),
  ownerReferences: z.array(z.looseObject({ kind: z.string(), name: z.string() })).nullish(),
});

const container = z.looseObject({
  name: z.string(),
  args: z.array(z.string()).nullish(),
  command: z.array(z.string()).nullish(),
  ports: z.array(z.looseObject({ name: z.string().nullish(), containerPort: z.number() })).nullish(),
  resources: z
    .looseObject({
      requests: z.record(z.string(), z.string()).nullish(),
      limits: z.record(z.string(), z.string()).nullish(),
    })
    .nullish(),
  env: z
    .array(
      z.looseObject({
        name: z.string(),
        value: z.string().nullish(),
        valueFrom: z.looseObject({ secretKeyRef: z.looseObject({ name: z.string() }).nullish() }).nullish(),
      }),
    )
    .nullish(),
  envFrom: z.array(z.looseObject({ secretRef: z.looseObject({ name: z.string() }).nullish() })).nullish(),
});

export const podSpec = z.looseObject({
  containers: z.array(container).default([]),
  initContainers: z.array(container).nullish(),
  volumes: z.array(z.looseObject({ secret: z.looseObject({ secretName: z.string().nullish() }).nullish() })).nullish(),
});
export type PodSpec = z.infer<typeof podSpec>;

export const deployment = z.looseObject({
  metadata,
  spec: z.looseObject({
    replicas: z.number().nullish(),
    strategy: z.looseObject({ type: z.string().nullish() }).nullish(),
    template: z.looseObject({ spec: podSpec }),
  }),
  status: z
    .looseObject({
      observedGeneration: z.number().nullish(),
      replicas: z.number().nullish(),
      readyReplicas: z.number().nullish(),
      updatedReplicas: z.number().nullish(),
    })
    .nullish(),
});
export type Deployment = z.infer<typeof deployment>;

const terminated = z.looseObject({
  reason: z.string().nullish(),
  exitCode: z.number().nullish(),
  finishedAt: z.string().nullish(),
});

export const pod = z.looseObject({
  metadata,
  spec: podSpec,
  status: z
    .looseObject({
      phase: z.string().nullish(),
      startTime: z.string().nullish(),
      containerStatuses: z
        .array(
          z.looseObject({
            name: z.string(),
            ready: z.boolean().nullish(),
            restartCount: z.number().nullish(),
            state: z.looseObject({ waiting: z.looseObject({ reason: z.string().nullish() }).nullish() }).nullish(),
            lastState: z.looseObject({ terminated: terminated.nullish() }).nullish(),
          }),
        )
        .nullish(),
    })
    .nullish(),
});
export type Pod = z.infer<typeof pod>;
export const podList = z.looseObject({ items: z.array(pod) });

/** Anything that runs pods: its template is found in one of three places. */
export const workload = z.looseObject({
  kind: z.string(),
  metadata,
  spec: z
    .looseObject({
      replicas: z.number().nullish(),
      suspend: z.boolean().nullish(),
      template: z.looseObject({ spec: podSpec.nullish() }).nullish(),
      jobTemplate: z
        .looseObject({ spec: z.looseObject({ template: z.looseObject({ spec: podSpec.nullish() }).nullish() }) })
        .nullish(),
    })
    .nullish(),
  status: z
    .looseObject({ phase: z.string().nullish(), active: z.union([z.number(), z.array(z.unknown())]).nullish() })
    .nullish(),
});
export type Workload = z.infer<typeof workload>;
export const workloadList = z.looseObject({ items: z.array(workload) });

/** The pod template of a workload, wherever its kind keeps it. */
export function templateOf(item: Workload): PodSpec | undefined {
  if (item.kind === 'Pod') return podSpec.parse(item.spec ?? {});
  return item.spec?.template?.spec ?? item.spec?.jobTemplate?.spec.template?.spec ?? undefined;
}
