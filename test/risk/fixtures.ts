/** Decisions, snapshots and limits that pass every gate; tests change one thing at a time. */
import { Decimal } from 'decimal.js';
import type { Decision } from '../../src/lib/risk/order.ts';
import type { RiskLimits, RiskSnapshot } from '../../src/lib/risk/snapshot.ts';

export const nowMs = Date.UTC(2013, 9, 8, 14, 0, 0);
export const dec = (value: string | number) => new Decimal(value);

export function decision(change: Partial<Decision> = {}): Decision {
  return {
    id: '00000000-0000-4000-8000-000000000001',
    accountLabel: 'paper',
    strategyId: '00000000-0000-4000-8000-0000000000aa',
    strategyName: 'macd_rsi_default',
    symbol: 'IBM',
    timeframe: '1Sec',
    eventTsMs: nowMs - 1_000,
    action: 'buy',
    intent: 'entry',
    quantity: dec(10),
    orderType: 'market',
    timeInForce: 'day',
    price: dec(100),
    priceAsOfMs: nowMs - 1_000,
    rationale: 'macd_cross_up,rsi_oversold',
    signal: {
      runId: 'live',
      symbol: 'IBM',
      windowSize: 'PT1S',
      eventTsMs: nowMs - 1_000,
      revision: 0,
      sourcePartition: 0,
      sourceOffset: 1n,
    },
    hash: 'f'.repeat(64),
    ...change,
  };
}

export function snapshot(change: Partial<RiskSnapshot> = {}): RiskSnapshot {
  return {
    nowMs,
    switches: { tradingEnabled: true, killSwitch: false, paused: false, emergencyStop: null, catalogInvalid: false },
    session: 'open',
    account: {
      equity: dec(100_000),
      buyingPower: dec(200_000),
      isRestricted: false,
      shortingEnabled: true,
      asOfMs: nowMs,
    },
    position: dec(0),
    pending: [],
    holdings: [],
    price: { price: dec(100), asOfMs: nowMs - 1_000, recentVolume: dec(100_000) },
    asset: { isTradable: true, isShortable: true, isEasyToBorrow: true, isFractionable: true },
    lastEntryAtMs: undefined,
    ...change,
  };
}

export function limits(change: Partial<RiskLimits> = {}): RiskLimits {
  return {
    mode: 'paper',
    strategyEnabled: true,
    strategySymbols: [],
    universe: ['IBM', 'AIG'],
    maxNotionalPerTrade: dec(5_000),
    minNotionalPerTrade: undefined,
    maxPositionPctEquity: dec('0.05'),
    allowShorts: false,
    allowFractional: false,
    allowCrypto: false,
    allowCryptoLive: false,
    maxOrderPctEquity: dec('0.5'),
    maxSymbolPctEquity: dec('0.5'),
    maxGrossPctEquity: dec(1),
    maxNetPctEquity: dec('0.5'),
    maxPositions: undefined,
    maxParticipationRate: dec('0.1'),
    cooldownSeconds: 5,
    buyingPowerReserveBps: 1_000,
    maxPriceAgeSeconds: 60,
    maxDecisionAgeSeconds: 30,
    maxPriceDriftBps: 50,
    ...change,
  };
}
