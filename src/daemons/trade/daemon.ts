/**
 * `torghut trade`: leads one account, session after session (session.ts), behind one HTTP endpoint that lives throughout.
 * Guarantees: safe defaults (nothing decided, nothing sent, paper); a lost Postgres, engine or broker ends the session, not
 * the process, and the next one recovers from the ledger before it trades.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { ledgerSource, signalStoreSource } from '../../embedded/connect.ts';
import { storeVariables } from '../../embedded/variables.ts';
import { checkBrokerHost } from '../../lib/alpaca/trading-host.ts';
import { checkLedger } from '../../lib/ledger/check.ts';
import { migrate } from '../../lib/ledger/migrator.ts';
import type { OrderLedger } from '../../lib/ledger/open.ts';
import { openEventLog } from '../../lib/log/open.ts';
import type { OrderDesk } from '../../lib/orders/contract.ts';
import { type Clock, openClock } from '../../lib/service/clock.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { describeError, TorghutError, usageError } from '../../lib/service/errors.ts';
import { announceService, findService, withdrawService } from '../../lib/service/home.ts';
import { createLifecycle, type Lifecycle, runDaemon } from '../../lib/service/lifecycle.ts';
import { createLogger, type Logger, registerSecret } from '../../lib/service/logging.ts';
import { backoffMs, sleep } from '../../lib/service/machine.ts';
import { watchGuard } from '../../lib/signals/disk/guard-watch.ts';
import { createSignalReader } from '../../lib/signals/reader.ts';
import { catalogFile } from '../../lib/trading/catalog-file.ts';
import { catalogKeeper } from '../../lib/trading/catalog-keeper.ts';
import { loadStrategies } from '../../lib/trading/strategy-plugins.ts';
import { serveApi } from './api/server.ts';
import type { BrokerAddress } from './desk.ts';
import { feedEnvironment } from './feed-variables.ts';
import { tradeMetrics } from './metrics.ts';
import { leadSession, type SessionOptions } from './session.ts';
import { settingsOf } from './settings.ts';
import { statusBoard } from './status.ts';
import { otherNames, type TradeConfig, tradeVariables } from './variables.ts';

export interface TradeDaemonOptions {
  home: string;
  env?: NodeJS.ProcessEnv;
  /** Port of the endpoint; undefined leaves it to TRADING_HTTP_PORT. */
  port?: number | undefined;
}

const DEFAULT_PORT = 8181;
const BACKOFF_BASE_MS = 100;
const BACKOFF_MAX_MS = 5_000;
const random = () => randomInt(1_000_000) / 1_000_000;

/** Runs until it is told to stop. @returns the exit code */
export async function runTradeDaemon(options: TradeDaemonOptions): Promise<number> {
  const env = options.env ?? process.env;
  const known = [...Object.keys(storeVariables), ...otherNames];
  const { values: config, warnings } = loadConfig(tradeVariables, env, known);
  const settings = settingsOf(config, env.TORGHUT_RUN_ID || 'live');
  const log = createLogger('trade');
  for (const warning of warnings) log.warn(warning);
  const clock = openClock(env.TORGHUT_CLOCK);
  const address = brokerAddress(config, clock, options.home, env);
  const lifecycle = createLifecycle({ log });
  return runDaemon(lifecycle, log, async () => {
    const board = statusBoard(settings);
    const drain = new AbortController();
    let ledger: OrderLedger | undefined;
    let desk: OrderDesk | undefined;
    const { signal } = lifecycle;
    const stores = { home: options.home, env, signal };
    const signalStore = signalStoreSource(stores);
    const ledgers = ledgerSource(stores);
    // Who may read this home may change its loop; elsewhere the token has to be given.
    const token = config.TRADING_API_TOKEN ?? randomBytes(24).toString('base64url');
    registerSecret(token);
    const endpoint = await serveApi(
      {
        board,
        clock,
        metrics: tradeMetrics(board, clock),
        ledger: () => ledger,
        desk: () => desk,
        pingStore: async () => {
          const answer = await (await signalStore.client()).ping();
          if (!answer.success) throw answer.error;
        },
        checkLedger: async () => checkLedger(await ledgers.dsn()),
        drain: () => {
          board.draining = true;
          drain.abort();
        },
      },
      {
        host: config.TRADING_HTTP_HOST,
        port: options.port ?? config.TRADING_HTTP_PORT ?? (env.TORGHUT_PARENT === 'stdin' ? 0 : DEFAULT_PORT),
        token,
      },
    );
    announceService(options.home, 'trade', { url: endpoint.url, extra: { token } });
    lifecycle.onClose('endpoint', async () => {
      withdrawService(options.home, 'trade');
      await endpoint.close();
    });
    log.info({ url: endpoint.url, enabled: settings.isEnabled, mode: settings.mode }, 'trade listens');
    lifecycle.onClose('signal store', () => signalStore.close());
    lifecycle.onClose('ledger', () => ledgers.close());
    if (address === undefined) return waitWithoutBroker(board, lifecycle, log);

    const eventLog = config.TRADING_ORDER_FEED_ENABLED
      ? await openEventLog({ home: options.home, env: feedEnvironment(config, env), clock, signal })
      : undefined;
    if (eventLog) lifecycle.onClose('event log', () => eventLog.close());
    const path = config.TRADING_STRATEGY_CONFIG_PATH;
    const guard = watchGuard(options.home, config.TRADING_STORE_GUARD_URL, signal);
    const { registry, failures } = await loadStrategies(config.TRADING_STRATEGY_PLUGIN_PATH);
    for (const { file, why } of failures) log.error({ file, why }, 'a strategy plug-in was not loaded');
    const session = {
      home: options.home,
      config,
      board,
      clock,
      log,
      signal,
      brokerAddress: address,
      signals: {
        ...createSignalReader({
          client: () => signalStore.client(),
          database: signalStore.database,
          runId: settings.runId,
          partitions: config.TORGHUT_PARTITIONS,
        }),
        ...guard,
      },
      eventLog,
      catalog: catalogKeeper(path === undefined ? undefined : catalogFile(path), settings, log, registry),
      drainRequested: drain.signal,
      random,
      onLedger: (now: OrderLedger | undefined) => {
        ledger = now;
      },
      onDesk: (now: OrderDesk | undefined) => {
        desk = now;
      },
    };
    const ended = leadForEver(session, async () => {
      const dsn = await ledgers.dsn();
      // The embedded ledger is ours to keep up to date; a configured one is migrated by `torghut db migrate`.
      if (ledgers.isEmbedded) await migrate(dsn);
      return dsn;
    });
    lifecycle.onClose('trading', () => ended.catch(() => undefined));
    await ended;
  });
}

