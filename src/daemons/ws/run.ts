/**
 * `torghut ws`: wiring of streams, lanes, repair and log, its health endpoint, start and stop.
 * Guarantees: the writer fences its predecessor once, here; nothing is published before the own tails were read; a stop sends
 * close frames, drains what may go and leaves the rest to the next start (spec ingest 2.6).
 */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createMarketRest } from '../../lib/alpaca/market-rest.ts';
import { openEventLog } from '../../lib/log/open.ts';
import { logVariables } from '../../lib/log/variables.ts';
import { createEnvelopeWriter } from '../../lib/market/envelope-text.ts';
import { openClock } from '../../lib/service/clock.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { announceService, homePaths, withdrawService } from '../../lib/service/home.ts';
import { serveEndpoint } from '../../lib/service/http.ts';
import { createLifecycle, type Lifecycle, runDaemon } from '../../lib/service/lifecycle.ts';
import { createLogger, type Logger, registerSecret } from '../../lib/service/logging.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { ChannelFreshness } from './channel-freshness.ts';
import { createDeadLetters } from './dead-letters.ts';
import { createDelivery } from './delivery.ts';
import { createEndpoint } from './endpoint.ts';
import { Forwarder } from './forwarder.ts';
import { openJournal } from './journal.ts';
import { createWsMetrics } from './metrics.ts';
import { createOrderEvents, orderRoles } from './order-events.ts';
import { openPatientWriter } from './patient-writer.ts';
import { createProgressTeller, PROGRESS_INTERVAL_MS } from './progress.ts';
import { Slots } from './records.ts';
import { recover } from './recovery.ts';
import { createSilenceCheck } from './silence-check.ts';
import { createStatusReporter, HEARTBEAT_MS } from './status-reporter.ts';
import { LoopWatch, StreamHealth } from './stream-health.ts';
import { createStreams, isFeedActive } from './streams.ts';
import { readLaneTail } from './tail.ts';
import { ingestTopicSpecs, ingestTopics } from './topics.ts';
import { loadWsConfig, type WsConfig } from './variables.ts';

export interface WsDaemonOptions {
  home: string;
  /** Port of the health endpoint; undefined takes HEALTH_PORT. */
  port?: number;
  env?: NodeJS.ProcessEnv;
}

const PUMP_MS = 10;

/** Runs until a signal, the parent's death or a fatal error. @returns the exit code */
export async function runWsDaemon(options: WsDaemonOptions): Promise<number> {
  const env = options.env ?? process.env;
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
  const names = ingestTopics(config);

  const eventLog = await openEventLog({ home, env, clock });
  lifecycle.onClose('event log', () => eventLog.close());
  await eventLog.ensureTopics(ingestTopicSpecs(names, config.TORGHUT_PARTITIONS, clock.kind));
  const slots = new Slots(names, config.TORGHUT_PARTITIONS);
  const instance = `${clock.nowNs()}-${process.pid}`;
  const writer = await openPatientWriter({
    log: eventLog,
    owner: 'ws',
    instance,
    statusPartition: { topic: names.status, partition: slots.partitionOf(component) },
    transactionMs: loadConfig(logVariables, env).values.KAFKA_TRANSACTION_TIMEOUT_MS,
    onReopened: ({ lostMs, wasDurable }) => {
      log.warn({ lostMs: Math.round(lostMs), wasDurable }, 'the log takes records again, by a new transaction');
    },
  });
  lifecycle.onClose('writer', () => writer.close());

  const spoolFolder = config.INGEST_SPOOL_DIR ?? homePaths.spool(home);
  const { journal, left } = openJournal(spoolFolder, instance);
  lifecycle.onClose('journal', () => journal.close());
  removeOldSpool(spoolFolder);
  const account = config.TORGHUT_ACCOUNT_LABEL ?? '';
  const recovered = await recover(eventLog, slots, names, left, account);

  const metrics = createWsMetrics();
  const counters = config.ALPACA_MARKET_DATA_CHANNELS.map((name) => (name === 'updatedBars' ? 'updated_bars' : name));
  const freshness = new ChannelFreshness(feed, config.symbols, counters);
  const marketHealth = new StreamHealth(machineMs());
  const ordersHealth = new StreamHealth(machineMs());
  const loop = new LoopWatch(machineMs());
  const envelopes = createEnvelopeWriter({ feed, clock, lastSeq: recovered.lastSeq });
  const { publisher, records, lanes, acknowledged, spooledBytes } = createDelivery({
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
    publisher,
    envelopes,
    lanes,
    slotsOf: (lane) => (['trades', 'quotes', 'bars'] as const).map((role) => slots.of(role, lane.partition)),
    isUp: () => forwarder.isUp,
    isSessionActive: () => isFeedActive(feed, clock),
    lastDataMs: () => forwarder.lastDataMs,
    confirmed: (provenNs) => silence.confirmed(provenNs),
  });
  const silence = createSilenceCheck({
    rest,
    symbols: config.symbols,
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
        subscribedSymbols: of === component ? config.symbols.length : 0,
        lagMs: forwarder.lagMs,
        lastEventTs: forwarder.lastEvent?.text,
      };
    },
  });
  const forwarder: Forwarder = new Forwarder({
    feed,
    component,
    symbols: config.symbols,
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
    metrics,
    readTail: (partition) => readLaneTail(eventLog, names, partition),
  });
  const orderEvents = createOrderEvents({
    account: config.TORGHUT_ACCOUNT_LABEL,
    clock,
    slots,
    envelopes,
    publisher,
    journal,
  });
  for (const identity of recovered.orderEvents) orderEvents.seen.add(identity);
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
  if (left.length > 0) log.info({ left: left.length, lost: recovered.lost.length }, 'journal of the last process read');

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
    marketHealth,
    ordersHealth,
    onUp: () => silence.begin(clock.nowNs()),
    onLost: () => {
      reconnects += 1;
    },
  });
  const endpoint = await serveEndpoint(
    createEndpoint({
      runId: env.TORGHUT_RUN_ID ?? 'live',
      symbols: config.symbols,
      feed,
      clock,
      market: marketHealth,
      orders: orders === undefined ? undefined : ordersHealth,
      freshness,
      loop,
      publisher,
      forwarder,
      lanes,
      journal,
      metrics,
      acknowledged,
      spooledBytes,
      reconnects: () => reconnects,
      isStopping: () => lifecycle.signal.aborted,
    }),
    options.port ?? config.HEALTH_PORT,
  );
  lifecycle.onClose('health endpoint', () => endpoint.close());
  announceService(home, 'ws', { url: endpoint.url });
  lifecycle.onClose('announcement', () => withdrawService(home, 'ws'));

  const toldMessages = new Map<string, number>();
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
      for (const [channel, count] of Object.entries(forwarder.received)) {
        const told = toldMessages.get(channel) ?? 0;
        metrics.providerMessages.inc({ feed, channel }, count - told);
        toldMessages.set(channel, count);
      }
    }, 1_000),
  ];

  const streams = [market.run(lifecycle.signal), ...(orders ? [orders.run(lifecycle.signal)] : [])];
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
  log.info(
    { url: endpoint.url, feed, symbols: config.symbols.length, ms: Math.round(machineMs() - startedMs) },
    'ws runs',
  );
}

/** Market messages that an earlier process left on disk: REST gives them again, with what was missed. */
function removeOldSpool(folder: string): void {
  for (const name of readdirSync(folder)) if (name.endsWith('.spool')) rmSync(join(folder, name), { force: true });
}

/** mulberry32: small, seeded, good enough for jitter. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
