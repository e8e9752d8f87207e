/**
 * Decisions per CPU-second of the pure part of trade: evaluate signals, make decisions, risk #1 and risk #2.
 * The reference in the same run is JSON: parsing and writing the same signal rows, which any reader has to do anyway.
 * Then the same on the real parts: from a stored signal to the POST that the broker receives (trade-latency.ts).
 * Run: node bench/trade.ts [rows] [orders]; orders 0 leaves the second part out
 */
import { Decimal } from 'decimal.js';
import { evaluateRisk, screenDecision } from '../src/lib/risk/evaluate.ts';
import type { RiskSnapshot } from '../src/lib/risk/snapshot.ts';
import { parseCatalog } from '../src/lib/strategy/catalog.ts';
import { emptyEvaluation } from '../src/lib/strategy/evaluate.ts';
import type { Book } from '../src/lib/trading/book.ts';
import { makeDecision } from '../src/lib/trading/decide.ts';
import { type PlanState, planRows } from '../src/lib/trading/plan.ts';
import type { SignalRow } from '../src/lib/trading/ports.ts';
import { limitsFor, type TradingSettings } from '../src/lib/trading/settings.ts';
import { measureLatency } from './trade-latency.ts';

const count = Number(process.argv[2] ?? 60_000);
const orders = Number(process.argv[3] ?? 40);
const symbols = ['AIG', 'BAC', 'IBM', 'SPY'];
const startMs = Date.UTC(2013, 9, 8, 13, 30, 0);
const parsed = parseCatalog(`
- {name: a, enabled: true, base_timeframe: 1Sec, params: {buy_rsi_below: 50, sell_rsi_above: 50, quantity: 1}, max_position_pct_equity: 0.02}
- {name: b, enabled: true, base_timeframe: 1Sec, params: {buy_rsi_below: 50, sell_rsi_above: 50}, max_notional_per_trade: 2500}
`);
if (!parsed.ok) throw new Error('the catalog of the bench is wrong');
const { entries } = parsed.catalog;

const rows: SignalRow[] = Array.from({ length: count }, (_, i) => {
  const wave = Math.sin(i / 37);
  return {
    symbol: symbols[i % symbols.length] ?? 'AIG',
    windowSize: 'PT1S',
    partition: i % 3,
    offset: BigInt(i),
    eventTsMs: startMs + Math.floor(i / symbols.length) * 1_000,
    revision: 0,
    macd: wave,
    macdSignal: 0,
    rsi14: 50 - 20 * wave,
    features: { vwap_session: 100 + wave, vol_realized_w60s: 0.001 },
  };
});

const none = undefined;
const settings: TradingSettings = {
  accountLabel: 'paper', runId: 'bench', mode: 'paper', isEnabled: true, killSwitch: false,
  batchSize: 500, catalogMode: 'sync', catalogReloadSeconds: 10, universe: 'all', defaultQuantity: new Decimal(1),
  maxNotionalPerTrade: none, minNotionalPerTrade: none, maxPositionPctEquity: none, allowShorts: true,
  allowFractional: false, allowCrypto: false, cooldownSeconds: 5, buyingPowerReserveBps: 1_000, maxPriceAgeSeconds: 60,
  priceLookbackMinutes: 5, maxDecisionAgeSeconds: 30, maxPriceDriftBps: 50,
  allowCryptoLive: false, blockOnForeignOrders: false, signalSources: 'all',
  exposure: {
    maxOrderPctEquity: new Decimal('0.5'), maxSymbolPctEquity: new Decimal('0.5'), maxGrossPctEquity: new Decimal(1),
    maxNetPctEquity: new Decimal('0.5'), maxPositions: none, maxParticipationRate: new Decimal('0.1'),
  },
  stops: { isEnabled: true, dailyLossPct: none, drawdownPct: none, signalLagSeconds: 600, stalenessStreak: 3, recoveryCycles: 3 },
  continuity: {
    streakAlert: 2, lagAlertSeconds: 300, recoveryCycles: 2, graceSeconds: 180, criticalReasons: [], expectedClosedReasons: [],
  },
  quality: { isEnabled: true, maxStalenessMs: 300_000, maxDuplicateRatio: 0.02, maxNullRate: 0.01 },
  live: { simpleSubmitEnabled: false, liveSubmitEnabled: false, accountId: none, confirmationKey: none },
}; // biome-ignore format: one list
const price = { price: new Decimal('100.25'), asOfMs: startMs };
const account = {
  equity: new Decimal(100_000),
  cash: new Decimal(100_000),
  buyingPower: new Decimal(200_000),
  isRestricted: false,
  shortingEnabled: true,
  asOfMs: startMs,
  ids: ['bench'],
};
const book: Book = { account, positions: new Map(), pending: [], readAtMachineMs: 0 };
const context = {
  settings,
  book,
  prices: new Map(symbols.map((symbol) => [symbol, price])),
  strategyIds: new Map(entries.map((entry) => [entry.name, entry.name])),
};

function cpuSeconds(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

function trade(): { decisions: number; approved: number } {
  let state: PlanState = { evaluation: emptyEvaluation, lastEvaluated: new Map(), recent: new Map() };
  let decisions = 0;
  let approved = 0;
  for (let start = 0; start < rows.length; start += 400) {
    const batch = rows.slice(start, start + 400);
    const nowMs = (batch.at(-1)?.eventTsMs ?? startMs) + 500;
    const plan = planRows(state, { entries, rows: batch, nowMs, maxAgeMs: 1_000_000, isSessionOpen: true });
    state = plan.state;
    for (const { row, wish } of plan.wishes) {
      const { decision } = makeDecision(row, wish, context);
      const snapshot: RiskSnapshot = {
        nowMs: row.eventTsMs + 500,
        switches: {
          tradingEnabled: true,
          killSwitch: false,
          paused: false,
          emergencyStop: null,
          catalogInvalid: false,
        },
        session: 'open',
        account,
        position: new Decimal(0),
        holdings: [],
        pending: [],
        price: { ...price, asOfMs: row.eventTsMs },
        asset: { isTradable: true, isShortable: true, isEasyToBorrow: true, isFractionable: true },
        lastEntryAtMs: undefined,
      };
      const limits = limitsFor(settings, wish.entry);
      decisions += 1;
      if (screenDecision(decision, snapshot, limits).reasons.length > 0) continue;
      if (evaluateRisk(decision, snapshot, limits).ok) approved += 1;
    }
  }
  return { decisions, approved };
}

trade();
let result = { decisions: 0, approved: 0 };
const seconds = cpuSeconds(() => {
  result = trade();
});
const lines = rows.map((row) => JSON.stringify({ ...row, offset: row.offset.toString() }));
const reference = cpuSeconds(() => {
  for (const line of lines) JSON.stringify(JSON.parse(line));
});
const perSecond = Math.round(result.decisions / seconds);
console.log(
  JSON.stringify({
    rows: count,
    decisions: result.decisions,
    approved: result.approved,
    cpu_seconds: Number(seconds.toFixed(2)),
    rows_per_cpu_second: Math.round(count / seconds),
    decisions_per_cpu_second: perSecond,
    reference_json_rows_per_cpu_second: Math.round(count / reference),
    latency: orders > 0 ? await measureLatency(orders) : null,
  }),
);
