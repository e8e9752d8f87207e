/**
 * The one writer of an owner's environment.
 * Guarantees: a commit is one LMDB transaction that first checks the epoch, so a replaced writer fails with `fenced` and leaves
 * nothing; records keep the order in which they were given; cleaning runs between commits in steps of its own.
 */

import type { Clock } from '../../service/clock.ts';
import { fencedError, refusedError, TorghutError, usageError } from '../../service/errors.ts';
import { machineMs } from '../../service/machine.ts';
import { partitionOfKey } from '../partition.ts';
import type { Commit, CommitResult, LogWriter, NewRecord, TopicSpec } from '../port.ts';
import { HeaderEncoder, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, recordBytes } from './batch.ts';
import { type Catalogue, ownerOf } from './catalogue.ts';
import { cleaningSize, cleanPartition } from './cleaning.ts';
import type { Environment, Store } from './environment.ts';
import type { WriteSize } from './headroom.ts';
import { checkedName, epochKey } from './layout.ts';
import { putGroupOffsets } from './offsets.ts';
import { append, put } from './stream.ts';

/** Machine ms between two cleaning rounds of a writer that commits. */
const CLEAN_EVERY_MS = 1_000;

function readEpoch(store: Store): bigint {
  return store.get(epochKey)?.readBigUInt64LE(0) ?? 0n;
}

interface PartitionWrite {
  spec: TopicSpec;
  partition: number;
  records: NewRecord[];
}

/** Upper bound of what a commit writes. */
function sizeOf(writes: readonly PartitionWrite[], commit: Commit): WriteSize {
  const size: WriteSize = { bytes: 0, batches: 0, entries: commit.groupOffsets?.offsets.length ?? 0 };
  const headers = new HeaderEncoder();
  for (const { spec, records } of writes) {
    let bytes = 0;
    for (const record of records) bytes += recordBytes(record, headers);
    size.bytes += bytes;
    size.batches +=
      1 + Math.min(records.length, Math.ceil((2 * bytes) / MAX_BATCH_BYTES + records.length / MAX_BATCH_RECORDS));
    size.entries += 1 + (spec.cleanup === 'delete' ? 0 : records.length);
  }
  return size;
}

/** Partition of a record. @throws `record_invalid` when the topic cannot take it */
function checkedPartition(record: NewRecord, spec: TopicSpec): number {
  const { key, timestampMs } = record;
  if (!Number.isFinite(timestampMs)) throw invalid(record, 'its timestamp is not a number of milliseconds');
  if (key === null && spec.cleanup !== 'delete') throw invalid(record, 'records of a compacted topic need a key');
  if (key === null && record.partition === undefined) throw invalid(record, 'it has neither key nor partition');
  const partition = record.partition ?? partitionOfKey(key as string, spec.partitions);
  if (!Number.isInteger(partition) || partition < 0 || partition >= spec.partitions) {
    throw invalid(record, `the topic has ${spec.partitions} partitions, not a partition ${partition}`);
  }
  return partition;
}

function invalid(record: NewRecord, why: string): Error {
  return usageError({ code: 'record_invalid', what: `a record for ${record.topic} cannot be written`, why });
}

export class EmbeddedWriter implements LogWriter {
  readonly owner: string;
  readonly #environment: Environment;
  readonly #catalogue: Catalogue;
  readonly #clock: Clock;
  readonly #epoch: bigint;
  /** Partitions that this writer knows to exist in its environment, for cleaning. */
  readonly #cleanable: { spec: TopicSpec; partition: number }[] = [];
  #cleanedAt = Number.NEGATIVE_INFINITY;
  #cleaning: Promise<void> | undefined;
  #isClosed = false;

  private constructor(owner: string, environment: Environment, catalogue: Catalogue, clock: Clock, epoch: bigint) {
    this.owner = owner;
    this.#environment = environment;
    this.#catalogue = catalogue;
    this.#clock = clock;
    this.#epoch = epoch;
  }

