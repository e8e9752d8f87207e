/**
 * What every adapter of the log port must do, each case with at least two operating-system processes. The adapter is made by a
 * factory and handed to the children as data (children/protocol.ts), so the same suite runs over the embedded log and Kafka.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openEventLog } from '../../src/lib/log/open.ts';
import type {
  EventLog,
  LogRecord,
  NewRecord,
  ReaderOptions,
  StartPosition,
  TopicSpec,
} from '../../src/lib/log/port.ts';
import { openClock } from '../../src/lib/service/clock.ts';
import { type Peer, peerPool } from './children/driver.ts';
import { numberedCommit, numbersOf } from './children/numbered.ts';
import type { AdapterArgument, GroupEvent } from './children/protocol.ts';
import { describeAgainstModel } from './model.ts';

export interface LogUnderTest {
  argument: AdapterArgument;
  /** Longest machine ms that the adapter takes for retention and compaction; undefined leaves those cases out (reported). */
  cleaningMs?: number;
  /** Smallest session time-out of a group, machine ms. */
  sessionTimeoutMs: number;
  /** Machine ms after which a record of a dead writer's open transaction no longer hides later ones. */
  takeoverMs: number;
  close(): Promise<void>;
}

const isFull = Boolean(process.env.TORGHUT_TEST_FULL);
let serial = 0;

/** Names that no other case uses: a Kafka broker lives longer than one test. */
export function freshName(part: string): string {
  serial += 1;
  return `${part}-${process.pid}-${serial}`;
}

export function topic(name: string, more: Partial<TopicSpec> = {}): TopicSpec {
  return { name, partitions: 1, retentionMs: -1, cleanup: 'delete', owner: `${name}-{p}`, ...more };
}

function record(topicName: string, partition: number, key: string, text: string, timestampMs = 1_000): NewRecord {
  return { topic: topicName, partition, key, value: Buffer.from(text), timestampMs };
}

function texts(records: readonly LogRecord[]): string[] {
  return records.map((one) => (one.value === null ? '' : Buffer.from(one.value).toString('utf8')));
}

export function startAt(topicName: string, partitions: number, start: StartPosition): ReaderOptions {
  return { partitions: Array.from({ length: partitions }, (_, partition) => ({ topic: topicName, partition, start })) };
}

/** Everything committed so far, per partition in order. */
export async function readAll(log: EventLog, topicName: string, partitions = 1): Promise<LogRecord[]> {
  const reader = await log.openReader(startAt(topicName, partitions, 'earliest'));
  const all: LogRecord[] = [];
  const [description] = await log.describeTopics([topicName]);
  const isAtEnd = () =>
    reader.positions().every((of) => of.offset >= (description?.partitions[of.partition]?.latest ?? 0n));
  while (!isAtEnd()) all.push(...(await reader.poll({ maxRecords: 10_000, waitMs: 200 })));
  await reader.close();
  return all;
}

async function eventually(what: string, ms: number, check: () => Promise<boolean> | boolean): Promise<void> {
  const until = performance.now() + ms;
  while (!(await check())) {
    if (performance.now() > until) throw new Error(`not within ${ms} ms: ${what}`);
    await delay(20);
  }
}

