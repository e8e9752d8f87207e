/**
 * The outside of the cycle in memory: a ledger with real transactions (a failed one leaves nothing), a signal log, a broker
 * and an order desk. What the cycle does not call throws, so nothing passes by accident.
 */
import { Decimal } from 'decimal.js';
import type {
  DecisionRow, DecisionStatus, Leadership, Ledger, LedgerReads, LedgerTransaction, OpenOrder, SignalNote, TradingControls,
} from '../../src/lib/ledger/contract.ts'; // biome-ignore format: one list
import type { FlattenRequest } from '../../src/lib/ledger/flatten.ts';
import type { OrderDesk, SubmitOutcome } from '../../src/lib/orders/contract.ts';
import { approveUnchanged } from '../../src/lib/review/reviewer.ts';
import type { ConfirmationState } from '../../src/lib/risk/live-gate.ts';
import type { ApprovedOrder, ReduceOnlyOrder } from '../../src/lib/risk/order.ts';
import type { PriceView } from '../../src/lib/risk/snapshot.ts';
import type { Clock } from '../../src/lib/service/clock.ts';
import { TorghutError, unreachableError } from '../../src/lib/service/errors.ts';
import { createLogger } from '../../src/lib/service/logging.ts';
import { catalogKeeper } from '../../src/lib/trading/catalog-keeper.ts';
import { newCounters } from '../../src/lib/trading/counters.ts';
import { type CyclePorts, tradingCycle } from '../../src/lib/trading/cycle.ts';
import type { BrokerPosition, SignalRow, SignalSource } from '../../src/lib/trading/ports.ts';
import type { TradingSettings } from '../../src/lib/trading/settings.ts';
import type { Universe } from '../../src/lib/trading/universe.ts';

/** Tuesday 2013-10-08 10:00 in New York. */
export const openMs = Date.UTC(2013, 9, 8, 14, 0, 0);

interface Rows {
  decisions: DecisionRow[];
  claimed: Set<string>;
  events: { id: string; stage: string }[];
  cursor: Map<string, bigint>;
  evaluated: Map<string, number>;
  notes: SignalNote[];
  controls: TradingControls;
  snapshots: { equity: Decimal; asOfMs: number }[];
  flatten: FlattenRequest[];
  marks: { latchedAtMs?: number; releasedAtMs?: number };
}

const notUsed = (): never => {
  throw new Error('the cycle does not call this');
};

export class FakeWorld {
  nowMs = openMs;
  rows: Rows = {
    decisions: [],
    claimed: new Set(),
    events: [],
    cursor: new Map(),
    evaluated: new Map(),
    notes: [],
    controls: { accountLabel: 'paper', killSwitch: false, paused: false },
    snapshots: [],
    flatten: [],
    marks: {},
  };
  log: SignalRow[] = [];
  prices = new Map<string, PriceView>();
  positions = new Map<string, Decimal>();
  equity = new Decimal(100_000);
  openOrders: OpenOrder[] = [];
  submitted: ApprovedOrder[] = [];
  reduced: ReduceOnlyOrder[] = [];
  isOpen = true;
  closeMs: number | undefined;
  accountIds: readonly string[] = ['account-1'];
  confirmation: ConfirmationState = 'missing';
  universe: Universe = { symbols: 'all', status: 'ok', reason: 'static', asOfMs: undefined, isBlocked: false };
  storeFailure: Error | undefined;
  lastReconcileAtMs: number | undefined;
  isDayTradeHeld = false;
  findings: Record<string, number> = {};
  failNextWrite: Error | undefined;
  isBrokerDown = false;
  catalogText = '- {name: s, enabled: true, base_timeframe: 1Sec, params: {quantity: 1}}';
  onSubmit: (order: ApprovedOrder) => SubmitOutcome = (order) => ({
    kind: 'submitted',
    executionId: `e${this.submitted.length}`,
    brokerOrderId: `b${this.submitted.length}`,
    clientOrderId: order.decision.hash.slice(0, 10),
    state: 'open',
    adopted: false,
  });

  readonly clock: Clock = {
    kind: 'virtual',
    nowMs: () => this.nowMs,
    nowNs: () => BigInt(this.nowMs) * 1_000_000n,
    sleepUntil: () => Promise.resolve(),
  };

