/**
 * The order desk: wires claim protocol, trade updates, look-ups, reconcile and cancels over one ledger and one broker
 * (contract.ts says what it guarantees). Machine time paces everything that asks the broker; market time decides ages and
 * when a reconcile pass is due.
 */
import type { BrokerRefusal } from '../alpaca/trading-errors.ts';
import type { TradingReads } from '../alpaca/trading-rest.ts';
import type { ClaimRow } from '../ledger/claims.ts';
import type { Leadership } from '../ledger/contract.ts';
import type { OrderLedger } from '../ledger/open.ts';
import type { Clock } from '../service/clock.ts';
import { crashPoint } from '../service/crash-point.ts';
import { describeError, TorghutError } from '../service/errors.ts';
import type { Logger } from '../service/logging.ts';
import { machineMs, sleep } from '../service/machine.ts';
import { cancelOpenOrders, createLateCanceller } from './cancel.ts';
import { createQueue, type DeskContext, type OrderDeskSettings } from './context.ts';
import type { OrderDesk, OrderDeskStatus, ReconcileSummary, SubmitOutcome } from './contract.ts';
import { isDayTradeHeld } from './day-trade.ts';
import { type FeedOptions, type OrderFeed, openOrderFeed } from './feed.ts';
import type { OrderFirewall } from './firewall.ts';
import { createReconciler, DAY_MS } from './reconcile.ts';
import { resolveClaims, submitApproved, submitReduction } from './submit.ts';

export interface OrderDeskOptions {
  ledger: OrderLedger;
  leadership: Leadership;
  broker: TradingReads;
  firewall: OrderFirewall;
  clock: Clock;
  log: Logger;
  settings: OrderDeskSettings;
  /** The trade-update topic; without it the desk lives on reconcile alone. */
  feed?: FeedOptions;
}

/** Machine ms of one idle round of the maintenance loop. */
const ROUND_MS = 200;
/** Machine ms that a feed poll waits for a record. */
const FEED_WAIT_MS = 250;
/** First and longest wait between two looks at the same unknown claim, machine ms. */
const LOOKUP_FIRST_MS = 200;
const LOOKUP_MAX_MS = 2_000;
/** Longest wait after a failed reconcile pass, machine ms (spec 4.6: 1 to 60 s). */
const RECONCILE_BACKOFF_MAX_MS = 60_000;
/** Limit of cancelOpenOrders, machine ms. */
const CANCEL_LIMIT_MS = 10_000;

/** Paces the looks at unknown claims: quick at first, then every two seconds. */
function lookupPace(): (claim: ClaimRow) => boolean {
  const next = new Map<string, { at: number; waitMs: number }>();
  return (claim) => {
    const known = next.get(claim.decisionId);
    if (known && machineMs() < known.at) return false;
    const waitMs = known ? Math.min(LOOKUP_MAX_MS, known.waitMs * 2) : LOOKUP_FIRST_MS;
    next.set(claim.decisionId, { at: machineMs() + waitMs, waitMs });
    return true;
  };
}

