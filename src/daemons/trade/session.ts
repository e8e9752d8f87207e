/**
 * One leadership: from the connection to the ledger until the leadership or the ledger is lost, or the process has to end.
 * Everything that holds a connection is made here and given up together, so that a restarted Postgres, engine or broker on
 * another port is found by beginning anew. What was begun and not finished is found again in the ledger.
 */
import { openTradingReads } from '../../lib/alpaca/trading-rest.ts';
import type { Leadership } from '../../lib/ledger/contract.ts';
import { type OrderLedger, openLedger } from '../../lib/ledger/open.ts';
import type { EventLog } from '../../lib/log/port.ts';
import type { OrderDesk } from '../../lib/orders/contract.ts';
import { approveUnchanged } from '../../lib/review/reviewer.ts';
import type { Clock } from '../../lib/service/clock.ts';
import { describeError, TorghutError } from '../../lib/service/errors.ts';
import type { Logger } from '../../lib/service/logging.ts';
import { backoffMs, machineMs, sleep } from '../../lib/service/machine.ts';
import { brokerView } from '../../lib/trading/broker-view.ts';
import type { CatalogKeeper } from '../../lib/trading/catalog-keeper.ts';
import { tradingCycle } from '../../lib/trading/cycle.ts';
import type { SignalSource } from '../../lib/trading/ports.ts';
import { endsCycle } from '../../lib/trading/process.ts';
import { sessionGate } from '../../lib/trading/session.ts';
import { type BrokerAddress, brokerBudget, openDesk } from './desk.ts';
import { drainOrders } from './drain.ts';
import { confirmationReader, demandAccount } from './live.ts';
import { universeOf } from './settings.ts';
import type { StatusBoard } from './status.ts';
import type { TradeConfig } from './variables.ts';

export interface SessionOptions {
  home: string;
  config: TradeConfig;
  board: StatusBoard;
  clock: Clock;
  log: Logger;
  signal: AbortSignal;
  dsn: string;
  /** Asked before a session and after broker errors. */
  brokerAddress(): BrokerAddress;
  signals: SignalSource;
  eventLog: EventLog | undefined;
  catalog: CatalogKeeper;
  /** Resolves when POST /drain has come. */
  drainRequested: AbortSignal;
  random: () => number;
  /** Tells the endpoint which ledger to read; undefined when it is gone. */
  onLedger(ledger: OrderLedger | undefined): void;
  /** Tells the endpoint which desk to ask, once its claims are recovered; undefined when it is gone. */
  onDesk(desk: OrderDesk | undefined): void;
}

/** Longest machine ms between two cycles on a virtual clock: its market time may stand still at the end of a run. */
const STILL_CLOCK_MS = 1_000;
const BACKOFF_BASE_MS = 100;
const BACKOFF_MAX_MS = 5_000;

/**
 * Leads until something ends it. Returns when the signal aborts.
 * @throws what ended it: `leadership_lost`, `ledger_unreachable`, `broker_moved` may be followed by a new session
 */
export async function leadSession(options: SessionOptions): Promise<void> {
  const { board, clock, log, signal, dsn } = options;
  const { accountLabel } = board.settings;
  const ledger = openLedger({ dsn, clock, applicationName: 'torghut-trade' });
  let leadership: Leadership | undefined;
  try {
    await ledger.check();
    options.onLedger(ledger);
    board.probes.connectionsInUse = () => ledger.connectionsInUse();
    leadership = await ledger.acquireLeadership({
      accountLabel,
      signal,
      onWaiting: ({ epoch, owner, leaseExpired }) =>
        log.info({ epoch: epoch.toString(), owner, lease_expired: leaseExpired }, 'standby: another process leads'),
    });
    board.leader = true;
    board.epoch = leadership.epoch;
    log.info({ account: accountLabel, epoch: leadership.epoch.toString() }, 'leading');
    await lead(options, ledger, leadership);
  } finally {
    board.leader = false;
    options.onLedger(undefined);
    Object.assign(board.probes, { connectionsInUse: undefined, requestsLeft: undefined });
    // A leadership that is lost already has nothing to give back; a ledger that is gone cannot take it.
    await leadership?.release().catch(() => undefined);
    await ledger.close().catch(() => undefined);
  }
}

