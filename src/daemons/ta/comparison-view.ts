/** How a comparison of outputs is shown: one object for scripts, and text for people. */
import { formatTimestampNs } from '../../lib/market/time.ts';
import type { Comparison, RowDifference } from '../../lib/signals/compare.ts';
import { type OutputFormat, renderObject, renderRows } from '../../lib/ui/output.ts';
import type { RowInputs } from './input-of-row.ts';

export const instantText = (ms: number): string => formatTimestampNs(BigInt(ms) * 1_000_000n);

export function comparisonObject(
  comparison: Comparison,
  inputs: RowInputs | undefined,
  inputsMissing: string | null,
): Record<string, unknown> {
  const { bars, signals_1s, signals_1m, only_left, only_right, different, first } = comparison;
  return {
    compared: { bars, signals_1s, signals_1m },
    only_left,
    only_right,
    different,
    first_difference: first ? differenceObject(first) : null,
    input_of_first: inputs ? { total: inputs.total, events: inputs.rows } : null,
    input_missing: inputsMissing,
  };
}

function differenceObject(first: RowDifference): Record<string, unknown> {
  return {
    kind: first.kind,
    table: first.table,
    symbol: first.symbol,
    window_size: first.windowSize,
    event_ts: instantText(first.eventMs),
    columns: first.columns,
  };
}

/** @param sides what left and right are called */
export function renderComparison(
  head: Record<string, unknown>,
  object: Record<string, unknown>,
  format: OutputFormat,
  first: RowDifference | undefined,
  inputs: RowInputs | undefined,
  sides: readonly [left: string, right: string],
): string {
  if (format !== 'table') return renderObject({ ...head, ...object }, format);
  const { first_difference: _first, input_of_first: _inputs, compared, input_missing, ...counts } = object;
  const parts = [renderObject({ ...head, ...(compared as Record<string, unknown>), ...counts }, format)];
  if (first) {
    const { kind, table, symbol, windowSize, eventMs, columns } = first;
    const where =
      kind === 'different' ? 'differs' : kind === 'only_left' ? `only in ${sides[0]}` : `only in ${sides[1]}`;
    parts.push(`First difference: ${table} ${symbol} ${windowSize} ${instantText(eventMs)}, ${where}`);
    const rows = Object.entries(columns).map(([column, { left, right }]) => ({
      column,
      [sides[0]]: left,
      [sides[1]]: right,
    }));
    parts.push(renderRows(rows, format));
  }
  if (inputs) {
    parts.push(inputs.total === 0 ? 'No input of this window is found.' : `Its input (${inputs.total}):`);
    if (inputs.rows.length > 0) parts.push(renderRows(inputs.rows, format));
  }
  if (typeof input_missing === 'string') parts.push(`Its input cannot be shown: ${input_missing}`);
  return parts.join('\n\n');
}
