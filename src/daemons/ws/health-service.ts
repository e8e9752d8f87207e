/** The health endpoint of a running ws with the gauges behind it: served, announced in the home, closed with the daemon. */
import { openSocketCount } from '../../lib/alpaca/socket.ts';
import { announceService, withdrawService } from '../../lib/service/home.ts';
import { serveEndpoint } from '../../lib/service/http.ts';
import type { Lifecycle } from '../../lib/service/lifecycle.ts';
import { createEndpoint, type EndpointParts } from './endpoint.ts';
import { createGauges, type Gauges } from './gauges.ts';
import { createCredentialTest, marketStreamUrl, wsIdentity } from './identity.ts';
import type { RecordMaker } from './records.ts';
import { isFeedActive } from './streams.ts';
import type { WsConfig } from './variables.ts';

type Own =
  | 'identity'
  | 'universe'
  | 'loopLagSeconds'
  | 'openSockets'
  | 'testCredentials'
  | 'isStopping'
  | 'runId'
  | 'feed';

export interface HealthServiceParts extends Omit<EndpointParts, Own | 'forwarder'> {
  config: WsConfig;
  env: NodeJS.ProcessEnv;
  home: string;
  /** Port of the endpoint; undefined takes HEALTH_PORT. */
  port: number | undefined;
  forwarder: EndpointParts['forwarder'];
  records: Pick<RecordMaker, 'duplicates'>;
  lifecycle: Lifecycle;
}

/** @throws `port_in_use` (exit 2) */
export async function serveHealth(parts: HealthServiceParts): Promise<{ url: string; gauges: Gauges }> {
  const { config, env, home, lifecycle, metrics } = parts;
  const feed = config.ALPACA_FEED;
  const openSockets = () => openSocketCount(marketStreamUrl(config));
  const view = createEndpoint({
    ...parts,
    runId: env.TORGHUT_RUN_ID ?? 'live',
    feed,
    identity: wsIdentity(config, env),
    universe: config.universe,
    loopLagSeconds: () => gauges.loopLagSeconds,
    openSockets,
    testCredentials: createCredentialTest(config, () => parts.desired.symbols),
    isStopping: () => lifecycle.signal.aborted,
  });
  const gauges = createGauges({
    ...parts,
    feed,
    isSessionActive: () => isFeedActive(feed, parts.clock),
    errorClass: () => view.judge().errorClass,
    openSockets,
  });
  metrics.build.set({ version: config.TORGHUT_WS_VERSION ?? '', commit: config.TORGHUT_WS_COMMIT ?? '' }, 1);
  lifecycle.onClose('gauges', () => gauges.close());
  const endpoint = await serveEndpoint(view, parts.port ?? config.HEALTH_PORT, config.HEALTH_HOST);
  lifecycle.onClose('health endpoint', () => endpoint.close());
  if (config.METRICS_PORT !== undefined && config.METRICS_PORT !== endpoint.port) {
    const second = await serveEndpoint(view, config.METRICS_PORT, config.HEALTH_HOST);
    lifecycle.onClose('metrics endpoint', () => second.close());
  }
  announceService(home, 'ws', { url: endpoint.url });
  lifecycle.onClose('announcement', () => withdrawService(home, 'ws'));
  return { url: endpoint.url, gauges };
}