/** Runs the contract over one adapter. */
export function describeLogContract(name: string, makeFactory: () => Promise<LogUnderTest>): void {
  describe(`the log contract on ${name}`, () => {
    let under: LogUnderTest;
    let log: EventLog;
    const pool = peerPool(() => under.argument);
    const open = () =>
      openEventLog({ home: under.argument.home, env: under.argument.env, clock: openClock(under.argument.clock) });

    beforeEach(async () => {
      under = await makeFactory();
      log = await open();
    });

    afterEach(async () => {
      await pool.endAll();
      await log.close();
      await under.close();
    });

    test('records of one key keep the order in which two processes committed them', async () => {
      const name = freshName('order');
      await log.ensureTopics([topic(name, { partitions: 2 })]);
      const expected: string[][] = [[], []];
      await Promise.all(
        [0, 1].map(async (partition) => {
          const peer = await pool.start();
          await peer.call('openWriter', `${name}-${partition}`);
          for (let commit = 0; commit < 20; commit++) {
            const records = Array.from({ length: 1 + (commit % 5) * 7 }, (_, i) =>
              record(name, partition, `key${i % 3}`, `${partition}/${commit}/${i}`),
            );
            expected[partition]?.push(...records.map((one) => (one.value as Buffer).toString('utf8')));
            const { firstOffsets } = await peer.call('commit', `${name}-${partition}`, { records });
            expect(firstOffsets).toHaveLength(1);
            expect(firstOffsets[0]).toMatchObject({ topic: name, partition, count: records.length });
          }
        }),
      );
      const all = await readAll(log, name, 2);
      for (const partition of [0, 1]) {
        const found = all.filter((one) => one.partition === partition);
        expect(texts(found)).toEqual(expected[partition]);
        for (let i = 1; i < found.length; i++) {
          expect((found[i] as LogRecord).offset).toBeGreaterThan((found[i - 1] as LogRecord).offset);
        }
      }
    });

    test('what a record carries comes back: key or none, value or tombstone, headers, time; the key chooses the partition', async () => {
      const name = freshName('carry');
      await log.ensureTopics([topic(name, { partitions: 3, owner: name })]);
      const peer = await pool.start();
      await peer.call('openWriter', name);
      const sent: NewRecord[] = [
        {
          topic: name,
          key: 'AIG',
          value: Buffer.from([0, 255, 1]),
          timestampMs: 1_381_239_000_123,
          headers: { shard: '0/1', é: 'ü' },
        },
        { topic: name, key: 'AIG', value: null, timestampMs: 1_381_239_000_124 },
        { topic: name, partition: 2, key: null, value: Buffer.alloc(0), timestampMs: 5 },
        { topic: name, partition: 2, key: 'big', value: Buffer.alloc(200_000, 7), timestampMs: 6 },
      ];
      await peer.call('commit', name, { records: sent });
      const all = await readAll(log, name, 3);
      const { partitionOfKey } = await import('../../src/lib/log/partition.ts');
      const aig = all.filter((one) => one.key === 'AIG');
      expect(aig.map((one) => one.partition)).toEqual([partitionOfKey('AIG', 3), partitionOfKey('AIG', 3)]);
      const strip = (one: LogRecord | NewRecord) => ({
        key: one.key,
        value: one.value === null ? null : Buffer.from(one.value).toString('hex'),
        timestampMs: one.timestampMs,
        headers: one.headers ?? {},
      });
      const others = all.filter((one) => one.key !== 'AIG');
      expect([...aig, ...others].map(strip)).toEqual(sent.map(strip));
    });

    test('outputs, state and offsets of one commit are seen together or not at all', async () => {
      const out = freshName('out');
      const state = freshName('state');
      const groupId = freshName('group');
      await log.ensureTopics([topic(out, { owner: out }), topic(state, { owner: out, cleanup: 'compact' })]);
      const peer = await pool.start();
      await peer.call('openWriter', out);
      peer.begin('commitForEver', out, 1, { topics: [out, state], groupId });
      await peer.until((events) => events.length >= 3);
      for (let look = 0; look < 15; look++) {
        const [offset] = await log.groupOffsets(groupId, [out]);
        const outputs = numbersOf(await readAll(log, out)).at(-1) ?? 0;
        const last = (await readAll(log, state)).at(-1)?.value as Buffer;
        const states = (JSON.parse(Buffer.from(last).toString('utf8')) as { n: number }).n;
        const [after] = await log.groupOffsets(groupId, [out]);
        // Each is read after the one before it and moves with it: none may lag.
        expect(outputs).toBeGreaterThanOrEqual(Number(offset?.offset ?? 0n));
        expect(states).toBeGreaterThanOrEqual(outputs);
        expect(Number(after?.offset ?? 0n)).toBeGreaterThanOrEqual(states);
      }
      await peer.kill();
    });

    test('a commit with one impossible record writes nothing', async () => {
      const name = freshName('nothing');
      const groupId = freshName('group');
      await log.ensureTopics([topic(name, { owner: name })]);
      const peer = await pool.start();
      await peer.call('openWriter', name);
      await peer.call('commit', name, { records: [record(name, 0, 'k', 'first')] });
      const impossible = {
        records: [record(name, 0, 'k', 'lost'), record(name, 7, 'k', 'no such partition')],
        groupOffsets: { groupId, offsets: [{ topic: name, partition: 0, offset: 9n }] },
      };
      await expect(peer.call('commit', name, impossible)).rejects.toThrow();
      await peer.call('commit', name, { records: [record(name, 0, 'k', 'second')] });
      expect(texts(await readAll(log, name))).toEqual(['first', 'second']);
      expect(await log.groupOffsets(groupId, [name])).toEqual([]);
    });

    test('a second process that opens the writer fences the first, whose next commit fails and stays invisible', async () => {
      const name = freshName('fence');
      await log.ensureTopics([topic(name, { owner: name })]);
      const [a, b] = [await pool.start(), await pool.start()];
      await a.call('openWriter', name);
      await a.call('commit', name, { records: [record(name, 0, 'k', 'a1')] });
      await b.call('openWriter', name);
      await expect(a.call('commit', name, { records: [record(name, 0, 'k', 'a2')] })).rejects.toMatchObject({
        code: 'fenced',
      });
      await b.call('commit', name, { records: [record(name, 0, 'k', 'b1')] });
      await expect(a.call('commit', name, { records: [record(name, 0, 'k', 'a3')] })).rejects.toMatchObject({
        code: 'fenced',
      });
      expect(texts(await readAll(log, name))).toEqual(['a1', 'b1']);
    });

    test('a writer that stood still while another took over fails with fenced when it goes on', async () => {
      const name = freshName('stale');
      const groupId = freshName('group');
      await log.ensureTopics([topic(name, { owner: name })]);
      const [a, b] = [await pool.start(), await pool.start()];
      await a.call('openWriter', name);
      await a.call('commit', name, numberedCommit(1, { topics: [name], groupId }));
      a.signal('SIGSTOP');
      const late = a.call('commit', name, numberedCommit(2, { topics: [name], groupId }));
      late.catch(() => undefined);
      await b.call('openWriter', name);
      await b.call('commit', name, numberedCommit(3, { topics: [name], groupId }));
      a.signal('SIGCONT');
      await expect(late).rejects.toMatchObject({ code: 'fenced' });
      await b.call('commit', name, numberedCommit(4, { topics: [name], groupId }));
      expect(numbersOf(await readAll(log, name))).toEqual([1, 3, 4]);
      expect(await log.groupOffsets(groupId, [name])).toEqual([{ topic: name, partition: 0, offset: 4n }]);
    });

    test('kill -9 inside the commit loses nothing acknowledged and tears nothing', async () => {
      // No process but the writer has the log open: the next one to open it must find everything.
      await log.close();
      await killInsideCommits({ open, pool, rounds: isFull ? 100 : 10, takeoverMs: under.takeoverMs });
      log = await open();
    }, 900_000);

    test('a reader waits for a commit of another process and gets it within the wait', async () => {
      const name = freshName('wake');
      await log.ensureTopics([topic(name, { owner: name })]);
      const peer = await pool.start();
      await peer.call('openWriter', name);
      const reader = await log.openReader(startAt(name, 1, 'latest'));
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
      await log.ensureTopics([topic(name, { owner: name })]);
      const peer = await pool.start();
      await peer.call('openWriter', name);
      // Times go back and forth; the running maximum is 10 10 30 30 30 40 40.
      const times = [10, 5, 30, 20, 30, 40, 35];
      for (const [i, timestampMs] of times.entries()) {
        await peer.call('commit', name, { records: [record(name, 0, 'k', `${i}`, timestampMs)] });
      }
      const offsets = (await readAll(log, name)).map((one) => one.offset);
      const end = (await log.describeTopics([name]))[0]?.partitions[0]?.latest as bigint;
      const cases: [number, bigint][] = [
        [0, offsets[0] as bigint], [10, offsets[0] as bigint], [11, offsets[2] as bigint], [30, offsets[2] as bigint],
        [31, offsets[5] as bigint], [40, offsets[5] as bigint], [41, end],
      ]; // biome-ignore format: one table
      for (const [timestampMs, expected] of cases) {
        const of = { topic: name, partition: 0 };
        expect(await peer.call('offsetForTime', of, timestampMs), `time ${timestampMs}`).toBe(expected);
        const reader = await log.openReader(startAt(name, 1, { timestampMs }));
        expect(reader.positions()).toEqual([{ ...of, offset: expected }]);
        await reader.close();
      }
      for (const [start, first] of [
        [offsets[3], '3'],
        ['earliest', '0'],
        ['latest', undefined],
      ] as const) {
        const reader = await log.openReader(startAt(name, 1, start as StartPosition));
        expect(texts(await reader.poll({ maxRecords: 1, waitMs: start === 'latest' ? 100 : 10_000 }))[0]).toBe(first);
        await reader.close();
      }
    });

    test('a paused partition is silent, a resumed one goes on where it was, and seek goes anywhere', async () => {
      const name = freshName('pause');
      await log.ensureTopics([topic(name, { partitions: 2, owner: name })]);
      const peer = await pool.start();
      await peer.call('openWriter', name);
      const records = [0, 1].flatMap((partition) =>
        Array.from({ length: 30 }, (_, i) => record(name, partition, 'k', `${partition}/${i}`)),
      );
      await peer.call('commit', name, { records });
      const [zero, one] = [
        { topic: name, partition: 0 },
        { topic: name, partition: 1 },
      ];
      const reader = await log.openReader(startAt(name, 2, 'earliest'));
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
          texts(await readAll(log, name, 2).then((every) => every.filter((got) => got.partition === partition))),
        );
      }
      reader.seek(one, (all.find((got) => got.partition === 1) as LogRecord).offset + 25n);
      expect(texts(await take(5))).toEqual(['1/25', '1/26', '1/27', '1/28', '1/29']);
      await reader.close();
    });

    test('the numbers of a group are shared by its members, who come, go and are killed; never two at a time', async () => {
      const name = freshName('shared');
      const groupId = freshName('group');
      await log.ensureTopics([topic(name, { partitions: 6 })]);
      const owned = (peer: Peer) => ownedBy(peer.events).size;
      const join = async () => {
        const peer = await pool.start();
        await peer.call('joinGroup', groupId, [name], under.sessionTimeoutMs);
        return peer;
      };
      const patience = under.sessionTimeoutMs * 3 + 20_000;
      const settled = (peers: Peer[], counts: number[]) =>
        eventually(`${counts} numbers each`, patience, () => {
          const sizes = peers.map(owned).sort();
          return JSON.stringify(sizes) === JSON.stringify([...counts].sort());
        });
      const a = await join();
      await settled([a], [6]);
      const b = await join();
      await settled([a, b], [3, 3]);
      const c = await join();
      await settled([a, b, c], [2, 2, 2]);
      const described = (await log.describeGroups()).find((group) => group.groupId === groupId);
      expect(described?.members.flatMap((member) => member.partitions).sort()).toEqual([0, 1, 2, 3, 4, 5]);
      await b.call('leaveGroup', groupId);
      await settled([a, c], [3, 3]);
      // A killed member owns until the kill; its successor may be told before the test hears of the death.
      const killedAt = process.hrtime.bigint();
      await c.kill();
      await settled([a], [6]);
      expectNoOverlap([
        { events: a.events, endNs: undefined },
        { events: b.events, endNs: undefined },
        { events: c.events, endNs: killedAt },
      ]);
    });

    test('a member that stood still beyond its session gives everything up before it joins anew', async () => {
      const name = freshName('asleep');
      const groupId = freshName('group');
      await log.ensureTopics([topic(name, { partitions: 2 })]);
      const [a, b] = [await pool.start(), await pool.start()];
      await a.call('joinGroup', groupId, [name], under.sessionTimeoutMs);
      await a.until((events) => ownedBy(events).size === 2);
      await b.call('joinGroup', groupId, [name], under.sessionTimeoutMs);
      await b.until((events) => ownedBy(events).size === 1);
      await a.until((events) => ownedBy(events).size === 1);
      const seen = a.events.length;
      a.signal('SIGSTOP');
      await b.until((events) => ownedBy(events).size === 2, under.sessionTimeoutMs * 3 + 20_000);
      a.signal('SIGCONT');
      await a.until((events) => events.length > seen, under.sessionTimeoutMs * 3 + 20_000);
      expect(a.events[seen]?.kind).toBe('revoked');
      await eventually('both work again', under.sessionTimeoutMs * 3 + 20_000, () =>
        [a, b].every((peer) => ownedBy(peer.events).size === 1),
      );
    });

    test('the lag of a group is what it has not read, whoever committed the offsets', async () => {
      const name = freshName('lag');
      const groupId = freshName('group');
      await log.ensureTopics([topic(name, { partitions: 2, owner: name })]);
      const [writer, sink] = [await pool.start(), await pool.start()];
      await writer.call('openWriter', name);
      const records = Array.from({ length: 10 }, (_, i) => record(name, i % 2, 'k', `${i}`));
      await writer.call('commit', name, { records });
      expect(await sink.call('groupOffsets', groupId, [name])).toEqual([]);
      const offsets = [
        { topic: name, partition: 0, offset: 2n },
        { topic: name, partition: 1, offset: 5n },
      ];
      await sink.call('commitOffsets', { groupId, offsets });
      expect(await log.groupOffsets(groupId, [name])).toEqual(offsets);
      const group = (await log.describeGroups()).find((one) => one.groupId === groupId);
      // A Kafka transaction ends with a marker that takes an offset: lags are compared with the ends as described.
      const ends = (await log.describeTopics([name]))[0]?.partitions.map((of) => of.latest) as bigint[];
      expect(ends.every((end) => end >= 5n)).toBe(true);
      expect(group?.offsets.map((of) => [of.partition, of.offset, of.latest, of.lag])).toEqual(
        offsets.map((of) => [of.partition, of.offset, ends[of.partition], (ends[of.partition] as bigint) - of.offset]),
      );
      await sink.call('commitOffsets', { groupId, offsets: offsets.slice(0, 1).map((of) => ({ ...of, offset: 1n })) });
      expect(await writer.call('groupOffsets', groupId, [name])).toEqual([{ ...offsets[0], offset: 1n }, offsets[1]]);
    });

    test('an existing topic with other settings is refused', async () => {
      const name = freshName('mismatch');
      const peer = await pool.start();
      await log.ensureTopics([topic(name, { partitions: 2 })]);
      await log.ensureTopics([topic(name, { partitions: 2 })]);
      await expect(log.ensureTopics([topic(name, { partitions: 3 })])).rejects.toMatchObject({
        code: 'topic_mismatch',
        exitCode: 4,
      });
      expect((await peer.call('describeTopics', [name]))[0]?.partitions).toHaveLength(2);
    });

    test('retention removes the oldest records and never a young one', async ({ skip }) => {
      if (under.cleaningMs === undefined) return skip('this adapter cleans too slowly for a test');
      const name = freshName('retain');
      await log.ensureTopics([topic(name, { owner: name, retentionMs: 10_000 })]);
      const peer = await pool.start();
      await peer.call('openWriter', name);
      for (let i = 0; i < 50; i++) {
        await peer.call('commit', name, { records: [record(name, 0, 'k', `${i}`, 1_000_000 + i * 1_000)] });
      }
      const earliest = async () => (await log.describeTopics([name]))[0]?.partitions[0]?.earliest ?? 0n;
      let newest = 1_049_000;
      await eventually('old records go', under.cleaningMs, async () => {
        await peer.call('commit', name, { records: [record(name, 0, 'k', 'tick', newest)] });
        await delay(200);
        return (await earliest()) > 0n;
      });
      const left = await readAll(log, name);
      newest = Math.max(...left.map((one) => one.timestampMs));
      expect(left.every((one) => one.timestampMs >= newest - 10_000)).toBe(true);
      expect(texts(left).filter((text) => text !== 'tick')).toEqual(Array.from({ length: 11 }, (_, i) => `${39 + i}`));
    });

    test('compaction leaves the newest record of every key, in order', async ({ skip }) => {
      if (under.cleaningMs === undefined) return skip('this adapter cleans too slowly for a test');
      const name = freshName('compact');
      await log.ensureTopics([topic(name, { owner: name, cleanup: 'compact' })]);
      const peer = await pool.start();
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
      await eventually('superseded records go', under.cleaningMs, async () => {
        await commit();
        await delay(50);
        all = await readAll(log, name);
        return n >= 400 && all.length < n / 2;
      });
      const found = new Map(all.map((one) => [one.key, Buffer.from(one.value as Buffer).toString('utf8')]));
      expect(found).toEqual(newest);
      const offsets = all.map((one) => one.offset);
      expect(offsets).toEqual([...offsets].sort((a, b) => (a < b ? -1 : 1)));
    });

    describeAgainstModel({ log: () => log, pool, isFull });
  });
}

