/**
 * Who gets which partition number in a Kafka group, and its bytes in the group protocol: pure, run by the group's leader.
 * Guarantee: a number that a live member says it has is given to nobody else. It is taken from its holder by leaving it out of
 * the holder's assignment; when the holder has stopped its work it joins again without it, and only then somebody gets it
 * (the two steps of Kafka's cooperative rebalancing, KIP-429; what a member has travels in the user data of its metadata).
 */
import kafkajs from 'kafkajs';
import { z } from 'zod';
import { spread } from '../spread.ts';

const { AssignerProtocol } = kafkajs;

/** Name of the assignor: every member of a group must know the same one. */
export const assignorName = 'torghut-copartition';

export interface Claim {
  memberId: string;
  /** Numbers the member holds and has not given up. */
  held: readonly number[];
}

const claimSchema = z.array(z.number().int().nonnegative());

/** The numbers of each member: an even share with as few moves as possible, less what another member still holds. */
export function assignNumbers(claims: readonly Claim[], partitions: number): Map<string, number[]> {
  const holders = new Map<number, string[]>();
  for (const { memberId, held } of claims) {
    for (const p of held) holders.set(p, [...(holders.get(p) ?? []), memberId]);
  }
  const before = Object.fromEntries([...holders].map(([p, ids]) => [p, [...ids].sort()[0] as string]));
  const target = spread(claims.map(({ memberId }) => memberId).sort(), partitions, before);
  return new Map(
    claims.map(({ memberId }) => {
      const numbers = Array.from({ length: partitions }, (_, p) => p).filter(
        (p) => target[p] === memberId && (holders.get(p) ?? []).every((id) => id === memberId),
      );
      return [memberId, numbers];
    }),
  );
}

/** What a member tells when it joins. */
export function encodeClaim(topics: readonly string[], held: readonly number[]): Buffer {
  return AssignerProtocol.MemberMetadata.encode({
    version: 1,
    topics: [...topics],
    userData: Buffer.from(JSON.stringify(held), 'utf8'),
  });
}

/** @throws when the bytes are not a claim of this assignor */
export function decodeClaim(memberId: string, metadata: Buffer): Claim {
  const userData = AssignerProtocol.MemberMetadata.decode(metadata)?.userData;
  return { memberId, held: claimSchema.parse(JSON.parse(userData?.toString('utf8') || '[]')) };
}

/** One member's assignment: partition p of every topic that has one, so that Kafka's own tools can show it. */
export function encodeAssignment(numbers: readonly number[], partitionsOf: ReadonlyMap<string, number>): Buffer {
  const assignment = Object.fromEntries(
    [...partitionsOf].map(([topic, count]) => [topic, numbers.filter((p) => p < count)]),
  );
  return AssignerProtocol.MemberAssignment.encode({ version: 1, assignment, userData: Buffer.alloc(0) });
}

/** Partition numbers of an encoded assignment, also of other clients' groups; none for a member without one. */
export function assignedNumbers(assignment: Buffer): number[] {
  if (assignment.length === 0) return [];
  try {
    const decoded = AssignerProtocol.MemberAssignment.decode(assignment);
    return [...new Set(Object.values(decoded?.assignment ?? {}).flat())].sort((a, b) => a - b);
  } catch {
    // Groups of other kinds (connectors) write something else here.
    return [];
  }
}
