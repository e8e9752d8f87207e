/**
 * The one shape in which runbook commands report: an object for scripts; for people the same as lines and a table of checks.
 */
import { type OutputFormat, renderObject, renderRows } from '../ui/output.ts';
import type { Check } from './plan.ts';

export interface Report {
  [name: string]: unknown;
  checks: readonly Check[];
}

export function renderReport(report: Report, format: OutputFormat, tables: readonly string[] = []): string {
  if (format !== 'table') return renderObject(report, format);
  const names = [...tables, 'checks'];
  const scalars = Object.fromEntries(Object.entries(report).filter(([name]) => !names.includes(name)));
  const parts = [renderObject(scalars, 'table')];
  for (const name of names) {
    const rows = report[name] as readonly Record<string, unknown>[];
    if (rows.length > 0)
      parts.push(
        renderRows(
          rows.map((row) => ({ ...row })),
          'table',
        ),
      );
  }
  return parts.join('\n\n');
}

export const isWell = (checks: readonly Check[]): boolean => checks.every((check) => check.verdict === 'ok');
