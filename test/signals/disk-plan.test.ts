/** What a purge plan may name, in which order, and what holds a step back. */
import { describe, expect, test } from 'vitest';
import type { NodeFacts } from '../../src/lib/signals/disk/classes.ts';
import { issuedAt, type PlanQuestion, planPurge, reclaimable } from '../../src/lib/signals/disk/plan.ts';
import { requireFreshPlan } from '../../src/lib/signals/disk/purge.ts';
import { reportDisk, unknownReport } from '../../src/lib/signals/disk/report.ts';
import { everything, facts, oneNode } from './disk-facts.ts';

const plan = (changes: Partial<PlanQuestion> = {}, nodes: readonly NodeFacts[] = oneNode()) =>
  planPurge(nodes, { ...everything, ...changes });
const space = (replica: string, freeBytes: number, totalBytes = 10_000) => ({ replica, freeBytes, totalBytes });

describe('the plan', () => {
  test('goes by class, keeps the last three days, the operator’s and broken parts, the archive and the signal log', () => {
    const { steps, reaches_target, needed_bytes } = plan({ level: 'critical' });
    expect(needed_bytes).toBe(900_000);
    expect(reaches_target).toBe(false);
    expect(steps.map(({ class: order, statement }) => `${order} ${statement}`)).toEqual([
      '1 DROP TABLE system.`query_log_0` SYNC SETTINGS max_table_size_to_drop = 0',
      '1 TRUNCATE TABLE system.`trace_log` SYNC SETTINGS max_table_size_to_drop = 0',
      "2 ALTER TABLE `torghut`.`o'x` DROP DETACHED PART 'ignored_all_1\\'1' SETTINGS allow_drop_detached = 1",
      "2 ALTER TABLE `torghut`.`o'x` DROP DETACHED PART 'clone_all_1\\'1' SETTINGS allow_drop_detached = 1",
      '4 DROP DATABASE `torghut_sim_a` SYNC',
      '5 DROP TABLE `torghut`.`ta_signals__replicated_migration_v2` SYNC SETTINGS max_table_size_to_drop = 0',
      "6 ALTER TABLE `torghut`.`hyperliquid_raw` DROP PARTITION ID '20260111' SETTINGS max_partition_size_to_drop = 0",
      "6 ALTER TABLE `torghut`.`hyperliquid_raw` DROP PARTITION ID '20260112' SETTINGS max_partition_size_to_drop = 0",
      "6 ALTER TABLE `torghut`.`hyperliquid_raw` DROP PARTITION ID '20260115' SETTINGS max_partition_size_to_drop = 0",
      "7 ALTER TABLE `torghut`.`options_surface_features` DROP PARTITION ID '20260111' SETTINGS max_partition_size_to_drop = 0",
      "8 ALTER TABLE `torghut`.`ta_signals` DROP PARTITION ID '20260101' SETTINGS max_partition_size_to_drop = 0",
      "9 ALTER TABLE `torghut`.`ta_signals` DROP PARTITION ID '20260102' SETTINGS max_partition_size_to_drop = 0",
      "9 ALTER TABLE `torghut`.`ta_microbars` DROP PARTITION ID '20260101' SETTINGS max_partition_size_to_drop = 0",
      "9 ALTER TABLE `torghut`.`ta_microbars` DROP PARTITION ID '20260102' SETTINGS max_partition_size_to_drop = 0",
    ]);
    expect(steps.every(({ is_automatic }) => is_automatic)).toBe(true);
  });

  test('takes days that are not expired only when told, and the query log only in an emergency', () => {
    const careful = plan({ liveDays: false });
    expect(careful.steps.some((step) => step.class === 9)).toBe(false);
    expect(careful.notes.join()).toContain('--live-days');
    expect(careful.steps.some(({ what }) => what === 'system.query_log')).toBe(true);
    expect(plan({ level: 'critical' }).steps.some(({ what }) => what === 'system.query_log')).toBe(false);
  });

  test('stops at the target, and has nothing to do when it is reached', () => {
    const small = plan({ level: 'critical', targetFreeRatio: 0.015, spaces: [space('local', 0)] });
    expect(small.steps).toHaveLength(2);
    expect(small.reaches_target).toBe(true);
    const nothing = plan({ targetFreeRatio: 0.3, spaces: [space('local', 9_999)] });
    expect(nothing).toMatchObject({ steps: [], needed_bytes: 0, reaches_target: true });
  });

  test.each([
    ['a run that goes on', { runs: new Map([['sim-a', false]]) }, {}, 'has not finished'],
    ['a run that nobody knows, written today', { runs: new Map() }, { quiet: 60 }, 'written 1 minutes ago'],
    ['a statement that runs on it', {}, { busy: ['SELECT 1 FROM torghut_sim_a.x'] }, 'a statement on it is running'],
  ] as const)(
    'holds back the database of %s',
    (_, question, { quiet, busy }: { quiet?: number; busy?: readonly string[] }, why) => {
      const tables = facts.tables.map((table) => ({ ...table, quiet_seconds: quiet ?? table.quiet_seconds }));
      const { steps, freed_bytes } = plan(question, oneNode({ tables, busy: [...(busy ?? [])] }));
      const step = steps.find(({ what }) => what === 'database torghut_sim_a');
      expect(step?.held).toContain(why);
      expect(step?.is_automatic).toBe(false);
      expect(freed_bytes).toBe(plan().freed_bytes - 150 - (quiet === undefined ? 0 : 100));
    },
  );

  test('takes a database that nobody knows once it was quiet for a day', () => {
    const { steps } = plan({ runs: new Map() });
    expect(steps.find(({ what }) => what === 'database torghut_sim_a')?.held).toBeNull();
  });

  test.each([
    ['while a migrator holds the database', { migrating: ['torghut'] }, 'a migration holds'],
    ['while it has more rows than its table', { rows: 2 }, 'more rows than ta_signals'],
    ['while it is written', { quiet: 30 }, 'written 30 s ago'],
    ['while a statement runs on it', { busy: ['INSERT INTO ta_signals__replicated_migration_v2'] }, 'is running'],
  ] as const)(
    'holds back a shadow %s',
    (_, change: { migrating?: readonly string[]; rows?: number; quiet?: number; busy?: readonly string[] }, why) => {
      const tables = facts.tables.map((table) =>
        table.table.includes('__')
          ? { ...table, rows: change.rows ?? 1, quiet_seconds: change.quiet ?? 90_000 }
          : table,
      );
      const node = oneNode({ tables, busy: [...(change.busy ?? [])], migrating: [...(change.migrating ?? [])] });
      expect(plan({}, node).steps.find((step) => step.class === 5)?.held).toContain(why);
    },
  );

  test('never takes the database that is in use, whatever its name is', () => {
    const { steps } = plan({ database: 'torghut_sim_a' });
    expect(steps.some(({ statement }) => statement.includes('torghut_sim_a'))).toBe(false);
  });

  test('has an id of its facts and its time: changed facts give another, an old one is refused', () => {
    const { id } = plan();
    expect(plan().id).toBe(id);
    expect(plan({ targetFreeRatio: 0.98 }).id).not.toBe(id);
    expect(plan({ runs: new Map([['sim-a', false]]) }).id).not.toBe(id);
    const moreRows = facts.partitions.map((part) => ({ ...part, rows: part.rows + 1 }));
    expect(plan({}, oneNode({ partitions: moreRows, expired: [] })).id).not.toBe(id);
    const other = facts.logTables.filter(({ table }) => table !== 'trace_log');
    expect(plan({}, oneNode({ logTables: other })).id).not.toBe(id);
    const grown = facts.logTables.map((log) => ({ ...log, bytes: log.bytes + 1 }));
    expect(plan({}, oneNode({ logTables: grown })).id, 'a log that goes on is no change').toBe(id);
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

describe('over replicas', () => {
  const replicated = ['torghut.ta_signals', 'torghut.ta_microbars'];
  const two: NodeFacts[] = [
    { replica: 'a', facts: { ...facts, replicated } },
    { replica: 'b', facts: { ...facts, replicated, logTables: [{ table: 'text_log', bytes: 300, rows: 1 }] } },
  ];

  test('frees locally where space is short, and a replicated partition once for all', () => {
    const spaces = [space('a', 5_000), space('b', 0)];
    const { steps, needed } = plan({ spaces, targetFreeRatio: 0.5 }, two);
    expect(needed).toEqual({ a: 0, b: 5_000 });
    const local = steps.filter((step) => step.class < 6);
    expect([...new Set(local.map(({ replica }) => replica))]).toEqual(['b']);
    const expired = steps.filter((step) => step.class === 8);
    expect(expired).toHaveLength(1);
    expect(expired[0]).toMatchObject({ replica: 'a', frees: { a: 100, b: 100 }, bytes: 200 });
  });

  test('a silent replica is unknown, leaves the other in the report, and keeps live days from being dropped', () => {
    const nodes = [two[0] as NodeFacts, { replica: 'b', facts: undefined }];
    const { steps, notes } = plan({ spaces: [space('a', 0, 1e6)] }, nodes);
    expect(steps.filter((step) => step.class === 9).every(({ held }) => held?.includes('replica b'))).toBe(true);
    expect(notes.join()).toContain('replica b does not answer');
    const disks = [{ name: 'default', path: '/', free_bytes: 5e11, total_bytes: 1e12, unreserved_bytes: 5e11 }];
    const asked = [
      { replica: 'a', facts: { ...facts, disks }, error: '' },
      { replica: 'b', facts: undefined, error: 'refused' },
    ];
    const report = reportDisk(asked, { ...everything, isLocal: false, samples: [] }, null);
    expect(report).toMatchObject({ level: 'unknown', exit_code: 13, disks: [{ replica: 'a', level: 'ok' }] });
    expect(report.advice.map(({ id }) => id)).toContain('replica_silent');
    expect(unknownReport('torghut', 'gone')).toMatchObject({ level: 'unknown', plan: null, checked_at: null });
  });

  test('a replica that is read only, behind or alone is named', () => {
    const table = { ...replicaRow, is_readonly: true, absolute_delay: 400, active_replicas: 1 };
    const asked = [
      { replica: 'a', facts: { ...facts, replicated, replicas: [table], keeperError: 'no session' }, error: '' },
    ];
    const report = reportDisk(asked, { ...everything, isLocal: false, samples: [] }, null);
    expect(report.replicas.status).toBe('problem');
    for (const words of ['read only', '400 s behind', '1 of 2']) expect(report.replicas.why).toContain(words);
    expect(report.keeper).toMatchObject({ status: 'problem', why: 'no session' });
    expect(report.advice.map(({ id }) => id)).toContain('replica_readonly');
  });
});

const replicaRow = {
  database: 'torghut',
  table: 'ta_signals',
  is_readonly: false,
  is_session_expired: false,
  queue_size: 0,
  inserts_in_queue: 0,
  absolute_delay: 0,
  lost_part_count: 0,
  active_replicas: 2,
  total_replicas: 2,
  exception: '',
};

test('every class is in the list of what could be freed, with what is held', () => {
  const list = reclaimable(oneNode(), { ...everything, runs: new Map([['sim-a', false]]) });
  expect(list.map((each) => each.class)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(list.find((each) => each.class === 4)).toMatchObject({ objects: 1, held: 1, bytes: 150 });
  expect(list.find((each) => each.class === 3)).toMatchObject({ objects: 1, bytes: 7 });
});
