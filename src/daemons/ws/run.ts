/**
 * `torghut ws`: wiring of streams, lanes, repair and log, its health endpoint, start and stop.
 * Guarantees: nothing is published before the own tails were read (own-log.ts); a stop sends close frames, drains what may go
 * and leaves the rest to the next start (spec ingest 2.6).
 */
import { createMarketRest } from '../../lib/alpaca/market-rest.ts';
import { createEnvelopeWriter } from '../../lib/market/envelope-text.ts';
import { openClock } from '../../lib/service/clock.ts';
import { boundOldGeneration, boundYoungGeneration } from '../../lib/service/heap.ts';
import { deadServices } from '../../lib/service/home.ts';
import { createLifecycle, type Lifecycle, runDaemon } from '../../lib/service/lifecycle.ts';
import { createLogger, type Logger, registerSecret } from '../../lib/service/logging.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { AgeWatch } from './age-watch.ts';
import { ChannelFreshness } from './channel-freshness.ts';
import { createDeadLetters } from './dead-letters.ts';
import { createDelivery } from './delivery.ts';
import { createDesiredSymbols } from './desired-symbols.ts';
import { Forwarder } from './forwarder.ts';
import { serveHealth } from './health-service.ts';
import { seededRandom } from './jitter.ts';
import { createWsMetrics } from './metrics.ts';
import { createOrderEvents, orderRoles } from './order-events.ts';
import { openOrderRecovery } from './order-recovery.ts';
import { openOwnLog } from './own-log.ts';
import { createProgressTeller, PROGRESS_INTERVAL_MS } from './progress.ts';
import { createSilenceCheck } from './silence-check.ts';
import { createStatusReporter, HEARTBEAT_MS } from './status-reporter.ts';
import { LoopWatch, StreamHealth } from './stream-health.ts';
import { createStreams, isFeedActive } from './streams.ts';
import { loadWsConfig, type WsConfig } from './variables.ts';

export interface WsDaemonOptions {
  home: string;
  /** Port of the health endpoint; undefined takes HEALTH_PORT. */
  port?: number;
  env?: NodeJS.ProcessEnv;
}

/** Enough for a commit's worth of messages to die young; see lib/service/heap.ts for what both save and cost. */
const YOUNG_MB = 8;
const OLD_GROWTH_PERCENT = 150;
const PUMP_MS = 10;

/** Runs until a signal, the parent's death or a fatal error. @returns the exit code */
export async function runWsDaemon(options: WsDaemonOptions): Promise<number> {
  const env = options.env ?? process.env;
  boundYoungGeneration(YOUNG_MB);
  boundOldGeneration(OLD_GROWTH_PERCENT);
  const log = createLogger('ws');
  const clock = openClock(env.TORGHUT_CLOCK);
  const config = loadWsConfig(env, clock.kind);
  for (const secret of [config.key, config.secret]) registerSecret(secret);
  for (const warning of config.warnings) log.warn(warning);
  const lifecycle = createLifecycle({ log, drainMs: config.SHUTDOWN_DRAIN_MS });
  return runDaemon(lifecycle, log, () => start({ ...options, env }, config, clock, lifecycle, log));
}

