/**
 * The Kafka adapter of the event log (kafkajs): real brokers, plaintext or SASL with SCRAM-SHA-512.
 */
import kafkajs, { type Admin, type ITopicConfig } from 'kafkajs';
import type Cluster from 'kafkajs/src/cluster/index.js';
import type { Clock } from '../../service/clock.ts';
import { refusedError } from '../../service/errors.ts';
import { sleep } from '../../service/machine.ts';
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
import { assignedNumbers } from './assignment.ts';
import { kafkaClient, type RetryWindow, readerCluster } from './client.ts';
import { ATTEMPT_MS, kafkaError, protocolType, within, withPatience } from './faults.ts';
import { commitGroupOffsets, joinKafkaGroup, type KafkaGroupMember } from './group.ts';
import type { TopicFacts } from './records.ts';
import { checkSettings, type KafkaSettings } from './settings.ts';
import { highWatermark, offsetAtTime, openKafkaReader } from './start.ts';
import { openKafkaWriter } from './writer.ts';

const { ConfigResourceTypes } = kafkajs;

/** A record stamped in 2013, or an hour ahead on a virtual clock, must be accepted. */
const anyStamp = '9223372036854775807';

export async function connectKafkaLog(settings: KafkaSettings, clock: Pick<Clock, 'kind'>): Promise<EventLog> {
  const checked = checkSettings(settings);
  const window: RetryWindow = { until: Number.POSITIVE_INFINITY };
  const admin = kafkaClient(checked, window).admin();
  try {
    await admin.connect();
  } catch (error) {
    window.until = 0;
    await admin.disconnect().catch(() => undefined);
    throw kafkaError(error, `cannot reach Kafka at ${checked.brokers.join(', ')}`);
  }
  return new KafkaLog(checked, admin, window, clock);
}

class KafkaLog implements EventLog {
  readonly kind = 'kafka' as const;
  private readonly settings: KafkaSettings;
  private readonly admin: Admin;
  private readonly window: RetryWindow;
  private readonly clock: Pick<Clock, 'kind'>;
  private readonly facts = new Map<string, TopicFacts>();
  private readonly members = new Map<string, KafkaGroupMember>();
  private side: Promise<Cluster> | undefined;

  constructor(settings: KafkaSettings, admin: Admin, window: RetryWindow, clock: Pick<Clock, 'kind'>) {
    this.settings = settings;
    this.admin = admin;
    this.window = window;
    this.clock = clock;
  }

