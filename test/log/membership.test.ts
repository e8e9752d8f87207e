import fc from 'fast-check';
import { expect, test } from 'vitest';
import { advance, emptyGroup, type GroupState } from '../../src/lib/log/embedded/membership.ts';
import { spread } from '../../src/lib/log/spread.ts';

const ids = ['a', 'b', 'c', 'd'];
const partitionsOf = (target: Record<string, string>, id: string) =>
  Object.entries(target)
    .filter(([, owner]) => owner === id)
    .map(([p]) => Number(p));

test('shares differ by one at most, everything is given out, and only what must move moves', () => {
  fc.assert(
    fc.property(
      fc.subarray(ids, { minLength: 1 }),
      fc.integer({ min: 1, max: 12 }),
      fc.array(fc.constantFrom(...ids, 'gone'), { minLength: 12, maxLength: 12 }),
      (members, partitions, owners) => {
        const before = Object.fromEntries(owners.slice(0, partitions).map((owner, p) => [p, owner]));
        const target = spread(members, partitions, before);
        const counts = members.map((id) => partitionsOf(target, id).length);
        expect(counts.reduce((a, b) => a + b, 0)).toBe(partitions);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
        // Nobody gives up a number while holding no more than the smaller share.
        for (const id of members) {
          const had = partitionsOf(before, id);
          const kept = had.filter((p) => target[p] === id);
          expect(kept.length).toBeGreaterThanOrEqual(Math.min(had.length, Math.floor(partitions / members.length)));
        }
        expect(spread(members, partitions, target)).toEqual(target);
      },
    ),
    { numRuns: 500 },
  );
});

test('whatever members do in whatever order, no number has two owners, and in the end every number has one', () => {
  const action = fc.record({
    who: fc.nat(ids.length - 1),
    kind: fc.constantFrom('step', 'step', 'step', 'release', 'die', 'stall'),
    waitMs: fc.nat(1_200),
  });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 80 }), fc.integer({ min: 1, max: 6 }), (actions, partitions) => {
      let state: GroupState = emptyGroup;
      let nowMs = 10_000;
      const dead = new Set<string>();
      const owned = new Map<string, number[]>(ids.map((id) => [id, []]));
      const step = (id: string) => {
        const next = advance(state, {
          me: {
            id,
            host: 'h',
            pid: 1,
            start_ticks: '1',
            pid_namespace: '1',
            session_timeout_ms: 3_000,
            owned: owned.get(id) ?? [],
          },
          partitions,
          nowMs,
          isAlive: (member) => !dead.has(member.id),
        });
        if (next.isExpelled) {
          // Its caller stops the work before it steps again.
          owned.set(id, []);
          return;
        }
        if (next.isChanged) state = next.state;
        owned.set(id, next.owned);
      };
      const release = (id: string) =>
        owned.set(
          id,
          (owned.get(id) ?? []).filter((p) => state.target[p] === id),
        );
      const check = () => {
        const all = state.members.flatMap((member) => member.owned);
        expect(new Set(all).size).toBe(all.length);
      };
      for (const { who, kind, waitMs } of actions) {
        const id = ids[who] as string;
        nowMs += waitMs;
        if (kind === 'die') {
          dead.add(id);
          owned.set(id, []);
        } else if (!dead.has(id) && kind !== 'stall') {
          if (kind === 'release') release(id);
          step(id);
        }
        check();
      }
      const living = ids.filter((id) => !dead.has(id));
      for (let round = 0; round < 8; round++) {
        for (const id of living) {
          nowMs += 100;
          release(id);
          step(id);
          check();
        }
      }
      if (living.length > 0) {
        const all = living.flatMap((id) => owned.get(id) ?? []);
        expect([...all].sort()).toEqual(Array.from({ length: partitions }, (_, p) => p));
      }
    }),
    { numRuns: 300 },
  );
});
