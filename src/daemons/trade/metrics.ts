/** Metrics of `torghut trade` (spec trading 7.1): read from the cycle's and the desk's own counters when asked. */
import { Counter, Gauge, Registry } from 'prom-client';
import type { Clock } from '../../lib/service/clock.ts';
import type { StatusBoard } from './status.ts';

const PREFIX = 'torghut_trading_';

export function tradeMetrics(board: StatusBoard, clock: Clock): Registry {
  const registry = new Registry();
  const registers = [registry];
  /** Values live elsewhere; a scrape copies them. */
  const total = (name: string, help: string, read: () => number) =>
    new Counter({
      name: `${PREFIX}${name}`,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  const labelled = <L extends string>(name: string, help: string, label: L, read: () => Record<string, number>) =>
    new Counter({
      name: `${PREFIX}${name}`,
      help,
      labelNames: [label],
      registers,
      collect() {
        this.reset();
        for (const [value, count] of Object.entries(read()))
          this.labels({ [label]: value } as Record<L, string>).inc(count);
      },
    });
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `${PREFIX}${name}`,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });

  const { counters } = board;
  const flag = (value: unknown) => (value ? 1 : 0);
  const desk = (
    name: 'posts' | 'unknown' | 'updatesApplied' | 'updatesDuplicate' | 'updatesStale' | 'reconcilePasses',
  ) => board.desk?.counters[name] ?? 0;
  total('signal_rows_total', 'Signal rows taken', () => counters.rows);
  total('decisions_total', 'Decisions persisted', () => counters.decisions);
  total('orders_submitted_total', 'Orders that the broker accepted', () => counters.submitted);
  total('orders_rejected_total', 'Decisions rejected', () => counters.rejected);
  total('strategy_errors_total', 'Errors of strategies', () => counters.strategyErrors);
  total('signals_would_differ_total', 'Revised signals that would have acted otherwise', () => counters.wouldDiffer);
  total('wishes_outside_session_total', 'Wishes dropped because the session is closed', () => counters.closedWishes);
  total('cycles_total', 'Completed cycles', () => board.totals.cycles);
  total('cycle_failures_total', 'Cycles that failed and were tried again', () => board.totals.failures);
  total('execution_submit_attempt_total', 'Orders sent to the broker', () => desk('posts'));
  total('execution_submit_unknown_total', 'Orders whose outcome was not known at first', () => desk('unknown'));
  total('reconcile_passes_total', 'Reconcile passes', () => desk('reconcilePasses'));
  total('reconcile_updates_total', 'Order updates applied', () => desk('updatesApplied'));
  total('order_feed_duplicates_total', 'Order updates that came twice', () => desk('updatesDuplicate'));
  total('order_feed_out_of_order_total', 'Order updates older than what was known', () => desk('updatesStale'));
  labelled('decision_state_total', 'Decisions of the ledger by status', 'status', () => ({
    ...board.ledger?.decisions.byStatus,
  }));
  labelled('decision_reject_reason_total', 'Reasons of rejected decisions', 'reason', () => counters.rejectReasons);
  labelled('submission_block_total', 'Reasons of blocked decisions', 'reason', () => counters.blockReasons);
  labelled('signal_notes_total', 'Signal rows recorded but not traded', 'kind', () => ({ ...counters.notes }));
  labelled('signal_faults_total', 'Readings of signals that failed', 'reason', () => counters.faults);
  labelled('feature_quality_reject_reason_total', 'Batches not decided on', 'reason', () => counters.qualityReasons);
  gauge('leader_info', '1 while this process leads the account', () => flag(board.leader));
  gauge('leader_epoch', 'Epoch of the leadership', () => Number(board.epoch ?? 0n));
  gauge('claims_unresolved', 'Orders of unknown outcome', () => board.desk?.unknownClaims ?? 0);
  gauge('orders_open', 'Open orders', () => board.desk?.openOrders ?? 0);
  gauge('kill_switch', '1 while the kill switch is on', () => flag(board.cycle?.switches?.killSwitch));
  gauge('paused', '1 while trading is paused', () => flag(board.cycle?.switches?.paused));
  gauge('emergency_stop', '1 while an emergency stop is latched', () => flag(board.cycle?.switches?.emergencyStop));
  gauge('market_session_open', '1 while the regular session is open', () =>
    flag(board.cycle?.session?.state === 'open'),
  );
  gauge('cycle_duration_seconds', 'Machine seconds of the newest cycle', () => board.totals.lastCycleMs / 1_000);
  gauge('reconcile_lag_seconds', 'Market seconds since the last reconcile pass; -1 before the first', () => {
    const at = board.desk?.lastReconcileAtMs;
    return at === undefined ? -1 : (clock.nowMs() - at) / 1_000;
  });
  gauge(
    'signal_lag_seconds',
    'Market seconds since the newest signal; -1 before the first',
    () => board.cycle?.continuity?.lagSeconds ?? -1,
  );
  gauge(
    'no_signal_streak',
    'Cycles in a row without a signal for one reason',
    () => board.cycle?.continuity?.streak ?? 0,
  );
  gauge('signal_continuity_alert_active', '1 while signals are missing that should be there', () =>
    flag(board.cycle?.continuity?.isAlert),
  );
  gauge(
    'signal_continuity_alert_recovery_streak',
    'Healthy cycles in a row while the alert stands',
    () => board.cycle?.continuity?.recoveryStreak ?? 0,
  );
  gauge('feature_null_rate', 'Part of required features without a value', () => board.cycle?.quality?.nullRate ?? 0);
  gauge(
    'feature_staleness_ms_p95',
    'Age of the rows of the newest batch, p95',
    () => board.cycle?.quality?.stalenessP95Ms ?? 0,
  );
  gauge(
    'feature_duplicate_ratio',
    'Part of the newest batch that came twice',
    () => board.cycle?.quality?.duplicateRatio ?? 0,
  );
  gauge('universe_symbols_count', 'Symbols that may be traded; -1 for all', () => {
    const symbols = board.cycle?.universe?.symbols;
    return symbols === 'all' ? -1 : (symbols?.length ?? 0);
  });
  gauge('shorts_enabled', '1 when short sales are allowed', () => flag(board.settings.allowShorts));
  gauge('strategy_catalog_version', 'Version of the catalog in force', () => board.catalog?.version ?? 0);
  gauge('strategy_catalog_invalid', '1 while the catalog file cannot be taken over', () =>
    flag(board.catalog?.failure),
  );
  return registry;
}
