/** The report of `torghut clickhouse disk` for a person: level, a bar per replica, what is large, what could be freed, the plan. */
import { formatBytes, percent } from '../signals/disk/level.ts';
import type { NodeReport } from '../signals/disk/node-report.ts';
import type { DiskPlan } from '../signals/disk/plan.ts';
import type { DiskReport } from '../signals/disk/report.ts';
import { formatTable } from './output.ts';

const width = 40;

/** Used part of a disk as a bar. */
export function diskBar(freeRatio: number): string {
  const used = Math.min(width, Math.max(0, Math.round((1 - freeRatio) * width)));
  return `[${'#'.repeat(used)}${'.'.repeat(width - used)}]`;
}

export function renderDiskReport(report: DiskReport): string {
  const lines = [`level: ${report.level}${report.reasons.length > 0 ? ` (${report.reasons.join('; ')})` : ''}`];
  for (const node of report.nodes) lines.push(...nodeLines(node));
  if (report.nodes.every(({ error }) => error !== null)) return [...lines, ...adviceLines(report)].join('\n');
  lines.push(`replicas: ${report.replicas.status} (${report.replicas.why}); keeper: ${report.keeper.status}`);
  if (report.pipeline) {
    const parts = Object.entries(report.pipeline).map(([name, state]) => `${name}: ${stateText(state)}`);
    lines.push(...parts);
  }
  const name = (replica: string) => (report.nodes.length > 1 ? { replica } : {});
  const tables = report.top_tables.map(({ replica, database, table, bytes, rows, parts }) => ({
    ...name(replica),
    table: `${database}.${table}`,
    size: formatBytes(bytes),
    rows,
    parts,
  }));
  const partitions = report.top_partitions.map(({ replica, database, table, partition, bytes, rows, parts }) => ({
    ...name(replica),
    partition: `${database}.${table} ${partition}`,
    size: formatBytes(bytes),
    rows,
    parts,
  }));
  const classes = report.reclaimable.map(({ class: order, name: what, objects, bytes, held }) => ({
    class: order,
    'could be freed': what,
    objects,
    size: formatBytes(bytes),
    held,
  }));
  for (const rows of [tables, partitions, classes]) if (rows.length > 0) lines.push('', formatTable(rows));
  lines.push('', ...adviceLines(report));
  if (report.plan) lines.push(renderPlan(report.plan));
  return lines.join('\n');
}

const adviceLines = (report: DiskReport): string[] => report.advice.map(({ id, text }) => `${id}: ${text}`);

function stateText(state: Record<string, unknown>): string {
  return Object.entries(state)
    .filter(([, value]) => value !== null)
    .map(([key, value]) => (key === 'state' ? String(value) : `${key} ${String(value)}`))
    .join(', ');
}

function nodeLines(node: NodeReport): string[] {
  if (node.error !== null) return [`${node.replica}  does not answer: ${node.error}`];
  const lines = node.disks.map((disk) => {
    const sizes = `${formatBytes(disk.free_bytes)} of ${formatBytes(disk.total_bytes)}`;
    const label = node.replica === 'local' ? disk.name : `${node.replica} ${disk.name}`;
    return `${label}  ${diskBar(disk.free_ratio)} free ${percent(disk.free_ratio)}, ${sizes}: ${disk.level}`;
  });
  const { bytes_per_day: perDay, days_to_full: days, basis } = node.growth;
  const { part_pressure: pressure } = node;
  const perHour =
    pressure.new_parts_per_hour === null
      ? ''
      : `, ${pressure.new_parts_per_hour} new an hour of ${pressure.median_rows_per_part} rows`;
  lines.push(
    perDay === null
      ? `  growth: n/a (${basis})`
      : `  growth: ${formatBytes(perDay)} a day, full in ${days === null ? 'n/a' : `${days} days`} (${basis})`,
    `  parts: most in one partition ${pressure.most_parts}${pressure.where ? ` (${pressure.where})` : ''}${perHour}: ${pressure.level}`,
    `  inactive parts: ${node.inactive.parts}, ${formatBytes(node.inactive.bytes)}; merges: ${node.merges.length}; ` +
      `mutations: ${node.mutations.length}; detached parts: ${node.detached.length}`,
  );
  for (const { code, name, seconds_ago: ago } of node.write_errors)
    lines.push(`  refused ${ago} s ago: code ${code}, ${name}`);
  return lines;
}

export function renderPlan(plan: DiskPlan): string {
  const target = percent(plan.target_free_ratio);
  if (plan.needed_bytes === 0) return `plan: nothing to do, ${target} or more is free`;
  const lines = [
    `plan ${plan.id}: frees ${formatBytes(plan.freed_bytes)} of the ${formatBytes(plan.needed_bytes)} that are missing to ${target} free`,
  ];
  const hasReplicas = Object.keys(plan.needed).length > 1;
  for (const step of plan.steps) {
    const who = step.held === null ? 'run by --confirm' : `held back: ${step.held}`;
    const where = hasReplicas ? ` on ${step.replica}` : '';
    lines.push(
      `  class ${step.class}: ${step.what}${where}, ${formatBytes(step.bytes)}; ${who}; reversible: ${step.reversible}`,
    );
    lines.push(`    ${step.statement}`);
  }
  if (plan.steps.some(({ is_automatic }) => is_automatic)) {
    const share = Math.round(plan.target_free_ratio * 10_000) / 100;
    const days = plan.steps.some((step) => step.class === 9) ? ' --live-days' : '';
    lines.push(`  run within ten minutes: torghut clickhouse disk --target-free ${share}%${days} --confirm ${plan.id}`);
  }
  return [...lines, ...plan.notes.map((note) => `  note: ${note}`)].join('\n');
}
