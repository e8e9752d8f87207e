/**
 * The shared state of a consumer group and how it advances: pure, one transition per transaction (group.ts).
 * Guarantees: a partition number belongs to one live member at a time; a new owner gets it only after the old one has given it
 * up or is dead; numbers are spread evenly (counts differ by one at most) and move only when they must.
 */
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { spread } from '../spread.ts';

const memberSchema = z.object({
  id: z.string(),
  host: z.string(),
  pid: z.number().int(),
  start_ticks: z.string(),
  pid_namespace: z.string(),
  /** CLOCK_MONOTONIC milliseconds of the last sign of life. */
  heartbeat_ms: z.number(),
  session_timeout_ms: z.number(),
  owned: z.array(z.number().int()),
});

const groupSchema = z.object({ members: z.array(memberSchema), target: z.record(z.string(), z.string()) });

export type Member = z.infer<typeof memberSchema>;
export type GroupState = z.infer<typeof groupSchema>;

export const emptyGroup: GroupState = { members: [], target: {} };

export function parseGroup(data: Buffer | undefined): GroupState {
  return data ? groupSchema.parse(JSON.parse(data.toString('utf8'))) : emptyGroup;
}

export function encodeGroup(state: GroupState): Buffer {
  return Buffer.from(JSON.stringify(state), 'utf8');
}

export interface Advance {
  /** This member as it is now; `owned` is what it has (it may only give up). */
  me: Omit<Member, 'heartbeat_ms'>;
  partitions: number;
  nowMs: number;
  isAlive: (member: Member) => boolean;
  /** This member leaves and gives up everything. */
  isLeaving?: boolean;
}

export interface Advanced {
  state: GroupState;
  /** Does the new state have to be written (anything but nothing changed)? */
  isChanged: boolean;
  /** Numbers this member now owns in the state. */
  owned: number[];
  /** Numbers this member has to give up. */
  revoke: number[];
  /** The others held this member for dead and may work on what it had. */
  isExpelled: boolean;
}

/** The next state as one member sees it. */
export function advance(before: GroupState, step: Advance): Advanced {
  const { me, partitions, nowMs } = step;
  const known = before.members.find((member) => member.id === me.id);
  const isExpelled = known === undefined && me.owned.length > 0;
  if (isExpelled) return { state: before, isChanged: false, owned: [], revoke: [...me.owned], isExpelled };
  const others = before.members.filter(
    (member) =>
      member.id !== me.id &&
      step.isAlive(member) &&
      nowMs - member.heartbeat_ms <= member.session_timeout_ms &&
      member.heartbeat_ms <= nowMs + 1_000,
  );
  const heartbeatDue = !known || nowMs - known.heartbeat_ms >= me.session_timeout_ms / 3;
  const mine: Member = { ...me, heartbeat_ms: heartbeatDue ? nowMs : (known?.heartbeat_ms ?? nowMs) };
  // The order of joining is the order in the list: a known member keeps its place.
  const members = step.isLeaving
    ? others
    : before.members.some((member) => member.id === me.id)
      ? before.members.flatMap((member) =>
          member.id === me.id ? [mine] : others.filter((other) => other.id === member.id),
        )
      : [...others, mine];
  const ids = members.map((member) => member.id);
  const target = spread(ids, partitions, before.target);
  const wanted = Array.from({ length: partitions }, (_, p) => p).filter((p) => target[p] === me.id);
  const taken = new Set(others.flatMap((member) => member.owned));
  const gained = wanted.filter((p) => !mine.owned.includes(p) && !taken.has(p));
  mine.owned = step.isLeaving ? [] : [...mine.owned, ...gained].sort((a, b) => a - b);
  const state = { members, target };
  return {
    state,
    isChanged: !isDeepStrictEqual(state, before),
    owned: mine.owned,
    revoke: mine.owned.filter((p) => target[p] !== me.id),
    isExpelled: false,
  };
}