async function start(
  options: WsDaemonOptions & { env: NodeJS.ProcessEnv },
  config: WsConfig,
  clock: ReturnType<typeof openClock>,
  lifecycle: Lifecycle,
  log: Logger,
): Promise<void> {
  const { home, env } = options;
  const startedMs = machineMs();
  // Machine randomness is for jitter only; nothing that is stored depends on it.
  const random = seededRandom(process.pid ^ Math.floor(startedMs * 1_000));
  const feed = config.ALPACA_FEED;
  const component = `ws:${feed}`;
  const orderComponent = 'ws:trade_updates';
  const own = await openOwnLog({ home, env, config, clock, lifecycle, log, component });
  const { names, shardName, slots, writer, spoolFolder, journal, left, recovered } = own;

  const metrics = createWsMetrics();
  const counters = config.ALPACA_MARKET_DATA_CHANNELS.map((name) => (name === 'updatedBars' ? 'updated_bars' : name));
  const freshness = new ChannelFreshness(feed, config.symbols, counters);
  const desired = createDesiredSymbols({
    config,
    clock,
    log,
    metrics,
    onChange: (symbols) => {
      freshness.setSymbols(symbols, clock.nowMs());
      market.setSymbols(symbols);
    },
  });
  const marketHealth = new StreamHealth(machineMs());
  // Its slot at the provider may still be held for it.
  if (deadServices(home).some(({ name }) => name === 'ws')) marketHealth.inheritUncleanEnd(machineMs());
  const ordersHealth = new StreamHealth(machineMs());
  const loop = new LoopWatch(machineMs());
  const envelopes = createEnvelopeWriter({ feed, clock, lastSeq: recovered.lastSeq });
  if (recovered.lastSeq >= Math.floor(envelopes.producerEpochMs / 1_000) * 1_000_000) metrics.seqRegressions.inc();
  const { publisher, records, lanes, acknowledged, spooledBytes, ...delivery } = createDelivery({
    config,
    clock,
    log,
    random,
    writer,
    slots,
    envelopes,
    journal,
    metrics,
    spoolFolder,
    onRecord: ({ counted, key, timestampMs, markMs }) => freshness.acked(counted ?? '', key ?? '', timestampMs, markMs),
    onFatal: (error) => lifecycle.stop(error.code, error.exitCode),
  });
  lifecycle.onClose('spool', () => delivery.close());
  const rest = createMarketRest({
    baseUrl: config.ALPACA_BASE_URL,
    key: config.key,
    secret: config.secret,
    feed,
    random,
    requestTimeoutMs: 15_000,
    onRetry: (status, delayMs) => {
      metrics.restRetries.inc({ status: String(status ?? 'none') });
      log.debug({ status, delayMs }, 'market-data request will be asked again');
    },
  });

  const deadLetters = createDeadLetters({
    feed,
    clock,
    slots,
    publisher,
    producerEpochMs: envelopes.producerEpochMs,
    metrics,
  });
  const progress = createProgressTeller({
    clock,
    shard: shardName ?? '0/1',
    publisher,
    envelopes,
    lanes,
    slotsOf: (lane) => (['trades', 'quotes', 'bars'] as const).map((role) => slots.of(role, lane.partition)),
    isUp: () => forwarder.isUp,
    isSessionActive: () => isFeedActive(feed, clock),
    lastDataMs: () => forwarder.lastDataMs,
    confirmed: (provenNs) => age.cap(silence.confirmed(provenNs)),
  });
  const age = new AgeWatch({
    limitMs: config.INGEST_MAX_AGE_MS,
    onBehind: (behindMs) => {
      const detail = `the data are ${Math.round(behindMs / 1_000)} market s old although they flow`;
      log.error({ behindMs: Math.round(behindMs) }, detail);
      status.say(component, 'degraded', { errorClass: 'stale_data', detail });
      market.giveUp('stale_data', detail);
    },
    onAccepted: (ageMs) => {
      const detail = `data stay ${Math.round(ageMs / 1_000)} s old over new connections: a clock is off`;
      log.error({ ageMs: Math.round(ageMs) }, detail);
      status.say(component, 'degraded', { errorClass: 'stale_data', detail });
    },
  });
  const silence = createSilenceCheck({
    rest,
    get symbols() {
      return desired.symbols;
    },
    batchSize: config.SUBSCRIBE_BATCH_SIZE,
    records,
    lastDataMs: () => forwarder.lastDataMs,
    lastEventMs: () => forwarder.lastEvent?.ms ?? 0,
    onMute: (detail) => market.giveUp('read_idle', detail),
  });
  const status = createStatusReporter({
    feed,
    clock,
    slots,
    envelopes,
    publisher,
    facts: (of) => {
      const stream = of === component ? market : orders;
      return {
        authOk: stream?.state === 'subscribing' || stream?.state === 'ready' || stream?.state === 'degraded',
        subscriptionOk: stream?.state === 'ready',
        kafkaReady: publisher.failures < 3,
        subscribedSymbols: of === component ? desired.symbols.length : 0,
        lagMs: forwarder.lagMs,
        lastEventTs: forwarder.lastEvent?.text,
      };
    },
  });
  const forwarder: Forwarder = new Forwarder({
    feed,
    component,
    get symbols() {
      return desired.symbols;
    },
    batchSize: config.SUBSCRIBE_BATCH_SIZE,
    startNs: config.INGEST_START_TS,
    gapLimitMs: config.INGEST_GAP_LIMIT_MS,
    clock,
    log,
    lanes,
    slots,
    records,
    publisher,
    journal,
    rest,
    progress,
    status,
    deadLetters,
    age,
    metrics,
    readTail: own.readTail,
  });
  const orderEvents = createOrderEvents({
    account: config.TORGHUT_ACCOUNT_LABEL,
    clock,
    slots,
    envelopes,
    publisher,
    journal,
  });
  for (const data of recovered.orderEvents) orderEvents.note(data);
  for (const { entry, missingIn } of recovered.lost) {
    const journalId = journal.adopt(entry);
    if (entry.kind === 'order') {
      const missing = orderRoles.filter((role) => missingIn.includes(names[role]));
      orderEvents.restore(entry.raw, journalId, missing);
    } else {
      forwarder.restore(entry.raw, journalId);
    }
  }
  journal.trim();
  const taken = lanes.reduce((sum, lane) => sum + lane.waiting, 0);
  if (taken > 0) log.info({ taken }, 'market messages of the last process taken over from its spool');
  if (left.length > 0) log.info({ left: left.length, lost: recovered.lost.length }, 'journal of the last process read');

  const orderRecovery = openOrderRecovery(config, {
    component: orderComponent,
    clock,
    log,
    status,
    orderEvents,
    newestNs: recovered.newestOrderNs,
    onRecovered: (count) => metrics.repairedRecords.inc({ channel: 'trade_updates', late: 'false' }, count),
  });
  lifecycle.onClose('order recovery', () => orderRecovery?.down());

  let reconnects = 0;
  const { market, orders } = createStreams({
    config,
    component,
    orderComponent,
    clock,
    log,
    random,
    forwarder,
    orderEvents,
    progress,
    status,
    deadLetters,
    metrics,
    isCongested: () => publisher.isCongested,
    freshness,
    symbols: () => desired.symbols,
    marketHealth,
    ordersHealth,
    onUp: () => silence.begin(clock.nowNs()),
    onOrders: (isUp) => (isUp ? orderRecovery?.up() : orderRecovery?.down()),
    onLost: () => {
      reconnects += 1;
      metrics.reconnects.inc();
    },
  });
  const { url, gauges } = await serveHealth({
    config,
    env,
    home,
    port: options.port,
    lifecycle,
    desired,
    clock,
    market: marketHealth,
    orders: orders === undefined ? undefined : ordersHealth,
    freshness,
    loop,
    publisher,
    forwarder,
    records,
    lanes,
    journal,
    metrics,
    acknowledged,
    spooledBytes,
    reconnects: () => reconnects,
  });

  const timers = [
    setInterval(() => forwarder.pump(), PUMP_MS),
    setInterval(() => progress.tick(), PROGRESS_INTERVAL_MS),
    setInterval(() => {
      status.heartbeat(component);
      if (orders) status.heartbeat(orderComponent);
    }, HEARTBEAT_MS),
    setInterval(() => {
      loop.beat(machineMs());
      metrics.queueBytes.set(publisher.queuedBytes);
      metrics.spoolBytes.set(spooledBytes());
      gauges.tick();
    }, 1_000),
  ];

  const connect = async () => {
    await desired.any(lifecycle.signal);
    await market.run(lifecycle.signal);
  };
  const streams = [connect(), desired.run(lifecycle.signal), ...(orders ? [orders.run(lifecycle.signal)] : [])];
  lifecycle.onClose('streams and queue', async () => {
    await Promise.all(streams);
    await forwarder.stop();
    const deadline = machineMs() + config.SHUTDOWN_DRAIN_MS / 2;
    while (lanes.some((lane) => !lane.isHolding && lane.waiting > 0) && machineMs() < deadline) {
      forwarder.pump();
      await sleep(5);
    }
    for (const timer of timers) clearInterval(timer);
    const limit = new AbortController();
    await Promise.race([publisher.flush(), sleep(config.SHUTDOWN_DRAIN_MS / 2, limit.signal)]);
    limit.abort();
  });
  log.info({ url, feed, symbols: desired.symbols.length, ms: Math.round(machineMs() - startedMs) }, 'ws runs');
}
