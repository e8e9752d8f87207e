/**
 * Everything that holds orders in this cycle, as the risk snapshot wants it (spec trading 3.4): the switches of environment
 * and ledger, what holds entries only, and what keeps a live account shut. Pure.
 */
import type { TradingControls } from '../ledger/contract.ts';
import type { OrderDeskStatus } from '../orders/contract.ts';
import { DAY_TRADE_HOLD } from '../orders/day-trade.ts';
import { type ConfirmationState, liveBlockedReasons } from '../risk/live-gate.ts';
import type { TradingSwitches } from '../risk/snapshot.ts';
import type { Book } from './book.ts';
import { isEntryCutoff } from './closeout.ts';
import type { Continuity } from './continuity.ts';
import type { SessionReading } from './session.ts';
import type { TradingSettings } from './settings.ts';
import type { Universe } from './universe.ts';

export interface HoldSight {
  nowMs: number;
  controls: TradingControls;
  session: SessionReading;
  universe: Universe;
  continuity: Continuity;
  /** The newest reading of the account; undefined before the first, or after one that failed. */
  account: Book['account'];
  desk: OrderDeskStatus;
  isCatalogInvalid: boolean;
  storeEmergency: string | null;
  confirmation: ConfirmationState;
  /** Market ms between two reconcile passes. */
  reconcileEveryMs: number;
}

/** Passes that may be missing before a live account opens nothing (spec 4.6). */
const STALE_PASSES = 3;

function entryHolds(sight: HoldSight, settings: TradingSettings): readonly string[] {
  const { nowMs, session, universe, desk, reconcileEveryMs } = sight;
  const isLive = settings.mode === 'live';
  const lastMs = desk.lastReconcileAtMs;
  const isReconcileStale = lastMs === undefined || nowMs - lastMs > STALE_PASSES * reconcileEveryMs;
  const isForeign = (desk.findings.foreign_order ?? 0) > 0;
  return [
    ...(universe.isBlocked ? ['universe_fail_safe_blocked'] : []),
    ...(isLive && isEntryCutoff(session, nowMs) ? ['new_exposure_cutoff_active'] : []),
    ...(isLive && isReconcileStale ? ['reconcile_stale'] : []),
    ...(desk.isDayTradeHeld ? [DAY_TRADE_HOLD] : []),
    ...(settings.blockOnForeignOrders && isForeign ? ['foreign_order_open'] : []),
  ];
}

export function switchesOf(sight: HoldSight, settings: TradingSettings): TradingSwitches {
  const { nowMs, controls, session, universe, continuity, account, desk } = sight;
  const killSwitch = settings.killSwitch || controls.killSwitch;
  const emergencyStop = controls.emergencyStopReason ?? null;
  const { accountId } = settings.live;
  const live = liveBlockedReasons({
    mode: settings.mode,
    tradingEnabled: settings.isEnabled,
    simpleSubmitEnabled: settings.live.simpleSubmitEnabled,
    liveSubmitEnabled: settings.live.liveSubmitEnabled,
    killSwitch,
    paused: controls.paused,
    emergencyStop,
    continuityAlert: continuity.isAlert,
    isUniverseBlocked: universe.isBlocked,
    session: session.state,
    isBrokerReachable: account !== undefined && !desk.isBrokerAuthLatched,
    freshness: continuity.freshness,
    armedUntilMs: controls.liveArmedUntilMs,
    sessionCloseMs: session.closeMs,
    nowMs,
    confirmation: sight.confirmation,
    isPinnedAccount: account && accountId !== undefined ? account.ids.includes(accountId) : undefined,
  });
  return {
    tradingEnabled: settings.isEnabled,
    killSwitch,
    paused: controls.paused,
    emergencyStop,
    catalogInvalid: sight.isCatalogInvalid,
    storeEmergency: sight.storeEmergency,
    entryHolds: entryHolds(sight, settings),
    liveHolds: live,
  };
}
