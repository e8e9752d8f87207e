/** Levels of the disk report, and what a plan may name. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type DiskFigures,
  daysToFull,
  growthPerDay,
  judgeDisk,
  judgeInodes,
  judgeParts,
  worst,
} from '../../src/lib/signals/disk/level.ts';
import { issuedAt, planPurge } from '../../src/lib/signals/disk/plan.ts';
import { requireFreshPlan } from '../../src/lib/signals/disk/purge.ts';
import { facts } from './disk-facts.ts';

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

const plan = (targetFreeRatio: number, level: 'critical' | 'emergency' = 'critical', at = facts) =>
  planPurge(at, { database: 'torghut', level, freeBytes: 0, totalBytes: 10_000, targetFreeRatio });

describe('the plan', () => {
  test('goes by class, keeps the last three days, the operator’s and broken parts, and the signal log', () => {
    const { steps, reaches_target, needed_bytes } = plan(0.99);
    expect(needed_bytes).toBe(9_900);
    expect(reaches_target).toBe(false);
    expect(steps.map(({ class: order, statement }) => `${order} ${statement}`)).toEqual([
      '1 DROP TABLE system.`query_log_0` SYNC SETTINGS max_table_size_to_drop = 0',
      '1 TRUNCATE TABLE system.`trace_log` SYNC SETTINGS max_table_size_to_drop = 0',
      "2 ALTER TABLE `torghut`.`o'x` DROP DETACHED PART 'ignored_all_1\\'1' SETTINGS allow_drop_detached = 1",
      "2 ALTER TABLE `torghut`.`o'x` DROP DETACHED PART 'clone_all_1\\'1' SETTINGS allow_drop_detached = 1",
      '4 DROP DATABASE `torghut_sim_a` SYNC',
      '5 DROP TABLE `torghut`.`ta_signals__replicated_migration_v2` SYNC SETTINGS max_table_size_to_drop = 0',
      "8 ALTER TABLE `torghut`.`ta_signals` DROP PARTITION ID '20260101' SETTINGS max_partition_size_to_drop = 0",
      "9 ALTER TABLE `torghut`.`ta_signals` DROP PARTITION ID '20260102' SETTINGS max_partition_size_to_drop = 0",
      "9 ALTER TABLE `torghut`.`ta_microbars` DROP PARTITION ID '20260101' SETTINGS max_partition_size_to_drop = 0",
      "9 ALTER TABLE `torghut`.`ta_microbars` DROP PARTITION ID '20260102' SETTINGS max_partition_size_to_drop = 0",
    ]);
    expect(steps.filter(({ is_automatic }) => is_automatic).map(({ class: order }) => order)).toEqual([1, 1, 2, 2]);
  });

  test('takes the query log only in an emergency, stops at the target, and has nothing to do when it is reached', () => {
    expect(plan(0.99, 'emergency').steps.some(({ what }) => what === 'system.query_log')).toBe(true);
    expect(plan(0.015).steps).toHaveLength(2);
    expect(plan(0.015).reaches_target).toBe(true);
    expect(
      planPurge(facts, { database: 'torghut', level: 'ok', freeBytes: 9_999, totalBytes: 10_000, targetFreeRatio: 0.3 })
        .steps,
    ).toEqual([]);
  });

  test('has an id of its facts and its time: changed facts give another, an old one is refused', () => {
    const { id } = plan(0.99);
    expect(plan(0.99).id).toBe(id);
    expect(plan(0.98).id).not.toBe(id);
    const grown = { ...facts, logTables: [{ table: 'trace_log', bytes: 101, rows: 1 }] };
    expect(plan(0.99, 'critical', grown).id).not.toBe(id);
    expect(issuedAt(id)).toBe(facts.nowSeconds);
    requireFreshPlan(id, facts.nowSeconds + 600);
    for (const [text, now] of [
      [id, facts.nowSeconds + 601],
      [id, facts.nowSeconds - 60],
      ['yes', facts.nowSeconds],
    ] as const) {
      expect(() => requireFreshPlan(text, now)).toThrow(expect.objectContaining({ code: 'plan_too_old', exitCode: 4 }));
    }
  });
});
