/**
 * The event log without anything installed: LMDB environments under `<home>/log` (design 3 and 5).
 * Guarantees are those of log/port.ts; how durable a commit is stands in environment.ts, who may write in writer.ts.
 */
import { mkdirSync, realpathSync, rmSync } from 'node:fs';
import type { Clock } from '../../service/clock.ts';
import { homePaths } from '../../service/home.ts';
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
import { Catalogue, ownerOf } from './catalogue.ts';
import { type Environment, environmentAt } from './environment.ts';
import { EmbeddedGroupMember, isMemberAlive } from './group.ts';
import { checkedName, environmentPaths, groupIds, logPaths, membersKey } from './layout.ts';
import { parseGroup } from './membership.ts';
import { newestOffsets, putGroupOffsets, type StoredOffset, storedOffsets } from './offsets.ts';
import { EmbeddedReader } from './reader.ts';
import { offsetOfTime, readHead } from './stream.ts';
import { EmbeddedWriter } from './writer.ts';

export interface EmbeddedLogOptions {
  /** The run home; its `log` folder is created. */
  home: string;
  /** Market time, for retention and the age of offsets. */
  clock: Clock;
  /** Ends the waits of all readers. */
  signal?: AbortSignal | undefined;
}

/** Opens the embedded log of a run home. */
export function openEmbeddedLog(options: EmbeddedLogOptions): EventLog {
  mkdirSync(homePaths.log(options.home), { recursive: true });
  return new EmbeddedLog({ ...options, home: realpathSync(options.home) });
}

class EmbeddedLog implements EventLog {
  readonly kind = 'embedded';
  readonly #home: string;
  readonly #clock: Clock;
  readonly #signal: AbortSignal | undefined;
  readonly #catalogue: Catalogue;
  readonly #open = new Set<{ close(): Promise<void> }>();
  /** Environments that this log reads for itself (lags, offsets, lookups). */
  readonly #environments = new Map<string, Environment>();

  constructor({ home, clock, signal }: EmbeddedLogOptions) {
    this.#home = home;
    this.#clock = clock;
    this.#signal = signal;
    this.#catalogue = new Catalogue(home);
  }

  async ensureTopics(specs: TopicSpec[]): Promise<void> {
    for (const spec of specs) this.#catalogue.ensure(spec);
  }

