/** `ws status` over time: asks once, or until ws is healthy; reads the topics where the log of that ws is at hand. */
import type { Kubectl } from '../../lib/cluster/kubectl.ts';
import { defaultPlace, readCluster, type WsPlace } from '../../lib/cluster/ws-deployment.ts';
import { openEventLog } from '../../lib/log/open.ts';
import { openClock, systemClock } from '../../lib/service/clock.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { codeOf } from '../../lib/service/errors.ts';
import { findService } from '../../lib/service/home.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { judgePods, judgeSecrets } from './cluster-checks.ts';
import { findWs, findWsInCluster, type WsFacts } from './status-client.ts';
import { marketNowMs, type NewestRecord, newestRecords, reportStatus, type WsReport } from './status-report.ts';
import { clockOfHome } from './topic-plan.ts';
import { ingestRoles, ingestTopics } from './topics.ts';
import { wsVariables } from './variables.ts';

export interface WaitOptions {
  home: string;
  /** Address of the health endpoint; without it the ws of the home. */
  url?: string | undefined;
  env: NodeJS.ProcessEnv;
  /** Machine ms to wait for health; 0 asks once. */
  waitMs: number;
  /** Present: the ws of a cluster. */
  kubectl?: Kubectl | undefined;
  place?: WsPlace;
}

const POLL_MS = 250;

/** @returns the first healthy report, or the last one. @throws `ws_unreachable` (exit 2) */
export async function watchStatus(options: WaitOptions): Promise<WsReport> {
  const endMs = machineMs() + options.waitMs;
  for (;;) {
    const isLast = machineMs() >= endMs;
    try {
      const report = await reportOnce(options);
      if (report.healthy || isLast) return report;
    } catch (error) {
      if (isLast || codeOf(error) !== 'ws_unreachable') throw error;
    }
    await sleep(POLL_MS);
  }
}

async function reportOnce(options: WaitOptions): Promise<WsReport> {
  const { kubectl, place = defaultPlace } = options;
  const cluster = kubectl && (await readCluster(kubectl, place, undefined));
  const isPeerInCluster = kubectl !== undefined && cluster !== undefined && options.url === undefined;
  const { facts } = isPeerInCluster ? await findWsInCluster(kubectl, cluster) : await findWs(options);
  const nowMs = systemClock().nowMs();
  const verdicts = cluster && {
    pods: judgePods(cluster, nowMs),
    secrets: judgeSecrets(cluster, nowMs, place.keySecret),
  };
  const names = ingestTopics(loadConfig(wsVariables, options.env).values);
  const topicNames = ingestRoles.map((role) => names[role]);
  return reportStatus(facts, await topicsOf(options, facts, topicNames), topicNames, verdicts);
}

/** The embedded log of the home belongs to the ws of the home only; Kafka is where the environment says. */
async function topicsOf(
  { home, env }: WaitOptions,
  facts: WsFacts,
  topicNames: readonly string[],
): Promise<NewestRecord[] | undefined> {
  const isKafka = (env.KAFKA_BOOTSTRAP ?? '').trim() !== '';
  if (!isKafka && findService(home, 'ws')?.url !== facts.url) return undefined;
  const log = await openEventLog({ home, env, clock: openClock(clockOfHome(home, env)) });
  try {
    return await newestRecords(log, topicNames, marketNowMs(facts));
  } finally {
    await log.close();
  }
}
