/** The Kafka adapter on a real broker: the contract over plaintext, and over SASL_PLAINTEXT with SCRAM-SHA-512. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEventLog } from '../../src/lib/log/open.ts';
import { systemClock } from '../../src/lib/service/clock.ts';
import { type KafkaServer, startKafka } from '../support/kafka-server.ts';
import { describeLogContract, freshName, startAt, topic } from './contract.ts';

const user = 'torghut';
const password = 'scram-secret-of-the-test';
/** A new segment for every 100 ms of record time: retention and compaction work on closed segments only. */
const settings = { 'log.roll.ms': 100, 'log.initial.task.delay.ms': 500 };
const home = mkdtempSync(join(tmpdir(), 'torghut-kafka-log-'));
let plain: KafkaServer;
let guarded: KafkaServer;

const plainEnv = () => ({
  KAFKA_BOOTSTRAP: plain.bootstrap,
  KAFKA_SECURITY_PROTOCOL: 'PLAINTEXT',
  KAFKA_TRANSACTION_TIMEOUT_MS: '5000',
});
const guardedEnv = () => ({
  KAFKA_BOOTSTRAP: guarded.bootstrap,
  KAFKA_SECURITY_PROTOCOL: 'SASL_PLAINTEXT',
  KAFKA_SASL_MECH: 'SCRAM-SHA-512',
  KAFKA_SASL_USER: user,
  KAFKA_SASL_PASSWORD: password,
  KAFKA_TRANSACTION_TIMEOUT_MS: '5000',
});

beforeAll(async () => {
  [plain, guarded] = await Promise.all([startKafka({ settings }), startKafka({ user, password, settings })]);
});

afterAll(async () => {
  await Promise.allSettled([plain?.stop(), guarded?.stop()]);
  rmSync(home, { recursive: true, force: true });
});

describeLogContract('Kafka, plaintext', async () => ({
  argument: { home, env: plainEnv() },
  // The broker looks at wall time and deletes whole segments.
  cleaningMs: 60_000,
  followsWallTime: true,
  sessionTimeoutMs: 2_000,
  takeoverMs: 8_000,
  close: async () => undefined,
}));

describeLogContract('Kafka, SASL_PLAINTEXT with SCRAM-SHA-512', async () => ({
  argument: { home, env: guardedEnv() },
  // The broker looks at wall time and deletes whole segments.
  cleaningMs: 60_000,
  followsWallTime: true,
  sessionTimeoutMs: 2_000,
  takeoverMs: 8_000,
  close: async () => undefined,
}));

describe('Kafka itself', () => {
  test('wrong credentials are refused by name, and the password is nowhere in the words', async () => {
    const env = { ...guardedEnv(), KAFKA_SASL_PASSWORD: 'another-secret' };
    const failed = await openEventLog({ home, env, clock: systemClock() }).then(
      () => undefined,
      (error: unknown) => error as Error & { code: string; why?: string },
    );
    expect(failed?.code).toBe('kafka_auth');
    expect(`${failed?.message} ${failed?.why}`).not.toContain('another-secret');
  });

  test('a broker killed by -9 comes back with every acknowledged record, and the reader goes on', async () => {
    const log = await openEventLog({ home, env: plainEnv(), clock: systemClock() });
    const name = freshName('outage');
    await log.ensureTopics([topic(name)]);
    const writer = await log.openWriter({ owner: name });
    const value = (i: number) => ({
      topic: name,
      partition: 0,
      key: 'k',
      value: Buffer.from(String(i)),
      timestampMs: i,
    });
    await writer.commit({ records: [value(1), value(2)] });
    const reader = await log.openReader(startAt(name, 1, 'earliest'));
    const seen: string[] = [];
    const readUntil = async (count: number) => {
      const limit = performance.now() + 60_000;
      while (seen.length < count && performance.now() < limit) {
        for (const record of await reader.poll({ maxRecords: 10, waitMs: 500 })) seen.push(String(record.value));
      }
    };
    await readUntil(2);
    await plain.kill();
    await plain.restart();
    const next = await log.openWriter({ owner: name });
    await next.commit({ records: [value(3)] });
    await readUntil(3);
    expect(seen).toEqual(['1', '2', '3']);
    await reader.close();
    await log.close();
  });

  test('a topic with other partitions or a shorter retention is refused, not changed', async () => {
    const log = await openEventLog({ home, env: plainEnv(), clock: systemClock() });
    const name = freshName('mismatch');
    await log.ensureTopics([topic(name, { partitions: 2, retentionMs: 60_000 })]);
    await expect(log.ensureTopics([topic(name, { partitions: 3, retentionMs: 60_000 })])).rejects.toMatchObject({
      code: 'topic_mismatch',
      exitCode: 4,
    });
    await expect(log.ensureTopics([topic(name, { partitions: 2, retentionMs: -1 })])).rejects.toMatchObject({
      code: 'topic_mismatch',
    });
    await log.ensureTopics([topic(name, { partitions: 2, retentionMs: 60_000 })]);
    await log.close();
  });
});
