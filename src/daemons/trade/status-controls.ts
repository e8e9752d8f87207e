/**
 * The part of trade's status that answers "why does it not trade" (spec trading 7): everything that holds orders now, the
 * stops with their causes, the live gate with its reasons, signals, universe, limits in force.
 */
import type { Decimal } from 'decimal.js';
import type { StatusBoard } from './status.ts';

const time = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());
const amount = (value: Decimal | undefined): string | null => value?.toFixed() ?? null;

/** Codes of everything that holds orders now; entries alone under `entries`. */
function holds(board: StatusBoard): { all: string[]; entries: readonly string[] } {
  const { settings, cycle } = board;
  const switches = cycle?.switches;
  const all = [
    settings.isEnabled ? undefined : 'trading_disabled',
    (switches?.killSwitch ?? settings.killSwitch) ? 'kill_switch_enabled' : undefined,
    switches?.paused ? 'trading_paused' : undefined,
    switches?.emergencyStop ? 'emergency_stop_active' : undefined,
    cycle?.session?.state === 'closed' ? 'market_closed' : undefined,
    (switches?.liveHolds ?? []).length > 0 ? 'capital_stage_shadow' : undefined,
    board.desk?.isBrokerAuthLatched ? 'broker_auth' : undefined,
    board.draining ? 'draining' : undefined,
  ].filter((code) => code !== undefined);
  const entries = [
    ...(switches?.entryHolds ?? []),
    ...(switches?.catalogInvalid ? ['strategy_catalog_invalid'] : []),
    ...(switches?.storeEmergency ? ['signal_store_emergency'] : []),
  ];
  return { all, entries };
}

/** May an order leave for a live account now, and if not why. Without a cycle nothing has been judged: not allowed. */
export function liveGate({ settings, cycle }: StatusBoard): {
  allowed: boolean;
  reasons: readonly string[];
  capital_stage: 'live' | 'shadow';
} {
  const reasons = cycle?.switches?.liveHolds ?? [];
  const allowed = settings.mode === 'live' && cycle?.switches !== undefined && reasons.length === 0;
  return {
    allowed,
    reasons: settings.mode === 'live' ? reasons : ['paper_account'],
    capital_stage: allowed ? 'live' : 'shadow',
  };
}

/** What the universe is worth now; undefined before the first look. */
export function universeJson({ cycle }: StatusBoard, nowMs?: number): Record<string, unknown> | null {
  const { universe } = cycle ?? {};
  if (!universe) return null;
  const { status, reason, symbols, asOfMs, isBlocked } = universe;
  return {
    status,
    reason,
    count: symbols === 'all' ? null : symbols.length,
    as_of: time(asOfMs),
    ...(nowMs === undefined ? {} : { age_seconds: asOfMs === undefined ? null : (nowMs - asOfMs) / 1_000 }),
    is_blocked: isBlocked,
  };
}

export function controlsJson(board: StatusBoard): Record<string, unknown> {
  const { settings, cycle } = board;
  const { stop, continuity, quality, flatten, session } = cycle ?? {};
  const { stops, exposure } = settings;
  return {
    holds: holds(board),
    live: liveGate(board),
    emergency: {
      enabled: stops.isEnabled,
      active: (stop?.emergencyStop ?? null) !== null,
      reason: stop?.emergencyStop ?? null,
      triggered_at: time(stop?.latchedAtMs),
      recovery_streak: stop?.recoveryStreak ?? 0,
      recovery_cycles: stops.recoveryCycles,
      /** What holds now, latched or not. */
      causes_now: stop?.found ?? [],
    },
    flatten: flatten ?? null,
    session_close: time(session?.closeMs),
    signal_continuity: {
      state: continuity?.state ?? null,
      reason: continuity?.reason ?? null,
      reason_streak: continuity?.streak ?? 0,
      alert_active: continuity?.isAlert ?? false,
      recovery_streak: continuity?.recoveryStreak ?? 0,
      lag_seconds: continuity?.lagSeconds ?? null,
      freshness: continuity?.freshness ?? null,
    },
    signal_quality: quality
      ? {
          verdict: quality.verdict,
          reasons: quality.reasons,
          warnings: quality.warnings,
          staleness_ms_p95: quality.stalenessP95Ms,
          duplicate_ratio: quality.duplicateRatio,
          null_rate: quality.nullRate,
        }
      : null,
    signal_faults: board.counters.faults,
    quality_rejections: board.counters.qualityReasons,
    universe: universeJson(board),
    risk_limits: {
      max_notional_per_trade: amount(settings.maxNotionalPerTrade),
      max_position_pct_equity: amount(settings.maxPositionPctEquity),
      max_order_pct_equity: amount(exposure.maxOrderPctEquity),
      max_symbol_pct_equity: amount(exposure.maxSymbolPctEquity),
      max_gross_pct_equity: amount(exposure.maxGrossPctEquity),
      max_net_pct_equity: amount(exposure.maxNetPctEquity),
      max_positions: exposure.maxPositions ?? null,
      max_participation_rate: amount(exposure.maxParticipationRate),
      daily_loss_stop_pct: amount(stops.dailyLossPct),
      drawdown_stop_pct: amount(stops.drawdownPct),
      allow_shorts: settings.allowShorts,
      cooldown_seconds: settings.cooldownSeconds,
      max_price_age_seconds: settings.maxPriceAgeSeconds,
      max_decision_age_seconds: settings.maxDecisionAgeSeconds,
      max_price_drift_bps: settings.maxPriceDriftBps,
    },
    findings: board.desk?.findings ?? {},
  };
}
