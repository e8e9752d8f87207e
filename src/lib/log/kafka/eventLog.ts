/**
 * The Kafka adapter of the event log (kafkajs): real brokers, plaintext or SASL with SCRAM-SHA-512.
 */
import kafkajs, { type Admin, type ITopicConfig } from 'kafkajs';
import type Cluster from 'kafkajs/src/cluster/index.js';
import type { Clock } from '../../service/clock.ts';
import { refusedError } from '../../service/errors.ts';
import type {
  EventLog,
  GroupDescription,
  GroupMember,
  GroupOptions,
  LogReader,
  LogWriter,
  OffsetCommit,
  ReaderOptions,
  TopicDescription,
  TopicPartition,
  TopicSpec,
} from '../port.ts';
import { kafkaClient, kafkaError, readerCluster } from './client.ts';
import { joinKafkaGroup, type KafkaGroupMember, setIdleGroupOffsets } from './group.ts';
import { offsetAt, openKafkaReader } from './reader.ts';
import { checkSettings, type KafkaSettings } from './settings.ts';
import { openKafkaWriter } from './writer.ts';

const { ConfigResourceTypes } = kafkajs;

/** A record stamped in 2013, or an hour ahead on a virtual clock, must be accepted. */
const anyStamp = '9223372036854775807';

export async function connectKafkaLog(settings: KafkaSettings, clock: Pick<Clock, 'kind'>): Promise<EventLog> {
  const checked = checkSettings(settings);
  const admin = kafkaClient(checked).admin();
  try {
    await admin.connect();
  } catch (error) {
    throw kafkaError(error, `cannot reach Kafka at ${checked.brokers.join(', ')}`);
  }
  return new KafkaLog(checked, admin, clock);
}

class KafkaLog implements EventLog {
  readonly kind = 'kafka' as const;
  private readonly settings: KafkaSettings;
  private readonly admin: Admin;
  private readonly clock: Pick<Clock, 'kind'>;
  private readonly partitionCounts = new Map<string, number>();
  private readonly members = new Map<string, KafkaGroupMember>();
  private offsetCluster: Promise<Cluster> | undefined;

  constructor(settings: KafkaSettings, admin: Admin, clock: Pick<Clock, 'kind'>) {
    this.settings = settings;
    this.admin = admin;
    this.clock = clock;
  }

  async ensureTopics(specs: TopicSpec[]): Promise<void> {
    await this.guard('cannot create topics', async () => {
      const existing = new Set(await this.admin.listTopics());
      const missing = specs.filter(({ name }) => !existing.has(name));
      if (missing.length > 0) {
        await this.admin.createTopics({
          waitForLeaders: true,
          topics: missing.map(
            (spec): ITopicConfig => ({
              topic: spec.name,
              numPartitions: spec.partitions,
              replicationFactor: -1,
              configEntries: topicConfig(spec, this.clock.kind),
            }),
          ),
        });
      }
      const present = specs.filter(({ name }) => existing.has(name));
      if (present.length > 0) await this.refuseMismatch(present);
    });
  }

  private async refuseMismatch(specs: readonly TopicSpec[]): Promise<void> {
    const described = await this.describeTopics(specs.map(({ name }) => name));
    for (const spec of specs) {
      const topic = described.find(({ name }) => name === spec.name);
      if (!topic) continue;
      const differences = [
        topic.partitions.length !== spec.partitions &&
          `it has ${topic.partitions.length} partitions, not ${spec.partitions}`,
        topic.cleanup !== spec.cleanup && `its cleanup.policy is ${topic.cleanup}, not ${spec.cleanup}`,
        isShorter(topic.retentionMs, spec.retentionMs) &&
          `its retention.ms is ${topic.retentionMs}, shorter than ${spec.retentionMs}`,
      ].filter((text) => text !== false);
      if (differences.length === 0) continue;
      throw refusedError({
        code: 'topic_mismatch',
        what: `the topic ${spec.name} is not what torghut needs`,
        why: differences.join('; '),
        next: 'change the topic, or name another one in the environment',
      });
    }
  }

  async describeTopics(names?: string[]): Promise<TopicDescription[]> {
    return this.guard('cannot describe topics', async () => {
      const all = (await this.admin.listTopics()).filter((name) => !name.startsWith('__'));
      const wanted = names ? names.filter((name) => all.includes(name)) : all;
      if (wanted.length === 0) return [];
      const { resources } = await this.admin.describeConfigs({
        includeSynonyms: false,
        resources: wanted.map((name) => ({
          type: ConfigResourceTypes.TOPIC,
          name,
          configNames: ['cleanup.policy', 'retention.ms'],
        })),
      });
      return Promise.all(
        wanted.map(async (name): Promise<TopicDescription> => {
          const entries = resources.find(({ resourceName }) => resourceName === name)?.configEntries ?? [];
          const value = (key: string) => entries.find(({ configName }) => configName === key)?.configValue;
          const offsets = await this.admin.fetchTopicOffsets(name);
          const policy = (value('cleanup.policy') ?? 'delete').split(',').sort().join(',');
          return {
            name,
            cleanup: policy as TopicSpec['cleanup'],
            retentionMs: Number(value('retention.ms') ?? -1),
            partitions: offsets
              .map(({ partition, low, high }) => ({ partition, earliest: BigInt(low), latest: BigInt(high) }))
              .sort((a, b) => a.partition - b.partition),
          };
        }),
      );
    });
  }