  /** Raises the epoch, which fences every writer opened before. */
  static async open(owner: string, environment: Environment, catalogue: Catalogue, clock: Clock) {
    const epoch = await environment.write((store) => {
      store.readerCheck();
      const next = Buffer.alloc(8);
      next.writeBigUInt64LE(readEpoch(store) + 1n, 0);
      put(store, epochKey, next);
      return next.readBigUInt64LE(0);
    });
    return new EmbeddedWriter(owner, environment, catalogue, clock, epoch);
  }

  async commit(commit: Commit): Promise<CommitResult> {
    this.#checkOpen();
    const writes = this.#route(commit.records);
    if (commit.groupOffsets) checkedName('group', commit.groupOffsets.groupId);
    const result = await this.#environment.write(
      (store): CommitResult => {
        this.#checkEpoch(store);
        const firstOffsets = writes.map(({ spec, partition, records }) => {
          const of = { topic: spec.name, partition };
          const offset = append(store, of, records, spec.cleanup !== 'delete');
          return { ...of, offset, count: records.length };
        });
        if (commit.groupOffsets) putGroupOffsets(store, commit.groupOffsets, this.#clock.nowNs());
        return { firstOffsets };
      },
      sizeOf(writes, commit),
    );
    this.#cleanLater();
    return result;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#cleaning;
    await this.#environment.release();
  }

  #checkOpen(): void {
    if (!this.#isClosed) return;
    throw new TorghutError({ code: 'log_closed', what: `the writer ${this.owner} is closed` });
  }

  #checkEpoch(store: Store): void {
    if (readEpoch(store) !== this.#epoch) throw fencedError(this.owner);
  }

  /** Groups the records by partition, in order. @throws when one does not belong into this environment */
  #route(records: readonly NewRecord[]): PartitionWrite[] {
    const writes: PartitionWrite[] = [];
    const byTopic = new Map<string, { spec: TopicSpec; partitions: (PartitionWrite | undefined)[] }>();
    for (const record of records) {
      let topic = byTopic.get(record.topic);
      if (!topic) {
        topic = { spec: this.#catalogue.get(record.topic), partitions: [] };
        byTopic.set(record.topic, topic);
      }
      const partition = checkedPartition(record, topic.spec);
      let write = topic.partitions[partition];
      if (!write) {
        this.#checkOwned(topic.spec, partition);
        write = { spec: topic.spec, partition, records: [] };
        topic.partitions[partition] = write;
        writes.push(write);
      }
      write.records.push(record);
    }
    return writes;
  }

  #checkOwned(spec: TopicSpec, partition: number): void {
    const owner = ownerOf(spec, partition);
    if (owner !== this.owner) {
      throw refusedError({
        code: 'topic_not_owned',
        what: `the writer ${this.owner} must not write ${spec.name} partition ${partition}`,
        why: `it belongs to the owner ${owner}`,
        next: 'write it with the owner of that partition',
      });
    }
  }

  /** Starts a cleaning round behind the commits that already wait, unless one ran within the last second. */
  #cleanLater(): void {
    if (this.#cleaning || this.#isClosed || machineMs() - this.#cleanedAt < CLEAN_EVERY_MS) return;
    this.#cleaning = this.#clean()
      // A commit will meet the same trouble and report it.
      .catch(() => undefined)
      .then(() => {
        this.#cleanedAt = machineMs();
        this.#cleaning = undefined;
      });
  }

  async #clean(): Promise<void> {
    this.#listCleanable();
    for (const { spec, partition } of this.#cleanable) {
      let isMore = true;
      while (isMore && !this.#isClosed) {
        isMore = await this.#environment.write((store) => {
          this.#checkEpoch(store);
          return cleanPartition(store, spec, { topic: spec.name, partition }, this.#clock.nowMs());
        }, cleaningSize);
      }
    }
    // Slots of dead readers keep their snapshot's pages from being used again.
    this.#environment.read((store) => store.readerCheck());
  }

  #listCleanable(): void {
    this.#cleanable.length = 0;
    for (const name of this.#catalogue.names()) {
      const spec = this.#catalogue.find(name);
      if (!spec || (spec.cleanup === 'delete' && spec.retentionMs < 0)) continue;
      for (let partition = 0; partition < spec.partitions; partition++) {
        if (ownerOf(spec, partition) === this.owner) this.#cleanable.push({ spec, partition });
      }
    }
  }
}
