/** The report of `torghut clickhouse disk` for a person: level, bars, what is large, what could be freed, the plan. */
import { formatBytes, percent } from '../signals/disk/level.ts';
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
  for (const disk of report.disks) {
    const sizes = `${formatBytes(disk.free_bytes)} of ${formatBytes(disk.total_bytes)}`;
    lines.push(`${disk.name}  ${diskBar(disk.free_ratio)} free ${percent(disk.free_ratio)}, ${sizes}: ${disk.level}`);
  }
  if (report.level === 'unknown') return lines.join('\n');
  const { bytes_per_day: perDay, days_to_full: days, basis } = report.growth;
  lines.push(
    perDay === null
      ? `growth: n/a (${basis})`
      : `growth: ${formatBytes(perDay)} a day, full in ${days === null ? 'n/a' : `${days} days`} (${basis})`,
  );
  const { part_pressure: pressure } = report;
  lines.push(
    `parts: most in one partition ${pressure.most_parts}${pressure.where ? ` (${pressure.where})` : ''}: ${pressure.level}`,
    `inactive parts: ${report.inactive.parts}, ${formatBytes(report.inactive.bytes)}; merges: ${report.merges.length}; ` +
      `mutations: ${report.mutations.length}; detached parts: ${report.detached.length}`,
    `replicas: ${report.replicas.status} (${report.replicas.why}); keeper: ${report.keeper.status}`,
  );
  const tables = report.top_tables.map(({ database, table, bytes, rows, parts }) => ({
    table: `${database}.${table}`,
    size: formatBytes(bytes),
    rows,
    parts,
  }));
  const partitions = report.top_partitions.map(({ database, table, partition, bytes, rows, parts }) => ({
    partition: `${database}.${table} ${partition}`,
    size: formatBytes(bytes),
    rows,
    parts,
  }));
  const classes = report.reclaimable.map(({ class: order, name, objects, bytes }) => ({
    class: order,
    'could be freed': name,
    objects,
    size: formatBytes(bytes),
  }));
  for (const rows of [tables, partitions, classes]) if (rows.length > 0) lines.push('', formatTable(rows));
  if (report.plan) lines.push('', renderPlan(report.plan));
  return lines.join('\n');
}

export function renderPlan(plan: DiskPlan): string {
  const target = percent(plan.target_free_ratio);
  if (plan.needed_bytes === 0) return `plan: nothing to do, ${target} or more is free`;
  const lines = [
    `plan ${plan.id}: frees ${formatBytes(plan.freed_bytes)} of the ${formatBytes(plan.needed_bytes)} that are missing to ${target} free`,
  ];
  for (const step of plan.steps) {
    const who = step.is_automatic ? 'run by --confirm' : 'for a person to run';
    lines.push(
      `  class ${step.class}: ${step.what}, ${formatBytes(step.bytes)}; ${who}; reversible: ${step.reversible}`,
    );
    lines.push(`    ${step.statement}`);
  }
  if (plan.steps.some(({ is_automatic }) => is_automatic)) {
    const share = Math.round(plan.target_free_ratio * 10_000) / 100;
    lines.push(`  run within ten minutes: torghut clickhouse disk --target-free ${share}% --confirm ${plan.id}`);
  }
  return [...lines, ...plan.notes.map((note) => `  note: ${note}`)].join('\n');
}
