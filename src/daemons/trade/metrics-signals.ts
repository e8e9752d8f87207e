/** Metrics of the signals that `torghut trade` reads (spec trading 7.1): continuity, quality, universe, strategies. */
import type { Clock } from '../../lib/service/clock.ts';
import { flag, type MetricSet, secondsSince } from './metric-set.ts';
import type { StatusBoard } from './status.ts';

export function addSignalMetrics({ total, labelled, gauge }: MetricSet, board: StatusBoard, clock: Clock): void {
  const { counters } = board;
  const continuity = () => board.cycle?.continuity;
  const quality = () => board.cycle?.quality;

  total('signal_rows_total', 'Signal rows taken', () => counters.rows);
  labelled('signal_notes_total', 'Signal rows recorded but not traded', ['kind'], () => ({ ...counters.notes }));
  total('signals_would_differ_total', 'Revised signals that would have acted otherwise', () => counters.wouldDiffer);
  labelled('signal_faults_total', 'Readings of signals that failed', ['reason'], () => counters.faults);
  labelled('strategy_intents_total', 'Wishes of strategies', ['strategy'], () => counters.strategyIntents);
  labelled('strategy_errors_total', 'Errors of strategies', ['strategy'], () => counters.strategyErrors);

  gauge(
    'signal_lag_seconds',
    'Market seconds since the newest signal; -1 before the first',
    () => continuity()?.lagSeconds ?? -1,
  );
  gauge(
    'cursor_lag_seconds',
    'Market seconds since the newest signal that the cursor has passed; -1 before the first',
    () => secondsSince(clock, board.cycle?.cursorEventMs),
  );
  labelled('no_signal_reason_total', 'Cycles without a signal', ['reason'], () => counters.noSignal);
  gauge('no_signal_streak', 'Cycles in a row without a signal', () => counters.noSignalStreak);
  gauge('no_signal_reason_streak', 'Cycles in a row without a signal for one reason', () => continuity()?.streak ?? 0);
  labelled(
    'signal_staleness_alert_total',
    'Alerts that began because signals are missing',
    ['reason'],
    () => counters.stalenessAlerts,
  );
  total(
    'signal_expected_staleness_total',
    'Silent cycles while the market is closed',
    () => counters.expectedStaleness,
  );
  total(
    'signal_actionable_staleness_total',
    'Cycles without signals that should be there',
    () => counters.actionableStaleness,
  );
  gauge('signal_continuity_actionable', '1 while signals that should be there are missing', () =>
    flag(continuity()?.state === 'actionable_source_fault'),
  );
  gauge('signal_continuity_alert_active', '1 from the alert on until enough healthy cycles', () =>
    flag(continuity()?.isAlert),
  );
  gauge(
    'signal_continuity_alert_recovery_streak',
    'Healthy cycles in a row while the alert stands',
    () => continuity()?.recoveryStreak ?? 0,
  );
  gauge('market_session_open', '1 while the regular session is open', () =>
    flag(board.cycle?.session?.state === 'open'),
  );

  total('feature_batch_rows_total', 'Rows that enabled strategies look at', () => counters.qualityRows);
  total('feature_quality_rejections_total', 'Batches not decided on', () => counters.qualityRejections);
  labelled('feature_quality_reject_reason_total', 'Why they were not', ['reason'], () => counters.qualityReasons);
  labelled(
    'feature_quality_cursor_commit_blocked_total',
    'Batches that hold the cursor',
    ['reason'],
    () => counters.qualityHolds,
  );
  total(
    'signal_batch_order_violation_total',
    'Batches whose rows went back',
    () => counters.qualityReasons.non_monotonic_progression ?? 0,
  );
  gauge('feature_null_rate', 'Part of required features without a value', () => quality()?.nullRate ?? 0);
  gauge('feature_staleness_ms_p95', 'Age of the rows of the newest batch, p95', () => quality()?.stalenessP95Ms ?? 0);
  gauge('feature_duplicate_ratio', 'Part of the newest batch that came twice', () => quality()?.duplicateRatio ?? 0);

  labelled('universe_resolution_total', 'Looks at the universe', ['status', 'reason'], () => counters.universe);
  labelled('universe_fail_safe_reason_total', 'Looks that held every entry', ['reason'], () => counters.universeBlocks);
  gauge('universe_symbols_count', 'Symbols that may be traded; -1 for all', () => {
    const symbols = board.cycle?.universe?.symbols;
    return symbols === 'all' ? -1 : (symbols?.length ?? 0);
  });
  gauge('universe_cache_age_seconds', 'Market seconds since the answer it rests on; -1 for a static list', () =>
    secondsSince(clock, board.cycle?.universe?.asOfMs),
  );
}