interface KillRounds {
  open: () => Promise<EventLog>;
  pool: ReturnType<typeof peerPool>;
  rounds: number;
  takeoverMs: number;
}

/** Kills writers at random moments of a loop of commits, and looks after each at what is there. */
export async function killInsideCommits({ open, pool, rounds, takeoverMs }: KillRounds): Promise<void> {
  const topics = [freshName('kill'), freshName('kill')];
  const groupId = freshName('group');
  const owner = freshName('killed');
  const seed = randomInt(1_000_000);
  let acknowledged = 0;
  let next = pool.start();
  for (let round = 0; round <= rounds; round++) {
    const peer = await next;
    let log = await open();
    await log.ensureTopics(topics.map((one) => topic(one, { owner })));
    await log.close();
    // Opening ends the dead predecessor's open transaction.
    await peer.call('openWriter', owner);
    log = await open();
    const numbers = await Promise.all(topics.map(async (one) => numbersOf(await readAll(log, one))));
    const [offset] = await log.groupOffsets(groupId, topics);
    await log.close();
    const newest = numbers[0]?.at(-1) ?? 0;
    const every = Array.from({ length: newest }, (_, i) => i + 1);
    expect(numbers, `round ${round}, seed ${seed}`).toEqual([every, every]);
    expect(newest, `round ${round}, seed ${seed}`).toBeGreaterThanOrEqual(acknowledged);
    expect(offset?.offset ?? 0n, `round ${round}, seed ${seed}`).toBe(BigInt(newest));
    if (round === rounds) return;
    next = pool.start();
    peer.begin('commitForEver', owner, newest + 1, { topics, groupId });
    await peer.until((events) => events.length >= 1, takeoverMs + 20_000);
    await next;
    await delay((seed + round * 7.3) % 40);
    await peer.kill();
    for (const event of peer.events) {
      if (event.kind === 'acknowledged') acknowledged = Math.max(acknowledged, event.n);
    }
    expect(acknowledged).toBeGreaterThan(newest);
  }
}

