/**
 * Membership of a Kafka consumer group, co-partitioned: partition number p of every topic goes to the same member. The
 * consumer's own fetching stays paused; records are read by openReader from stored positions. A late revocation is harmless:
 * the new owner's writer fences the old one.
 */
import kafkajs, { type Assigner, type Consumer, type PartitionAssigner } from 'kafkajs';
import { describeError } from '../../service/errors.ts';
import type { GroupMember, GroupOptions, OffsetCommit } from '../port.ts';
import { kafkaClient, kafkaError } from './client.ts';
import type { KafkaSettings } from './settings.ts';
import { offsetsByTopic } from './writer.ts';

const { AssignerProtocol } = kafkajs;
const protocolName = 'torghut-copartition';

/** Spreads partition numbers over the members in the order of their ids, all topics alike. */
export function spreadPartitions(memberIds: readonly string[], partitions: number): Map<string, number[]> {
  const members = [...memberIds].sort();
  const spread = new Map<string, number[]>(members.map((id) => [id, []]));
  for (let p = 0; p < partitions; p++) spread.get(members[p % members.length] as string)?.push(p);
  return spread;
}

const copartition: PartitionAssigner = ({ cluster }): Assigner => ({
  name: protocolName,
  version: 1,
  async assign({ members, topics }) {
    const counts = topics.map((topic) => cluster.findTopicPartitionMetadata(topic).length);
    const spread = spreadPartitions(
      members.map(({ memberId }) => memberId),
      Math.max(0, ...counts),
    );
    return [...spread].map(([memberId, numbers]) => ({
      memberId,
      memberAssignment: AssignerProtocol.MemberAssignment.encode({
        version: 1,
        assignment: Object.fromEntries(
          topics.map((topic, i) => [topic, numbers.filter((p) => p < (counts[i] as number))]),
        ),
        userData: Buffer.alloc(0),
      }),
    }));
  },
  protocol({ topics }) {
    return {
      name: protocolName,
      metadata: AssignerProtocol.MemberMetadata.encode({ version: 1, topics, userData: Buffer.alloc(0) }),
    };
  },
});

export interface KafkaGroupMember extends GroupMember {
  commitOffsets(commit: OffsetCommit): Promise<void>;
}

export async function joinKafkaGroup(settings: KafkaSettings, options: GroupOptions): Promise<KafkaGroupMember> {
  const sessionTimeout = options.sessionTimeoutMs ?? 10_000;
  const consumer = kafkaClient(settings).consumer({
    groupId: options.groupId,
    partitionAssigners: [copartition],
    sessionTimeout,
    rebalanceTimeout: Math.max(sessionTimeout, 10_000),
    heartbeatInterval: Math.max(200, Math.floor(sessionTimeout / 5)),
    maxWaitTimeInMs: Math.max(100, Math.floor(sessionTimeout / 10)),
    readUncommitted: false,
    allowAutoTopicCreation: false,
  });
  const member = new Member(consumer, options);
  try {
    await consumer.connect();
    await consumer.subscribe({ topics: options.topics, fromBeginning: true });
    await consumer.run({ autoCommit: false, eachBatch: async () => undefined });
  } catch (error) {
    await consumer.disconnect().catch(() => undefined);
    throw kafkaError(error, `cannot join the group ${options.groupId}`);
  }
  return member;
}

class Member implements KafkaGroupMember {
  memberId = '';
  private readonly consumer: Consumer;
  private readonly options: GroupOptions;
  private numbers: number[] = [];
  /** Assignments are applied one after the other. */
  private work: Promise<void> = Promise.resolve();
  private isClosed = false;

  constructor(consumer: Consumer, options: GroupOptions) {
    this.consumer = consumer;
    this.options = options;
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      this.memberId = payload.memberId;
      const assignment = payload.memberAssignment as Record<string, number[]>;
      // At once and synchronously: nothing is fetched through the group.
      consumer.pause(Object.entries(assignment).map(([topic, partitions]) => ({ topic, partitions })));
      const numbers = [...new Set(Object.values(assignment).flat())].sort((a, b) => a - b);
      this.enqueue(numbers);
    });
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      // kafkajs restarts itself for retriable errors; for the rest the partitions are given up.
      if (!payload.restart) this.enqueue([]);
    });
    options.signal?.addEventListener('abort', () => void this.close(), { once: true });
  }

  private enqueue(numbers: number[]): void {
    this.work = this.work
      .then(() => this.apply(numbers))
      .catch((error: unknown) => {
        process.emitWarning(`group ${this.options.groupId}: ${describeError(error)}`);
      });
  }

  private async apply(numbers: readonly number[]): Promise<void> {
    const revoked = this.numbers.filter((p) => !numbers.includes(p));
    const assigned = numbers.filter((p) => !this.numbers.includes(p));
    if (revoked.length > 0) {
      this.numbers = this.numbers.filter((p) => !revoked.includes(p));
      await this.options.onRevoked(revoked);
    }
    if (assigned.length > 0 && !this.isClosed) {
      this.numbers = [...this.numbers, ...assigned].sort((a, b) => a - b);
      await this.options.onAssigned(assigned);
    }
  }

  owned(): number[] {
    return [...this.numbers];
  }

  async commitOffsets({ offsets }: OffsetCommit): Promise<void> {
    await this.consumer.commitOffsets(
      offsets.map(({ topic, partition, offset }) => ({ topic, partition, offset: offset.toString() })),
    );
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await this.work;
    await this.apply([]);
    await this.consumer.disconnect();
  }
}

/** Offsets of a group without members, by the admin call. */
export async function setIdleGroupOffsets(settings: KafkaSettings, commit: OffsetCommit): Promise<void> {
  const admin = kafkaClient(settings).admin();
  await admin.connect();
  try {
    for (const { topic, partitions } of offsetsByTopic(commit.offsets)) {
      await admin.setOffsets({ groupId: commit.groupId, topic, partitions });
    }
  } finally {
    await admin.disconnect();
  }
}
