/**
 * A member of a Kafka consumer group that shares partition NUMBERS (assignment.ts). It speaks the group protocol itself through
 * the connections of kafkajs: kafkajs' own consumer tells a member of its new numbers before the old owner has stopped, and
 * its heartbeat stands still while a callback runs.
 * Guarantees: callbacks run one at a time, heartbeats go on meanwhile; a number is given up (onRevoked has returned) before
 * this member joins without it, which is when another one can get it; a member that the broker held for dead gives everything
 * up before it joins anew. While no broker answers, members keep what they have: nobody can be told otherwise, and the fencing
 * of the writers decides in the end.
 */
import type { Broker } from 'kafkajs/src/broker/index.js';
import type Cluster from 'kafkajs/src/cluster/index.js';
import { machineMs, sleep } from '../../service/machine.ts';
import type { GroupMember, GroupOptions, OffsetCommit } from '../port.ts';
import {
  assignedNumbers,
  assignNumbers,
  assignorName,
  decodeClaim,
  encodeAssignment,
  encodeClaim,
} from './assignment.ts';
import { readerCluster } from './client.ts';
import { forgetLostBroker, isPassing, kafkaError, protocolType } from './faults.ts';
import type { KafkaSettings } from './settings.ts';
import { offsetsByTopic } from './writer.ts';

const DEFAULT_SESSION_MS = 10_000;
/** A member that takes longer to stop its work loses its membership and then gives up everything. */
const REBALANCE_MS = 30_000;
/** Longest machine ms between two attempts to reach the coordinator. */
const LONGEST_PAUSE_MS = 2_000;
/** How long an offset commit waits for a rebalance to pass. */
const COMMIT_PATIENCE_MS = 10_000;

/** The broker does not know this member or its generation any more. */
const expelledTypes = new Set(['UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION', 'FENCED_INSTANCE_ID']);

export interface KafkaGroupMember extends GroupMember {
  /** Who commits offsets now: the member and its generation. */
  place(): { groupGenerationId: number; memberId: string };
}

/** @throws `log_unreachable`, `kafka_auth` when the first join fails for good */
export async function joinKafkaGroup(
  settings: KafkaSettings,
  options: GroupOptions,
  /** A second connection: the first one is blocked while a join waits for the other members. */
  side: () => Promise<Cluster>,
): Promise<KafkaGroupMember> {
  const cluster = readerCluster(settings);
  try {
    await cluster.connect();
    await cluster.addMultipleTargetTopics(options.topics);
  } catch (error) {
    await cluster.disconnect().catch(() => undefined);
    throw kafkaError(error, `cannot join the group ${options.groupId}`);
  }
  const member = new Member(cluster, options, side);
  const failed = await Promise.race([member.joined, member.ended]);
  if (failed instanceof Error) throw failed;
  return member;
}

class Member implements KafkaGroupMember {
  readonly ended: Promise<unknown>;
  /** Resolves at the first assignment. */
  readonly joined: Promise<void>;
  readonly #cluster: Cluster;
  readonly #options: GroupOptions;
  readonly #side: () => Promise<Cluster>;
  readonly #sessionMs: number;
  readonly #stop = new AbortController();
  #markJoined: () => void = () => undefined;
  #memberId = '';
  #generation = -1;
  #held: number[] = [];
  #coordinator: Broker | undefined;

  constructor(cluster: Cluster, options: GroupOptions, side: () => Promise<Cluster>) {
    this.#cluster = cluster;
    this.#options = options;
    this.#side = side;
    this.#sessionMs = options.sessionTimeoutMs ?? DEFAULT_SESSION_MS;
    this.joined = new Promise((resolve) => {
      this.#markJoined = resolve;
    });
    const onAbort = () => this.#leave();
    if (options.signal?.aborted) onAbort();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    this.ended = this.#run().finally(() => options.signal?.removeEventListener('abort', onAbort));
  }

  get memberId(): string {
    return this.#memberId;
  }

