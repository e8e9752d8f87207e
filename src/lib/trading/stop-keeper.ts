/**
 * Watches the account and the signals for what must stop trading (spec trading 3.3, 1.6): snapshots of the account, the latch
 * of the emergency stop in trading_controls, and the closing of positions that goes with it.
 * Guarantees: latch and request to flatten are one transaction with the snapshot that caused them; a latched stop outlives
 * every restart; without an account nothing about money is decided, and nothing is released.
 */
import type { Leadership, Ledger, TradingControls } from '../ledger/contract.ts';
import type { FlattenCause } from '../ledger/flatten.ts';
import { toJsonb } from '../ledger/jsonb.ts';
import type { Clock } from '../service/clock.ts';
import type { Logger } from '../service/logging.ts';
import type { Book } from './book.ts';
import { closeoutAt } from './closeout.ts';
import type { Continuity } from './continuity.ts';
import { FLATTEN_LIFE_MS, targetsOf } from './flatten.ts';
import type { SessionReading } from './session.ts';
import type { TradingSettings } from './settings.ts';
import { dayStartMs, equityStops, signalStops, stepLatch } from './stops.ts';
import type { Universe } from './universe.ts';

export interface StopSight {
  controls: TradingControls;
  /** A reading of this cycle; undefined when none was due. */
  book: Book | undefined;
  continuity: Continuity;
  session: SessionReading;
  universe: Universe;
}

export interface StopView {
  /** The latched reason after this step. */
  emergencyStop: string | null;
  /** Market ms of the latch, by the audit trail; undefined while nothing is latched. */
  latchedAtMs: number | undefined;
  /** Clean cycles of a stop that may let go by itself. */
  recoveryStreak: number;
  /** What holds now, latched or not. */
  found: readonly string[];
}

export interface StopKeeper {
  observe(sight: StopSight): Promise<StopView>;
}

export interface StopPorts {
  settings: TradingSettings;
  clock: Clock;
  log: Logger;
  ledger: Ledger;
  leadership: Leadership;
}

/** What the newest reading of the account triggered. */
interface MoneyStops {
  /** Latched and flattened. */
  equity: readonly string[];
  closeout: 'flatten' | 'failed' | undefined;
}

export function stopKeeper({ settings, clock, log, ledger, leadership }: StopPorts): StopKeeper {
  const { accountLabel, stops } = settings;
  let recoveryStreak = 0;
  let money: MoneyStops = { equity: [], closeout: undefined };
  let latch: { reason: string; atMs: number | undefined } | undefined;

  /** Asked of the ledger once for each latched reason: it may have been latched by an earlier process. */
  const latchedAt = async (reason: string | null): Promise<number | undefined> => {
    if (reason === null) latch = undefined;
    else if (latch?.reason !== reason) {
      latch = { reason, atMs: (await ledger.read.account.stopMarks(accountLabel)).latchedAtMs };
    }
    return latch?.atMs;
  };

  const judge = async (book: Book, session: SessionReading): Promise<MoneyStops> => {
    const { account } = book;
    // Not known is not fine, and not over either.
    if (!account) return money;
    const { equity, asOfMs } = account;
    const { account: reads } = ledger.read;
    const releasedAtMs = (await reads.stopMarks(accountLabel)).releasedAtMs ?? 0;
    const [first, highest] = await Promise.all([
      reads.firstSnapshotSince(accountLabel, dayStartMs(asOfMs)),
      reads.highestEquitySince(accountLabel, releasedAtMs),
    ]);
    const isHeld = targetsOf(book).length > 0;
    return {
      equity: equityStops({ equity, first: first?.equity, highest }, stops),
      closeout: settings.mode === 'live' && isHeld ? closeoutAt(session, clock.nowMs()) : undefined,
    };
  };

  const observe = async ({ controls, book, continuity, session, universe }: StopSight): Promise<StopView> => {
    const latched = controls.emergencyStopReason ?? null;
    if (book) money = await judge(book, session);
    const signals = signalStops(
      {
        continuity,
        isSessionOpen: session.state === 'open',
        criticalReasons: settings.continuity.criticalReasons,
        universeFailure: universe.status === 'error' ? `${universe.status}:${universe.reason}` : undefined,
      },
      stops,
    );
    const failed = money.closeout === 'failed' ? ['closeout_failed'] : [];
    const found = stops.isEnabled ? [...money.equity, ...failed, ...signals] : [];
    const step = stepLatch(latched, found, recoveryStreak, stops);
    ({ recoveryStreak } = step);
    const isLatching = typeof step.change === 'string';
    const cause: FlattenCause | undefined =
      isLatching && money.equity.length > 0 ? 'stop' : money.closeout === undefined ? undefined : 'closeout';
    await write({ controls, book, change: step.change, cause, reason: money.equity.join(';') || 'session_closeout' });
    const emergencyStop = step.change === undefined ? latched : step.change;
    return { emergencyStop, latchedAtMs: await latchedAt(emergencyStop), recoveryStreak, found };
  };

  const write = async (what: {
    controls: TradingControls;
    book: Book | undefined;
    change: string | null | undefined;
    cause: FlattenCause | undefined;
    reason: string;
  }): Promise<void> => {
    const { controls, book, change, cause, reason } = what;
    const targets = book ? targetsOf(book) : [];
    const isFlattening = cause !== undefined && targets.length > 0;
    if (!book && change === undefined) return;
    const atMs = clock.nowMs();
    let requested: string | undefined;
    await ledger.write(leadership, async (tx) => {
      const { account, positions } = book ?? {};
      if (account && positions) {
        const { equity, cash, buyingPower, asOfMs } = account;
        const rows = toJsonb(
          [...positions.values()].map(({ symbol, quantity, averageEntryPrice }) => ({
            symbol,
            qty: quantity,
            avg_entry_price: averageEntryPrice ?? null,
          })),
        );
        await tx.account.saveSnapshot({ accountLabel, asOfMs, equity, cash, buyingPower, positions: rows });
      }
      if (change !== undefined) {
        const why = change ?? `recovered from ${controls.emergencyStopReason ?? ''}`;
        const by = { reason: why, actor: 'trade', atMs };
        await tx.account.setControls(accountLabel, { emergencyStopReason: change }, by);
      }
      if (isFlattening) {
        const life = { requestedAtMs: atMs, expiresAtMs: atMs + FLATTEN_LIFE_MS };
        requested = await tx.flatten.request({ accountLabel, cause, targets, reason, actor: 'trade', ...life });
      }
    });
    if (typeof change === 'string') log.error({ reason: change }, 'emergency stop latched');
    if (change === null) log.warn({ was: controls.emergencyStopReason }, 'emergency stop let go: its reasons are over');
    if (requested !== undefined) log.error({ flatten: requested, cause, reason }, 'all positions will be closed');
  };

  return { observe };
}
