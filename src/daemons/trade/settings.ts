/**
 * From the environment to the settings of the cycle, with the checks that need more than one variable.
 */

import type { Clock } from '../../lib/service/clock.ts';
import { refusedError, usageError } from '../../lib/service/errors.ts';
import type { Logger } from '../../lib/service/logging.ts';
import { readPublicKey } from '../../lib/trading/live-confirmation.ts';
import type { TradingSettings } from '../../lib/trading/settings.ts';
import { intersect, staticUniverse, type UniverseSource, urlUniverse } from '../../lib/trading/universe.ts';
import type { TradeConfig } from './variables.ts';

/** @throws `live_trading_refused` (exit 4), `config_invalid` (exit 2) */
export function settingsOf(config: TradeConfig, runId: string): TradingSettings {
  if (config.TRADING_MODE === 'live') demandLiveSettings(config);
  if (config.TRADING_SUBMIT_LOOKUP_SECONDS <= config.TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS) {
    throw usageError({
      code: 'config_invalid',
      what: 'TRADING_SUBMIT_LOOKUP_SECONDS is too small',
      why: 'an order must be looked up for longer than its request may take (TRADING_BROKER_MUTATION_HTTP_TIMEOUT_SECONDS)',
      next: 'make it larger than the time-out',
    });
  }
  const accountLabel = config.TRADING_ACCOUNT_LABEL ?? config.TRADING_MODE;
  if (!/^[\w.-]{1,64}$/.test(accountLabel)) {
    throw usageError({
      code: 'config_invalid',
      what: 'TRADING_ACCOUNT_LABEL is no label',
      why: 'it may hold up to 64 letters, digits, _ . and -',
      next: 'choose a short name such as paper',
    });
  }
  return {
    accountLabel,
    runId,
    mode: config.TRADING_MODE,
    isEnabled: config.TRADING_ENABLED,
    killSwitch: config.TRADING_KILL_SWITCH_ENABLED,
    stops: {
      isEnabled: config.TRADING_EMERGENCY_STOP_ENABLED,
      dailyLossPct: config.TRADING_DAILY_LOSS_STOP_PCT_EQUITY,
      drawdownPct: config.TRADING_PERSISTENT_DRAWDOWN_STOP_PCT_EQUITY,
      signalLagSeconds: config.TRADING_ROLLBACK_SIGNAL_LAG_SECONDS_LIMIT,
      stalenessStreak: config.TRADING_ROLLBACK_SIGNAL_STALENESS_ALERT_STREAK_LIMIT,
      recoveryCycles: config.TRADING_EMERGENCY_STOP_RECOVERY_CYCLES,
    },
    continuity: {
      streakAlert: config.TRADING_SIGNAL_NO_SIGNAL_STREAK_ALERT_THRESHOLD,
      lagAlertSeconds: config.TRADING_SIGNAL_STALE_LAG_ALERT_SECONDS,
      recoveryCycles: config.TRADING_SIGNAL_CONTINUITY_RECOVERY_CYCLES,
      graceSeconds: config.TRADING_SIGNAL_BOOTSTRAP_GRACE_SECONDS,
      criticalReasons: config.TRADING_SIGNAL_STALENESS_ALERT_CRITICAL_REASONS,
      expectedClosedReasons: config.TRADING_SIGNAL_MARKET_CLOSED_EXPECTED_REASONS,
    },
    quality: {
      isEnabled: config.TRADING_FEATURE_QUALITY_ENABLED,
      maxStalenessMs: config.TRADING_FEATURE_MAX_STALENESS_MS,
      maxDuplicateRatio: config.TRADING_FEATURE_MAX_DUPLICATE_RATIO,
      maxNullRate: config.TRADING_FEATURE_MAX_REQUIRED_NULL_RATE,
    },
    live: {
      simpleSubmitEnabled: config.TRADING_SIMPLE_SUBMIT_ENABLED,
      liveSubmitEnabled: config.TRADING_LIVE_SUBMIT_ENABLED,
      accountId: config.TRADING_ACCOUNT_ID,
      confirmationKey: config.TRADING_LIVE_CONFIRMATION_KEY,
    },
    exposure: {
      maxOrderPctEquity: config.TRADING_MAX_ORDER_PCT_EQUITY,
      maxSymbolPctEquity: config.TRADING_MAX_SYMBOL_PCT_EQUITY,
      maxGrossPctEquity: config.TRADING_MAX_GROSS_PCT_EQUITY,
      maxNetPctEquity: config.TRADING_MAX_NET_PCT_EQUITY,
      maxPositions: config.TRADING_MAX_POSITIONS,
      maxParticipationRate: config.TRADING_MAX_PARTICIPATION_RATE,
    },
    signalSources: config.TRADING_SIGNAL_ALLOWED_SOURCES,
    batchSize: config.TRADING_SIGNAL_BATCH_SIZE,
    catalogMode: config.TRADING_STRATEGY_CONFIG_MODE,
    catalogReloadSeconds: config.TRADING_STRATEGY_RELOAD_SECONDS,
    universe: intersect(config.TRADING_STATIC_SYMBOLS, config.TRADING_UNIVERSE_SYMBOL_ALLOWLIST),
    defaultQuantity: config.TRADING_DEFAULT_QTY,
    maxNotionalPerTrade: config.TRADING_MAX_NOTIONAL_PER_TRADE,
    minNotionalPerTrade: config.TRADING_MIN_NOTIONAL_PER_TRADE,
    maxPositionPctEquity: config.TRADING_MAX_POSITION_PCT_EQUITY,
    allowShorts: config.TRADING_ALLOW_SHORTS,
    allowFractional: config.TRADING_FRACTIONAL_EQUITIES_ENABLED,
    allowCrypto: config.TRADING_CRYPTO_ENABLED,
    allowCryptoLive: config.TRADING_CRYPTO_LIVE_ENABLED,
    blockOnForeignOrders: config.TRADING_BLOCK_ON_FOREIGN_ORDERS,
    cooldownSeconds: config.TRADING_COOLDOWN_SECONDS,
    buyingPowerReserveBps: config.TRADING_BUYING_POWER_RESERVE_BPS,
    maxPriceAgeSeconds: config.TRADING_MAX_PRICE_AGE_SECONDS ?? (config.TRADING_MODE === 'live' ? 15 : 60),
    priceLookbackMinutes: config.TRADING_PRICE_LOOKBACK_MINUTES,
    maxDecisionAgeSeconds: config.TRADING_MAX_DECISION_AGE_SECONDS,
    maxPriceDriftBps: config.TRADING_MAX_PRICE_DRIFT_BPS,
  };
}