  owned(): number[] {
    return [...this.#held];
  }

  place(): { groupGenerationId: number; memberId: string } {
    return { groupGenerationId: this.#generation, memberId: this.#memberId };
  }

  async close(): Promise<void> {
    this.#leave();
    await this.ended;
  }

  #leave(): void {
    this.#stop.abort();
  }

  /** Resolves with the reason of the end: undefined after close, else the error. */
  async #run(): Promise<unknown> {
    let reason: unknown;
    try {
      for (let failures = 0; !this.#stop.signal.aborted; ) {
        try {
          const assigned = await this.#join();
          failures = 0;
          this.#markJoined();
          await this.#whileBeating(() => this.#apply(assigned));
          if (assigned.isSettled) await this.#beatUntilRebalance();
        } catch (error) {
          failures += 1;
          await this.#afterFault(error, failures);
        }
      }
    } catch (error) {
      reason = error;
    }
    this.#stop.abort();
    try {
      await this.#giveUp(this.#held);
    } catch (error) {
      reason ??= error;
    }
    await this.#sayGoodbye();
    await this.#cluster.disconnect().catch(() => undefined);
    return reason;
  }

  /** Joins with what is held and gets the new assignment; blocks until every live member has joined. */
  async #join(): Promise<{ numbers: number[]; isSettled: boolean }> {
    const { groupId, topics } = this.#options;
    const coordinator = await this.#findCoordinator();
    const held = [...this.#held];
    const joining = coordinator.joinGroup({
      groupId,
      sessionTimeout: this.#sessionMs,
      rebalanceTimeout: REBALANCE_MS,
      memberId: this.#memberId,
      groupProtocols: [{ name: assignorName, metadata: encodeClaim(topics, held) }],
    });
    const group = await this.#untilStopped(joining);
    this.#memberId = group.memberId;
    this.#generation = group.generationId;
    const groupAssignment = group.leaderId === group.memberId ? await this.#assign(group.members) : [];
    const { generationId, memberId } = group;
    const syncing = coordinator.syncGroup({ groupId, generationId, memberId, groupAssignment });
    const { memberAssignment } = await this.#untilStopped(syncing);
    const numbers = assignedNumbers(memberAssignment);
    // What is given up here must be offered to the others by one more round.
    return { numbers, isSettled: held.every((p) => numbers.includes(p)) };
  }

  async #assign(members: readonly { memberId: string; memberMetadata: Buffer }[]) {
    const { topics } = this.#options;
    await this.#cluster.refreshMetadata();
    const partitionsOf = new Map(
      topics.map((topic) => [topic, this.#cluster.findTopicPartitionMetadata(topic).length] as const),
    );
    const claims = members.map(({ memberId, memberMetadata }) => decodeClaim(memberId, memberMetadata));
    const numbers = assignNumbers(claims, Math.max(0, ...partitionsOf.values()));
    return [...numbers].map(([memberId, list]) => ({
      memberId,
      memberAssignment: encodeAssignment(list, partitionsOf),
    }));
  }

  async #apply({ numbers }: { numbers: readonly number[] }): Promise<void> {
    await this.#giveUp(this.#held.filter((p) => !numbers.includes(p)));
    const gained = numbers.filter((p) => !this.#held.includes(p));
    if (gained.length === 0 || this.#stop.signal.aborted) return;
    this.#held = [...this.#held, ...gained].sort((a, b) => a - b);
    await this.#options.onAssigned(gained);
  }

  async #giveUp(numbers: readonly number[]): Promise<void> {
    if (numbers.length === 0) return;
    await this.#options.onRevoked([...numbers]);
    this.#held = this.#held.filter((p) => !numbers.includes(p));
  }

  /** Runs a callback of the caller while the heartbeat goes on; a fault of the heartbeat is met again by the next call. */
  async #whileBeating(work: () => Promise<void>): Promise<void> {
    const done = new AbortController();
    const beating = this.#beatUntilRebalance(done.signal).catch(() => undefined);
    try {
      await work();
    } catch (error) {
      throw new CallbackError(error);
    } finally {
      done.abort();
      await beating;
    }
  }

