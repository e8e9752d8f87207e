/**
 * A small Kubernetes API server for the unmodified kubectl: discovery, lists, single objects, merge patches, pod logs and the pod
 * proxy, with a deployment controller of a few lines (a deployment with 0 replicas loses its pods, with 1 it gets one). What a real
 * API server does beyond that (admission, watches, rights) is not needed here.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface KubeObject {
  kind: string;
  metadata: {
    name: string;
    namespace: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    creationTimestamp?: string;
    deletionTimestamp?: string;
    generation?: number;
    ownerReferences?: { kind: string; name: string }[];
  };
  [field: string]: unknown;
}

interface Resource {
  kind: string;
  group: string;
  name: string;
}

const resources: Resource[] = [
  { kind: 'Pod', group: '', name: 'pods' },
  { kind: 'Secret', group: '', name: 'secrets' },
  { kind: 'Namespace', group: '', name: 'namespaces' },
  { kind: 'Deployment', group: 'apps', name: 'deployments' },
  { kind: 'StatefulSet', group: 'apps', name: 'statefulsets' },
  { kind: 'DaemonSet', group: 'apps', name: 'daemonsets' },
  { kind: 'ReplicaSet', group: 'apps', name: 'replicasets' },
  { kind: 'Job', group: 'batch', name: 'jobs' },
  { kind: 'CronJob', group: 'batch', name: 'cronjobs' },
];

const apiVersion = (group: string) => (group === '' ? 'v1' : `${group}/v1`);

/** RFC 7386. */
function merged(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const base = typeof target === 'object' && target !== null ? { ...(target as Record<string, unknown>) } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete base[key];
    else base[key] = merged(base[key], value);
  }
  return base;
}

export class KubeApi {
  objects: KubeObject[] = [];
  /** Where the health endpoint of a pod really is, by pod name. */
  readonly endpoints = new Map<string, string>();
  readonly logs = new Map<string, string>();
  /** Paths that answer 403. */
  forbidden: RegExp | undefined;
  /** Requests that changed something. */
  readonly changes: { path: string; patch: unknown }[] = [];
  readonly folder = mkdtempSync(join(tmpdir(), 'torghut-kube-'));
  readonly #server = createServer((request, response) => void this.#answer(request, response));

  get env(): NodeJS.ProcessEnv {
    return { KUBECONFIG: join(this.folder, 'config'), HOME: this.folder };
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const { port } = this.#server.address() as AddressInfo;
    mkdirSync(this.folder, { recursive: true });
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'test', cluster: { server: `http://127.0.0.1:${port}` } }],
      users: [{ name: 'test', user: {} }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
      'current-context': 'test',
    };
    writeFileSync(join(this.folder, 'config'), JSON.stringify(config), { mode: 0o600 });
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.folder, { recursive: true, force: true });
  }

  find(kind: string, name: string): KubeObject | undefined {
    return this.objects.find((object) => object.kind === kind && object.metadata.name === name);
  }

  /** A deployment with 0 replicas has no pods, with 1 it has one that runs. */
  #control(deployment: KubeObject): void {
    const { name, namespace } = deployment.metadata;
    const replicas = (deployment.spec as { replicas?: number }).replicas ?? 1;
    const isOwn = ({ kind, metadata }: KubeObject) => kind === 'Pod' && metadata.labels?.app === name;
    const pods = this.objects.filter(isOwn);
    if (replicas === 0) this.objects = this.objects.filter((object) => !isOwn(object));
    else if (pods.length === 0) this.objects.push(runningPod(name, namespace, `${name}-new`));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://x');
    const json = (status: number, body: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    const failure = (code: number, reason: string, message: string) =>
      json(code, { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, code, message });
    const path = url.pathname;
    if (this.forbidden?.test(path)) return failure(403, 'Forbidden', `User "test" cannot list ${path}`);
    if (path === '/version') return json(200, { major: '1', minor: '32', gitVersion: 'v1.32.0' });
    if (path === '/api') return json(200, { kind: 'APIVersions', versions: ['v1'] });
    if (path === '/apis') {
      const groups = ['apps', 'batch'].map((name) => {
        const version = { groupVersion: `${name}/v1`, version: 'v1' };
        return { name, versions: [version], preferredVersion: version };
      });
      return json(200, { kind: 'APIGroupList', apiVersion: 'v1', groups });
    }
    const match = /^\/(?:api|apis\/([a-z]+))\/v1(?:\/namespaces\/([^/]+))?(?:\/([a-z]+)(?:\/([^/]+)(\/.*)?)?)?$/.exec(
      path,
    );
    if (!match) return failure(404, 'NotFound', `no ${path}`);
    const [, group = '', namespace, plural, name, rest] = match;
    if (plural === undefined) {
      const list = resources
        .filter((item) => item.group === group)
        .map((item) => ({
          name: item.name,
          singularName: item.kind.toLowerCase(),
          kind: item.kind,
          namespaced: item.kind !== 'Namespace',
          verbs: ['get', 'list', 'patch'],
        }));
      return json(200, { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: apiVersion(group), resources: list });
    }
    const resource = resources.find((item) => item.name === plural && item.group === group);
    if (!resource) return failure(404, 'NotFound', `no resource ${plural}`);
    const kind = resource.kind;
    if (name === undefined) {
      const wanted = (url.searchParams.get('labelSelector') ?? '').split(',').filter(Boolean);
      const items = this.objects
        .filter(
          (object) => object.kind === kind && (namespace === undefined || object.metadata.namespace === namespace),
        )
        .filter(({ metadata }) =>
          wanted.every((pair) => metadata.labels?.[pair.split('=')[0] ?? ''] === pair.split('=').at(-1)),
        )
        .map((object) => ({ apiVersion: apiVersion(group), ...object }));
      return json(200, { kind: `${kind}List`, apiVersion: apiVersion(group), metadata: {}, items });
    }
    const bare = name.split(':')[0] as string;
    if (rest?.startsWith('/proxy'))
      return this.#proxy(bare, `${rest.slice('/proxy'.length)}${url.search}`, response, failure);
    const object = this.find(kind, bare);
    if (!object) return failure(404, 'NotFound', `${plural} "${bare}" not found`);
    if (rest === '/log')
      return void response.writeHead(200, { 'content-type': 'text/plain' }).end(this.logs.get(bare) ?? '');
    if (request.method === 'PATCH') {
      let body = '';
      for await (const part of request as AsyncIterable<Buffer>) body += part.toString();
      const patch: unknown = JSON.parse(body);
      this.changes.push({ path, patch });
      Object.assign(object, merged(object, patch));
      object.metadata.generation = (object.metadata.generation ?? 1) + 1;
      object.status = {
        ...(object.status as object),
        observedGeneration: object.metadata.generation,
        updatedReplicas: 1,
      };
      this.#control(object);
    }
    return json(200, { apiVersion: apiVersion(group), ...object });
  }

  async #proxy(
    pod: string,
    path: string,
    response: ServerResponse,
    failure: (code: number, reason: string, message: string) => void,
  ): Promise<void> {
    const target = this.endpoints.get(pod);
    if (target === undefined) return failure(503, 'ServiceUnavailable', `error trying to reach pod ${pod}`);
    const answer = await fetch(`${target}${path}`).catch(() => undefined);
    if (!answer) return failure(503, 'ServiceUnavailable', `error trying to reach pod ${pod}`);
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'text/plain' });
    response.end(await answer.text());
  }
}

