/**
 * The heartbeat of a task: the status record of spec ta 1.6 (pure; the regular session comes from the calendar).
 */
export interface HeartbeatInput {
  nowMs: number;
  watermarkMs: number | null;
  /** Newest bar that entered the signal stage, newest signal (window ends, market ms). */
  lastInputMs: number | null;
  lastOutputMs: number | null;
  inputCount: number;
  outputCount: number;
  /** The heartbeat before; undefined at the first. */
  previous: { inputCount: number; outputCount: number; elapsedSeconds: number } | undefined;
  isRegularSession: boolean;
  degradedAfterMs: number;
  latestBySymbol: ReadonlyMap<string, number>;
  /** A ClickHouse is configured by its address. */
  isSinkEnabled: boolean;
}

const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());

function reasonOf(lagMs: number | null, current: number, degradedAfterMs: number): string | null {
  if (lagMs === null) return 'source_lag_missing_during_regular_session';
  if (lagMs > degradedAfterMs) return 'source_lag_stale_during_regular_session';
  if (current === 0) return 'zero_current_records_during_regular_session';
  return null;
}

/** The body of a status record; the envelope fields are added by the task. */
export function heartbeatOf(input: HeartbeatInput): Record<string, unknown> {
  const { nowMs, watermarkMs, lastInputMs, lastOutputMs, previous } = input;
  const newest = Math.max(lastInputMs ?? Number.NEGATIVE_INFINITY, lastOutputMs ?? Number.NEGATIVE_INFINITY);
  const sourceLagMs = Number.isFinite(newest) ? Math.max(0, nowMs - newest) : null;
  const currentInput = input.inputCount - (previous?.inputCount ?? 0);
  const currentOutput = input.outputCount - (previous?.outputCount ?? 0);
  const current = currentInput + currentOutput;
  const reason = input.isRegularSession ? reasonOf(sourceLagMs, current, input.degradedAfterMs) : null;
  const rate = (delta: number) => (previous && previous.elapsedSeconds > 0 ? delta / previous.elapsedSeconds : null);
  return {
    watermark_lag_ms: watermarkMs === null ? null : Math.max(0, Math.round(nowMs - watermarkMs)),
    source_lag_ms: sourceLagMs,
    last_event_ts: iso(Number.isFinite(newest) ? newest : null),
    last_input_event_ts: iso(lastInputMs),
    last_output_event_ts: iso(lastOutputMs),
    input_event_count: input.inputCount,
    output_event_count: input.outputCount,
    microbar_event_count: input.inputCount,
    signal_event_count: input.outputCount,
    current_input_event_count: currentInput,
    current_output_event_count: currentOutput,
    current_record_count: current,
    input_rate_per_second: rate(currentInput),
    output_rate_per_second: rate(currentOutput),
    microbar_rate_per_second: rate(currentInput),
    signal_rate_per_second: rate(currentOutput),
    clickhouse_sink_enabled: input.isSinkEnabled,
    per_symbol_latest_event_ts: Object.fromEntries([...input.latestBySymbol].map(([symbol, ms]) => [symbol, iso(ms)])),
    market_session_state: input.isRegularSession ? 'regular' : 'outside_regular_session',
    status: reason === null ? 'ok' : 'degraded',
    status_reason: reason,
    heartbeat: true,
  };
}