  readonly leadership: Leadership = {
    accountLabel: 'paper',
    epoch: 1n,
    isHeld: () => true,
    assertHeld: () => undefined,
    onLost: () => undefined,
    release: () => Promise.resolve(),
  };

  /** Appends a signal row; every row gets a price of 100 as of its time. */
  signal(symbol: string, eventTsMs: number, side: 'buy' | 'sell' | 'none', more: Partial<SignalRow> = {}): SignalRow {
    const partition = more.partition ?? 0;
    const windowSize = more.windowSize ?? 'PT1S';
    const mine = this.log.filter((row) => row.partition === partition && row.windowSize === windowSize);
    const row: SignalRow = {
      symbol,
      windowSize,
      partition,
      // Gaps as a real topic has them: other windows and markers lie between.
      offset: BigInt(mine.length * 3 + 5),
      eventTsMs,
      revision: 0,
      macd: side === 'buy' ? 1 : side === 'sell' ? -1 : 0,
      macdSignal: 0,
      rsi14: side === 'buy' ? 10 : 90,
      features: {},
      ...more,
    };
    this.log.push(row);
    this.prices.set(symbol, { price: new Decimal(100), asOfMs: eventTsMs });
    return row;
  }

  decision(index: number): DecisionRow {
    const row = this.rows.decisions[index];
    if (!row) throw new Error(`no decision ${index}`);
    return row;
  }

  readonly reads: LedgerReads = {
    decisions: {
      byId: notUsed,
      byHash: notUsed,
      list: notUsed,
      counts: notUsed,
      newestEntries: notUsed,
      unresolved: () =>
        Promise.resolve(
          this.rows.decisions.filter((row) => row.status === 'planned' && !this.rows.claimed.has(row.decision.id)),
        ),
      newestEntryAtMs: ({ strategyId, symbol, exceptId }) => {
        const times = this.rows.decisions
          .filter(({ decision }) => decision.strategyId === strategyId && decision.symbol === symbol)
          .filter(({ decision }) => decision.intent === 'entry' && decision.id !== exceptId)
          .filter(({ status }) => status !== 'rejected' && status !== 'blocked')
          .map((row) => row.decidedAtMs);
        return Promise.resolve(times.length === 0 ? undefined : Math.max(...times));
      },
    },
    cursors: {
      positions: (accountLabel, runId) =>
        Promise.resolve(
          [...this.rows.cursor].map(([name, nextOffset]) => {
            const [windowSize, partition] = name.split(':');
            return {
              accountLabel,
              runId,
              windowSize: windowSize as 'PT1S' | 'PT1M',
              partition: Number(partition),
              nextOffset,
            };
          }),
        ),
      lastEvaluated: () => Promise.resolve(new Map(this.rows.evaluated)),
    },
    strategies: { all: notUsed, versions: notUsed, version: notUsed },
    orders: {
      openOrders: () => Promise.resolve([...this.openOrders]),
      executions: notUsed,
      fills: notUsed,
      positions: notUsed,
      counts: notUsed,
    },
    account: {
      controls: () => Promise.resolve({ ...this.rows.controls }),
      newestSnapshot: notUsed,
      firstSnapshotSince: (accountLabel, sinceMs) => {
        const first = this.rows.snapshots.find((row) => row.asOfMs >= sinceMs);
        const nothing = new Decimal(0);
        return Promise.resolve(first && { accountLabel, cash: nothing, buyingPower: nothing, ...first });
      },
      highestEquitySince: (_account, sinceMs) => {
        const equities = this.rows.snapshots.filter((row) => row.asOfMs >= sinceMs).map((row) => row.equity);
        return Promise.resolve(equities.length === 0 ? undefined : Decimal.max(...equities));
      },
      stopMarks: () => Promise.resolve(this.rows.marks),
    },
    flatten: {
      active: () =>
        Promise.resolve(this.rows.flatten.find(({ state }) => state === 'requested' || state === 'running')),
      newest: () => Promise.resolve(this.rows.flatten.at(-1)),
    },
  };

  readonly ledger: Ledger = {
    read: this.reads,
    write: async (_leadership, work) => {
      if (this.failNextWrite) {
        const error = this.failNextWrite;
        this.failNextWrite = undefined;
        throw error;
      }
      const before = structuredCloneRows(this.rows);
      try {
        return await work(this.transaction());
      } catch (error) {
        this.rows = before;
        throw error;
      }
    },
    acquireLeadership: notUsed,
    check: notUsed,
    close: notUsed,
  };

