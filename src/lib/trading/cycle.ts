/**
 * The trading cycle (spec trading 1.2 [R], design 5): read signals, evaluate, persist decisions together with the cursor,
 * then bring every planned decision to its end.
 * Guarantees: a crash at any point leaves a row either unread or decided (batch.ts); what is still planned is taken up by
 * the next cycle or refused when too old; memory follows the ledger only after a commit, and `recover` reads it anew.
 */
import type { TradingControls } from '../ledger/contract.ts';
import { toJsonb } from '../ledger/jsonb.ts';
import type { TradingSwitches } from '../risk/snapshot.ts';
import { crashPoint } from '../service/crash-point.ts';
import { describeError } from '../service/errors.ts';
import { emptyEvaluation } from '../strategy/evaluate.ts';
import { type BatchFacts, type CommittedBatch, type CursorMap, commitBatch, cursorName } from './batch.ts';
import { type Book, readBook } from './book.ts';
import type { CatalogKeeper } from './catalog-keeper.ts';
import type { CycleCounters } from './counters.ts';
import { hasNothingToReduce, type MadeDecision, makeDecision } from './decide.ts';
import { type Plan, type PlanState, planRows } from './plan.ts';
import type { SignalPosition, SignalRow, WindowSize } from './ports.ts';
import { type ProcessPorts, processPlanned } from './process.ts';
import type { SessionGate, SessionState } from './session.ts';
import { findStop, latchStop } from './stops.ts';

const windows: readonly WindowSize[] = ['PT1S', 'PT1M'];
/** Rows per partition that warm the strategies' states after a start. */
const WARM_ROWS = 1_000;
const nothingPlanned: PlanState = { evaluation: emptyEvaluation, lastEvaluated: new Map(), recent: new Map() };

export interface CyclePorts extends ProcessPorts {
  catalog: CatalogKeeper;
  session: SessionGate;
  /** Market ms after which the account is read although nothing was decided. */
  accountEveryMs: number;
  counters: CycleCounters;
}

export interface CycleStatus {
  /** Completed cycles since the last recovery. */
  cycles: number;
  lastRunAtMs: number | undefined;
  lastDecisionAtMs: number | undefined;
  /** Next source offset by `windowSize:partition`. */
  cursor: Record<string, string>;
  /** Did the newest reading reach the end of the log there? */
  atEnd: Record<string, boolean>;
  session: SessionState;
  sessionSource: 'broker' | 'calendar' | undefined;
  switches: TradingSwitches | undefined;
  equity: string | undefined;
}

export interface TradingCycle {
  /** Reads the ledger's cursor and warms the strategies. Before the first run and after every failed one. */
  recover(): Promise<void>;
  /** One cycle. @throws errors that may pass; the caller backs off and recovers */
  run(signal: AbortSignal): Promise<void>;
  /** Blocks what is still planned with `draining`; call when no further cycle will run. */
  drain(): Promise<void>;
  status(): CycleStatus;
}

interface Batch {
  rows: readonly SignalRow[];
  plan: Plan;
}

