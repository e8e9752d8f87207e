/**
 * `torghut ws`: wiring of streams, lanes, repair and log, its health endpoint, start and stop.
 * Guarantees: the writer fences its predecessor once, here; nothing is published before the own tails were read; a stop sends
 * close frames, drains what may go and leaves the rest to the next start (spec ingest 2.6).
 */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createMarketRest } from '../../lib/alpaca/marketRest.ts';
import { createMarketStream } from '../../lib/alpaca/marketStream.ts';
import { createOrderStream } from '../../lib/alpaca/orderStream.ts';
import { openEventLog } from '../../lib/log/open.ts';
import { type TopicRole, topicSpec } from '../../lib/log/topics.ts';
import { sessionOf } from '../../lib/market/calendar.ts';
import { createEnvelopeWriter } from '../../lib/market/envelopeText.ts';
import { openClock } from '../../lib/service/clock.ts';
import { codeOf, type TorghutError } from '../../lib/service/errors.ts';
import { announceService, homePaths, withdrawService } from '../../lib/service/home.ts';
import { serveEndpoint } from '../../lib/service/http.ts';
import { createLifecycle, type Lifecycle, runDaemon } from '../../lib/service/lifecycle.ts';
import { createLogger, type Logger, registerSecret } from '../../lib/service/logging.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { createDeadLetters } from './deadLetters.ts';
import { Forwarder } from './forwarder.ts';
import { openJournal } from './journal.ts';
import { Lane } from './lane.ts';
import { createWsMetrics } from './metrics.ts';
import { createOrderEvents, orderRoles } from './orderEvents.ts';
import { createProgressTeller, PROGRESS_INTERVAL_MS } from './progress.ts';
import { Publisher } from './publisher.ts';
import { RecordMaker, Slots } from './records.ts';
import { recover } from './recovery.ts';
import { SpoolFifo } from './spoolFifo.ts';
import { createStatusReporter, HEARTBEAT_MS } from './statusReporter.ts';
import { readLaneTail } from './tail.ts';
import { loadWsConfig, type WsConfig } from './variables.ts';

export interface WsDaemonOptions {
  home: string;
  /** Port of the health endpoint; undefined takes HEALTH_PORT. */
  port?: number;
  env?: NodeJS.ProcessEnv;
}

/** Memory of a waiting line before it goes to disk, all lanes together a part of INGEST_QUEUE_BYTES. */
const laneMemoryBytes = (config: WsConfig) => Math.max(65_536, Math.floor(config.INGEST_QUEUE_BYTES / 2));
/** A waiting line does not fill the queue beyond so many records, so that live and old ones share the memory bound. */
const MAX_QUEUED = 20_000;
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

function topicNames(config: WsConfig): Record<string, string> & Record<IngestRole, string> {
  return {
    trades: config.TOPIC_TRADES,
    quotes: config.TOPIC_QUOTES,
    bars: config.TOPIC_BARS_1M,
    status: config.TOPIC_STATUS,
    tradeUpdates: config.TOPIC_TRADE_UPDATES,
    tradeUpdatesV2: config.TOPIC_TRADE_UPDATES_V2,
    repair: config.INGEST_REPAIR_TOPIC,
    dlq: config.INGEST_DLQ_TOPIC,
  };
}

type IngestRole = Extract<
  TopicRole,
  'trades' | 'quotes' | 'bars' | 'status' | 'tradeUpdates' | 'tradeUpdatesV2' | 'repair' | 'dlq'