async function lead(options: SessionOptions, ledger: OrderLedger, leadership: Leadership): Promise<void> {
  const { config, board, clock, log, signals, catalog, eventLog } = options;
  const { settings, counters } = board;
  const { accountLabel, runId } = settings;
  const address = options.brokerAddress();
  const budget = brokerBudget(config, address.isSimulator);
  board.probes.requestsLeft = () => budget.remaining();
  const reads = openTradingReads({
    ...address,
    budget,
    // Nearby and restarted within a second: look again soon rather than wait for seconds.
    ...(address.isSimulator ? { retryBaseMs: 50, readTimeoutMs: 2_000 } : {}),
  });
  const broker = brokerView(reads, clock);
  await demandAccount(broker, settings);
  let isStopped = settings.killSwitch || (await ledger.read.account.controls(accountLabel)).killSwitch;
  const desk = openDesk({
    config,
    accountLabel,
    address,
    budget,
    reads,
    ledger,
    leadership,
    clock,
    log,
    isKillSwitchOn: () => isStopped,
    feed: eventLog && {
      eventLog,
      topic: config.TRADING_ORDER_FEED_TOPIC,
      runId,
      batchSize: config.TRADING_ORDER_FEED_BATCH_SIZE,
    },
  });
  const cycle = tradingCycle({
    settings,
    clock,
    log,
    ledger,
    leadership,
    desk,
    broker,
    signals,
    reviewer: approveUnchanged,
    catalog,
    session: sessionGate(clock, broker),
    universe: universeOf(config, clock, log),
    confirmation: confirmationReader(options.home, board.settings, config, clock),
    accountEveryMs: config.TRADING_RECONCILE_MS,
    counters,
  });

  const ended = new AbortController();
  const signal = AbortSignal.any([options.signal, ended.signal]);
  const note = () => {
    board.cycle = cycle.status();
    board.desk = desk.status();
    const { digest, version, failure, entries } = catalog;
    board.catalog = { digest, version, failure, strategies: entries.filter((entry) => entry.enabled).length };
    const switches = board.cycle.switches;
    isStopped = switches ? switches.killSwitch || switches.emergencyStop !== null : isStopped;
  };
  // Before the desk's own loop begins, so that no claim is looked at twice at once.
  const recovered = await desk.recover();
  if (recovered.claims > 0) log.warn({ ...recovered }, 'claims of an earlier process were resolved');
  options.onDesk(desk);
  const noting = setInterval(note, 100);
  let deskFailure: unknown;
  const deskRun = desk.run(signal).catch((error: unknown) => {
    deskFailure = error;
    ended.abort();
  });

  /** Cycles until something ends the session. A cycle's failure that may pass is followed by a recovery. */
  const cycles = async () => {
    let failures = 0;
    let isRecovered = false;
    while (!signal.aborted && !options.drainRequested.aborted) {
      const startedAtMs = clock.nowMs();
      const startedMachineMs = machineMs();
      try {
        if (!isRecovered) await cycle.recover();
        isRecovered = true;
        await cycle.run(signal);
        failures = 0;
        board.lastError = null;
        board.totals.cycles += 1;
        board.totals.lastCycleMs = machineMs() - startedMachineMs;
        board.lastCycleAtMachineMs = machineMs();
      } catch (error) {
        failures += 1;
        isRecovered = false;
        await afterFailure(error, failures);
      }
      note();
      await waitUntil(clock, BigInt(startedAtMs + config.TRADING_POLL_MS), [signal, options.drainRequested]);
    }
  };

  const afterFailure = async (error: unknown, failures: number) => {
    board.totals.failures += 1;
    board.lastError = describeError(error);
    leadership.assertHeld();
    if (error instanceof TorghutError && (error.code.startsWith('ledger_') || !endsCycle(error))) throw error;
    if (options.brokerAddress().baseUrl !== address.baseUrl) throw error;
    log.warn({ err: describeError(error), failures }, 'a cycle failed; it is tried again');
    await sleep(backoffMs(failures, BACKOFF_BASE_MS, BACKOFF_MAX_MS, options.random), signal);
  };

  try {
    await cycles();
    if (options.drainRequested.aborted && !signal.aborted) {
      await drainOrders({ desk, cycle, log, signal, onStep: note });
      board.drained = true;
      log.info('drained');
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    }
    if (deskFailure !== undefined) throw deskFailure;
  } finally {
    ended.abort();
    options.onDesk(undefined);
    clearInterval(noting);
    await deskRun;
    note();
  }
}

/** Waits for a market instant (ms); on a virtual clock at most one machine second. */
async function waitUntil(clock: Clock, instantMs: bigint, signals: AbortSignal[]): Promise<void> {
  const limits = clock.kind === 'virtual' ? [AbortSignal.timeout(STILL_CLOCK_MS)] : [];
  await clock.sleepUntil(instantMs * 1_000_000n, AbortSignal.any([...signals, ...limits]));
}
