/** Metrics of `torghut trade` (spec trading 7.1): read from the cycle's and the desk's own counters when asked. */
import { Counter, Gauge, Registry } from 'prom-client';
import type { StatusBoard } from './status.ts';

const PREFIX = 'torghut_trading_';

export function tradeMetrics(board: StatusBoard): Registry {
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
  total('signal_rows_total', 'Signal rows taken', () => counters.rows);
  total('decisions_total', 'Decisions persisted', () => counters.decisions);
  total('orders_submitted_total', 'Orders that the broker accepted', () => counters.submitted);
  total('orders_rejected_total', 'Decisions rejected', () => counters.rejected);
  total('strategy_errors_total', 'Errors of strategies', () => counters.strategyErrors);
  total('signals_would_differ_total', 'Revised signals that would have acted otherwise', () => counters.wouldDiffer);
  total('wishes_outside_session_total', 'Wishes dropped because the session is closed', () => counters.closedWishes);
  total('cycles_total', 'Completed cycles', () => board.totals.cycles);
  total('cycle_failures_total', 'Cycles that failed and were tried again', () => board.totals.failures);
  labelled('decision_reject_reason_total', 'Reasons of rejected decisions', 'reason', () => counters.rejectReasons);
  labelled('submission_block_total', 'Reasons of blocked decisions', 'reason', () => counters.blockReasons);
  labelled('signal_notes_total', 'Signal rows recorded but not traded', 'kind', () => ({ ...counters.notes }));
  gauge('leader_info', '1 while this process leads the account', () => (board.leader ? 1 : 0));
  gauge('leader_epoch', 'Epoch of the leadership', () => Number(board.epoch ?? 0n));
  gauge('claims_unresolved', 'Orders of unknown outcome', () => board.desk?.unknownClaims ?? 0);
  gauge('orders_open', 'Open orders', () => board.desk?.openOrders ?? 0);
  gauge('kill_switch', '1 while the kill switch is on', () => (board.cycle?.switches?.killSwitch ? 1 : 0));
  gauge('emergency_stop', '1 while an emergency stop is latched', () => (board.cycle?.switches?.emergencyStop ? 1 : 0));
  gauge('market_session_open', '1 while the regular session is open', () => (board.cycle?.session?.state === 'open' ? 1 : 0));
  gauge('cycle_duration_seconds', 'Machine seconds of the newest cycle', () => board.totals.lastCycleMs / 1_000);
  return registry;
}
