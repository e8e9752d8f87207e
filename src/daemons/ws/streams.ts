/** The two streams of ws with what each of their events sets off. */
import type { Logger } from 'pino';
import { isUp } from '../../lib/alpaca/connection-state.ts';
import { createMarketStream, type MarketStream } from '../../lib/alpaca/market-stream.ts';
import { createOrderStream, type OrderStream } from '../../lib/alpaca/order-stream.ts';
import { sessionOf } from '../../lib/market/calendar.ts';
import { type Feed, isCryptoFeed } from '../../lib/market/feeds.ts';
import type { Clock } from '../../lib/service/clock.ts';
import { machineMs } from '../../lib/service/machine.ts';
import type { ChannelFreshness } from './channel-freshness.ts';
import type { DeadLetters } from './dead-letters.ts';
import type { Forwarder } from './forwarder.ts';
import { marketStreamUrl } from './identity.ts';
import type { WsMetrics } from './metrics.ts';
import type { OrderEvents } from './order-events.ts';
import type { ProgressTeller } from './progress.ts';
import type { StatusReporter } from './status-reporter.ts';
import type { StreamHealth } from './stream-health.ts';
import type { WsConfig } from './variables.ts';

/** Machine ms between pings on the order stream, which carries no progress. */
const ORDER_PING_MS = 5_000;
/** Machine ms for the answer to the authentication (spec ingest 1.2). */
const AUTH_TIMEOUT_MS = 10_000;

/** Is market data of this feed to be expected now? */
export function isFeedActive(feed: Feed, clock: Clock): boolean {
  if (isCryptoFeed(feed)) return true;
  const session = sessionOf(clock.nowNs());
  switch (feed) {
    case 'test':
      return true;
    case 'overnight':
      return session === 'overnight';
    case 'iex':
      return session === 'regular';
    default:
      return session === 'regular' || session === 'pre' || session === 'post';
  }
}

export interface StreamParts {
  config: WsConfig;
  component: string;
  orderComponent: string;
  clock: Clock;
  log: Logger;
  random: () => number;
  forwarder: Forwarder;
  orderEvents: OrderEvents;
  progress: ProgressTeller;
  status: StatusReporter;
  deadLetters: DeadLetters;
  metrics: WsMetrics;
  /** Does more wait for the log than a moment's work, while the log works? */
  isCongested(): boolean;
  freshness: ChannelFreshness;
  /** The symbols wanted now. */
  symbols(): readonly string[];
  marketHealth: StreamHealth;
  ordersHealth: StreamHealth;
  /** The market stream delivers completely from now on. */
  onUp(): void;
  onLost(): void;
  /** Order events are heard from now on; or no longer. */
  onOrders(isUp: boolean): void;
}

export function createStreams(parts: StreamParts): { market: MarketStream; orders: OrderStream | undefined } {
  const { config, clock, log, forwarder, orderEvents, progress, status, deadLetters, metrics } = parts;
  const common = {
    key: config.key,
    secret: config.secret,
    clock,
    random: parts.random,
    reconnectBaseMs: config.RECONNECT_BASE_MS,
    reconnectMaxMs: config.RECONNECT_MAX_MS,
    refusedRetryMs: config.INGEST_REFUSED_RETRY_MS,
    pongTimeoutMs: config.INGEST_PONG_TIMEOUT_MS,
    authTimeoutMs: AUTH_TIMEOUT_MS,
  };
  const feed = config.ALPACA_FEED;
  const market = createMarketStream({
    ...common,
    url: marketStreamUrl(config),
    channels: config.ALPACA_MARKET_DATA_CHANNELS,
    get symbols() {
      return parts.symbols();
    },
    batchSize: config.SUBSCRIBE_BATCH_SIZE,
    encoding: config.ALPACA_STREAM_ENCODING,
    pingMs: config.pingMs,
    readIdleMs: config.ALPACA_MARKET_DATA_READ_IDLE_TIMEOUT_MS,
    isSessionActive: () => isFeedActive(feed, clock),
    isCongested: parts.isCongested,
    onState: (change) => {
      parts.marketHealth.onState(change, machineMs(), clock.nowMs());
      if (change.end) {
        metrics.marketReconnects.inc({ feed });
        metrics.marketConnectErrors.inc({ feed, error_class: change.end.errorClass });
      }
      if (isUp(change.to) && !isUp(change.from)) metrics.marketConnects.inc({ feed });
      forwarder.onState(change);
      if (isUp(change.to) && !isUp(change.from)) {
        parts.freshness.up(clock.nowMs());
        parts.onUp();
      } else if (isUp(change.from) && !isUp(change.to)) {
        parts.freshness.down();
      }
      if (change.end) parts.onLost();
    },
    onMessage: (message) => {
      if (message.type === 's') {
        parts.freshness.status(message.symbol, (JSON.parse(message.raw) as { sc?: unknown }).sc);
      }
      forwarder.onMessage(message);
    },
    onBadFrame: (reason, text, detail) => deadLetters.write(reason, text, detail, ''),
    onPong: (sentNs) => progress.proven(sentNs),
    onNotice: (errorClass, code, message) => {
      log.warn({ errorClass, code }, message);
      if (errorClass !== 'already_authenticated') parts.marketHealth.refused(errorClass, code);
      status.say(parts.component, 'degraded', { errorClass, ...(code === undefined ? {} : { code }), detail: message });
    },
  });
  if (!config.isOrderStreamOn || config.ALPACA_TRADE_STREAM_URL === undefined) return { market, orders: undefined };
  const orders = createOrderStream({
    ...common,
    url: config.ALPACA_TRADE_STREAM_URL,
    pingMs: ORDER_PING_MS,
    onState: (change) => {
      parts.ordersHealth.onState(change, machineMs(), clock.nowMs());
      if (change.end) {
        metrics.reconnects.inc();
        metrics.orderConnectErrors.inc({ error_class: change.end.errorClass });
      }
      if (change.to === 'ready') metrics.orderConnects.inc();
      log[change.end ? 'warn' : 'info']({ from: change.from, to: change.to, ...change.end }, 'order stream');
      if (change.end) metrics.connectErrors.inc({ stream: 'orders', error_class: change.end.errorClass });
      if (change.to === 'ready') metrics.connects.inc({ stream: 'orders' });
      if (isUp(change.to) !== isUp(change.from)) parts.onOrders(isUp(change.to));
      status.change(parts.orderComponent, change);
    },
    onUpdate: (raw) => {
      forwarder.received.trade_updates = (forwarder.received.trade_updates ?? 0) + 1;
      if (!orderEvents.receive(raw)) metrics.orderDuplicates.inc({ channel: 'trade_updates' });
    },
    onBadFrame: (text, detail) => deadLetters.write('json', text, detail, ''),
  });
  return { market, orders };
}
