/**
 * Gathers the facts of a diagnosis: ws itself (by home, address or through the cluster), the cluster by kubectl, other forwarders
 * of this machine, and the test that ws makes of its own keys. Read-only; no key passes through here.
 */
import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import type { Kubectl } from '../../../lib/cluster/kubectl.ts';
import { type ClusterFacts, readCluster, type WsPlace } from '../../../lib/cluster/ws-deployment.ts';
import type { Clock } from '../../../lib/service/clock.ts';
import { codeOf, describeError } from '../../../lib/service/errors.ts';
import { deadServices, findService, homePaths, torghutHome } from '../../../lib/service/home.ts';
import { findWs, findWsInCluster, type WsFacts, type WsPeer } from '../status-client.ts';
import { logErrorClass } from '../stream-health.ts';
import { type DiagnosisFacts, type LocalHolder, lastErrorOf, needsCredentials } from './facts.ts';

export interface GatherOptions {
  home: string;
  url?: string | undefined;
  env: NodeJS.ProcessEnv;
  /** undefined: no cluster is asked. */
  kubectl: Kubectl | undefined;
  place: WsPlace;
  /** Also authenticate once on the test stream. */
  isProbe: boolean;
  /** The clock of the wall: a cluster tells its times by it. */
  clock: Clock;
}

const LOG_LINES = 200;

/** Error classes in the lines of our own log: of a stream, or of a log that ended the start. */
function errorsIn(text: string): { errorClass: string; code: number | undefined }[] {
  return text.split('\n').flatMap((line) => {
    if (!line.includes('"errorClass"') && !line.includes('"level":"error"')) return [];
    try {
      const entry = JSON.parse(line.slice(line.indexOf('{'))) as { errorClass?: unknown; code?: unknown };
      const { errorClass, code } = entry;
      if (typeof errorClass === 'string') return [{ errorClass, code: typeof code === 'number' ? code : undefined }];
      if (typeof code !== 'string' || !/^(kafka|log|topic)_/.test(code)) return [];
      return [{ errorClass: logErrorClass(code), code: undefined }];
    } catch {
      return [];
    }
  });
}

async function loggedErrors({ kubectl, place, home }: GatherOptions): Promise<DiagnosisFacts['logged']> {
  try {
    if (kubectl) return errorsIn(await kubectl.text(['logs', `deployment/${place.deployment}`, `--tail=${LOG_LINES}`]));
    return errorsIn(
      readFileSync(join(homePaths.logs(home), 'ws.log'), 'utf8')
        .split('\n')
        .slice(-LOG_LINES)
        .join('\n'),
    );
  } catch {
    // No log is no evidence; the missing answer of ws is told already.
    return [];
  }
}

const realPath = (path: string): string => {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
};

/** Other forwarders of this machine with the same key on the same address. */
async function localHolders(options: GatherOptions, ws: WsFacts): Promise<LocalHolder[]> {
  const runs = join(torghutHome(options.env), 'runs');
  let names: string[];
  try {
    names = readdirSync(runs);
  } catch {
    return [];
  }
  const own = realPath(options.home);
  const found: LocalHolder[] = [];
  for (const name of names) {
    const home = realPath(join(runs, name));
    const service = findService(home, 'ws');
    if (home === own || !service || service.url === ws.url) continue;
    const other = await findWs({ home }).catch(() => undefined);
    const { key_mark, market_url } = ws.status.identity;
    const same = other?.facts.status.identity;
    if (same?.key_mark === key_mark && same.market_url === market_url) found.push({ home, pid: service.pid });
  }
  return found;
}

/**
 * @throws `ws_unreachable` (exit 2) when neither ws nor a cluster nor a trace of it can be seen; cluster errors (exit 3) when
 *   the cluster was asked for and cannot be read
 */
export async function gatherFacts(options: GatherOptions): Promise<DiagnosisFacts> {
  const { kubectl, place, home } = options;
  // The mark of the key is in what ws tells, and the cluster has to be read to find ws: twice where it matters.
  let cluster: ClusterFacts | undefined = kubectl && (await readCluster(kubectl, place, undefined));
  let peer: WsPeer | undefined;
  let wsSilence: string | undefined;
  const hasDied =
    kubectl === undefined && options.url === undefined && deadServices(home).some(({ name }) => name === 'ws');
  try {
    peer =
      kubectl && cluster && options.url === undefined ? await findWsInCluster(kubectl, cluster) : await findWs(options);
  } catch (error) {
    if (codeOf(error) !== 'ws_unreachable' || (cluster === undefined && !hasDied)) throw error;
    wsSilence = describeError(error);
  }
  const ws = peer?.facts;
  if (kubectl && ws) cluster = await readCluster(kubectl, place, ws.status.identity.key_mark);
  const facts: DiagnosisFacts = {
    ws,
    wsSilence,
    cluster,
    logged: ws === undefined ? await loggedErrors(options) : [],
    localHolders: ws === undefined || kubectl !== undefined ? [] : await localHolders(options, ws),
    hasDied,
    credentials: undefined,
    nowMs: options.clock.nowMs(),
  };
  if (peer && (options.isProbe || needsCredentials(lastErrorOf(facts)))) {
    facts.credentials = await peer.testCredentials(options.isProbe).catch(() => undefined);
  }
  return facts;
}
