/**
 * Committed offsets of consumer groups: in the environment of the writer that commits them with its outputs, else in the
 * group's own. Where two environments know the same partition, the later commit by market time counts.
 */
import type { OffsetCommit, TopicPartition } from '../port.ts';
import type { Store } from './environment.ts';
import { groupOffsetKey, groupOffsetRange, parseGroupOffsetKey } from './layout.ts';
import { put } from './stream.ts';

/** A committed offset and when it was committed (market ns). */
export interface StoredOffset extends TopicPartition {
  groupId: string;
  offset: bigint;
  committedNs: bigint;
}

/** Notes offsets inside the caller's transaction. */
export function putGroupOffsets(store: Store, commit: OffsetCommit, nowNs: bigint): void {
  for (const { topic, partition, offset } of commit.offsets) {
    const value = Buffer.allocUnsafe(16);
    value.writeBigUInt64LE(offset, 0);
    value.writeBigInt64LE(nowNs, 8);
    put(store, groupOffsetKey(commit.groupId, topic, partition), value);
  }
}

/** All offsets of an environment. */
export function storedOffsets(store: Store): StoredOffset[] {
  const found: StoredOffset[] = [];
  for (const { key, value } of store.getRange(groupOffsetRange)) {
    found.push({
      ...parseGroupOffsetKey(key),
      offset: value.readBigUInt64LE(0),
      committedNs: value.readBigInt64LE(8),
    });
  }
  return found;
}

/** One offset per group and partition out of several environments. */
export function newestOffsets(all: readonly StoredOffset[]): StoredOffset[] {
  const newest = new Map<string, StoredOffset>();
  for (const stored of all) {
    const id = `${stored.groupId}\0${stored.topic}\0${stored.partition}`;
    const known = newest.get(id);
    const isNewer =
      !known ||
      stored.committedNs > known.committedNs ||
      (stored.committedNs === known.committedNs && stored.offset > known.offset);
    if (isNewer) newest.set(id, stored);
  }
  return [...newest.values()];
}
