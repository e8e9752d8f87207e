/**
 * From the environment to the settings of the cycle, with the checks that need more than one variable.
 */
import { refusedError, usageError } from '../../lib/service/errors.ts';
import type { TradingSettings } from '../../lib/trading/settings.ts';
import type { TradeConfig } from './variables.ts';

/** @throws `live_trading_refused` (exit 4), `config_invalid` (exit 2) */
export function settingsOf(config: TradeConfig, runId: string): TradingSettings {
  if (config.TRADING_MODE === 'live') {
    throw refusedError({
      code: 'live_trading_refused',
      what: 'this version does not trade on a live account',
      why: 'the rules that arm live trading are not part of it',
      next: 'set TRADING_MODE=paper',
    });
  }
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
    emergencyStopEnabled: config.TRADING_EMERGENCY_STOP_ENABLED,
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
    cooldownSeconds: config.TRADING_COOLDOWN_SECONDS,
    buyingPowerReserveBps: config.TRADING_BUYING_POWER_RESERVE_BPS,
    maxPriceAgeSeconds: config.TRADING_MAX_PRICE_AGE_SECONDS,
    priceLookbackMinutes: config.TRADING_PRICE_LOOKBACK_MINUTES,
    maxDecisionAgeSeconds: config.TRADING_MAX_DECISION_AGE_SECONDS,
    maxPriceDriftBps: config.TRADING_MAX_PRICE_DRIFT_BPS,
    dailyLossStopPct: config.TRADING_DAILY_LOSS_STOP_PCT_EQUITY,
  };
}

type Universe = readonly string[] | 'all';

function intersect(a: Universe, b: Universe): Universe {
  if (a === 'all') return b;
  if (b === 'all') return a;
  return a.filter((symbol) => b.includes(symbol));
}
