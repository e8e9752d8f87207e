/** The topics of ingest against their specification, on a real embedded log. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { clockOfHome, planTopics, refuseLossyChange, wantedTopics } from '../../src/daemons/ws/topic-plan.ts';
import { openEventLog } from '../../src/lib/log/open.ts';
import type { EventLog } from '../../src/lib/log/port.ts';
import { systemClock } from '../../src/lib/service/clock.ts';

let home = '';
let log: EventLog;
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'torghut-topics-'));
  log = await openEventLog({ home, env: {}, clock: systemClock() });
});
afterEach(async () => {
  await log.close();
  rmSync(home, { recursive: true, force: true });
});

test('an empty log misses all eight, and what is created is then present', async () => {
  const specs = wantedTopics({}, 'system');
  const before = await planTopics(log, specs);
  expect(before.rows.map(({ state }) => state)).toEqual(Array(8).fill('missing'));
  expect(before.rows[3]).toMatchObject({ role: 'status', retention_ms: 7 * 86_400_000, cleanup: 'compact,delete' });
  refuseLossyChange(before);
  await log.ensureTopics(before.missing);
  const after = await planTopics(log, specs);
  expect(after.rows.every(({ state, partitions }) => state === 'present' && partitions === 3)).toBe(true);
  expect(after.missing).toEqual([]);
  expect(after.id).not.toBe(before.id);
  expect((await planTopics(log, specs)).id).toBe(after.id);
});

test('a topic that keeps less or has other partitions refuses everything', async () => {
  const [trades, quotes] = wantedTopics({}, 'system');
  if (!trades || !quotes) throw new Error('no specification');
  await log.ensureTopics([
    { ...trades, partitions: 5 },
    { ...quotes, retentionMs: 1_000 },
  ]);
  const plan = await planTopics(log, wantedTopics({}, 'system'));
  expect(plan.rows[0]).toMatchObject({ state: 'differs', differences: '5 partitions, not 3' });
  expect(plan.rows[1]?.differences).toMatch('shorter');
  expect(() => refuseLossyChange(plan)).toThrow(expect.objectContaining({ code: 'topic_mismatch', exitCode: 4 }));
  expect((await planTopics(log, wantedTopics({}, 'system'))).missing).toHaveLength(6);
});

test('a topic that keeps more is left as it is', async () => {
  const [trades] = wantedTopics({}, 'system');
  if (!trades) throw new Error('no specification');
  await log.ensureTopics([{ ...trades, retentionMs: -1 }]);
  const plan = await planTopics(log, wantedTopics({}, 'system'));
  expect(plan.rows[0]).toMatchObject({ state: 'present', retention_ms: -1 });
});

test('names and partitions come from the environment, the clock from the home', () => {
  const specs = wantedTopics({ TOPIC_TRADES: 'mine', TORGHUT_PARTITIONS: '5' }, 'virtual');
  expect(specs[0]).toMatchObject({ name: 'mine', partitions: 5, retentionMs: -1 });
  expect(clockOfHome(home, {})).toBeUndefined();
  writeFileSync(join(home, 'clock'), '');
  expect(clockOfHome(home, {})).toBe(join(home, 'clock'));
  expect(clockOfHome(home, { KAFKA_BOOTSTRAP: 'b:9092' })).toBeUndefined();
  expect(clockOfHome(home, { TORGHUT_CLOCK: 'system' })).toBe('system');
});
