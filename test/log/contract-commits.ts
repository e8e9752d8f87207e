/** The log contract: order, atomic commits, fencing, kills. */
import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { partitionOfKey } from '../../src/lib/log/partition.ts';
import type { EventLog, LogRecord, NewRecord } from '../../src/lib/log/port.ts';
import type { peerPool } from './children/driver.ts';
import { numberedCommit, numbersOf } from './children/numbered.ts';
import { type ContractContext, freshName, isFull, readAll, record, texts, topic } from './contract-support.ts';

export function commitCases(at: ContractContext): void {
  test('records of one key keep the order in which two processes committed them', async () => {
    const name = freshName('order');
    await at.log.ensureTopics([topic(name, { partitions: 2 })]);
    const expected: string[][] = [[], []];
    await Promise.all(
      [0, 1].map(async (partition) => {
        const peer = await at.pool.start();
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
    const all = await readAll(at.log, name, 2);
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
    await at.log.ensureTopics([topic(name, { partitions: 3, owner: name })]);
    const peer = await at.pool.start();
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
    const all = await readAll(at.log, name, 3);
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
    await at.log.ensureTopics([topic(out, { owner: out }), topic(state, { owner: out, cleanup: 'compact' })]);
    const peer = await at.pool.start();
    await peer.call('openWriter', out);
    peer.begin('commitForEver', out, 1, { topics: [out, state], groupId });
    await peer.until((events) => events.length >= 3);
    for (let look = 0; look < 15; look++) {
      const [offset] = await at.log.groupOffsets(groupId, [out]);
      const outputs = numbersOf(await readAll(at.log, out)).at(-1) ?? 0;
      const last = (await readAll(at.log, state)).at(-1)?.value as Buffer;
      const states = (JSON.parse(Buffer.from(last).toString('utf8')) as { n: number }).n;
      const [after] = await at.log.groupOffsets(groupId, [out]);
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
    await at.log.ensureTopics([topic(name, { owner: name })]);
    const peer = await at.pool.start();
    await peer.call('openWriter', name);
    await peer.call('commit', name, { records: [record(name, 0, 'k', 'first')] });
    const impossible = {
      records: [record(name, 0, 'k', 'lost'), record(name, 7, 'k', 'no such partition')],
      groupOffsets: { groupId, offsets: [{ topic: name, partition: 0, offset: 9n }] },
    };
    await expect(peer.call('commit', name, impossible)).rejects.toThrow();
    await peer.call('commit', name, { records: [record(name, 0, 'k', 'second')] });
    expect(texts(await readAll(at.log, name))).toEqual(['first', 'second']);
    expect(await at.log.groupOffsets(groupId, [name])).toEqual([]);
  });

  test('a second process that opens the writer fences the first, whose next commit fails and stays invisible', async () => {
    const name = freshName('fence');
    await at.log.ensureTopics([topic(name, { owner: name })]);
    const [a, b] = [await at.pool.start(), await at.pool.start()];
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
    expect(texts(await readAll(at.log, name))).toEqual(['a1', 'b1']);
  });

  test('a writer that stood still while another took over fails with fenced when it goes on', async () => {
    const name = freshName('stale');
    const groupId = freshName('group');
    await at.log.ensureTopics([topic(name, { owner: name })]);
    const [a, b] = [await at.pool.start(), await at.pool.start()];
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
    expect(numbersOf(await readAll(at.log, name))).toEqual([1, 3, 4]);
    expect(await at.log.groupOffsets(groupId, [name])).toEqual([{ topic: name, partition: 0, offset: 4n }]);
  });

  test('kill -9 inside the commit loses nothing acknowledged and tears nothing', async () => {
    // No process but the writer has the log open: the next one to open it must find everything.
    await at.log.close();
    await killInsideCommits({
      open: at.open,
      pool: at.pool,
      rounds: isFull ? 100 : (at.under.killRounds ?? 10),
      takeoverMs: at.under.takeoverMs,
    });
    at.log = await at.open();
  }, 900_000);
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
