/**
 * The trading cycle (spec trading 1.2 [R], design 5): read signals, evaluate, persist decisions together with the cursor,
 * then bring every planned decision to its end.
 * Guarantees: a crash at any point leaves a row either unread or decided (batch.ts); what is still planned is taken up by
 * the next cycle or refused when too old; memory follows the ledger only after a commit, and `recover` reads it anew.
 */
import type { TradingControls } from '../ledger/contract.ts';
import { toJsonb } from '../ledger/jsonb.ts';
import type { ConfirmationState } from '../risk/live-gate.ts';
import type { TradingSwitches } from '../risk/snapshot.ts';
import { crashPoint } from '../service/crash-point.ts';
import { describeError } from '../service/errors.ts';
import { emptyEvaluation } from '../strategy/evaluate.ts';
import { type BatchFacts, type CommittedBatch, type CursorMap, commitBatch, cursorName } from './batch.ts';
import { type Book, readBook } from './book.ts';
import type { CatalogKeeper } from './catalog-keeper.ts';
import { nextContinuity, startContinuity } from './continuity.ts';
import { type CycleCounters, count } from './counters.ts';
import { type CycleStatus, nothingSeen } from './cycle-status.ts';
import { flattener } from './flatten.ts';
import { switchesOf } from './holds.ts';
import { type Intake, signalIntake } from './intake.ts';
import { makeDecisions } from './make-decisions.ts';
import { type Plan, type PlanState, planRows } from './plan.ts';
import type { SignalPosition, WindowSize } from './ports.ts';
import { type ProcessPorts, processPlanned } from './process.ts';
import type { SessionGate, SessionReading } from './session.ts';
import { stopKeeper } from './stop-keeper.ts';
import type { Universe, UniverseSource } from './universe.ts';

const windows: readonly WindowSize[] = ['PT1S', 'PT1M'];
/** Rows per partition that warm the strategies' states after a start. */
const WARM_ROWS = 1_000;
const nothingPlanned: PlanState = { evaluation: emptyEvaluation, lastEvaluated: new Map(), recent: new Map() };

export interface CyclePorts extends ProcessPorts {
  catalog: CatalogKeeper;
  session: SessionGate;
  universe: UniverseSource;
  /** What the confirmation of a second person is worth now (spec 3.4); asked on a live account only. */
  confirmation(about: { accountIds: readonly string[]; armedUntilMs: number | undefined }): ConfirmationState;
  /** Market ms after which the account is read although nothing was decided, and between two reconcile passes. */
  accountEveryMs: number;
  counters: CycleCounters;
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

interface Batch extends Intake {
  plan: Plan;
}

export function tradingCycle(ports: CyclePorts): TradingCycle {
  const { settings, clock, log, ledger, leadership, desk, signals, catalog, counters } = ports;
  const { accountLabel, runId } = settings;
  const intake = signalIntake(ports);
  const stops = stopKeeper(ports);
  const flat = flattener(ports);
  let cursor: CursorMap = new Map();
  let planState = nothingPlanned;
  let continuity = startContinuity(clock.nowMs());
  let account: { view: Book['account']; atMs: number } | undefined;
  const seen = nothingSeen();

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
    for (const atMs of lastEvaluated.values()) seen.cursorEventMs = Math.max(seen.cursorEventMs ?? atMs, atMs);
  };

  const switchesNow = (controls: TradingControls, session: SessionReading, universe: Universe): TradingSwitches => {
    const about = { accountIds: account?.view?.ids ?? [], armedUntilMs: controls.liveArmedUntilMs };
    const sight = {
      nowMs: clock.nowMs(),
      controls,
      session,
      universe,
      continuity,
      account: account?.view,
      desk: desk.status(),
      isCatalogInvalid: catalog.isInvalid,
      storeEmergency: signals.emergency?.() ?? null,
      confirmation: settings.mode === 'live' ? ports.confirmation(about) : ('missing' as const),
      reconcileEveryMs: ports.accountEveryMs,
    };
    return switchesOf(sight, settings);
  };

