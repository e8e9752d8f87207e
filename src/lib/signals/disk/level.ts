/**
 * How bad it is: the levels of spec ta 5.2, worst wins, each with its reason. Pure.
 * Growth is what was written within a day, scaled up where the history is shorter; under an hour of history says nothing.
 */
export const levels = ['ok', 'warn', 'critical', 'emergency', 'unknown'] as const;
export type DiskLevel = (typeof levels)[number];

/** Exit codes of `torghut clickhouse disk` (design 6). */
export const levelExitCode: Record<DiskLevel, number> = { ok: 0, warn: 10, critical: 11, emergency: 12, unknown: 13 };

const GiB = 1024 ** 3;

const limits = [
  { level: 'emergency', ratio: 0.08, bytes: 2 * GiB, days: 0.5 },
  { level: 'critical', ratio: 0.15, bytes: 5 * GiB, days: 2 },
  { level: 'warn', ratio: 0.25, bytes: 10 * GiB, days: 7 },
] as const;

export interface DiskFigures {
  freeBytes: number;
  totalBytes: number;
  /** Bytes of the largest active partition: a merge of it needs as much again. */
  largestPartitionBytes: number;
  /** Null when it is not known or nothing grows. */
  daysToFull: number | null;
}

export interface Verdict {
  level: DiskLevel;
  reasons: string[];
}

export function judgeDisk(figures: DiskFigures): Verdict {
  const { freeBytes, totalBytes, largestPartitionBytes, daysToFull } = figures;
  if (totalBytes <= 0) return { level: 'unknown', reasons: ['the disk has no size'] };
  const ratio = freeBytes / totalBytes;
  for (const limit of limits) {
    const reasons: string[] = [];
    if (ratio < limit.ratio) reasons.push(`free ${percent(ratio)} is below ${percent(limit.ratio)}`);
    if (freeBytes < limit.bytes) reasons.push(`free ${formatBytes(freeBytes)} is below ${formatBytes(limit.bytes)}`);
    if (limit.level === 'critical' && freeBytes < 2 * largestPartitionBytes) {
      reasons.push(
        `free ${formatBytes(freeBytes)} is below twice the largest partition (${formatBytes(largestPartitionBytes)})`,
      );
    }
    if (daysToFull !== null && daysToFull < limit.days)
      reasons.push(`full in ${daysToFull.toFixed(1)} days, below ${limit.days}`);
    if (reasons.length > 0) return { level: limit.level, reasons };
  }
  return { level: 'ok', reasons: [] };
}

/** The same ratios for inodes. Undefined where the filesystem counts none. */
export function judgeInodes(free: number, total: number): Verdict | undefined {
  if (total <= 0) return undefined;
  const limit = limits.find(({ ratio }) => free / total < ratio);
  return limit
    ? { level: limit.level, reasons: [`free inodes ${percent(free / total)} are below ${percent(limit.ratio)}`] }
    : { level: 'ok', reasons: [] };
}

/** The worst of several; `unknown` ranks with critical (spec ta 5.2), so a known emergency stays one. */
export function worst(verdicts: readonly Verdict[]): Verdict {
  const rank: Record<DiskLevel, number> = { ok: 0, warn: 1, critical: 2, unknown: 3, emergency: 4 };
  const level = verdicts.reduce<DiskLevel>((most, { level: each }) => (rank[each] > rank[most] ? each : most), 'ok');
  return { level, reasons: verdicts.filter((verdict) => verdict.level === level).flatMap(({ reasons }) => reasons) };
}

/** Part pressure is not a matter of disk: reported beside the level, never part of it. */
export function judgeParts(mostPartsInPartition: number): 'ok' | 'warn' | 'critical' {
  if (mostPartsInPartition > 300) return 'critical';
  return mostPartsInPartition > 150 ? 'warn' : 'ok';
}

/** Bytes per day; null with less than an hour of history. */
export function growthPerDay(bytes24h: number, historySeconds: number): number | null {
  if (historySeconds < 3_600) return null;
  return Math.round(bytes24h * (86_400 / Math.min(86_400, historySeconds)));
}

export function daysToFull(freeBytes: number, growthBytesPerDay: number | null): number | null {
  if (growthBytesPerDay === null || growthBytesPerDay <= 0) return null;
  return Math.round((freeBytes / growthBytesPerDay) * 100) / 100;
}

export function percent(ratio: number): string {
  return `${(ratio * 100).toFixed(1)} %`;
}

export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(1)} ${units[unit]}`;
}
