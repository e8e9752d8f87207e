/** The metrics of the specification (trading 7.1), name by name: served, or named here with the reason why there is none. */
import { describe, expect, it } from 'vitest';
import { tradeMetrics } from '../../src/daemons/trade/metrics.ts';
import { settingsOf } from '../../src/daemons/trade/settings.ts';
import { type StatusBoard, statusBoard } from '../../src/daemons/trade/status.ts';
import { tradeVariables } from '../../src/daemons/trade/variables.ts';
import { loadConfig } from '../../src/lib/service/config.ts';
import { nothingSeen } from '../../src/lib/trading/cycle-status.ts';
import { sessionMs, testClock } from '../ledger/support/fixtures.ts';

const specified = `
  decisions_total orders_submitted_total orders_rejected_total reconcile_updates_total decision_state_total
  decision_reject_reason_total submission_block_total execution_requests_total execution_submit_attempt_total
  execution_submit_result_total execution_local_reject_total execution_validation_mismatch_total execution_fallback_total
  execution_fallback_reason_total qty_resolution_total sell_inventory_context_total no_signal_reason_total
  signal_staleness_alert_total signal_expected_staleness_total signal_actionable_staleness_total feature_batch_rows_total
  feature_quality_rejections_total feature_quality_reject_reason_total feature_quality_cursor_commit_blocked_total
  signal_batch_order_violation_total universe_resolution_total universe_fail_safe_reason_total
  planned_decisions_stale_total planned_decisions_timeout_rejected_total planned_decisions_with_execution_total
  strategy_events_total strategy_intents_total strategy_errors_total order_feed_messages_total
  order_feed_events_persisted_total order_feed_duplicates_total order_feed_out_of_order_total
  order_feed_missing_fields_total order_feed_apply_updates_total order_feed_consumer_errors_total
  domain_telemetry_event_total domain_telemetry_dropped_total
  signal_lag_seconds no_signal_streak no_signal_reason_streak market_session_open signal_continuity_actionable
  signal_continuity_alert_active signal_continuity_alert_recovery_streak feature_null_rate feature_staleness_ms_p95
  feature_duplicate_ratio universe_symbols_count universe_cache_age_seconds planned_decision_age_seconds shorts_enabled
  execution_clean_ratio execution_reject_ratio tca_avg_slippage_bps tca_avg_abs_slippage_bps tca_order_count
  leader_info leader_epoch cycle_duration_seconds reconcile_lag_seconds cursor_lag_seconds claims_unresolved
  positions_drift_symbols kill_switch emergency_stop live_armed broker_ratelimit_remaining db_pool_in_use
`
  .trim()
  .split(/\s+/);

const needless: Readonly<Record<string, string>> = {
  execution_requests_total: 'one way to the broker: it would be execution_submit_attempt_total again',
  execution_fallback_total: 'there is no second way to the broker, and one POST per claim',
  execution_fallback_reason_total: 'as above',
  sell_inventory_context_total: 'sell_inventory_conflict of execution_local_reject_total',
  planned_decisions_stale_total: 'decision_too_old of decision_reject_reason_total',
  planned_decisions_timeout_rejected_total:
    'as above: an old one is refused by the next cycle, without a time-out of its own',
  planned_decisions_with_execution_total: 'an order of the broker settles its decision in the same transaction',
  strategy_events_total: 'signal_rows_total: which of them a strategy looks at is in its catalog entry',
  domain_telemetry_event_total: 'nothing is sent elsewhere: the ledger has the history',
  domain_telemetry_dropped_total: 'as above',
};

const settings = settingsOf(loadConfig(tradeVariables, {}).values, 'r');
const scrape = async (board: StatusBoard) => (await tradeMetrics(board, testClock()).metrics()).split('\n');
const name = (line: string) => /^# TYPE torghut_trading_(\S+)/.exec(line)?.[1];

