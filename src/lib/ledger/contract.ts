/**
 * What the rest of torghut may do with the ledger (Postgres): typed reads, and writes that are bound to a leadership.
 * The rows that they take and give are in records.ts.
 * Guarantees: every write happens inside one transaction whose first statement checks the leader's epoch, so nothing of a
 * replaced leader is ever committed; money and quantities are decimals; market times are given, never taken from Postgres.
 */
import type { Decimal } from 'decimal.js';
import type { FlattenReads, FlattenWrites } from './flatten.ts';
import type { Jsonb } from './jsonb.ts';
import type {
  AccountSnapshot, CatalogVersion, ControlsChange, CursorKey, DecisionCounts, DecisionFilter, DecisionRefusal, DecisionRow,
  DecisionStatus, ExecutionRow, FillRow, ListPlace, NewDecision, OpenOrder, OrderCounts, PositionRow, RejectOrigin,
  ScreenedDecision, SignalNote, StrategyEntry, StrategyRow, TradingControls,
} from './records.ts'; // biome-ignore format: one list

export type { Jsonb } from './jsonb.ts';
export type * from './records.ts';

// ---- Leadership ---------------------------------------------------------------------------------------------------

/** Proof that this process is the one trading loop of an account (design 5: one loop per account). */
export interface Leadership {
  readonly accountLabel: string;
  /** Rises by one with every new leader; part of every write. */
  readonly epoch: bigint;
  /** Machine-time lease of 10 s, renewed every 2 s. False for ever once lost. */
  isHeld(): boolean;
  /** @throws `leadership_lost` when it is not held any more. Call right before a broker mutation. */
  assertHeld(): void;
  /** Called once, with the reason; at once when it is already lost. */
  onLost(listener: (reason: string) => void): void;
  /** Gives the lock back so that a standby need not wait for the lease. */
  release(): Promise<void>;
}

export interface AcquireOptions {
  accountLabel: string;
  /** Ends the wait; the promise then rejects with `leadership_wait_aborted`. */
  signal?: AbortSignal;
  /** Called when another process holds it, at most once a machine second. */
  onWaiting?: (holder: { epoch: bigint; owner: string; leaseExpired: boolean }) => void;
}

// ---- Decisions ----------------------------------------------------------------------------------------------------

export interface DecisionReads {
  byId(id: string): Promise<DecisionRow | undefined>;
  byHash(accountLabel: string, hash: string): Promise<DecisionRow | undefined>;
  /** Decisions with status planned and no claim, oldest first: what a start has to finish or refuse. */
  unresolved(accountLabel: string, limit?: number): Promise<DecisionRow[]>;
  /** Newest first. `sinceMs` is market time of the decision. */
  list(filter: DecisionFilter): Promise<DecisionRow[]>;
  /** Counts for status and summary. */
  counts(accountLabel: string): Promise<DecisionCounts>;
  /**
   * Market ms (decided_at) of the newest entry of (account, strategy, symbol) that was submitted or filled or is still
   * between plan and answer; for the cooldown gate (spec 3.2). The row `exceptId` is ignored.
   */
  newestEntryAtMs(scope: {
    accountLabel: string;
    strategyId: string;
    symbol: string;
    exceptId?: string;
  }): Promise<number | undefined>;
  /** The same for many scopes at once, keyed `strategyId symbol`. */
  newestEntries(accountLabel: string): Promise<Map<string, number>>;
}

export interface DecisionWrites extends DecisionReads {
  /** Inserts it as `planned`, once per (account, hash); a known hash returns the row that is there. */
  insert(row: NewDecision): Promise<{ inserted: boolean; id: string; status: DecisionStatus }>;
  /** planned → rejected. False when the decision is not planned any more. Codes must not be empty. */
  reject(
    id: string,
    refusal: { reasons: readonly string[]; origin: RejectOrigin; atMs: number; detail?: Jsonb },
  ): Promise<boolean>;
  /** planned → blocked (a switch held it). False when it is not planned any more. */
  block(id: string, refusal: { reasons: readonly string[]; atMs: number; detail?: Jsonb }): Promise<boolean>;
  /**
   * Inserts many in two statements, each planned or with its end already (risk #1); a known hash is left out.
   * Returns the ids that were inserted.
   */
  insertMany(rows: readonly ScreenedDecision[]): Promise<ReadonlySet<string>>;
  /** planned → rejected or blocked for many, in two statements. Returns the ids that were still planned. */
  refuseMany(refusals: readonly DecisionRefusal[]): Promise<ReadonlySet<string>>;
  /** Appends to the history of the decision (gate inputs and results, stages). */
  addEvent(id: string, event: { stage: string; atMs: number; detail: Jsonb }): Promise<void>;
}

// ---- Signal cursor ------------------------------------------------------------------------------------------------

export interface CursorReads {
  /** Next source offset to read per (window size, partition) of a run; a missing one starts at the earliest. */
  positions(accountLabel: string, runId: string): Promise<(CursorKey & { nextOffset: bigint })[]>;
  /** Last evaluated event time (market ms) per symbol and window size, keyed `symbol windowSize`. */
  lastEvaluated(accountLabel: string, runId: string): Promise<Map<string, number>>;
}