  transaction(): LedgerTransaction {
    const settle = (id: string, status: DecisionStatus, reasons: readonly string[]) => {
      const row = this.rows.decisions.find((item) => item.decision.id === id);
      if (row?.status !== 'planned') return false;
      row.status = status;
      row.reasons = reasons;
      return true;
    };
    return {
      decisions: {
        ...this.reads.decisions,
        insert: ({ decision, decidedAtMs }) => {
          this.rows.decisions.push({ decision, decidedAtMs, status: 'planned', reasons: [] });
          return Promise.resolve({ inserted: true, id: decision.id, status: 'planned' });
        },
        reject: notUsed,
        block: notUsed,
        insertMany: (rows) => {
          const inserted = new Set<string>();
          for (const { decision, decidedAtMs, detail, refusal } of rows) {
            if (this.rows.decisions.some((row) => row.decision.hash === decision.hash)) continue;
            const end = { status: refusal?.status ?? ('planned' as const), reasons: refusal?.reasons ?? [] };
            this.rows.decisions.push({ decision, decidedAtMs, ...end });
            if (detail.includes('"risk_1"')) this.rows.events.push({ id: decision.id, stage: 'risk_1' });
            inserted.add(decision.id);
          }
          return Promise.resolve(inserted);
        },
        refuseMany: (refusals) => {
          const changed = refusals.filter(({ id, status, reasons }) => settle(id, status, reasons));
          return Promise.resolve(new Set(changed.map(({ id }) => id)));
        },
        addEvent: (id, { stage }) => {
          this.rows.events.push({ id, stage });
          return Promise.resolve();
        },
      },
      cursors: {
        ...this.reads.cursors,
        advance: ({ windowSize, partition }, from, to) => {
          const name = `${windowSize}:${partition}`;
          if (this.rows.cursor.get(name) !== from)
            throw new TorghutError({ code: 'cursor_moved', what: name, canRetry: true });
          this.rows.cursor.set(name, to);
          return Promise.resolve();
        },
        setEvaluated: (_account, _run, rows) => {
          for (const { symbol, windowSize, eventTsMs } of rows) {
            const key = `${symbol} ${windowSize}`;
            this.rows.evaluated.set(key, Math.max(this.rows.evaluated.get(key) ?? 0, eventTsMs));
          }
          return Promise.resolve();
        },
        recordSignals: (rows) => {
          this.rows.notes.push(...rows);
          return Promise.resolve();
        },
      },
      strategies: {
        all: notUsed,
        versions: notUsed,
        version: notUsed,
        ensure: (name) => Promise.resolve(`id-${name}`),
        applyCatalog: ({ entries, digest }) =>
          Promise.resolve({
            inserted: entries.length,
            updated: 0,
            disabled: 0,
            rows: entries.map((entry) => ({ ...entry, id: `id-${entry.name}`, catalogDigest: digest })),
          }),
      },
      orders: this.reads.orders,
      account: {
        ...this.reads.account,
        saveSnapshot: ({ equity, asOfMs }) => {
          this.rows.snapshots.push({ equity, asOfMs });
          return Promise.resolve(true);
        },
        setControls: (_account, change) => {
          const { emergencyStopReason } = change;
          if (emergencyStopReason) this.rows.controls.emergencyStopReason = emergencyStopReason;
          if (emergencyStopReason === null) {
            delete this.rows.controls.emergencyStopReason;
            this.rows.marks = { releasedAtMs: this.nowMs };
          }
          return Promise.resolve(this.rows.controls);
        },
        audit: notUsed,
      },
      flatten: {
        ...this.reads.flatten,
        request: (request) => {
          if (this.rows.flatten.some(({ state }) => state === 'requested' || state === 'running')) {
            return Promise.resolve(undefined);
          }
          const id = `f${this.rows.flatten.length + 1}`;
          this.rows.flatten.push({ ...request, id, state: 'requested' });
          return Promise.resolve(id);
        },
        begin: (id) => Promise.resolve(this.endFlatten(id, 'running')),
        end: (id, state) => Promise.resolve(this.endFlatten(id, state)),
      },
    };
  }

