/**
 * Who else in a cluster may hold the market-data slot: every workload that mounts the same secret, or that carries the same key
 * id as plain text (spec ingest 6.2, step 4). Pure. Guarantee: keys are compared by the first eight hex digits of their SHA-256
 * and never returned.
 */
import { createHash } from 'node:crypto';
import { type PodSpec, templateOf, type Workload } from './objects.ts';

/** What stands for a key id wherever it has to be shown: the first eight hex digits of its SHA-256. */
export function keyMark(keyId: string): string {
  return createHash('sha256').update(keyId).digest('hex').slice(0, 8);
}

export interface Holder extends Record<string, unknown> {
  kind: string;
  namespace: string;
  name: string;
  /** How it has the key: by the secret, or written out in its environment. */
  by: 'secret' | 'key_id';
  /** Does it run now, or will it by itself? */
  is_active: boolean;
  /** A `torghut trade` or `torghut ta` opens no market stream. */
  opens_market_data: boolean;
}

const KEY_NAMES = new Set(['ALPACA_KEY_ID', 'APCA_API_KEY_ID']);

function containersOf(spec: PodSpec): PodSpec['containers'] {
  return [...spec.containers, ...(spec.initContainers ?? [])];
}

export function usesSecret(spec: PodSpec, secret: string): boolean {
  const inContainer = containersOf(spec).some(
    ({ env, envFrom }) =>
      env?.some(({ valueFrom }) => valueFrom?.secretKeyRef?.name === secret) === true ||
      envFrom?.some(({ secretRef }) => secretRef?.name === secret) === true,
  );
  return inContainer || spec.volumes?.some((volume) => volume.secret?.secretName === secret) === true;
}

function carriesKey(spec: PodSpec, mark: string | undefined): boolean {
  if (mark === undefined) return false;
  return containersOf(spec).some(
    ({ env }) => env?.some(({ name, value }) => KEY_NAMES.has(name) && value && keyMark(value) === mark) === true,
  );
}

function isActive(item: Workload): boolean {
  if (item.metadata.deletionTimestamp) return true;
  switch (item.kind) {
    case 'Pod':
      return item.status?.phase !== 'Succeeded' && item.status?.phase !== 'Failed';
    case 'CronJob':
      return item.spec?.suspend !== true;
    case 'Job':
      return item.spec?.suspend !== true && Number(item.status?.active ?? 0) > 0;
    case 'DaemonSet':
      return true;
    default:
      return (item.spec?.replicas ?? 1) > 0;
  }
}

/** Words of a container that say which daemon of torghut it is. */
const NO_MARKET_STREAM = new Set(['trade', 'ta']);

function opensMarketData(spec: PodSpec): boolean {
  return !spec.containers.every(({ command, args }) => {
    const words = [...(command ?? []), ...(args ?? [])];
    const at = words.findIndex((word) => /(^|\/)torghut$/.test(word));
    return words.some((word, i) => i > at && NO_MARKET_STREAM.has(word));
  });
}

/**
 * All that could hold the slot, without `own` and without what a listed controller runs.
 * @param own the deployment of ws itself
 */
export function findHolders(
  items: readonly Workload[],
  question: { secret: string; mark: string | undefined; own: { namespace: string; name: string } },
): Holder[] {
  const holders: Holder[] = [];
  for (const item of items) {
    const { kind, metadata } = item;
    if (metadata.ownerReferences?.length) continue;
    const isOwn = metadata.name === question.own.name && metadata.namespace === question.own.namespace;
    if (kind === 'Deployment' && isOwn) continue;
    const spec = templateOf(item);
    if (!spec) continue;
    // In another namespace a secret of the same name is most likely a copy of it.
    const bySecret = usesSecret(spec, question.secret);
    if (!bySecret && !carriesKey(spec, question.mark)) continue;
    holders.push({
      kind,
      namespace: metadata.namespace,
      name: metadata.name,
      by: bySecret ? 'secret' : 'key_id',
      is_active: isActive(item),
      opens_market_data: opensMarketData(spec),
    });
  }
  return holders;
}
