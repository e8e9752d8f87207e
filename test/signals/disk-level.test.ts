/** Levels of the disk report, and growth. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DiskSample, readSamples, recordSamples, slopePerDay } from '../../src/lib/signals/disk/history.ts';
import {
  type DiskFigures,
  daysToFull,
  growthPerDay,
  judgeDisk,
  judgeInodes,
  judgeParts,
  worst,
} from '../../src/lib/signals/disk/level.ts';
import { freshHome } from '../support/torghut.ts';

const GiB = 1024 ** 3;
const figures = (changes: Partial<DiskFigures> = {}): DiskFigures => ({
  freeBytes: 500 * GiB,
  totalBytes: 1000 * GiB,
  largestPartitionBytes: 0,
  daysToFull: null,
  ...changes,
});

describe('the level', () => {
  test.each([
    [{}, 'ok'],
    [{ freeBytes: 250 * GiB }, 'ok'],
    [{ freeBytes: 250 * GiB - 1 }, 'warn'],
    [{ freeBytes: 150 * GiB }, 'warn'],
    [{ freeBytes: 150 * GiB - 1 }, 'critical'],
    [{ freeBytes: 80 * GiB }, 'critical'],
    [{ freeBytes: 80 * GiB - 1 }, 'emergency'],
    [{ freeBytes: 10 * GiB, totalBytes: 12 * GiB }, 'ok'],
    [{ freeBytes: 10 * GiB - 1, totalBytes: 12 * GiB }, 'warn'],
    [{ freeBytes: 5 * GiB - 1, totalBytes: 12 * GiB }, 'critical'],
    [{ freeBytes: 2 * GiB - 1, totalBytes: 2 * GiB }, 'emergency'],
    [{ daysToFull: 7 }, 'ok'],
    [{ daysToFull: 6.9 }, 'warn'],
    [{ daysToFull: 1.9 }, 'critical'],
    [{ daysToFull: 0.49 }, 'emergency'],
    [{ largestPartitionBytes: 250 * GiB }, 'ok'],
    [{ largestPartitionBytes: 251 * GiB }, 'critical'],
    [{ totalBytes: 0, freeBytes: 0 }, 'unknown'],
  ] as const)('of %o is %s', (changes, level) => {
    const verdict = judgeDisk(figures(changes));
    expect(verdict.level).toBe(level);
    expect(verdict.reasons.length > 0).toBe(level !== 'ok');
  });

  test('never gets better with less free space, faster growth or larger partitions', () => {
    const rank = (value: DiskFigures) => ['ok', 'warn', 'critical', 'emergency'].indexOf(judgeDisk(value).level);
    const amount = fc.integer({ min: 0, max: 1000 });
    fc.assert(
      fc.property(amount, amount, fc.double({ min: 0, max: 30, noNaN: true }), amount, (free, less, days, part) => {
        const value = figures({ freeBytes: free * GiB, daysToFull: days, largestPartitionBytes: part * GiB });
        expect(rank({ ...value, freeBytes: Math.max(0, free - less) * GiB })).toBeGreaterThanOrEqual(rank(value));
        expect(rank({ ...value, daysToFull: days / 2 })).toBeGreaterThanOrEqual(rank(value));
        expect(rank({ ...value, largestPartitionBytes: (part + less) * GiB })).toBeGreaterThanOrEqual(rank(value));
      }),
      { seed: 6 },
    );
  });

  test('the worst disk decides, unknown counts as critical, and inodes count like bytes', () => {
    const of = (level: 'ok' | 'warn' | 'critical' | 'emergency' | 'unknown') => ({ level, reasons: [level] });
    expect(worst([of('ok'), of('warn'), of('warn')])).toEqual({ level: 'warn', reasons: ['warn', 'warn'] });
    expect(worst([of('critical'), of('unknown')]).level).toBe('unknown');
    expect(worst([of('unknown'), of('emergency')]).level).toBe('emergency');
    expect(judgeInodes(7, 100)?.level).toBe('emergency');
    expect(judgeInodes(30, 100)?.level).toBe('ok');
    expect(judgeInodes(0, 0)).toBeUndefined();
    expect([150, 151, 300, 301].map(judgeParts)).toEqual(['ok', 'warn', 'warn', 'critical']);
  });

  test('growth is scaled from a short history, and unknown under an hour', () => {
    expect(growthPerDay(GiB, 3_599)).toBeNull();
    expect(growthPerDay(GiB, 43_200)).toBe(2 * GiB);
    expect(growthPerDay(GiB, 864_000)).toBe(GiB);
    expect(daysToFull(10 * GiB, 4 * GiB)).toBe(2.5);
    expect(daysToFull(10 * GiB, 0)).toBeNull();
    expect(daysToFull(10 * GiB, null)).toBeNull();
  });
});

describe('the history of the guard', () => {
  const sample = (at_seconds: number, used_bytes: number, replica = 'a'): DiskSample => ({
    at_seconds,
    replica,
    used_bytes,
  });

  test('is one sample per replica and ten minutes, of the last 48 hours', () => {
    const home = freshHome();
    expect(readSamples(home)).toEqual([]);
    expect(recordSamples(home, [sample(1_000, 1), sample(1_000, 2, 'b')])).toBe(true);
    expect(recordSamples(home, [sample(1_599, 3)])).toBe(false);
    expect(recordSamples(home, [sample(1_600, 4), sample(1_599, 9, 'b')])).toBe(true);
    expect(readSamples(home).map(({ used_bytes }) => used_bytes)).toEqual([1, 2, 4]);
    recordSamples(home, [sample(174_300, 5)]);
    expect(readSamples(home).map(({ used_bytes }) => used_bytes)).toEqual([4, 5]);
  });

  test('gives the slope of a day, and nothing under an hour', () => {
    const samples = [sample(0, 0), sample(10_000, 10 * GiB), sample(50_000, 20 * GiB), sample(50_000, 7 * GiB, 'b')];
    expect(slopePerDay(samples, sample(96_400, 10 * GiB + 86_400))).toBe(86_400);
    expect(slopePerDay(samples, sample(53_599, 30 * GiB, 'b'))).toBeNull();
    expect(slopePerDay([], sample(1, 1))).toBeNull();
  });
});