describe('metrics', () => {
  it('of the specification are all there from the start, or needless for a reason', async () => {
    const served = new Set((await scrape(statusBoard(settings))).flatMap((line) => name(line) ?? []));
    expect(specified.filter((wanted) => !served.has(wanted)).sort()).toEqual(Object.keys(needless).sort());
  });

  it('say what the loop, the desk and the ledger know', async () => {
    const board = statusBoard({ ...settings, mode: 'live' });
    board.cycle = {
      ...nothingSeen(),
      cursor: {},
      atEnd: {},
      liveArmedUntilMs: sessionMs + 1,
      cursorEventMs: sessionMs - 3_000,
      oldestPlannedAtMs: sessionMs - 2_000,
    };
    board.probes.requestsLeft = () => 149;
    board.probes.connectionsInUse = () => 2;
    const { counters } = board;
    counters.submitted = 3;
    counters.refuse(['local_qty_below_min', 'cooldown_active'], false);
    const universe = {
      symbols: [],
      status: 'error',
      reason: 'fetch_failed',
      asOfMs: undefined,
      isBlocked: true,
    } as const;
    const silent = { reason: 'cursor_tail_stable', streak: 2, recoveryStreak: 0, lagSeconds: 400, startedAtMs: 0 };
    const sight = { ...silent, isAlert: true, state: 'actionable_source_fault', freshness: 'stale' } as const;
    counters.see({ ...sight, isAlert: false }, false, universe);
    counters.see(sight, false, universe);
    counters.see(sight, true, universe);
    const rates = { warnings: [], stalenessP95Ms: 1, duplicateRatio: 0, nullRate: 0 };
    counters.judge({ rows: 5, reasons: ['schema_mismatch'], verdict: 'hold', ...rates });
    counters.judge({ rows: 7, reasons: [], verdict: 'pass', ...rates });
    board.ledger = {
      decisions: { total: 4, byStatus: { filled: 3 }, rejectReasons: {}, blockReasons: {}, submitted: 3 },
      orders: {
        executions: 3, byState: {}, fills: 3, partiallyFilled: 0, open: 0, unknownClaims: 0, lateAccepted: 0, orphans: 0,
        costs: { orders: 3, avgSlippageBps: -1.5, avgAbsSlippageBps: 2.5 },
      }, // biome-ignore format: one list
      positions: [],
    };
    const lines = await scrape(board);
    for (const line of [
      'live_armed 1',
      'cursor_lag_seconds 3',
      'planned_decision_age_seconds 2',
      'broker_ratelimit_remaining 149',
      'db_pool_in_use 2',
      'execution_clean_ratio 0.75',
      'execution_reject_ratio 0.25',
      'execution_local_reject_total{code="local_qty_below_min"} 1',
      'decision_reject_reason_total{reason="cooldown_active"} 1',
      'no_signal_reason_total{reason="cursor_tail_stable"} 3',
      'no_signal_streak 3',
      'signal_staleness_alert_total{reason="cursor_tail_stable"} 1',
      'signal_actionable_staleness_total 3',
      'universe_resolution_total{status="error",reason="fetch_failed"} 3',
      'universe_fail_safe_reason_total{reason="fetch_failed"} 3',
      'feature_batch_rows_total 12',
      'feature_quality_rejections_total 1',
      'feature_quality_cursor_commit_blocked_total{reason="schema_mismatch"} 1',
      'decision_state_total{status="filled"} 3',
      'tca_order_count 3',
      'tca_avg_slippage_bps -1.5',
      'tca_avg_abs_slippage_bps 2.5',
    ]) {
      expect(lines).toContain(`torghut_trading_${line}`);
    }
    expect(lines.some((line) => line.startsWith('torghut_trading_execution_local_reject_total{code="cooldown'))).toBe(
      false,
    );
  });

  it('an arming that is over, or one of a paper account, arms nothing', async () => {
    for (const [mode, untilMs] of [
      ['live', sessionMs - 1],
      ['paper', sessionMs + 1],
    ] as const) {
      const board = statusBoard({ ...settings, mode });
      board.cycle = { ...nothingSeen(), cursor: {}, atEnd: {}, liveArmedUntilMs: untilMs };
      expect(await scrape(board)).toContain('torghut_trading_live_armed 0');
    }
  });
});