>;

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
  const names = topicNames(config);

  const eventLog = await openEventLog({ home, env, clock });
  lifecycle.onClose('event log', () => eventLog.close());
  const roles = Object.keys(names) as IngestRole[];
  const specs = roles.map((role) =>
    topicSpec(role, { names, partitions: config.TORGHUT_PARTITIONS, clock: clock.kind }),
  );
  await eventLog.ensureTopics(specs);
  const writer = await eventLog.openWriter({ owner: 'ws' });
  lifecycle.onClose('writer', () => writer.close());

  const slots = new Slots(names, config.TORGHUT_PARTITIONS);
  const spoolFolder = config.INGEST_SPOOL_DIR ?? homePaths.spool(home);
  const { journal, left } = openJournal(spoolFolder, `${clock.nowNs()}`);
  lifecycle.onClose('journal', () => journal.close());
  removeOldSpool(spoolFolder);
  const account = config.TORGHUT_ACCOUNT_LABEL ?? '';
  const recovered = await recover(eventLog, slots, names, left, account);

  const metrics = createWsMetrics();
  const envelopes = createEnvelopeWriter({ feed, clock, lastSeq: recovered.lastSeq });
  const acknowledged = new Map<string, number>();
  for (const slot of slots.all()) {
    if (slot.topic === names.tradeUpdates) continue;
    for (const [channel, count] of slot.counts) acknowledged.set(channel, (acknowledged.get(channel) ?? 0) + count);
  }
  const publisher = new Publisher({
    writer,
    headers: {
      schema: 'torghut.envelope.v2',
      producer: 'torghut-ws',
      producer_epoch: String(envelopes.producerEpochMs),
    },
    commitMs: config.INGEST_COMMIT_MS,
    commitRecords: config.INGEST_COMMIT_RECORDS,
    maxBytes: config.INGEST_QUEUE_BYTES,
    random,
    onCommit: ({ records, ms, error }) => {
      metrics.commitSeconds.observe(ms / 1_000);
      if (error !== undefined) {
        metrics.commitErrors.inc({ error_class: codeOf(error) ?? 'unknown' });
        log.warn({ code: codeOf(error), records: records.length }, 'a commit failed');
        return;
      }
      const perTopic = new Map<string, number>();
      for (const { slot, counted } of records) {
        perTopic.set(slot.topic, (perTopic.get(slot.topic) ?? 0) + 1);
        if (counted !== undefined && slot.topic !== names.tradeUpdates) {
          acknowledged.set(counted, (acknowledged.get(counted) ?? 0) + 1);
        }
      }
      for (const [topic, count] of perTopic) metrics.produced.inc({ topic }, count);
    },
    onFatal: (error: TorghutError) => {
      log.error({ code: error.code, why: error.why }, error.what);
      lifecycle.stop(error.code, error.exitCode);
    },
  });

  const records = new RecordMaker(slots, envelopes, clock);
  let spooledBytes = 0;
  const lanes = Array.from(
    { length: config.TORGHUT_PARTITIONS },
    (_, partition) =>
      new Lane({
        partition,
        publisher,
        records,
        journal,
        maxQueued: MAX_QUEUED,
        fifo: new SpoolFifo({
          folder: spoolFolder,
          name: `market-${partition}`,
          memoryBytes: laneMemoryBytes(config) / config.TORGHUT_PARTITIONS,
          mayGrow: (bytes) => spooledBytes + bytes <= config.INGEST_SPOOL_BYTES,
          onDiskBytes: (bytes) => {
            spooledBytes += bytes;
          },
        }),
      }),
  );
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

  const isSessionActive = () => {
    const session = sessionOf(clock.nowNs());
    if (feed === 'test') return true;
    if (feed === 'overnight') return session === 'overnight';
    if (feed === 'iex') return session === 'regular';
    return session === 'regular' || session === 'pre' || session === 'post';
  };
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
    isSessionActive,
    lastDataMs: () => forwarder.lastDataMs,
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

  const common = {
    key: config.key,
    secret: config.secret,
    clock,
    random,
    reconnectBaseMs: config.RECONNECT_BASE_MS,
    reconnectMaxMs: config.RECONNECT_MAX_MS,
    pongTimeoutMs: config.INGEST_PONG_TIMEOUT_MS,
    authTimeoutMs: 10_000,
  };
  let reconnects = 0;
  const market = createMarketStream({
    ...common,
    url: `${config.ALPACA_STREAM_URL}/${feed === 'overnight' ? 'v1beta1' : 'v2'}/${feed}`,
    channels: config.ALPACA_MARKET_DATA_CHANNELS,
    symbols: config.symbols,
    batchSize: config.SUBSCRIBE_BATCH_SIZE,
    encoding: config.ALPACA_STREAM_ENCODING,
    pingMs: config.pingMs,
    readIdleMs: config.ALPACA_MARKET_DATA_READ_IDLE_TIMEOUT_MS,
    isSessionActive,
    onState: (change) => {
      forwarder.onState(change);
      if (change.end) reconnects += 1;
    },
    onMessage: (message) => forwarder.onMessage(message),
    onBadFrame: (reason, text, detail) => deadLetters.write(reason, text, detail, ''),
    onPong: (sentNs) => progress.proven(sentNs),
    onNotice: (errorClass, code, message) => {
      log.warn({ errorClass, code }, message);
      status.say(component, 'degraded', { errorClass, ...(code === undefined ? {} : { code }), detail: message });
    },
  });
  const orders =
    config.isOrderStreamOn && config.ALPACA_TRADE_STREAM_URL !== undefined
      ? createOrderStream({
          ...common,
          url: config.ALPACA_TRADE_STREAM_URL,
          pingMs: 5_000,
          onState: (change) => {
            log[change.end ? 'warn' : 'info']({ from: change.from, to: change.to, ...change.end }, 'order stream');
            if (change.end) metrics.connectErrors.inc({ stream: 'orders', error_class: change.end.errorClass });
            if (change.to === 'ready') metrics.connects.inc({ stream: 'orders' });
            status.change('ws:trade_updates', change);
          },
          onUpdate: (raw) => {
            received.trade_updates = (received.trade_updates ?? 0) + 1;
            orderEvents.receive(raw);
          },
          onBadFrame: (text, detail) => deadLetters.write('json', text, detail, ''),
        })
      : undefined;
  const received = forwarder.received;

  const gates = () => ({
    alpaca_ws: market.state === 'ready' || market.state === 'degraded',
    kafka: publisher.failures < 3 && !publisher.isStuck,
    trade_updates: orders === undefined || orders.state === 'ready',
    market_data_channels: forwarder.gaps.open === 0,
  });
  const endpoint = await serveEndpoint(
    {
      isAlive: () => true,
      readiness: () => {
        const now = gates();
        const ready = !lifecycle.signal.aborted && Object.values(now).every(Boolean);
        metrics.ready.set(ready ? 1 : 0);
        return {
          ready,
          status: ready ? 'ready' : 'not_ready',
          gates: now,
          alpaca_market_data_ws: {
            state: market.state,
            subscribed_symbol_count: config.symbols.length,
            subscribed_symbols: config.symbols,
          },
        };
      },
      status: () => ({
        run_id: env.TORGHUT_RUN_ID ?? 'live',
        state: market.state,
        orders_state: orders?.state ?? null,
        received,
        acknowledged: { trades: 0, quotes: 0, bars: 0, ...Object.fromEntries(acknowledged) },
        queued: publisher.queued,
        spooled: lanes.reduce((sum, lane) => sum + lane.waiting, 0),
        spooled_bytes: spooledBytes,
        journalled: journal.pending,
        gaps: { ...forwarder.gaps },
        last_event_ts: forwarder.lastEvent?.text ?? null,
        lag_ms: forwarder.lagMs ?? null,
        reconnects,
      }),
      metrics: metrics.registry,
    },
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
      if (orders) status.heartbeat('ws:trade_updates');
    }, HEARTBEAT_MS),
    setInterval(() => {
      metrics.queueBytes.set(publisher.queuedBytes);
      metrics.spoolBytes.set(spooledBytes);
      for (const [channel, count] of Object.entries(received)) {
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
    await Promise.race([publisher.flush(), sleep(config.SHUTDOWN_DRAIN_MS / 2)]);
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
