/**
 * What this ws is by its configuration, for status and diagnosis; and the test of its own keys. Nothing secret: the key id is its
 * mark (first eight hex digits of its SHA-256), addresses are shown without user, query and path beyond the stream's.
 */

import { type CredentialReport, testCredentials, tradingUrlOf } from '../../lib/alpaca/credential-test.ts';
import { keyMark } from '../../lib/cluster/holders.ts';
import { kafkaSettings, logVariables } from '../../lib/log/variables.ts';
import { streamPathOf } from '../../lib/market/feeds.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { machineMs } from '../../lib/service/machine.ts';
import type { WsConfig } from './variables.ts';

export interface WsIdentity {
  key_mark: string;
  market_url: string;
  rest_url: string;
  orders_url: string | null;
  channels: readonly string[];
  shard: { index: number; count: number };
  connection_limit: number;
  /** Symbols over trades and quotes that the plan grants; null without a limit. */
  pair_limit: number | null;
  log: 'embedded' | 'kafka';
  /** Security protocol towards Kafka; null on the embedded log. */
  kafka_security: string | null;
  version: string | null;
  commit: string | null;
}

/** Full address of the market stream. */
export function marketStreamUrl(config: Pick<WsConfig, 'ALPACA_FEED' | 'ALPACA_STREAM_URL'>): string {
  return `${config.ALPACA_STREAM_URL}/${streamPathOf(config.ALPACA_FEED)}`;
}

/** An address without what may be secret in it. */
function shown(address: string): string {
  const url = new URL(address);
  return `${url.protocol}//${url.host}${url.pathname === '/' ? '' : url.pathname}`;
}

export function wsIdentity(config: WsConfig, env: NodeJS.ProcessEnv): WsIdentity {
  const isKafka = (env.KAFKA_BOOTSTRAP ?? '').trim() !== '';
  return {
    key_mark: keyMark(config.key),
    market_url: shown(marketStreamUrl(config)),
    rest_url: shown(config.ALPACA_BASE_URL),
    orders_url: config.isOrderStreamOn && config.ALPACA_TRADE_STREAM_URL ? shown(config.ALPACA_TRADE_STREAM_URL) : null,
    channels: config.ALPACA_MARKET_DATA_CHANNELS,
    shard: { ...config.shard },
    connection_limit: config.ALPACA_CONNECTION_LIMIT,
    pair_limit: config.pairLimit ?? null,
    log: isKafka ? 'kafka' : 'embedded',
    kafka_security: isKafka ? kafkaSettings(loadConfig(logVariables, env).values).security : null,
    version: config.TORGHUT_WS_VERSION ?? null,
    commit: config.TORGHUT_WS_COMMIT ?? null,
  };
}

/** Machine ms in which a second question gets the same answer: the route is open to whoever reaches the port. */
const ANSWER_MS = 10_000;
const TEST_TIMEOUT_MS = 8_000;

/** The test of the own keys; at most one with and one without probe every ten seconds. */
export function createCredentialTest(config: WsConfig, symbols: () => readonly string[]) {
  const last = new Map<boolean, { atMs: number; answer: Promise<CredentialReport> }>();
  return (isProbe: boolean): Promise<CredentialReport> => {
    const known = last.get(isProbe);
    if (known && machineMs() - known.atMs < ANSWER_MS) return known.answer;
    const answer = testCredentials({
      key: config.key,
      secret: config.secret,
      dataUrl: config.ALPACA_BASE_URL,
      tradingUrl: tradingUrlOf(config.ALPACA_TRADE_STREAM_URL),
      probeUrl: isProbe ? `${config.ALPACA_STREAM_URL}/v2/test` : undefined,
      symbol: symbols()[0] ?? 'SPY',
      timeoutMs: TEST_TIMEOUT_MS,
    });
    last.set(isProbe, { atMs: machineMs(), answer });
    return answer;
  };
}