/** Without keys nothing can be read or sent: the process stays up and says so (spec trading 8: boot OK without). */
async function waitWithoutBroker(
  board: { lastError: string | null },
  lifecycle: Lifecycle,
  log: Logger,
): Promise<void> {
  board.lastError = 'broker_keys_missing: APCA_API_KEY_ID and APCA_API_SECRET_KEY are not set';
  log.warn('no broker keys: nothing is traded and nothing reconciled');
  await new Promise<void>((resolve) => lifecycle.signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** Session after session, with back-off between two that failed. @throws what no further try can heal */
async function leadForEver(session: Omit<SessionOptions, 'dsn'>, openDsn: () => Promise<string>): Promise<void> {
  const { log, board, signal } = session;
  let failures = 0;
  while (!signal.aborted) {
    const cyclesBefore = board.totals.cycles;
    try {
      await leadSession({ ...session, dsn: await openDsn() });
    } catch (error) {
      if (signal.aborted) return;
      failures = board.totals.cycles > cyclesBefore ? 1 : failures + 1;
      board.lastError = describeError(error);
      const mayPass = !(error instanceof TorghutError) || error.canRetry || error.code === 'leadership_lost';
      if (!mayPass) throw error;
      log.warn({ err: describeError(error), failures }, 'the session ended; a new one begins');
      await sleep(backoffMs(failures, BACKOFF_BASE_MS, BACKOFF_MAX_MS, random), signal);
    }
  }
}

/**
 * Where the broker is: the configured address, and for the simulator of this very run the place that it announced last.
 * undefined without keys.
 * @throws `broker_host_refused` (exit 4), `config_invalid` (exit 2)
 */
function brokerAddress(
  config: TradeConfig,
  clock: Clock,
  home: string,
  env: NodeJS.ProcessEnv,
): (() => BrokerAddress) | undefined {
  const { APCA_API_KEY_ID: keyId, APCA_API_SECRET_KEY: secretKey, APCA_API_BASE_URL: baseUrl } = config;
  if (keyId === undefined || secretKey === undefined) {
    if (!config.TRADING_ENABLED) return undefined;
    throw usageError({
      code: 'config_invalid',
      what: 'TRADING_ENABLED=true needs the keys of the account',
      why: 'APCA_API_KEY_ID or APCA_API_SECRET_KEY is not set',
      next: 'set both, or TRADING_ENABLED=false',
    });
  }
  const checked = checkBrokerHost({ baseUrl, mode: config.TRADING_MODE, keyId, clockKind: clock.kind });
  return () => {
    const moved =
      checked.isSimulator && env.TORGHUT_PARENT === 'stdin' ? findService(home, 'simulator')?.url : undefined;
    return { ...checked, baseUrl: moved ?? checked.baseUrl, keyId, secretKey };
  };
}