  openWriter({ owner }: { owner: string }): Promise<LogWriter> {
    return openKafkaWriter({ settings: this.settings, owner, partitionsOf: (topic) => this.partitionsOf(topic) });
  }

  private async partitionsOf(topic: string): Promise<number> {
    const known = this.partitionCounts.get(topic);
    if (known !== undefined) return known;
    const { topics } = await this.admin.fetchTopicMetadata({ topics: [topic] });
    const count = topics[0]?.partitions.length ?? 0;
    if (count > 0) this.partitionCounts.set(topic, count);
    return count;
  }

  openReader(options: ReaderOptions): Promise<LogReader> {
    return openKafkaReader(this.settings, options);
  }

  async joinGroup(options: GroupOptions): Promise<GroupMember> {
    const member = await joinKafkaGroup(this.settings, options);
    this.members.set(options.groupId, member);
    return member;
  }

  async commitOffsets(commit: OffsetCommit): Promise<void> {
    await this.guard(`cannot commit offsets of ${commit.groupId}`, async () => {
      const member = this.members.get(commit.groupId);
      if (member) await member.commitOffsets(commit);
      else await setIdleGroupOffsets(this.settings, commit);
    });
  }

  async groupOffsets(groupId: string, topics: string[]): Promise<(TopicPartition & { offset: bigint })[]> {
    return this.guard(`cannot read the offsets of ${groupId}`, async () => {
      const fetched = await this.admin.fetchOffsets({ groupId, topics });
      return fetched.flatMap(({ topic, partitions }) =>
        partitions
          .filter(({ offset }) => Number(offset) >= 0)
          .map(({ partition, offset }) => ({ topic, partition, offset: BigInt(offset) })),
      );
    });
  }

  async describeGroups(): Promise<GroupDescription[]> {
    return this.guard('cannot describe groups', async () => {
      const { groups: listed } = await this.admin.listGroups();
      if (listed.length === 0) return [];
      const { groups } = await this.admin.describeGroups(listed.map(({ groupId }) => groupId));
      const topics = await this.describeTopics();
      return Promise.all(
        groups.map(async (group): Promise<GroupDescription> => {
          const offsets = await this.groupOffsets(
            group.groupId,
            topics.map(({ name }) => name),
          );
          return {
            groupId: group.groupId,
            members: group.members.map(({ memberId, clientHost, memberAssignment }) => ({
              memberId,
              host: clientHost,
              partitions: assignedNumbers(memberAssignment),
            })),
            offsets: offsets.map((at) => {
              const latest =
                topics
                  .find(({ name }) => name === at.topic)
                  ?.partitions.find(({ partition }) => partition === at.partition)?.latest ?? at.offset;
              return { ...at, latest, lag: latest - at.offset };
            }),
          };
        }),
      );
    });
  }

  async offsetForTime(partition: TopicPartition, timestampMs: number): Promise<bigint> {
    return this.guard(`cannot look up a time in ${partition.topic}`, async () => {
      this.offsetCluster ??= (async () => {
        const cluster = readerCluster(this.settings);
        await cluster.connect();
        return cluster;
      })();
      const cluster = await this.offsetCluster;
      await cluster.addMultipleTargetTopics([partition.topic]);
      return offsetAt(cluster, partition, timestampMs);
    });
  }

  async close(): Promise<void> {
    for (const member of this.members.values()) await member.close();
    const cluster = await this.offsetCluster?.catch(() => undefined);
    await cluster?.disconnect();
    await this.admin.disconnect();
  }

  private async guard<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw kafkaError(error, what);
    }
  }
}

function isShorter(actualMs: number, wantedMs: number): boolean {
  if (actualMs === -1) return false;
  return wantedMs === -1 || actualMs < wantedMs;
}

function topicConfig(spec: TopicSpec, clock: Clock['kind']): { name: string; value: string }[] {
  const isCompacted = spec.cleanup.includes('compact');
  return [
    { name: 'cleanup.policy', value: spec.cleanup },
    { name: 'retention.ms', value: String(spec.retentionMs) },
    { name: 'compression.type', value: 'producer' },
    ...(clock === 'virtual'
      ? [
          { name: 'retention.bytes', value: '-1' },
          { name: 'message.timestamp.after.max.ms', value: anyStamp },
        ]
      : []),
    ...(isCompacted
      ? [
          { name: 'segment.bytes', value: String(32 * 1024 * 1024) },
          { name: 'min.cleanable.dirty.ratio', value: '0.1' },
        ]
      : []),
  ];
}

/** Partition numbers of an encoded member assignment (protocol: version int16, topics, user data). */
function assignedNumbers(assignment: Buffer): number[] {
  if (assignment.length < 6) return [];
  const numbers = new Set<number>();
  let at = 2;
  const topics = assignment.readInt32BE(at);
  at += 4;
  for (let i = 0; i < topics; i++) {
    at += 2 + assignment.readInt16BE(at);
    const count = assignment.readInt32BE(at);
    at += 4;
    for (let j = 0; j < count; j++, at += 4) numbers.add(assignment.readInt32BE(at));
  }
  return [...numbers].sort((a, b) => a - b);
}