  async ensureTopics(specs: TopicSpec[]): Promise<void> {
    await this.guard('cannot create topics', async () => {
      const existing = new Set(await this.admin.listTopics());
      const missing = specs.filter(({ name }) => !existing.has(name));
      if (missing.length > 0) {
        // A topic that another process makes at the same moment is no error here, but it may be another one.
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
      await this.untilVisible(specs.map(({ name }) => name));
      await this.refuseMismatch(specs);
    });
  }

  /** A broker learns of a new topic from the controller a little later, and of its leaders after that. */
  private async untilVisible(names: readonly string[]): Promise<void> {
    await withPatience(async () => {
      const { topics } = await this.admin.fetchTopicMetadata({ topics: [...names] });
      const leaderless = topics.find(({ partitions }) => partitions.some(({ leader }) => leader < 0));
      if (leaderless)
        throw Object.assign(new Error(`${leaderless.name} has no leader`), { type: 'LEADER_NOT_AVAILABLE' });
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
      const configs = await this.topicConfigs(wanted);
      return Promise.all(
        wanted.map(async (name): Promise<TopicDescription> => {
          const config = configs.get(name) ?? {};
          const offsets = await withPatience(() => this.admin.fetchTopicOffsets(name));
          const policy = (config['cleanup.policy'] ?? 'delete').split(',').sort().join(',');
          return {
            name,
            cleanup: policy as TopicSpec['cleanup'],
            retentionMs: Number(config['retention.ms'] ?? -1),
            partitions: offsets
              .map(({ partition, low, high }) => ({ partition, earliest: BigInt(low), latest: BigInt(high) }))
              .sort((a, b) => a.partition - b.partition),
          };
        }),
      );
    });
  }

  /** The settings of topics that this adapter looks at. */
  private async topicConfigs(names: readonly string[]): Promise<Map<string, Record<string, string>>> {
    const { resources } = await withPatience(() =>
      this.admin.describeConfigs({
        includeSynonyms: false,
        resources: names.map((name) => ({
          type: ConfigResourceTypes.TOPIC,
          name,
          configNames: ['cleanup.policy', 'retention.ms', 'max.message.bytes'],
        })),
      }),
    );
    return new Map(
      resources.map(({ resourceName, configEntries }) => [
        resourceName,
        Object.fromEntries(configEntries.map(({ configName, configValue }) => [configName, configValue])),
      ]),
    );
  }

  openWriter({ owner }: { owner: string }): Promise<LogWriter> {
    return openKafkaWriter({ settings: this.settings, owner, factsOf: (topic) => this.factsOf(topic) });
  }

  private async factsOf(topic: string): Promise<TopicFacts> {
    const known = this.facts.get(topic);
    if (known) return known;
    const asked = withPatience(() => this.admin.fetchTopicMetadata({ topics: [topic] }), 5_000);
    const { topics } = await asked.catch((error: unknown) => {
      if (protocolType(error) === 'UNKNOWN_TOPIC_OR_PARTITION') throw topicUnknown(topic);
      throw error;
    });
    const config = (await this.topicConfigs([topic])).get(topic) ?? {};
    const facts: TopicFacts = {
      partitions: topics[0]?.partitions.length ?? 0,
      isCompacted: (config['cleanup.policy'] ?? '').includes('compact'),
      maxBytes: Number(config['max.message.bytes'] ?? 1_048_588),
    };
    this.facts.set(topic, facts);
    return facts;
  }

  openReader(options: ReaderOptions): Promise<LogReader> {
    return openKafkaReader(this.settings, options);
  }

  async joinGroup(options: GroupOptions): Promise<GroupMember> {
    const member = await joinKafkaGroup(this.settings, options, () => this.sideCluster());
    this.members.set(options.groupId, member);
    void member.ended?.then(() => {
      if (this.members.get(options.groupId) === member) this.members.delete(options.groupId);
    });
    return member;
  }

  async commitOffsets(commit: OffsetCommit): Promise<void> {
    await this.guard(`cannot commit offsets of ${commit.groupId}`, async () => {
      await commitGroupOffsets(await this.sideCluster(), commit, this.members.get(commit.groupId));
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

  async writtenEnd({ topic, partition }: TopicPartition): Promise<bigint> {
    return this.guard(`cannot read the end of ${topic}`, async () => {
      const cluster = await this.sideCluster();
      await cluster.addMultipleTargetTopics([topic]);
      return highWatermark(cluster, { topic, partition });
    });
  }

  async offsetForTime(partition: TopicPartition, timestampMs: number): Promise<bigint> {
    return this.guard(`cannot look up a time in ${partition.topic}`, async () => {
      const cluster = await this.sideCluster();
      await cluster.addMultipleTargetTopics([partition.topic]);
      return offsetAtTime(cluster, partition, timestampMs);
    });
  }

  async deleteTopics(names: string[]): Promise<void> {
    await this.guard('cannot delete topics', async () => {
      const there = (await this.admin.listTopics()).filter((name) => names.includes(name));
      if (there.length > 0) await this.admin.deleteTopics({ topics: there });
      for (const name of names) this.facts.delete(name);
      // Who makes them anew at once must not meet the old ones.
      for (let tries = 0; (await this.admin.listTopics()).some((name) => names.includes(name)); tries++) {
        if (tries > 300) throw new Error('the brokers still list them after 30 s');
        await sleep(100);
      }
    });
  }

  async deleteGroup(groupId: string): Promise<void> {
    await this.guard(`cannot delete the group ${groupId}`, async () => {
      const { groups } = await this.admin.listGroups();
      if (groups.some((group) => group.groupId === groupId)) await this.admin.deleteGroups([groupId]);
    });
  }

  /** The connections for everything that must not wait behind a blocking request. */
  private sideCluster(): Promise<Cluster> {
    this.side ??= (async () => {
      const cluster = readerCluster(this.settings);
      try {
        await within(ATTEMPT_MS, cluster.connect());
      } catch (error) {
        this.side = undefined;
        throw error;
      }
      return cluster;
    })();
    return this.side;
  }

  async close(): Promise<void> {
    await Promise.all([...this.members.values()].map((member) => member.close()));
    const cluster = await this.side?.catch(() => undefined);
    await cluster?.disconnect();
    this.window.until = 0;
    await this.admin.disconnect();
  }

  /** Everything here may be asked again: brokers that start or move say so for a while. */
  private async guard<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await withPatience(work);
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

function topicUnknown(topic: string): Error {
  return refusedError({
    code: 'topic_unknown',
    what: `there is no topic ${topic}`,
    next: 'make it by starting the part that writes it, or correct its name in the environment',
  });
}