function ownedBy(events: readonly GroupEvent[]): Set<number> {
  const owned = new Set<number>();
  for (const event of events) {
    if (event.kind === 'assigned') for (const p of event.partitions) owned.add(p);
    if (event.kind === 'revoked') for (const p of event.partitions) owned.delete(p);
  }
  return owned;
}

/** No number may be owned by two members at once; a killed member owns until its death. */
function expectNoOverlap(members: { events: readonly GroupEvent[]; endNs: bigint | undefined }[]): void {
  const spans: { p: number; from: bigint; to: bigint; member: number }[] = [];
  for (const [member, { events, endNs }] of members.entries()) {
    const since = new Map<number, bigint>();
    for (const event of events) {
      if (event.kind === 'assigned') for (const p of event.partitions) since.set(p, event.atNs);
      if (event.kind !== 'revoked') continue;
      for (const p of event.partitions) {
        spans.push({ p, from: since.get(p) as bigint, to: event.atNs, member });
        since.delete(p);
      }
    }
    for (const [p, from] of since) spans.push({ p, from, to: endNs ?? process.hrtime.bigint(), member });
  }
  for (const a of spans) {
    for (const b of spans) {
      const isTogether = a.member !== b.member && a.p === b.p && a.from < b.to && b.from < a.to;
      expect(isTogether, `number ${a.p} of members ${a.member} and ${b.member}`).toBe(false);
    }
  }
}