  const run = async (signal: AbortSignal) => {
    crashPoint('cycle.before');
    await catalog.refresh(clock.nowMs(), ledger, leadership);
    const universe = await ports.universe.refresh(signal);
    const controls = await ledger.read.account.controls(accountLabel);
    const session = await ports.session.state();
    const leftOver = await ledger.read.decisions.unresolved(accountLabel);
    seen.oldestPlannedAtMs = leftOver.reduce<number | undefined>(
      (oldest, { decidedAtMs }) => Math.min(oldest ?? decidedAtMs, decidedAtMs),
      undefined,
    );
    Object.assign(seen, { session, universe, liveArmedUntilMs: controls.liveArmedUntilMs });
    const mayDecide = settings.isEnabled && !controls.paused;
    const batch = mayDecide ? await readBatch(session.state === 'open') : undefined;
    const { fault, newestEventMs } = batch ?? {};
    const wasAlert = continuity.isAlert;
    continuity = nextContinuity(
      continuity,
      {
        nowMs: clock.nowMs(),
        isSessionOpen: session.state === 'open',
        rows: batch && fault === undefined ? batch.rows.length : undefined,
        newestEventMs,
        fault,
        isUniverseBlocked: universe.isBlocked,
      },
      settings.continuity,
    );

    counters.see(continuity, wasAlert, universe);

    const isBookNeeded = leftOver.length > 0 || (batch?.plan.wishes.length ?? 0) > 0;
    let book = isBookNeeded || isAccountDue() ? await takeBook() : undefined;
    const stop = await stops.observe({ controls, book, continuity, session, universe });
    const { emergencyStopReason: _before, ...others } = controls;
    const latched = stop.emergencyStop === null ? others : { ...others, emergencyStopReason: stop.emergencyStop };
    const switches = switchesNow(latched, session, universe);
    Object.assign(seen, { continuity, stop, switches });

    const isStopped = switches.killSwitch || switches.emergencyStop !== null;
    const closed = await flat.step({ session: session.state, isStopped });
    noteFlatten();
    // Its orders would be cancelled with the others: the kill switch waits for its end, which is never far.
    if (switches.killSwitch && !flat.active && desk.status().openOrders > 0) {
      await desk.cancelOpenOrders('kill_switch_enabled');
    }
    // What was sent just now must count before anything else is decided.
    if (book && closed && closed.submitted > 0) book = await readBook(accountLabel, ledger.read, ports.broker);

    const decided = batch && (await decide(batch, { book, switches, session, universe }));
    const planned = [...leftOver, ...(decided?.committed.planned ?? [])];
    if (planned.length > 0) {
      const entries = new Map(catalog.entries.map((entry) => [entry.name, entry]));
      const fresh = new Set(decided?.committed.planned.map((row) => row.decision.id));
      const entryTimes = decided?.facts?.entryTimes ?? new Map<string, number>();
      const about = { switches, session: session.state, universe: universe.symbols };
      counters.add(await processPlanned(planned, { ...about, entries, entryTimes, book, fresh }, ports, signal));
    }
    seen.cycles += 1;
    seen.lastRunAtMs = clock.nowMs();
  };

  function noteFlatten(): void {
    const { active } = flat;
    seen.flatten = active && {
      id: active.id,
      cause: active.cause,
      state: active.state,
      symbols: active.targets.length,
    };
  }

  async function readBatch(isSessionOpen: boolean): Promise<Batch> {
    const taken = await intake.read(positions(), catalog.entries);
    seen.quality = taken.quality;
    const plan = planRows(planState, {
      entries: catalog.entries,
      rows: taken.relevant,
      nowMs: clock.nowMs(),
      maxAgeMs: settings.maxDecisionAgeSeconds * 1_000,
      isSessionOpen,
    });
    for (const { strategyName, error, row } of plan.errors) {
      count(counters.strategyErrors, strategyName);
      log.error({ strategy: strategyName, symbol: row.symbol, err: describeError(error) }, 'a strategy failed');
    }
    return { ...taken, plan: taken.quality.verdict === 'pass' ? plan : { ...plan, wishes: [] } };
  }

  /** The stops need the account now and then, also when nothing is decided. */
  const isAccountDue = () =>
    (settings.isEnabled || flat.active !== undefined) &&
    (account === undefined || clock.nowMs() - account.atMs >= ports.accountEveryMs);

  async function takeBook(): Promise<Book> {
    const book = await readBook(accountLabel, ledger.read, ports.broker);
    account = { view: book.account, atMs: clock.nowMs() };
    seen.equity = book.account?.equity.toFixed() ?? seen.equity;
    return book;
  }

  async function decide(
    batch: Batch,
    about: {
      book: Book | undefined;
      switches: TradingSwitches;
      session: SessionReading;
      universe: Universe;
    },
  ): Promise<{ committed: CommittedBatch; facts: BatchFacts | undefined } | undefined> {
    if (batch.rows.length === 0 || batch.quality.verdict === 'hold') return undefined;
    const { book, switches, universe } = about;
    const made = batch.plan.wishes.length > 0 && book ? await makeDecisions(batch.plan, book, ports) : undefined;
    const decisions = made?.decisions ?? [];
    const facts = made?.facts;
    const committed = await commitBatch(
      { ...batch, decisions, facts, switches, session: about.session.state, universe: universe.symbols, cursor },
      ports,
    );
    // Only now may memory follow.
    planState = batch.plan.state;
    cursor = committed.cursor;
    if (decisions.length > 0) seen.lastDecisionAtMs = committed.atMs;
    noteCommitted(batch, decisions.length, committed);
    return { committed, facts };
  }

  function noteCommitted({ rows, plan }: Batch, decisions: number, { refused }: CommittedBatch): void {
    counters.rows += rows.length;
    counters.decisions += decisions;
    counters.closedWishes += plan.closedWishes;
    for (const { wish } of plan.wishes) count(counters.strategyIntents, wish.entry.name);
    for (const { reasons, isHeld } of refused) counters.refuse(reasons, isHeld);
    for (const { eventTsMs } of rows) seen.cursorEventMs = Math.max(seen.cursorEventMs ?? eventTsMs, eventTsMs);
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
      atEnd: Object.fromEntries(intake.atEnd),
    }),
  };
}
