/**
 * Settings of the trading cycle as plain values (spec trading 8), and the limits that they make together with a strategy.
 */
import type { Decimal } from 'decimal.js';
import type { RiskLimits } from '../risk/snapshot.ts';
import type { CatalogEntry } from '../strategy/catalog.ts';
import type { CatalogMode } from '../strategy/reload.ts';

/** Account-wide caps: the same for every strategy (spec trading 3.1, 3.3). */
export type ExposureLimits = Pick<
  RiskLimits,
  | 'maxOrderPctEquity'
  | 'maxSymbolPctEquity'
  | 'maxGrossPctEquity'
  | 'maxNetPctEquity'
  | 'maxPositions'
  | 'maxParticipationRate'
>;

/** When the emergency stop latches, and when it may let go by itself (spec trading 3.3). */
export interface StopSettings {
  isEnabled: boolean;
  /** Fraction of the session's first equity; undefined = no such stop. */
  dailyLossPct: Decimal | undefined;
  /** Fraction of the highest equity since the last release; undefined = no such stop. */
  drawdownPct: Decimal | undefined;
  /** Market seconds behind, while the session is open. */
  signalLagSeconds: number;
  /** Cycles in a row with the same critical reason. */
  stalenessStreak: number;
  /** Clean cycles after which a stop that may recover is released. */
  recoveryCycles: number;
}

/** When signals count as interrupted (spec trading 1.7). */
export interface ContinuitySettings {
  streakAlert: number;
  /** Market seconds. */
  lagAlertSeconds: number;
  recoveryCycles: number;
  /** Market seconds after a start in which nothing is alarmed. */
  graceSeconds: number;
  criticalReasons: readonly string[];
  expectedClosedReasons: readonly string[];
}

export interface QualitySettings {
  isEnabled: boolean;
  /** Market ms, 95th percentile of a batch. */
  maxStalenessMs: number;
  maxDuplicateRatio: number;
  maxNullRate: number;
}

/** What the environment says about live trading: the first of its three sources (spec trading 3.4). */
export interface LiveSettings {
  simpleSubmitEnabled: boolean;
  liveSubmitEnabled: boolean;
  /** The broker's id or number of the account that this process may trade; undefined on paper only. */
  accountId: string | undefined;
  /** PEM or base64 of the ed25519 public key of whoever confirms. */
  confirmationKey: string | undefined;
}

export interface TradingSettings {
  accountLabel: string;
  runId: string;
  mode: 'paper' | 'live';
  isEnabled: boolean;
  killSwitch: boolean;
  stops: StopSettings;
  continuity: ContinuitySettings;
  quality: QualitySettings;
  live: LiveSettings;
  exposure: ExposureLimits;
  /** Rows per read of one partition. */
  batchSize: number;
  /** Sources of signals that are evaluated. */
  signalSources: readonly string[] | 'all';
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
  allowCryptoLive: boolean;
  /** An order of the account that is not ours holds entries. */
  blockOnForeignOrders: boolean;
  cooldownSeconds: number;
  buyingPowerReserveBps: number;
  maxPriceAgeSeconds: number;
  priceLookbackMinutes: number;
  maxDecisionAgeSeconds: number;
  maxPriceDriftBps: number;
}

/**
 * Limits for one strategy: its own beat the global ones; a strategy that left the catalog may only close.
 * @param universe what may be traded now; the settings' own where it is static
 */
export function limitsFor(
  settings: TradingSettings,
  entry: CatalogEntry | undefined,
  universe: readonly string[] | 'all' = settings.universe,
): RiskLimits {
  return {
    mode: settings.mode,
    strategyEnabled: entry?.enabled ?? false,
    strategySymbols: entry?.symbols ?? [],
    universe,
    maxNotionalPerTrade: entry?.maxNotionalPerTrade ?? settings.maxNotionalPerTrade,
    minNotionalPerTrade: settings.minNotionalPerTrade,
    maxPositionPctEquity: entry?.maxPositionPctEquity ?? settings.maxPositionPctEquity,
    ...settings.exposure,
    allowShorts: settings.allowShorts,
    allowFractional: settings.allowFractional,
    allowCrypto: settings.allowCrypto,
    allowCryptoLive: settings.allowCryptoLive,
    // The longer of the two: a strategy can ask for more rest, never for less.
    cooldownSeconds: Math.max(settings.cooldownSeconds, entry?.strategy.cooldownSeconds ?? 0),
    buyingPowerReserveBps: settings.buyingPowerReserveBps,
    maxPriceAgeSeconds: settings.maxPriceAgeSeconds,
    maxDecisionAgeSeconds: settings.maxDecisionAgeSeconds,
    maxPriceDriftBps: settings.maxPriceDriftBps,
  };
}
