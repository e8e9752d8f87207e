/**
 * Used bytes over time, for growth and days to full (spec ta 5.2: the slope of 24 hours). `torghut clickhouse guard` writes a
 * sample every ten machine minutes into the home; without an hour of them growth comes from the parts' times.
 * Guarantees: at most 48 hours are kept; a file that cannot be read or written only costs the history.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';

const sampleSchema = z.object({ at_seconds: z.number(), replica: z.string(), used_bytes: z.number() });
export type DiskSample = z.infer<typeof sampleSchema>;

const everySeconds = 600;
const keptSeconds = 172_800;
const slopeSeconds = 86_400;
const leastSeconds = 3_600;

const pathOf = (home: string): string => join(home, 'state', 'clickhouse-disk-samples.json');

export function readSamples(home: string): DiskSample[] {
  try {
    return z.array(sampleSchema).parse(JSON.parse(readFileSync(pathOf(home), 'utf8')));
  } catch {
    return [];
  }
}

/** Adds samples that are due. @returns were any written? */
export function recordSamples(home: string, now: readonly DiskSample[]): boolean {
  const known = readSamples(home);
  const due = now.filter(
    (sample) =>
      !known.some((old) => old.replica === sample.replica && sample.at_seconds - old.at_seconds < everySeconds),
  );
  if (due.length === 0) return false;
  const newest = Math.max(...due.map(({ at_seconds }) => at_seconds));
  const kept = known.filter(({ at_seconds }) => newest - at_seconds <= keptSeconds);
  try {
    mkdirSync(dirname(pathOf(home)), { recursive: true });
    writeFileSync(`${pathOf(home)}.new`, `${JSON.stringify([...kept, ...due])}\n`, { mode: 0o600 });
    renameSync(`${pathOf(home)}.new`, pathOf(home));
    return true;
  } catch {
    // A full disk: the next sample tries again.
    return false;
  }
}

/** Bytes per day from the oldest sample of the last 24 hours to now; null with less than an hour between. */
export function slopePerDay(samples: readonly DiskSample[], now: DiskSample): number | null {
  const own = samples
    .filter(({ replica, at_seconds }) => replica === now.replica && now.at_seconds - at_seconds <= slopeSeconds)
    .sort((a, b) => a.at_seconds - b.at_seconds);
  const first = own[0];
  if (!first || now.at_seconds - first.at_seconds < leastSeconds) return null;
  return Math.round(((now.used_bytes - first.used_bytes) * 86_400) / (now.at_seconds - first.at_seconds));
}