  endFlatten(id: string, state: FlattenRequest['state']): boolean {
    this.rows.flatten = this.rows.flatten.map((row) => (row.id === id ? { ...row, state } : row));
    return true;
  }

  readonly signals: SignalSource = {
    partitions: 3,
    read: (positions, limit) =>
      this.storeFailure
        ? Promise.reject(this.storeFailure)
        : Promise.resolve(
            positions.flatMap(({ windowSize, partition, from }) =>
              this.log
                .filter((row) => row.windowSize === windowSize && row.partition === partition && row.offset >= from)
                .slice(0, limit),
            ),
          ),
    readBefore: (positions, limit) =>
      Promise.resolve(
        positions.flatMap(({ windowSize, partition, from }) =>
          this.log
            .filter((row) => row.windowSize === windowSize && row.partition === partition && row.offset < from)
            .slice(-limit),
        ),
      ),
    newestPrices: () => Promise.resolve(this.prices),
  };

  readonly desk: OrderDesk = {
    recover: notUsed,
    submit: (order) => {
      const outcome = this.onSubmit(order);
      this.submitted.push(order);
      const row = this.rows.decisions.find((item) => item.decision.id === order.decision.id);
      if (!row) throw new Error('submitted a decision that the ledger does not know');
      if (this.rows.claimed.has(order.decision.id)) throw new Error('claimed twice');
      this.rows.claimed.add(order.decision.id);
      if (outcome.kind === 'submitted') row.status = 'submitted';
      if (outcome.kind === 'rejected' || outcome.kind === 'blocked') {
        row.status = outcome.kind;
        row.reasons = outcome.reasons;
      }
      return Promise.resolve(outcome);
    },
    submitReduction: (order) => {
      this.reduced.push(order);
      const { symbol, side, quantity } = order.terms;
      const held = this.positions.get(symbol) ?? new Decimal(0);
      this.positions.set(symbol, side === 'sell' ? held.minus(quantity) : held.plus(quantity));
      const row = this.rows.decisions.find((item) => item.decision.id === order.decision.id);
      if (!row) throw new Error('submitted a decision that the ledger does not know');
      row.status = 'submitted';
      const { hash } = order.decision;
      return Promise.resolve({
        kind: 'submitted', executionId: 'e', brokerOrderId: 'b', clientOrderId: hash, state: 'open', adopted: false,
      }); // biome-ignore format: one list
    },
    reconcile: notUsed,
    cancelOpenOrders: () => {
      const requested = this.openOrders.length;
      this.openOrders = [];
      return Promise.resolve({ requested, confirmed: requested, stillOpen: [] });
    },
    beginDrain: notUsed,
    run: notUsed,
    status: () => ({
      openOrders: this.openOrders.length,
      unknownClaims: 0,
      findings: this.findings,
      ...(this.lastReconcileAtMs === undefined ? {} : { lastReconcileAtMs: this.lastReconcileAtMs }),
      isBrokerAuthLatched: false,
      isDayTradeHeld: this.isDayTradeHeld,
      isDraining: false,
      feed: [],
      counters: {
        posts: 0, submitted: 0, rejected: 0, unknown: 0, duplicates: 0, updatesApplied: 0, updatesDuplicate: 0,
        updatesStale: 0, reconcilePasses: 0, attempts: {}, feedRecords: 0, feedEvents: 0, feedUnreadable: 0,
        feedFailures: 0, reconcileChanges: 0,
      }, // biome-ignore format: one list
    }),
  };