/**
 * What a live account must be given before the process may even start. The switches that are turned at run time (arming,
 * confirmation, flags) hold orders instead: they may be set later.
 */
function demandLiveSettings(config: TradeConfig): void {
  const missing = [
    config.TRADING_ACCOUNT_ID === undefined ? 'TRADING_ACCOUNT_ID pins no account' : undefined,
    config.TRADING_LIVE_CONFIRMATION_KEY === undefined
      ? 'TRADING_LIVE_CONFIRMATION_KEY names nobody who confirms'
      : undefined,
    config.TRADING_MAX_NOTIONAL_PER_TRADE === undefined ? 'TRADING_MAX_NOTIONAL_PER_TRADE sets no cap' : undefined,
    config.TRADING_EMERGENCY_STOP_ENABLED ? undefined : 'TRADING_EMERGENCY_STOP_ENABLED is false',
  ].filter((problem) => problem !== undefined);
  if (missing.length > 0) {
    throw refusedError({
      code: 'live_trading_refused',
      what: 'the environment does not allow a live account',
      why: missing.join('; '),
      next: 'set what is named (runbook go-live), or TRADING_MODE=paper',
    });
  }
  readPublicKey(config.TRADING_LIVE_CONFIRMATION_KEY ?? '');
}

/** The source of symbols that the environment names. */
export function universeOf(config: TradeConfig, clock: Clock, log: Logger): UniverseSource {
  const allowlist = config.TRADING_UNIVERSE_SYMBOL_ALLOWLIST;
  if (config.TRADING_UNIVERSE_SOURCE === 'static') {
    return staticUniverse(intersect(config.TRADING_STATIC_SYMBOLS, allowlist));
  }
  return urlUniverse({
    url: config.UNIVERSE_SYMBOLS_URL,
    clock,
    cacheSeconds: config.TRADING_UNIVERSE_CACHE_SECONDS,
    maxStaleSeconds: config.TRADING_UNIVERSE_MAX_STALE_SECONDS,
    timeoutMs: config.TRADING_UNIVERSE_TIMEOUT_SECONDS * 1_000,
    allowlist,
    fallback: config.TRADING_UNIVERSE_STATIC_FALLBACK_ENABLED ? config.TRADING_STATIC_SYMBOLS : undefined,
    requireNonEmpty: config.TRADING_UNIVERSE_REQUIRE_NON_EMPTY,
    log,
  });
}
