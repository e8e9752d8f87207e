import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openEventLog } from '../../src/lib/log/open.ts';
import type { EventLog } from '../../src/lib/log/port.ts';
import { groupRows, parseStart, type TailOptions, tailTopic, topicRows } from '../../src/lib/log/tail.ts';
import { kafkaSettings, logVariables } from '../../src/lib/log/variables.ts';
import { systemClock } from '../../src/lib/service/clock.ts';
import { loadConfig } from '../../src/lib/service/config.ts';

let home = '';
let log: EventLog;

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'torghut-tail-'));
  log = await openEventLog({ home, env: {}, clock: systemClock() });
  await log.ensureTopics([{ name: 't', partitions: 2, retentionMs: -1, cleanup: 'delete', owner: 'w' }]);
  const writer = await log.openWriter({ owner: 'w' });
  for (let i = 0; i < 6; i++) {
    const value = i === 5 ? Buffer.from([255, 0]) : Buffer.from(i === 4 ? 'plain' : JSON.stringify({ i }));
    await writer.commit({
      records: [{ topic: 't', partition: i % 2, key: `k${i}`, value, timestampMs: 1_381_239_000_000 + i * 1_000 }],
      groupOffsets: { groupId: 'g', offsets: [{ topic: 't', partition: 0, offset: 1n }] },
    });
  }
});

afterEach(async () => {
  await log.close();
  rmSync(home, { recursive: true });
});

async function tail(more: Partial<TailOptions>): Promise<unknown[]> {
  const rows = [];
  const options = { topic: 't', follow: false, signal: new AbortController().signal, ...more };
  for await (const list of tailTopic(log, options)) rows.push(...list);
  return rows.map((row) => row.value);
}

test('tail gives the last records by time, JSON parsed, other bytes as text or base64', async () => {
  expect(await tail({ count: 3 })).toEqual([{ i: 3 }, 'plain', { base64: '/wA=' }]);
  expect(await tail({ count: 2, partition: 0 })).toEqual([{ i: 2 }, 'plain']);
  expect(await tail({})).toHaveLength(6);
});

test('tail begins at an offset, a time, the beginning or the end', async () => {
  expect(await tail({ from: parseStart('2'), partition: 0 })).toEqual(['plain']);
  expect(await tail({ from: parseStart('2013-10-08T13:30:03Z') })).toEqual([{ i: 3 }, 'plain', { base64: '/wA=' }]);
  expect(await tail({ from: parseStart('earliest'), count: 2, partition: 1 })).toEqual([{ i: 1 }, { i: 3 }]);
  expect(await tail({ from: parseStart('latest') })).toEqual([]);
});

test('following gives what comes later and ends with the signal', async () => {
  const controller = new AbortController();
  const seen: unknown[] = [];
  const following = (async () => {
    for await (const rows of tailTopic(log, { topic: 't', from: 'latest', follow: true, signal: controller.signal })) {
      seen.push(...rows.map((row) => row.key));
      controller.abort();
    }
  })();
  const writer = await log.openWriter({ owner: 'w' });
  // The tail may open a moment later: send until it has seen one.
  while (seen.length === 0) {
    await writer.commit({ records: [{ topic: 't', key: 'new', value: null, timestampMs: 1 }] });
  }
  await following;
  expect(seen[0]).toBe('new');
});

test('a wrong start and an unknown partition are the user’s mistakes', async () => {
  expect(() => parseStart('yesterday')).toThrow(expect.objectContaining({ code: 'log_start_invalid', exitCode: 2 }));
  await expect(tail({ partition: 9 })).rejects.toMatchObject({ code: 'log_partition_unknown', exitCode: 2 });
  await expect(tail({ topic: 'nope' })).rejects.toMatchObject({ code: 'topic_unknown', exitCode: 4 });
});

test('topics and groups are rows with ends and lag', async () => {
  expect(await topicRows(log)).toMatchObject([
    { topic: 't', partition: 0, earliest: 0n, latest: 3n },
    { topic: 't', partition: 1, earliest: 0n, latest: 3n },
  ]);
  expect(await groupRows(log)).toMatchObject([
    { group: 'g', partition: 0, offset: 1n, latest: 3n, lag: 2n, members: 0 },
  ]);
});

test('Kafka on loopback is plain and uncompressed by default, elsewhere it is neither, and a broker has a port', () => {
  const settings = (env: Record<string, string>) => kafkaSettings(loadConfig(logVariables, env).values);
  expect(settings({ KAFKA_BOOTSTRAP: 'localhost:9092' })).toMatchObject({ security: 'PLAINTEXT', compression: 'none' });
  expect(settings({ KAFKA_BOOTSTRAP: 'kafka:9092,b:9092' })).toMatchObject({
    brokers: ['kafka:9092', 'b:9092'],
    security: 'SASL_SSL',
    compression: 'gzip',
  });
  expect(() => settings({ KAFKA_BOOTSTRAP: 'kafka' })).toThrow(
    expect.objectContaining({ code: 'kafka_bootstrap_invalid' }),
  );
});
