/** The summary of a run as text for people. */

function line(label: string, value: unknown): string {
  return `  ${label.padEnd(14)} ${typeof value === 'object' && value !== null ? pairs(value) : String(value)}`;
}

function pairs(value: object): string {
  return Object.entries(value)
    .map(([key, item]) => `${key} ${typeof item === 'object' && item !== null ? `(${pairs(item)})` : String(item)}`)
    .join(', ');
}

/** @param summary the object that `-o json` prints */
export function renderSummary(summary: Record<string, unknown>): string {
  const problems = Array.isArray(summary.problems) ? (summary.problems as string[]) : [];
  const restarts = Array.isArray(summary.restarts) ? (summary.restarts as Record<string, unknown>[]) : [];
  const shown = Object.entries(summary).filter(([key]) => !['ok', 'problems', 'restarts'].includes(key));
  return [
    summary.ok === true ? 'ok: everything that was sent was counted, stored and settled' : 'NOT OK',
    ...problems.map((problem) => `  problem: ${problem}`),
    ...shown.map(([key, value]) => line(key, value)),
    line(
      'restarts',
      restarts.length === 0 ? 'none' : restarts.map((item) => `${item.process} ${item.cause}`).join(', '),
    ),
  ].join('\n');
}
