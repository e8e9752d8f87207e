/** The log contract: consumer groups, their members and their lag. */
import { expect, test } from 'vitest';
import type { Peer } from './children/driver.ts';
import type { GroupEvent } from './children/protocol.ts';
import { type ContractContext, eventually, freshName, record, topic } from './contract-support.ts';

export function groupCases(at: ContractContext): void {
  test('the numbers of a group are shared by its members, who come, go and are killed; never two at a time', async () => {
    const name = freshName('shared');
    const groupId = freshName('group');
    await at.log.ensureTopics([topic(name, { partitions: 6 })]);
    const owned = (peer: Peer) => ownedBy(peer.events).size;
    const join = async () => {
      const peer = await at.pool.start();
      await peer.call('joinGroup', groupId, [name], at.under.sessionTimeoutMs);
      return peer;
    };
    const patience = at.under.sessionTimeoutMs * 3 + 20_000;
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
    const described = (await at.log.describeGroups()).find((group) => group.groupId === groupId);
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
    await at.log.ensureTopics([topic(name, { partitions: 2 })]);
    const [a, b] = [await at.pool.start(), await at.pool.start()];
    await a.call('joinGroup', groupId, [name], at.under.sessionTimeoutMs);
    await a.until((events) => ownedBy(events).size === 2);
    await b.call('joinGroup', groupId, [name], at.under.sessionTimeoutMs);
    await b.until((events) => ownedBy(events).size === 1);
    await a.until((events) => ownedBy(events).size === 1);
    const seen = a.events.length;
    a.signal('SIGSTOP');
    await b.until((events) => ownedBy(events).size === 2, at.under.sessionTimeoutMs * 3 + 20_000);
    a.signal('SIGCONT');
    await a.until((events) => events.length > seen, at.under.sessionTimeoutMs * 3 + 20_000);
    expect(a.events[seen]?.kind).toBe('revoked');
    await eventually('both work again', at.under.sessionTimeoutMs * 3 + 20_000, () =>
      [a, b].every((peer) => ownedBy(peer.events).size === 1),
    );
  });

  test('the lag of a group is what it has not read, whoever committed the offsets', async () => {
    const name = freshName('lag');
    const groupId = freshName('group');
    await at.log.ensureTopics([topic(name, { partitions: 2, owner: name })]);
    const [writer, sink] = [await at.pool.start(), await at.pool.start()];
    await writer.call('openWriter', name);
    const records = Array.from({ length: 10 }, (_, i) => record(name, i % 2, 'k', `${i}`));
    await writer.call('commit', name, { records });
    expect(await sink.call('groupOffsets', groupId, [name])).toEqual([]);
    const offsets = [
      { topic: name, partition: 0, offset: 2n },
      { topic: name, partition: 1, offset: 5n },
    ];
    await sink.call('commitOffsets', { groupId, offsets });
    expect(await at.log.groupOffsets(groupId, [name])).toEqual(offsets);
    const group = (await at.log.describeGroups()).find((one) => one.groupId === groupId);
    // A Kafka transaction ends with a marker that takes an offset: lags are compared with the ends as described.
    const ends = (await at.log.describeTopics([name]))[0]?.partitions.map((of) => of.latest) as bigint[];
    expect(ends.every((end) => end >= 5n)).toBe(true);
    expect(group?.offsets.map((of) => [of.partition, of.offset, of.latest, of.lag])).toEqual(
      offsets.map((of) => [of.partition, of.offset, ends[of.partition], (ends[of.partition] as bigint) - of.offset]),
    );
    await sink.call('commitOffsets', { groupId, offsets: offsets.slice(0, 1).map((of) => ({ ...of, offset: 1n })) });
    expect(await writer.call('groupOffsets', groupId, [name])).toEqual([{ ...offsets[0], offset: 1n }, offsets[1]]);
  });
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