  /** Returns when the member is to stop; @throws what the broker answers, REBALANCE_IN_PROGRESS above all */
  async #beatUntilRebalance(signal?: AbortSignal): Promise<void> {
    const { groupId } = this.#options;
    const until = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal;
    for (;;) {
      await sleep(Math.min(1_000, Math.max(100, this.#sessionMs / 6)), until);
      if (until.aborted) return;
      const coordinator = await this.#findCoordinator();
      await coordinator.heartbeat({ groupId, ...this.place() });
    }
  }

  async #findCoordinator(): Promise<Broker> {
    this.#coordinator ??= await this.#cluster.findGroupCoordinator({ groupId: this.#options.groupId });
    return this.#coordinator;
  }

  /** What a fault means for the membership. @throws the errors that end it */
  async #afterFault(error: unknown, failures: number): Promise<void> {
    if (error instanceof CallbackError) throw error.cause;
    if (this.#stop.signal.aborted) return;
    const type = protocolType(error) ?? '';
    if (type === 'REBALANCE_IN_PROGRESS') return;
    if (expelledTypes.has(type)) {
      this.#memberId = '';
      this.#generation = -1;
      return this.#giveUp(this.#held);
    }
    const known = kafkaError(error, `cannot stay in the group ${this.#options.groupId}`);
    // An answer that is not known to pass (another assignor in the group, no permission) ends the membership.
    if (!known.canRetry || !isPassing(error)) throw known;
    this.#coordinator = undefined;
    forgetLostBroker(this.#cluster, error);
    await sleep(Math.min(LONGEST_PAUSE_MS, 50 * 2 ** Math.min(failures, 8)), this.#stop.signal);
  }

  /** A wait for the other members ends at once when this one is to stop. */
  async #untilStopped<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.#stop;
    let onAbort: () => void = () => undefined;
    const stopped = new Promise<never>((_, reject) => {
      onAbort = () => reject(new Error('the member leaves'));
      if (signal.aborted) onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
    });
    try {
      return await Promise.race([work, stopped]);
    } finally {
      work.catch(() => undefined);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Leaves in order, so that the others need not wait for the end of the session. */
  async #sayGoodbye(): Promise<void> {
    if (this.#memberId === '') return;
    const { groupId } = this.#options;
    const goodbye = async () => {
      const coordinator = await (await this.#side()).findGroupCoordinator({ groupId });
      await coordinator.leaveGroup({ groupId, memberId: this.#memberId });
    };
    await Promise.race([goodbye().catch(() => undefined), sleep(2_000)]);
  }
}

/** An error of the caller's callback: it ends the membership, whatever it is. */
class CallbackError extends Error {
  constructor(cause: unknown) {
    super('a callback failed', { cause });
  }
}

/** Commits offsets as a member (its generation is asked anew for every attempt), or for a group without members. */
export async function commitGroupOffsets(
  cluster: Cluster,
  { groupId, offsets }: OffsetCommit,
  member?: KafkaGroupMember,
): Promise<void> {
  const topics = offsetsByTopic(offsets);
  const started = machineMs();
  for (;;) {
    const place = member?.place() ?? { groupGenerationId: -1, memberId: '' };
    try {
      const coordinator = await cluster.findGroupCoordinator({ groupId });
      await coordinator.offsetCommit({ groupId, ...place, topics });
      return;
    } catch (error) {
      const type = protocolType(error) ?? '';
      const isRebalance = member !== undefined && (type === 'REBALANCE_IN_PROGRESS' || type === 'ILLEGAL_GENERATION');
      const mayPass = isRebalance || isPassing(error);
      if (!mayPass || machineMs() - started > COMMIT_PATIENCE_MS) throw error;
      await sleep(50);
    }
  }
}