const secretEnv = (secret: string, key: string) => ({
  name: key,
  valueFrom: { secretKeyRef: { name: secret, key } },
});

/** A pod template that has the provider's keys from the secret. */
export function templateWithKeys(args: string[], secret = 'torghut-alpaca'): Record<string, unknown> {
  const container = {
    name: 'main',
    image: 'registry.example/torghut:1',
    args,
    ports: [{ name: 'http', containerPort: 8080 }],
    resources: { requests: { memory: '512Mi' }, limits: { cpu: '1', memory: '1Gi' } },
    env: [secretEnv(secret, 'APCA_API_KEY_ID'), secretEnv(secret, 'APCA_API_SECRET_KEY')],
  };
  return { metadata: { labels: { app: 'x' } }, spec: { containers: [container] } };
}

export function runningPod(app: string, namespace: string, name: string): KubeObject {
  const created = new Date(Date.now() - 3_600_000).toISOString().replace(/\.\d+Z$/, 'Z');
  return {
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      labels: { app },
      creationTimestamp: created,
      ownerReferences: [{ kind: 'ReplicaSet', name: app }],
    },
    spec: templateWithKeys(['ws']).spec,
    status: {
      phase: 'Running',
      startTime: created,
      containerStatuses: [{ name: 'main', ready: true, restartCount: 0, state: {}, lastState: {} }],
    },
  };
}

export function deploymentOf(name: string, namespace: string, args: string[], replicas = 1): KubeObject {
  return {
    kind: 'Deployment',
    metadata: { name, namespace, generation: 1, creationTimestamp: '2026-01-05T10:00:00Z' },
    spec: {
      replicas,
      strategy: { type: 'Recreate' },
      selector: { matchLabels: { app: name } },
      template: templateWithKeys(args),
    },
    status: { observedGeneration: 1, replicas, readyReplicas: replicas, updatedReplicas: replicas },
  };
}

export function secretOf(name: string, namespace: string, created = '2026-01-05T10:00:00Z'): KubeObject {
  const data = { 'never-read': Buffer.from(`${SECRET_VALUE}-${name}`).toString('base64') };
  return { kind: 'Secret', metadata: { name, namespace, creationTimestamp: created }, type: 'Opaque', data };
}

/** What the secrets hold: no output of ours may show it, nor its base64 form. */
export const SECRET_VALUE = 'value-of-a-secret';
