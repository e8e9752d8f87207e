/** The Kafka adapter on a real broker: the contract over plaintext, and over SASL_PLAINTEXT with SCRAM-SHA-512. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEventLog } from '../../src/lib/log/open.ts';
import { systemClock } from '../../src/lib/service/clock.ts';
import { type KafkaServer, startKafka } from '../support/kafka-server.ts';
import { describeLogContract, freshName, readAll, startAt, topic } from './contract.ts';

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
  killRounds: 5,
  sessionTimeoutMs: 2_000,
  takeoverMs: 18_000,
  close: async () => undefined,
}));

describeLogContract('Kafka, SASL_PLAINTEXT with SCRAM-SHA-512', async () => ({
  argument: { home, env: guardedEnv() },
  // The broker looks at wall time and deletes whole segments.
  cleaningMs: 60_000,
  followsWallTime: true,
  killRounds: 5,
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

  test('a broker killed by -9 comes back with every acknowledged record; reader and writer go on', async () => {
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
    // The same writer: what it sends again, the broker keeps once.
    const committing = writer.commit({ records: [value(3), value(4)] });
    await plain.restart();
    await committing;
    await writer.commit({ records: [value(5)] });
    await readUntil(5);
    expect(seen).toEqual(['1', '2', '3', '4', '5']);
    await reader.close();
    await log.close();
  });

  test('a writer whose broker stayed away too long is over, and its commit is never seen', async () => {
    const env = { ...plainEnv(), KAFKA_TRANSACTION_TIMEOUT_MS: '3000' };
    const log = await openEventLog({ home, env, clock: systemClock() });
    const name = freshName('away');
    await log.ensureTopics([topic(name)]);
    const writer = await log.openWriter({ owner: name });
    const record = (text: string) => ({
      topic: name,
      partition: 0,
      key: 'k',
      value: Buffer.from(text),
      timestampMs: 1,
    });
    await writer.commit({ records: [record('before')] });
    await plain.kill();
    await expect(writer.commit({ records: [record('lost')] })).rejects.toMatchObject({
      code: 'writer_lost',
      canRetry: false,
    });
    await plain.restart();
    await expect(writer.commit({ records: [record('late')] })).rejects.toMatchObject({ code: 'writer_lost' });
    const next = await log.openWriter({ owner: name });
    await next.commit({ records: [record('after')] });
    expect((await readAll(log, name)).map((one) => String(one.value))).toEqual(['before', 'after']);
    await writer.close();
    await next.close();
    await log.close();
  }, 60_000);

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