export interface CursorWrites extends CursorReads {
  /**
   * Moves the cursor from the offset that the caller read to the next; compare and set.
   * @throws `cursor_moved` when the stored offset is another (another writer, or a batch done twice)
   */
  advance(key: CursorKey, from: bigint | undefined, to: bigint, atMs: number): Promise<void>;
  /** Raises the last evaluated event time; never lowers it. */
  setEvaluated(
    accountLabel: string,
    runId: string,
    rows: readonly { symbol: string; windowSize: 'PT1S' | 'PT1M'; eventTsMs: number }[],
  ): Promise<void>;
  /** Records rows that were read but not traded. */
  recordSignals(rows: readonly SignalNote[]): Promise<void>;
}

// ---- Strategies ---------------------------------------------------------------------------------------------------

export interface StrategyReads {
  all(): Promise<StrategyRow[]>;
  /** Changes of the catalog in force, newest first, without the text. */
  versions(limit: number): Promise<CatalogVersion[]>;
  version(version: number): Promise<(CatalogVersion & { content: string }) | undefined>;
}

export interface StrategyWrites extends StrategyReads {
  /** The id of a row that no catalog names (decisions of the loop itself); made disabled when there is none. */
  ensure(name: string, description: string): Promise<string>;
  /** Upserts by name; `sync` also disables rows that are absent from the catalog. Rows are never deleted. */
  applyCatalog(catalog: {
    entries: readonly StrategyEntry[];
    /** sha256 hex of the file. */
    digest: string;
    mode: 'merge' | 'sync';
    actor: string;
    /** The file itself: kept as a version, so that `torghut strategy rollback` can bring it back. */
    source?: { text: string; strategies: Jsonb };
  }): Promise<{ inserted: number; updated: number; disabled: number; rows: StrategyRow[]; version?: number }>;
}

// ---- Orders, fills, positions -------------------------------------------------------------------------------------

export interface OrderReads {
  /** Orders that may still fill, and claims without an answer: what risk projects onto positions and buying power. */
  openOrders(accountLabel: string): Promise<OpenOrder[]>;
  executions(filter: {
    accountLabel?: string;
    symbol?: string;
    sinceMs?: number;
    state?: string;
    strategyName?: string;
    after?: ListPlace;
    limit: number;
  }): Promise<ExecutionRow[]>;
  fills(filter: { accountLabel: string; executionId?: string; limit?: number }): Promise<FillRow[]>;
  /** Σ signed fills per symbol with the average-cost entry price; flat symbols are left out. */
  positions(accountLabel: string): Promise<PositionRow[]>;
  counts(accountLabel: string): Promise<OrderCounts>;
}

// ---- Account, controls, audit -------------------------------------------------------------------------------------

export interface AccountReads {
  /** Controls of the account; all off when there is no row. */
  controls(accountLabel: string): Promise<TradingControls>;
  newestSnapshot(accountLabel: string): Promise<Omit<AccountSnapshot, 'positions'> | undefined>;
  /** First snapshot at or after a market time (start of the session), for the daily loss stop. */
  firstSnapshotSince(accountLabel: string, sinceMs: number): Promise<Omit<AccountSnapshot, 'positions'> | undefined>;
  /** Highest equity of any snapshot at or after a market time, for the drawdown stop. */
  highestEquitySince(accountLabel: string, sinceMs: number): Promise<Decimal | undefined>;
  /** When the emergency stop was last latched and last released, market ms, by the audit trail. */
  stopMarks(accountLabel: string): Promise<{ latchedAtMs?: number; releasedAtMs?: number }>;
}

export interface AccountWrites extends AccountReads {
  /** Skipped (false) when nothing changed and the last one is under 60 market seconds old (spec 4.6). */
  saveSnapshot(snapshot: AccountSnapshot): Promise<boolean>;
  /** Changes controls and writes the audit row with before and after. */
  setControls(
    accountLabel: string,
    change: ControlsChange,
    why: { reason: string; actor: string; atMs: number },
  ): Promise<TradingControls>;
  audit(event: {
    actor: string;
    action: string;
    reason?: string;
    before?: Jsonb;
    after?: Jsonb;
    atMs: number;
  }): Promise<void>;
}

// ---- The ledger ---------------------------------------------------------------------------------------------------

export interface LedgerReads {
  readonly decisions: DecisionReads;
  readonly cursors: CursorReads;
  readonly strategies: StrategyReads;
  readonly orders: OrderReads;
  readonly account: AccountReads;
  readonly flatten: FlattenReads;
}

/** One transaction of the leader. The order tables are written by lib/orders only. */
export interface LedgerTransaction {
  readonly decisions: DecisionWrites;
  readonly cursors: CursorWrites;
  readonly strategies: StrategyWrites;
  readonly orders: OrderReads;
  readonly account: AccountWrites;
  readonly flatten: FlattenWrites;
}

export interface Ledger {
  readonly read: LedgerReads;
  /**
   * Runs work in one transaction of the leader; commits nothing unless its epoch still is the account's epoch at commit.
   * @throws `leadership_lost` (not retryable), `ledger_unreachable` (retryable)
   */
  write<T>(leadership: Leadership, work: (tx: LedgerTransaction) => Promise<T>): Promise<T>;
  /** Waits until this process is the one loop of the account. */
  acquireLeadership(options: AcquireOptions): Promise<Leadership>;
  /** @throws `ledger_unreachable`, `ledger_schema_pending` (exit 3), `ledger_schema_newer` (exit 4) */
  check(): Promise<{ version: string }>;
  close(): Promise<void>;
}
