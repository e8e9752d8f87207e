/** The log contract: reading, starting positions, topics, retention, compaction. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { LogRecord, StartPosition } from '../../src/lib/log/port.ts';
import {
  type ContractContext,
  eventually,
  freshName,
  readAll,
  record,
  startAt,
  texts,
  topic,
} from './contract-support.ts';

export function readingCases(at: ContractContext): void {
  test('a reader waits for a commit of another process and gets it within the wait', async () => {
    const name = freshName('wake');
    await at.log.ensureTopics([topic(name, { owner: name })]);
    const peer = await at.pool.start();
    await peer.call('openWriter', name);
    const reader = await at.log.openReader(startAt(name, 1, 'latest'));
    expect(await reader.poll({ maxRecords: 10, waitMs: 50 })).toEqual([]);
    for (let i = 0; i < 5; i++) {
      const polled = reader.poll({ maxRecords: 10, waitMs: 10_000 });
      await peer.call('commit', name, { records: [record(name, 0, 'k', `${i}`)] });
      expect(texts(await polled)).toEqual([`${i}`]);
    }
    const abort = new AbortController();
    const polled = reader.poll({ maxRecords: 10, waitMs: 60_000, signal: abort.signal });
    abort.abort();
    expect(await polled).toEqual([]);
    await reader.close();
  });

  test('readers begin at an offset, at a time, at the beginning or at the end', async () => {
    const name = freshName('start');
    await at.log.ensureTopics([topic(name, { owner: name })]);
    const peer = await at.pool.start();
    await peer.call('openWriter', name);
    // Times go back and forth; the running maximum is 10 10 30 30 30 40 40.
    const times = [10, 5, 30, 20, 30, 40, 35];
    for (const [i, timestampMs] of times.entries()) {
      await peer.call('commit', name, { records: [record(name, 0, 'k', `${i}`, timestampMs)] });
    }
    const offsets = (await readAll(at.log, name)).map((one) => one.offset);
    const end = (await at.log.describeTopics([name]))[0]?.partitions[0]?.latest as bigint;
    const cases: [number, bigint][] = [
      [0, offsets[0] as bigint], [10, offsets[0] as bigint], [11, offsets[2] as bigint], [30, offsets[2] as bigint],
      [31, offsets[5] as bigint], [40, offsets[5] as bigint], [41, end],
    ]; // biome-ignore format: one table
    for (const [timestampMs, expected] of cases) {
      const of = { topic: name, partition: 0 };
      expect(await peer.call('offsetForTime', of, timestampMs), `time ${timestampMs}`).toBe(expected);
      const reader = await at.log.openReader(startAt(name, 1, { timestampMs }));
      expect(reader.positions()).toEqual([{ ...of, offset: expected }]);
      await reader.close();
    }
    for (const [start, first] of [
      [offsets[3], '3'],
      ['earliest', '0'],
      ['latest', undefined],
    ] as const) {
      const reader = await at.log.openReader(startAt(name, 1, start as StartPosition));
      expect(texts(await reader.poll({ maxRecords: 1, waitMs: start === 'latest' ? 100 : 10_000 }))[0]).toBe(first);
      await reader.close();
    }
  });

  test('a paused partition is silent, a resumed one goes on where it was, and seek goes anywhere', async () => {
    const name = freshName('pause');
    await at.log.ensureTopics([topic(name, { partitions: 2, owner: name })]);
    const peer = await at.pool.start();
    await peer.call('openWriter', name);
    const records = [0, 1].flatMap((partition) =>
      Array.from({ length: 30 }, (_, i) => record(name, partition, 'k', `${partition}/${i}`)),
    );
    await peer.call('commit', name, { records });
    const [zero, one] = [
      { topic: name, partition: 0 },
      { topic: name, partition: 1 },
    ];
    const reader = await at.log.openReader(startAt(name, 2, 'earliest'));
    const take = async (count: number) => {
      const taken: LogRecord[] = [];
      while (taken.length < count)
        taken.push(...(await reader.poll({ maxRecords: count - taken.length, waitMs: 5_000 })));
      return taken;
    };
    const first = await take(10);
    reader.pause([zero]);
    const ones = await take(30 - first.filter((got) => got.partition === 1).length);
    expect(ones.every((got) => got.partition === 1)).toBe(true);
    expect(await reader.poll({ maxRecords: 10, waitMs: 100 })).toEqual([]);
    expect(reader.positions()[1]?.offset).toBe(reader.knownEnd(one));
    expect(reader.positions()[0]?.offset).toBeLessThan(reader.knownEnd(zero));
    reader.resume([zero]);
    const zeros = await take(30 - first.filter((got) => got.partition === 0).length);
    const all = [...first, ...ones, ...zeros];
    for (const partition of [0, 1]) {
      expect(texts(all.filter((got) => got.partition === partition))).toEqual(
        texts(await readAll(at.log, name, 2).then((every) => every.filter((got) => got.partition === partition))),
      );
    }
    reader.seek(one, (all.find((got) => got.partition === 1) as LogRecord).offset + 25n);
    expect(texts(await take(5))).toEqual(['1/25', '1/26', '1/27', '1/28', '1/29']);
    await reader.close();
  });

  test('an existing topic with other settings is refused', async () => {
    const name = freshName('mismatch');
    const peer = await at.pool.start();
    await at.log.ensureTopics([topic(name, { partitions: 2 })]);
    await at.log.ensureTopics([topic(name, { partitions: 2 })]);
    await expect(at.log.ensureTopics([topic(name, { partitions: 3 })])).rejects.toMatchObject({
      code: 'topic_mismatch',
      exitCode: 4,
    });
    expect((await peer.call('describeTopics', [name]))[0]?.partitions).toHaveLength(2);
  });

  test('retention removes the oldest records and never a young one', async ({ skip }) => {
    if (at.under.cleaningMs === undefined) return skip('this adapter cleans too slowly for a test');
    const name = freshName('retain');
    const retentionMs = 5_000;
    await at.log.ensureTopics([topic(name, { owner: name, retentionMs })]);
    const peer = await at.pool.start();
    await peer.call('openWriter', name);
    const now = () => (at.under.followsWallTime ? Date.now() : 1_049_000);
    const written: { text: string; stamp: number }[] = [];
    const write = async (stamp: number) => {
      const text = `${written.length}`;
      written.push({ text, stamp });
      await peer.call('commit', name, { records: [record(name, 0, 'k', text, stamp)] });
    };
    for (let secondsAgo = 49; secondsAgo >= 0; secondsAgo--) await write(now() - secondsAgo * 1_000);
    const oldest = now() - retentionMs;
    let left: LogRecord[] = [];
    await eventually('old records go', at.under.cleaningMs, async () => {
      await write(now());
      await delay(200);
      left = await readAll(at.log, name);
      return left.every((one) => one.timestampMs >= oldest);
    });
    const young = written.flatMap(({ text, stamp }) => (stamp >= now() - retentionMs ? [text] : []));
    expect(young.length).toBeGreaterThan(0);
    expect(texts(left).slice(-young.length)).toEqual(young);
    // By the wall clock some have grown old since.
    if (!at.under.followsWallTime) expect(texts(left)).toEqual(young);
    expect((await at.log.describeTopics([name]))[0]?.partitions[0]?.earliest).toBeGreaterThan(0n);
  });

  test('compaction leaves the newest record of every key, in order', async ({ skip }) => {
    if (at.under.cleaningMs === undefined) return skip('this adapter cleans too slowly for a test');
    const name = freshName('compact');
    await at.log.ensureTopics([topic(name, { owner: name, cleanup: 'compact' })]);
    const peer = await at.pool.start();
    await peer.call('openWriter', name);
    let n = 0;
    const newest = new Map<string, string>();
    const commit = async () => {
      const records = Array.from({ length: 20 }, () => {
        n += 1;
        const one = record(name, 0, `key${n % 7}`, `${n}`, n);
        newest.set(one.key as string, `${n}`);
        return one;
      });
      await peer.call('commit', name, { records });
    };
    let all: LogRecord[] = [];
    await eventually('superseded records go', at.under.cleaningMs, async () => {
      await commit();
      await delay(50);
      all = await readAll(at.log, name);
      return n >= 400 && all.length < n / 2;
    });
    const found = new Map(all.map((one) => [one.key, Buffer.from(one.value as Buffer).toString('utf8')]));
    expect(found).toEqual(newest);
    const offsets = all.map((one) => one.offset);
    expect(offsets).toEqual([...offsets].sort((a, b) => (a < b ? -1 : 1)));
  });
}