  ports(change: Partial<TradingSettings> = {}): CyclePorts {
    const used = settings(change);
    const log = createLogger('test', 'silent');
    const down = () =>
      unreachableError({ code: 'broker_unreachable', what: 'the broker did not answer', next: 'wait' });
    return {
      settings: used,
      clock: this.clock,
      log,
      ledger: this.ledger,
      leadership: this.leadership,
      desk: this.desk,
      broker: {
        account: () => {
          if (this.isBrokerDown) return Promise.reject(down());
          const { equity, nowMs } = this;
          const buyingPower = equity.times(2);
          const { accountIds: ids } = this;
          return Promise.resolve({
            equity, cash: equity, buyingPower, isRestricted: false, shortingEnabled: true, asOfMs: nowMs, ids,
          }); // biome-ignore format: one list
        },
        positions: () =>
          Promise.resolve(
            [...this.positions].map(
              ([symbol, quantity]): BrokerPosition => ({
                symbol,
                quantity,
                averageEntryPrice: undefined,
                currentPrice: new Decimal(100),
              }),
            ),
          ),
        session: notUsed,
        days: notUsed,
        asset: () =>
          Promise.resolve({ isTradable: true, isShortable: true, isEasyToBorrow: true, isFractionable: false }),
      },
      signals: this.signals,
      reviewer: approveUnchanged,
      catalog: catalogKeeper(
        { read: () => Promise.resolve({ text: this.catalogText, digest: this.catalogText }) },
        used,
        log,
      ),
      session: {
        state: () => {
          const closes = this.closeMs === undefined ? {} : { closeMs: this.closeMs };
          return Promise.resolve({ state: this.isOpen ? 'open' : 'closed', source: 'broker', ...closes });
        },
      },
      universe: { now: this.universe, refresh: () => Promise.resolve(this.universe) },
      confirmation: () => this.confirmation,
      accountEveryMs: 15_000,
      counters: newCounters(),
    };
  }

  /** A cycle as after a start: recovered, not yet run. */
  async start(change: Partial<TradingSettings> = {}) {
    const ports = this.ports(change);
    const cycle = tradingCycle(ports);
    await cycle.recover();
    return { cycle, ports, run: () => cycle.run(new AbortController().signal) };
  }
}

/** A copy of the rows; decimals and orders are immutable and shared. */
function structuredCloneRows(rows: Rows): Rows {
  return {
    decisions: rows.decisions.map((row) => ({ ...row })),
    claimed: new Set(rows.claimed),
    events: [...rows.events],
    cursor: new Map(rows.cursor),
    evaluated: new Map(rows.evaluated),
    notes: [...rows.notes],
    controls: { ...rows.controls },
    snapshots: [...rows.snapshots],
    flatten: [...rows.flatten],
    marks: { ...rows.marks },
  };
}

export function settings(change: Partial<TradingSettings> = {}): TradingSettings {
  return {
    accountLabel: 'paper',
    runId: 'live',
    mode: 'paper',
    isEnabled: true,
    killSwitch: false,
    stops: {
      isEnabled: true,
      dailyLossPct: new Decimal('0.01'),
      drawdownPct: new Decimal('0.05'),
      signalLagSeconds: 600,
      stalenessStreak: 3,
      recoveryCycles: 3,
    },
    continuity: {
      streakAlert: 2,
      lagAlertSeconds: 300,
      recoveryCycles: 2,
      graceSeconds: 180,
      criticalReasons: ['cursor_ahead_of_stream', 'universe_source_unavailable'],
      expectedClosedReasons: ['no_signals_in_window', 'cursor_tail_stable', 'empty_batch_advanced'],
    },
    quality: { isEnabled: true, maxStalenessMs: 300_000, maxDuplicateRatio: 0.02, maxNullRate: 0.01 },
    live: {
      simpleSubmitEnabled: false,
      liveSubmitEnabled: false,
      accountId: undefined,
      confirmationKey: undefined,
    },
    exposure: {
      maxOrderPctEquity: undefined,
      maxSymbolPctEquity: undefined,
      maxGrossPctEquity: undefined,
      maxNetPctEquity: undefined,
      maxPositions: undefined,
      maxParticipationRate: undefined,
    },
    signalSources: 'all',
    batchSize: 500,
    catalogMode: 'sync',
    catalogReloadSeconds: 10,
    universe: 'all',
    defaultQuantity: new Decimal(1),
    maxNotionalPerTrade: undefined,
    minNotionalPerTrade: undefined,
    maxPositionPctEquity: undefined,
    allowShorts: false,
    allowFractional: false,
    allowCrypto: false,
    allowCryptoLive: false,
    blockOnForeignOrders: false,
    cooldownSeconds: 0,
    buyingPowerReserveBps: 1_000,
    maxPriceAgeSeconds: 60,
    priceLookbackMinutes: 5,
    maxDecisionAgeSeconds: 30,
    maxPriceDriftBps: 50,
    ...change,
  };
}