export function tradingCycle(ports: CyclePorts): TradingCycle {
  const { settings, clock, log, ledger, leadership, desk, signals, catalog, counters } = ports;
  const { accountLabel, runId } = settings;
  let cursor: CursorMap = new Map();
  let planState = nothingPlanned;
  const atEnd = new Map<string, boolean>();
  let accountReadAtMs: number | undefined;
  const seen: Omit<CycleStatus, 'cursor' | 'atEnd'> = {
    cycles: 0,
    lastRunAtMs: undefined,
    lastDecisionAtMs: undefined,
    session: 'unknown',
    sessionSource: undefined,
    switches: undefined,
    equity: undefined,
  };

  const positions = (): SignalPosition[] =>
    windows.flatMap((windowSize) =>
      Array.from({ length: signals.partitions }, (_, partition) => ({
        windowSize,
        partition,
        from: cursor.get(cursorName({ windowSize, partition })) ?? 0n,
      })),
    );

  const recover = async () => {
    await catalog.refresh(clock.nowMs(), ledger, leadership);
    const [stored, lastEvaluated] = await Promise.all([
      ledger.read.cursors.positions(accountLabel, runId),
      ledger.read.cursors.lastEvaluated(accountLabel, runId),
    ]);
    cursor = new Map(stored.map((position) => [cursorName(position), position.nextOffset]));
    const known = positions().filter((position) => position.from > 0n);
    const rows = known.length === 0 ? [] : await signals.readBefore(known, WARM_ROWS);
    const input = { entries: catalog.entries, rows, nowMs: clock.nowMs(), maxAgeMs: 0, isSessionOpen: false };
    planState = { ...planRows(nothingPlanned, input).state, lastEvaluated };
  };

  const switchesOf = (controls: TradingControls): TradingSwitches => ({
    tradingEnabled: settings.isEnabled,
    killSwitch: settings.killSwitch || controls.killSwitch,
    paused: controls.paused,
    emergencyStop: controls.emergencyStopReason ?? null,
    catalogInvalid: catalog.isInvalid,
    storeEmergency: signals.emergency?.() ?? null,
  });

  const run = async (signal: AbortSignal) => {
    crashPoint('cycle.before');
    await catalog.refresh(clock.nowMs(), ledger, leadership);
    const controls = await ledger.read.account.controls(accountLabel);
    const switches = switchesOf(controls);
    const { state: session, source } = await ports.session.state();
    Object.assign(seen, { switches, session, sessionSource: source });
    if (switches.killSwitch && desk.status().openOrders > 0) await desk.cancelOpenOrders('kill_switch_enabled');

    const leftOver = await ledger.read.decisions.unresolved(accountLabel);
    const mayDecide = switches.tradingEnabled && !switches.paused;
    const batch = mayDecide ? await readBatch(session === 'open') : undefined;
    const isBookNeeded = leftOver.length > 0 || (batch?.plan.wishes.length ?? 0) > 0;
    const book = isBookNeeded || isAccountDue() ? await takeBook(controls) : undefined;
    const decided = batch && (await decide(batch, book, switches, session));

    const planned = [...leftOver, ...(decided?.committed.planned ?? [])];
    if (planned.length > 0) {
      const entries = new Map(catalog.entries.map((entry) => [entry.name, entry]));
      const fresh = new Set(decided?.committed.planned.map((row) => row.decision.id));
      const entryTimes = decided?.facts?.entryTimes ?? new Map<string, number>();
      const context = { switches, session, entries, entryTimes, book, fresh };
      counters.add(await processPlanned(planned, context, ports, signal));
    }
    seen.cycles += 1;
    seen.lastRunAtMs = clock.nowMs();
  };

  async function readBatch(isSessionOpen: boolean): Promise<Batch> {
    const from = positions();
    const rows = await signals.read(from, settings.batchSize);
    const counts = new Map<string, number>();
    for (const row of rows) counts.set(cursorName(row), (counts.get(cursorName(row)) ?? 0) + 1);
    for (const place of from) atEnd.set(cursorName(place), (counts.get(cursorName(place)) ?? 0) < settings.batchSize);
    const plan = planRows(planState, {
      entries: catalog.entries,
      rows,
      nowMs: clock.nowMs(),
      maxAgeMs: settings.maxDecisionAgeSeconds * 1_000,
      isSessionOpen,
    });
    for (const { strategyName, error, row } of plan.errors) {
      counters.strategyErrors += 1;
      log.error({ strategy: strategyName, symbol: row.symbol, err: describeError(error) }, 'a strategy failed');
    }
    return { rows, plan };
  }

  /** The stops need the account now and then, also when nothing is decided. */
  const isAccountDue = () =>
    settings.isEnabled && (accountReadAtMs === undefined || clock.nowMs() - accountReadAtMs >= ports.accountEveryMs);

  async function takeBook(controls: TradingControls): Promise<Book> {
    const book = await readBook(accountLabel, ledger.read, ports.broker);
    accountReadAtMs = clock.nowMs();
    const { account, positions: held } = book;
    if (!account || !held) return book;
    const { equity, cash, buyingPower, asOfMs } = account;
    seen.equity = equity.toFixed();
    const check = { accountLabel, nowMs: asOfMs, equity, limitPct: settings.dailyLossStopPct, controls };
    const stop = settings.emergencyStopEnabled ? await findStop(check, ledger.read) : undefined;
    const rows = [...held.values()].map(({ symbol, quantity, averageEntryPrice }) => ({
      symbol,
      qty: quantity,
      avg_entry_price: averageEntryPrice ?? null,
    }));
    await ledger.write(leadership, async (tx) => {
      await tx.account.saveSnapshot({ accountLabel, asOfMs, equity, cash, buyingPower, positions: toJsonb(rows) });
      if (stop !== undefined) await latchStop(tx, accountLabel, stop, asOfMs);
    });
    if (stop !== undefined) log.error({ reason: stop }, 'emergency stop latched');
    return book;
  }

  async function decide(
    batch: Batch,
    book: Book | undefined,
    switches: TradingSwitches,
    session: SessionState,
  ): Promise<{ committed: CommittedBatch; facts: BatchFacts | undefined } | undefined> {
    if (batch.rows.length === 0) return undefined;
    const made = batch.plan.wishes.length > 0 && book ? await makeDecisions(batch.plan, book) : undefined;
    const decisions = made?.decisions ?? [];
    const facts = made?.facts;
    const committed = await commitBatch({ ...batch, decisions, facts, switches, session, cursor }, ports);
    // Only now may memory follow.
    planState = batch.plan.state;
    cursor = committed.cursor;
    if (decisions.length > 0) seen.lastDecisionAtMs = committed.atMs;
    noteCommitted(batch, decisions.length, committed);
    return { committed, facts };
  }

  async function makeDecisions(plan: Plan, book: Book): Promise<{ decisions: MadeDecision[]; facts: BatchFacts }> {
    const symbols = [...new Set(plan.wishes.map(({ row }) => row.symbol))];
    const prices = await signals.newestPrices(symbols, clock.nowMs(), settings.priceLookbackMinutes * 60_000);
    const context = { settings, book, prices, strategyIds: catalog.strategyIds };
    const decisions: MadeDecision[] = [];
    for (const { row, wish } of plan.wishes) {
      if (hasNothingToReduce(row.symbol, wish, book)) continue;
      try {
        decisions.push(makeDecision(row, wish, context));
      } catch (error) {
        // One wish that cannot be turned into a decision must not hold up the others.
        counters.strategyErrors += 1;
        log.error({ strategy: wish.entry.name, symbol: row.symbol, err: describeError(error) }, 'a wish failed');
      }
    }
    return { decisions, facts: { book, prices, entryTimes: await newestEntries(decisions) } };
  }

  async function newestEntries(made: readonly MadeDecision[]): Promise<Map<string, number>> {
    const times = new Map<string, number>();
    const scopes = new Map(made.map(({ decision }) => [`${decision.strategyId} ${decision.symbol}`, decision]));
    const read = [...scopes].map(async ([scope, { strategyId, symbol }]) => {
      const atMs = await ledger.read.decisions.newestEntryAtMs({ accountLabel, strategyId, symbol });
      if (atMs !== undefined) times.set(scope, atMs);
    });
    await Promise.all(read);
    return times;
  }

  function noteCommitted({ rows, plan }: Batch, decisions: number, { refused }: CommittedBatch): void {
    counters.rows += rows.length;
    counters.decisions += decisions;
    counters.closedWishes += plan.closedWishes;
    for (const { reasons, isHeld } of refused) counters.refuse(reasons, isHeld);
    for (const { kind, wouldDiffer, row } of plan.notes) {
      counters.notes[kind] += 1;
      if (wouldDiffer !== true) continue;
      counters.wouldDiffer += 1;
      log.warn({ symbol: row.symbol, event_ts_ms: row.eventTsMs }, 'a revised signal would have acted otherwise');
    }
  }

  const drain = async () => {
    const planned = await ledger.read.decisions.unresolved(accountLabel);
    if (planned.length === 0) return;
    const refusal = {
      status: 'blocked' as const,
      reasons: ['draining'],
      atMs: clock.nowMs(),
      detail: toJsonb({ stage: 'drain' }),
    };
    const changed = await ledger.write(leadership, (tx) =>
      tx.decisions.refuseMany(planned.map(({ decision }) => ({ id: decision.id, ...refusal }))),
    );
    for (const _id of changed) counters.refuse(refusal.reasons, true);
  };

  return {
    recover,
    run,
    drain,
    status: () => ({
      ...seen,
      cursor: Object.fromEntries([...cursor].map(([name, offset]) => [name, offset.toString()])),
      atEnd: Object.fromEntries(atEnd),
    }),
  };
}