  async describeTopics(names?: string[]): Promise<TopicDescription[]> {
    return (names ?? this.#catalogue.names()).map((name) => {
      const spec = this.#catalogue.get(name);
      const partitions = Array.from({ length: spec.partitions }, (_, partition) => ({
        partition,
        ...this.#bounds({ topic: name, partition }),
      }));
      return { name, cleanup: spec.cleanup, retentionMs: spec.retentionMs, partitions };
    });
  }

  async openWriter({ owner }: { owner: string }): Promise<LogWriter> {
    const environment = this.#newEnvironment(logPaths.owner(this.#home, owner));
    try {
      return this.#keep(await EmbeddedWriter.open(owner, environment, this.#catalogue, this.#clock));
    } catch (error) {
      await environment.release();
      throw error;
    }
  }

  async openReader(options: ReaderOptions): Promise<LogReader> {
    const parts = {
      catalogue: this.#catalogue,
      environmentOf: (owner: string) => this.#newEnvironment(logPaths.owner(this.#home, owner)),
      signal: this.#signal,
      onClose: (reader: EmbeddedReader) => this.#open.delete(reader),
    };
    return this.#keep(new EmbeddedReader(parts, options));
  }

  async joinGroup(options: GroupOptions): Promise<GroupMember> {
    const environment = this.#newEnvironment(logPaths.group(this.#home, options.groupId));
    return this.#keep(new EmbeddedGroupMember(environment, this.#catalogue, options));
  }

  async commitOffsets(commit: OffsetCommit): Promise<void> {
    const environment = this.#environment(logPaths.group(this.#home, commit.groupId));
    await environment.write((store) => putGroupOffsets(store, commit, this.#clock.nowNs()));
  }

  async groupOffsets(groupId: string, topics: string[]): Promise<(TopicPartition & { offset: bigint })[]> {
    checkedName('group', groupId);
    return newestOffsets(this.#storedOffsets())
      .filter((stored) => stored.groupId === groupId && topics.includes(stored.topic))
      .map(({ topic, partition, offset }) => ({ topic, partition, offset }))
      .sort((a, b) => topics.indexOf(a.topic) - topics.indexOf(b.topic) || a.partition - b.partition);
  }

  async describeGroups(): Promise<GroupDescription[]> {
    const offsets = newestOffsets(this.#storedOffsets());
    const ids = new Set([...groupIds(this.#home), ...offsets.map((stored) => stored.groupId)]);
    return [...ids].sort().map((groupId) => ({
      groupId,
      members: this.#members(groupId),
      offsets: offsets
        .filter((stored) => stored.groupId === groupId)
        .map(({ topic, partition, offset }) => {
          const { latest } = this.#bounds({ topic, partition });
          return { topic, partition, offset, latest, lag: latest > offset ? latest - offset : 0n };
        })
        .sort((a, b) => (a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1)),
    }));
  }

  async writtenEnd({ topic, partition }: TopicPartition): Promise<bigint> {
    const [found] = await this.describeTopics([topic]);
    return found?.partitions.find((item) => item.partition === partition)?.latest ?? 0n;
  }

  async offsetForTime(partition: TopicPartition, timestampMs: number): Promise<bigint> {
    const offset = this.#environmentOf(partition)?.read((store) => {
      const head = readHead(store, partition);
      return head ? offsetOfTime(store, head, partition, timestampMs) : 0n;
    });
    return offset ?? 0n;
  }

  async deleteTopics(names: string[]): Promise<void> {
    const specs = names.flatMap((name) => this.#catalogue.find(name) ?? []);
    const ownersOf = (spec: TopicSpec) => Array.from({ length: spec.partitions }, (_, p) => ownerOf(spec, p));
    const owners = new Set(specs.flatMap(ownersOf));
    for (const name of this.#catalogue.names()) {
      const spec = names.includes(name) ? undefined : this.#catalogue.get(name);
      const shared = spec && ownersOf(spec).find((owner) => owners.has(owner));
      if (shared !== undefined) throw new Error(`${name} lies in the environment ${shared} too: remove them together`);
    }
    // First the names: a crash in between leaves folders that the next call, or nobody, looks at.
    for (const { name } of specs) this.#catalogue.remove(name);
    for (const owner of owners) await this.#removeEnvironment(logPaths.owner(this.#home, owner));
  }

  async deleteGroup(groupId: string): Promise<void> {
    await this.#removeEnvironment(logPaths.group(this.#home, groupId));
  }

  async #removeEnvironment(path: string): Promise<void> {
    const environment = this.#environments.get(path);
    this.#environments.delete(path);
    await environment?.release();
    rmSync(path, { recursive: true, force: true });
  }

  async close(): Promise<void> {
    for (const part of [...this.#open]) await part.close();
    this.#open.clear();
    for (const environment of this.#environments.values()) await environment.release();
    this.#environments.clear();
  }

  #keep<T extends { close(): Promise<void> }>(part: T): T {
    this.#open.add(part);
    return part;
  }

  /** One more reference to the environment of a folder. */
  #newEnvironment(path: string): Environment {
    return environmentAt(path, this.#clock.kind === 'system');
  }

  #environment(path: string): Environment {
    const known = this.#environments.get(path);
    if (known) return known;
    const environment = this.#newEnvironment(path);
    this.#environments.set(path, environment);
    return environment;
  }

  #environmentOf({ topic, partition }: TopicPartition): Environment | undefined {
    const spec = this.#catalogue.find(topic);
    return spec ? this.#environment(logPaths.owner(this.#home, ownerOf(spec, partition))) : undefined;
  }

  #bounds(of: TopicPartition): { earliest: bigint; latest: bigint } {
    const head = this.#environmentOf(of)?.read((store) => readHead(store, of));
    return { earliest: head?.earliest ?? 0n, latest: head?.end ?? 0n };
  }

  #storedOffsets(): StoredOffset[] {
    return environmentPaths(this.#home).flatMap((path) => this.#environment(path).read(storedOffsets) ?? []);
  }

  #members(groupId: string): GroupDescription['members'] {
    const path = logPaths.group(this.#home, groupId);
    if (!environmentPaths(this.#home).includes(path)) return [];
    const state = this.#environment(path).read((store) => parseGroup(store.get(membersKey)));
    return (state?.members ?? [])
      .filter(isMemberAlive)
      .map((member) => ({ memberId: member.id, partitions: member.owned, host: member.host }));
  }
}
