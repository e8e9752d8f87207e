/** The Kafka adapter on a real broker: the contract over plaintext, and over SASL_PLAINTEXT with SCRAM-SHA-512. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import RequestQueue from 'kafkajs/src/network/requestQueue/index.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isolationLevel, readerCluster } from '../../src/lib/log/kafka/client.ts';
import { openEventLog } from '../../src/lib/log/open.ts';
import { kafkaSettings, logVariables } from '../../src/lib/log/variables.ts';
import { systemClock } from '../../src/lib/service/clock.ts';
import { loadConfig } from '../../src/lib/service/config.ts';
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

  test('an end that is never answered: the commit is unknown in bounded time, and a new writer goes on', async () => {
    const env = { ...plainEnv(), KAFKA_REQUEST_TIMEOUT_MS: '1000' };
    const log = await openEventLog({ home, env, clock: systemClock() });
    const name = freshName('unanswered');
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
    // What kafkajs does to a request now and then: it is neither sent nor ever ended.
    const { push } = RequestQueue.prototype;
    let lost = 0;
    RequestQueue.prototype.push = function pushOrLose(this: RequestQueue, request) {
      if (request.entry.apiName === 'EndTxn') lost += 1;
      else push.call(this, request);
    };
    try {
      await expect(writer.commit({ records: [record('lost')] })).rejects.toMatchObject({ code: 'commit_unknown' });
    } finally {
      RequestQueue.prototype.push = push;
    }
    expect(lost).toBe(1);
    await expect(writer.commit({ records: [record('late')] })).rejects.toMatchObject({ code: 'commit_unknown' });
    const next = await log.openWriter({ owner: name });
    await next.commit({ records: [record('after')] });
    expect((await readAll(log, name)).map((one) => String(one.value))).toEqual(['before', 'after']);
    await Promise.all([writer.close(), next.close()]);
    await log.close();
  }, 60_000);

  test('many reads at once and a close leave no socket behind', async () => {
    const sockets = () => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;
    // Sockets of earlier tests may still be on their way out.
    let before = sockets();
    for (let calm = 0; calm < 10; calm++) {
      await delay(50);
      if (sockets() !== before) calm = 0;
      before = sockets();
    }
    const log = await openEventLog({ home, env: plainEnv(), clock: systemClock() });
    const name = freshName('sockets');
    await log.ensureTopics([topic(name)]);
    await log.close();
    const cluster = readerCluster(kafkaSettings(loadConfig(logVariables, plainEnv()).values));
    await cluster.connect();
    await cluster.addMultipleTargetTopics([name]);
    const broker = await cluster.findBroker({ nodeId: '1' });
    const partitions = [{ partition: 0, fetchOffset: '0', maxBytes: 1_000 }];
    const topics = [{ topic: name, partitions }];
    const request = { maxWaitTime: 1, minBytes: 1, maxBytes: 1_000, isolationLevel, topics };
    // The connection for fetching is opened by the first of them.
    await Promise.all(Array.from({ length: 8 }, () => broker.fetch(request)));
    await cluster.disconnect();
    await expect.poll(sockets, { timeout: 20_000 }).toBeLessThanOrEqual(before);
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
