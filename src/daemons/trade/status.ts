/**
 * What `torghut trade` says about itself. One board for the life of the process: it survives the sessions with Postgres that
 * come and go, so that /status never goes blank while a store restarts.
 */
import type { DecisionCounts, Ledger, OrderCounts, PositionRow } from '../../lib/ledger/contract.ts';
import type { OrderDeskStatus } from '../../lib/orders/contract.ts';
import { machineMs } from '../../lib/service/machine.ts';
import { VERSION } from '../../lib/service/version.ts';
import { type CycleCounters, newCounters } from '../../lib/trading/counters.ts';
import type { CycleStatus } from '../../lib/trading/cycle-status.ts';
import type { TradingSettings } from '../../lib/trading/settings.ts';
import { controlsJson } from './status-controls.ts';

/** What the ledger says, read anew every few hundred machine ms while somebody leads. */
export interface LedgerView {
  decisions: DecisionCounts;
  orders: OrderCounts;
  positions: PositionRow[];
}

export interface StatusBoard {
  readonly settings: TradingSettings;
  readonly counters: CycleCounters;
  readonly totals: { cycles: number; failures: number; lastCycleMs: number };
  leader: boolean;
  epoch: bigint | undefined;
  cycle: CycleStatus | undefined;
  desk: OrderDeskStatus | undefined;
  catalog: { digest: string | null; version: number | null; strategies: number; failure: string | null } | undefined;
  ledger: LedgerView | undefined;
  /** Looks at what the present session holds; empty between two. */
  readonly probes: { requestsLeft?: (() => number) | undefined; connectionsInUse?: (() => number) | undefined };
  draining: boolean;
  drained: boolean;
  /** Why the newest session or cycle failed; null while all is well. */
  lastError: string | null;
  /** Machine ms of the newest completed cycle. */
  lastCycleAtMachineMs: number | undefined;
}

export function statusBoard(settings: TradingSettings): StatusBoard {
  return {
    settings,
    counters: newCounters(),
    totals: { cycles: 0, failures: 0, lastCycleMs: 0 },
    leader: false,
    epoch: undefined,
    cycle: undefined,
    desk: undefined,
    catalog: undefined,
    ledger: undefined,
    probes: {},
    draining: false,
    drained: false,
    lastError: null,
    lastCycleAtMachineMs: undefined,
  };
}

/** Reads what the ledger says. */
export async function readLedgerView(ledger: Ledger, accountLabel: string): Promise<LedgerView> {
  const { read } = ledger;
  const [decisions, orders, positions] = await Promise.all([
    read.decisions.counts(accountLabel),
    read.orders.counts(accountLabel),
    read.orders.positions(accountLabel),
  ]);
  return { decisions, orders, positions };
}

const time = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());

/** The JSON of /status. Counts are the ledger's: they hold over restarts. */
export function statusJson(board: StatusBoard): Record<string, unknown> {
  const { settings, cycle, desk, ledger, catalog } = board;
  const byStatus = ledger?.decisions.byStatus ?? {};
  const switches = cycle?.switches;
  return {
    run_id: settings.runId,
    account_label: settings.accountLabel,
    enabled: settings.isEnabled,
    mode: settings.mode,
    running: board.leader && board.lastCycleAtMachineMs !== undefined,
    build: { version: VERSION, active_revision: process.env.K_REVISION ?? null },
    leader: board.leader,
    epoch: board.epoch?.toString() ?? null,
    kill_switch: switches?.killSwitch ?? settings.killSwitch,
    paused: switches?.paused ?? false,
    emergency_stop: switches?.emergencyStop ?? null,
    store_emergency: switches?.storeEmergency ?? null,
    session: cycle?.session?.state ?? 'unknown',
    session_source: cycle?.session?.source ?? null,
    cursor: cycle?.cursor ?? {},
    /** True where the newest reading found no more rows. */
    cursor_at_end: cycle?.atEnd ?? {},
    cycles: board.totals.cycles,
    cycle_failures: board.totals.failures,
    last_run_at: time(cycle?.lastRunAtMs),
    last_decision_at: time(cycle?.lastDecisionAtMs),
    decisions: {
      planned: byStatus.planned ?? 0,
      submitted: ledger?.decisions.submitted ?? 0,
      rejected: byStatus.rejected ?? 0,
      blocked: byStatus.blocked ?? 0,
    },
    decisions_total: ledger?.decisions.total ?? 0,
    decision_statuses: byStatus,
    reject_reasons: ledger?.decisions.rejectReasons ?? {},
    block_reasons: ledger?.decisions.blockReasons ?? {},
    orders: {
      executions: ledger?.orders.executions ?? 0,
      by_state: ledger?.orders.byState ?? {},
      fills: ledger?.orders.fills ?? 0,
      partially_filled: ledger?.orders.partiallyFilled ?? 0,
    },
    tca: {
      orders: ledger?.orders.costs.orders ?? 0,
      avg_slippage_bps: ledger?.orders.costs.avgSlippageBps ?? null,
      avg_abs_slippage_bps: ledger?.orders.costs.avgAbsSlippageBps ?? null,
    },
    orders_open: desk?.openOrders ?? ledger?.orders.open ?? 0,
    unknown_claims: desk?.unknownClaims ?? ledger?.orders.unknownClaims ?? 0,
    last_reconcile_at: time(desk?.lastReconcileAtMs),
    last_reconcile_error: desk?.lastReconcileError ?? null,
    reconcile_changes_last_pass: desk?.lastReconcileChanges ?? 0,
    positions: (ledger?.positions ?? []).map(({ symbol, quantity, avgEntryPrice }) => ({
      symbol,
      qty: quantity.toFixed(),
      avg_entry_price: avgEntryPrice.toFixed(),
    })),
    equity: cycle?.equity ?? null,
    signal_rows: board.counters.rows,
    signal_notes: board.counters.notes,
    strategies: catalog ?? null,
    ...controlsJson(board),
    draining: board.draining,
    drained: board.drained,
    last_error: board.lastError,
  };
}

/** Longest machine ms without a completed cycle before the daemon counts as not ready (spec trading 1.1). */
const SUCCESS_MAX_AGE_MS = 30_000;

/** The JSON of /readyz. A standby is ready as soon as it waits. */
export function readinessJson(board: StatusBoard): { ready: boolean } & Record<string, unknown> {
  const reasons: string[] = [];
  const age = board.lastCycleAtMachineMs === undefined ? undefined : machineMs() - board.lastCycleAtMachineMs;
  if (!board.leader) reasons.push('not_leader');
  else if (age === undefined) reasons.push('no_cycle_yet');
  else if (age > SUCCESS_MAX_AGE_MS) reasons.push('cycle_too_old');
  if (board.desk?.isBrokerAuthLatched) reasons.push('broker_auth');
  if (board.cycle?.continuity?.freshness === 'unavailable') reasons.push('signals_unavailable');
  return { ready: reasons.length === 0, reason_codes: reasons, last_error: board.lastError };
}