export function createOrderDesk(options: OrderDeskOptions): OrderDesk {
  const { ledger, leadership, clock, log, settings } = options;
  const queue = createQueue();
  const context: DeskContext = {
    ledger,
    leadership,
    broker: options.broker,
    firewall: options.firewall,
    clock,
    log,
    settings,
    counters: {
      posts: 0,
      attempts: {},
      submitted: 0,
      rejected: 0,
      unknown: 0,
      duplicates: 0,
      updatesApplied: 0,
      updatesDuplicate: 0,
      updatesStale: 0,
      feedRecords: 0,
      feedEvents: 0,
      feedUnreadable: 0,
      feedFailures: 0,
      reconcilePasses: 0,
      reconcileChanges: 0,
    },
    inFlight: new Set(),
    flags: { isDraining: false, isBrokerAuthLatched: false, dayTradeRefusedAtMs: undefined },
    write: (work) => queue(() => ledger.writeOrders(leadership, work)),
  };
  const reconciler = createReconciler(context);
  const passes = createQueue();
  const cancelLate = createLateCanceller(context);
  const isLookupDue = lookupPace();
  let feed: OrderFeed | undefined;
  let openOrders = 0;
  let unknownClaims = 0;
  let last: { summary?: ReconcileSummary; error?: string } = {};

  const reconcile = (sinceMs?: number) =>
    passes(async () => {
      try {
        const summary = await reconciler.pass(sinceMs);
        last = { summary };
        openOrders = summary.openOrders;
        unknownClaims = summary.unknownClaims;
        return summary;
      } catch (error) {
        last = { ...last, error: describeError(error) };
        throw error;
      }
    });

  const refreshCounts = async () => {
    const counts = await ledger.orderRead.openCounts(settings.accountLabel);
    openOrders = counts.open;
    unknownClaims = counts.unknownClaims;
  };

  const counted = async (submitting: Promise<SubmitOutcome>): Promise<SubmitOutcome> => {
    const outcome = await submitting;
    if (outcome.kind === 'submitted' || outcome.kind === 'unknown') await refreshCounts();
    return outcome;
  };

  const trouble = new Map<string, string>();
  /**
   * Ledger and broker outages pass; a lost leadership and mistakes in the program do not. A trouble is told when it begins,
   * when it becomes another one, and when it is over: a round comes several times a second.
   */
  const survive = async (what: string, work: () => Promise<void>): Promise<boolean> => {
    try {
      await work();
      if (trouble.delete(what)) log.info(`${what} works again`);
      return true;
    } catch (error) {
      leadership.assertHeld();
      if (!(error instanceof TorghutError) || error.code === 'leadership_lost') throw error;
      if (trouble.get(what) !== error.code) log.warn({ code: error.code, why: error.why }, `${what} failed`);
      trouble.set(what, error.code);
      return false;
    }
  };

  const feedLoop = async (signal: AbortSignal) => {
    while (!signal.aborted) {
      leadership.assertHeld();
      const isOk = await survive('reading trade updates', async () => {
        if (!options.feed) return;
        feed ??= await openOrderFeed(context, options.feed);
        const records = await feed.step(FEED_WAIT_MS, signal);
        if (records > 0) await refreshCounts();
      });
      if (!isOk) {
        context.counters.feedFailures += 1;
        await feed?.close().catch(() => undefined);
        feed = undefined;
      }
      // Without a topic, or with one that has no partition yet, a poll returns at once.
      if (!isOk || feed === undefined || feed.positions().length === 0) {
        await feed?.close();
        feed = undefined;
        await sleep(FEED_WAIT_MS, signal);
      }
    }
  };

  const maintenanceLoop = async (signal: AbortSignal) => {
    let nextPassMarketMs = clock.nowMs();
    let nextPassMachineMs = machineMs();
    let failures = 0;
    while (!signal.aborted) {
      leadership.assertHeld();
      await survive('resolving claims', async () => {
        const resolved = await resolveClaims(context, isLookupDue);
        if (resolved.claims > 0) await refreshCounts();
      });
      await survive('cancelling late orders', async () => void (await cancelLate()));
      if (clock.nowMs() >= nextPassMarketMs && machineMs() >= nextPassMachineMs) {
        const isOk = await survive('reconcile', async () => void (await reconcile()));
        failures = isOk ? 0 : failures + 1;
        nextPassMarketMs = clock.nowMs() + settings.reconcileMs;
        const waitMs =
          failures === 0
            ? settings.reconcileMinMachineMs
            : Math.min(RECONCILE_BACKOFF_MAX_MS, 1_000 * 2 ** (failures - 1));
        nextPassMachineMs = machineMs() + waitMs;
        if (failures > 0) nextPassMarketMs = clock.nowMs();
      }
      await sleep(ROUND_MS, signal);
    }
  };

  return {
    recover: async () => {
      crashPoint('recover.before');
      const sinceMs = clock.nowMs() - DAY_MS;
      context.flags.dayTradeRefusedAtMs = await ledger.orderRead.newestRefusalAtMs(
        settings.accountLabel,
        'broker_pattern_day_trader' satisfies BrokerRefusal,
        sinceMs,
      );
      const summary = await resolveClaims(context);
      await refreshCounts();
      crashPoint('recover.after');
      return summary;
    },
    submit: (order) => counted(submitApproved(context, order)),
    submitReduction: (order) => counted(submitReduction(context, order)),
    reconcile,
    cancelOpenOrders: (reason, limitMs = CANCEL_LIMIT_MS) => cancelOpenOrders(context, reason, limitMs),
    beginDrain: () => {
      context.flags.isDraining = true;
    },
    run: async (signal) => {
      const both = new AbortController();
      const stopBoth = () => both.abort();
      signal.addEventListener('abort', stopBoth, { once: true });
      leadership.onLost(stopBoth);
      if (signal.aborted || !leadership.isHeld()) stopBoth();
      try {
        await Promise.all(
          [feedLoop(both.signal), maintenanceLoop(both.signal)].map((loop) =>
            loop.catch((error: unknown) => {
              both.abort();
              throw error;
            }),
          ),
        );
        if (!signal.aborted) leadership.assertHeld();
      } finally {
        signal.removeEventListener('abort', stopBoth);
        await feed?.close().catch(() => undefined);
        feed = undefined;
      }
    },
    status: (): OrderDeskStatus => ({
      openOrders,
      unknownClaims,
      ...(last.summary ? { lastReconcileAtMs: last.summary.atMs, lastReconcileChanges: last.summary.changes } : {}),
      ...(last.error === undefined ? {} : { lastReconcileError: last.error }),
      findings: countByKind(last.summary?.findings ?? []),
      isBrokerAuthLatched: context.flags.isBrokerAuthLatched,
      isDayTradeHeld: isDayTradeHeld(context.flags.dayTradeRefusedAtMs, clock.nowMs()),
      isDraining: context.flags.isDraining,
      feed: feed?.positions() ?? [],
      counters: { ...context.counters, attempts: { ...context.counters.attempts } },
    }),
  };
}

function countByKind(findings: readonly { kind: string }[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind } of findings) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}
