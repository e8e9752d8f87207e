/**
 * Settings of the trading cycle as plain values (spec trading 8), and the limits that they make together with a strategy.
 */
import type { Decimal } from 'decimal.js';
import type { RiskLimits } from '../risk/snapshot.ts';
import type { CatalogEntry } from '../strategy/catalog.ts';
import type { CatalogMode } from '../strategy/reload.ts';

export interface TradingSettings {
  accountLabel: string;
  runId: string;
  mode: 'paper' | 'live';
  isEnabled: boolean;
  killSwitch: boolean;
  emergencyStopEnabled: boolean;
  /** Rows per read of one partition. */
  batchSize: number;
  catalogMode: CatalogMode;
  /** Market seconds between two looks at the catalog file. */
  catalogReloadSeconds: number;
  universe: readonly string[] | 'all';
  defaultQuantity: Decimal;
  maxNotionalPerTrade: Decimal | undefined;
  minNotionalPerTrade: Decimal | undefined;
  maxPositionPctEquity: Decimal | undefined;
  allowShorts: boolean;
  allowFractional: boolean;
  allowCrypto: boolean;
  cooldownSeconds: number;
  buyingPowerReserveBps: number;
  maxPriceAgeSeconds: number;
  priceLookbackMinutes: number;
  maxDecisionAgeSeconds: number;
  maxPriceDriftBps: number;
  /** Fraction of the session's first equity; undefined = no such stop. */
  dailyLossStopPct: Decimal | undefined;
}

/** Limits for one strategy: its own beat the global ones; a strategy that left the catalog may only close. */
export function limitsFor(settings: TradingSettings, entry: CatalogEntry | undefined): RiskLimits {
  return {
    mode: settings.mode,
    strategyEnabled: entry?.enabled ?? false,
    strategySymbols: entry?.symbols ?? [],
    universe: settings.universe,
    maxNotionalPerTrade: entry?.maxNotionalPerTrade ?? settings.maxNotionalPerTrade,
    minNotionalPerTrade: settings.minNotionalPerTrade,
    maxPositionPctEquity: entry?.maxPositionPctEquity ?? settings.maxPositionPctEquity,
    allowShorts: settings.allowShorts,
    allowFractional: settings.allowFractional,
    allowCrypto: settings.allowCrypto,
    // The longer of the two: a strategy can ask for more rest, never for less.
    cooldownSeconds: Math.max(settings.cooldownSeconds, entry?.strategy.cooldownSeconds ?? 0),
    buyingPowerReserveBps: settings.buyingPowerReserveBps,
    maxPriceAgeSeconds: settings.maxPriceAgeSeconds,
    maxDecisionAgeSeconds: settings.maxDecisionAgeSeconds,
    maxPriceDriftBps: settings.maxPriceDriftBps,
  };
}
