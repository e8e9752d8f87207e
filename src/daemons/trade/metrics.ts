/**
 * Metrics of `torghut trade` (spec trading 7.1): decisions, orders, leadership, switches. Those of the signals are in
 * metrics-signals.ts. Labels are codes of ours and names of strategies, never ids of orders or texts of others.
 */
import { Registry } from 'prom-client';
import type { Clock } from '../../lib/service/clock.ts';
import { flag, metricSet, secondsSince } from './metric-set.ts';
import { addSignalMetrics } from './metrics-signals.ts';
import type { StatusBoard } from './status.ts';

/** Every order goes to the broker by one way; the label is the specification's. */
const ADAPTER = 'alpaca';
/** Refusals before anything is claimed, by what is known here (spec trading 3.1). */
const localReject = /^(local_|precheck_|shorting_metadata_|sell_inventory_)/;

export function tradeMetrics(board: StatusBoard, clock: Clock): Registry {
  const registry = new Registry();
  const set = metricSet(registry);
  const { total, labelled, gauge } = set;
  const { counters } = board;
  const desk = () => board.desk?.counters;
  const costs = () => board.ledger?.orders.costs;
  const ended = () => counters.submitted + counters.rejected;
  const ratio = (part: number) => (ended() === 0 ? 0 : part / ended());

  total('decisions_total', 'Decisions persisted', () => counters.decisions);
  total('orders_submitted_total', 'Orders that the broker accepted', () => counters.submitted);
  total('orders_rejected_total', 'Decisions rejected', () => counters.rejected);
  labelled('decision_state_total', 'Decisions of the ledger by status', ['status'], () => ({
    ...board.ledger?.decisions.byStatus,
  }));
  labelled('decision_reject_reason_total', 'Reasons of rejected decisions', ['reason'], () => counters.rejectReasons);
  labelled('submission_block_total', 'Reasons of blocked decisions', ['reason'], () => counters.blockReasons);
  labelled('qty_resolution_total', 'Where quantities came from', ['reason'], () => counters.sizings);
  total('wishes_outside_session_total', 'Wishes dropped because the session is closed', () => counters.closedWishes);
  gauge('planned_decision_age_seconds', 'Market seconds of the oldest decision without an end; -1 without one', () =>
    secondsSince(clock, board.cycle?.oldestPlannedAtMs),
  );

  labelled('execution_submit_attempt_total', 'Orders sent to the broker', ['adapter', 'side', 'asset_class'], () =>
    Object.fromEntries(Object.entries(desk()?.attempts ?? {}).map(([kind, n]) => [`${ADAPTER} ${kind}`, n])),
  );
  labelled('execution_submit_result_total', 'What became of them', ['adapter', 'status'], () => ({
    [`${ADAPTER} submitted`]: desk()?.submitted ?? 0,
    [`${ADAPTER} rejected`]: desk()?.rejected ?? 0,
    [`${ADAPTER} unknown`]: desk()?.unknown ?? 0,
  }));
  labelled('execution_local_reject_total', 'Refused here by what is known of asset and inventory', ['code'], () =>
    Object.fromEntries(Object.entries(counters.rejectReasons).filter(([code]) => localReject.test(code))),
  );
  total(
    'execution_validation_mismatch_total',
    'Payloads that the firewall found to differ from what was approved',
    () => counters.rejectReasons.order_firewall_payload ?? 0,
  );
  gauge('execution_clean_ratio', 'Part of the ended decisions that the broker accepted', () =>
    ratio(counters.submitted),
  );
  gauge('execution_reject_ratio', 'Part of the ended decisions that were rejected', () => ratio(counters.rejected));
  gauge('claims_unresolved', 'Orders of unknown outcome', () => board.desk?.unknownClaims ?? 0);
  gauge('orders_open', 'Open orders', () => board.desk?.openOrders ?? 0);
  gauge('tca_order_count', 'Orders with a known slippage', () => costs()?.orders ?? 0);
  gauge(
    'tca_avg_slippage_bps',
    'Mean slippage, basis points; positive is worse for us',
    () => costs()?.avgSlippageBps ?? 0,
  );
  gauge('tca_avg_abs_slippage_bps', 'Mean size of it', () => costs()?.avgAbsSlippageBps ?? 0);

  total('reconcile_passes_total', 'Reconcile passes', () => desk()?.reconcilePasses ?? 0);
  total('reconcile_updates_total', 'Ledger rows that passes changed', () => desk()?.reconcileChanges ?? 0);
  gauge('reconcile_lag_seconds', 'Market seconds since the last reconcile pass; -1 before the first', () =>
    secondsSince(clock, board.desk?.lastReconcileAtMs),
  );
  gauge(
    'positions_drift_symbols',
    'Symbols held otherwise at the broker',
    () => board.desk?.findings.position_drift ?? 0,
  );
  total('order_feed_messages_total', 'Records of the trade-update topic', () => desk()?.feedRecords ?? 0);
  total('order_feed_events_persisted_total', 'Order events kept', () => desk()?.feedEvents ?? 0);
  total('order_feed_apply_updates_total', 'Order updates applied', () => desk()?.updatesApplied ?? 0);
  total('order_feed_duplicates_total', 'Order updates that came twice', () => desk()?.updatesDuplicate ?? 0);
  total('order_feed_out_of_order_total', 'Order updates older than what was known', () => desk()?.updatesStale ?? 0);
  total('order_feed_missing_fields_total', 'Order updates that could not be read', () => desk()?.feedUnreadable ?? 0);
  total('order_feed_consumer_errors_total', 'Failed readings of the topic', () => desk()?.feedFailures ?? 0);

  total('cycles_total', 'Completed cycles', () => board.totals.cycles);
  total('cycle_failures_total', 'Cycles that failed and were tried again', () => board.totals.failures);
  gauge('cycle_duration_seconds', 'Machine seconds of the newest cycle', () => board.totals.lastCycleMs / 1_000);
  gauge('leader_info', '1 while this process leads the account', () => flag(board.leader));
  gauge('leader_epoch', 'Epoch of the leadership', () => Number(board.epoch ?? 0n));
  gauge('kill_switch', '1 while the kill switch is on', () =>
    flag(board.cycle?.switches?.killSwitch ?? board.settings.killSwitch),
  );
  gauge('paused', '1 while trading is paused', () => flag(board.cycle?.switches?.paused));
  gauge('emergency_stop', '1 while an emergency stop is latched', () => flag(board.cycle?.switches?.emergencyStop));
  gauge('live_armed', '1 while the control row arms the live account', () =>
    flag(board.settings.mode === 'live' && (board.cycle?.liveArmedUntilMs ?? 0) > clock.nowMs()),
  );
  gauge('shorts_enabled', '1 when short sales are allowed', () => flag(board.settings.allowShorts));
  gauge(
    'broker_ratelimit_remaining',
    'Requests left at the broker; -1 while none leads',
    () => board.probes.requestsLeft?.() ?? -1,
  );
  gauge('db_pool_in_use', 'Connections to Postgres in use', () => board.probes.connectionsInUse?.() ?? 0);
  gauge('strategy_catalog_version', 'Version of the catalog in force', () => board.catalog?.version ?? 0);
  gauge('strategy_catalog_invalid', '1 while the catalog file cannot be taken over', () =>
    flag(board.catalog?.failure),
  );
  addSignalMetrics(set, board, clock);
  return registry;
}
