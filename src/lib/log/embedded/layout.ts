/**
 * Where the embedded log keeps things, and the key of every entry of an environment.
 * Guarantees: names that reach the file system are checked; keys sort so that one range scan reads a partition in order.
 *
 * `<home>/log/<owner>/` one LMDB environment per owner (design 5), `<home>/log/groups/<id>/` one per consumer group,
 * `<home>/log/topics/<name>.json` the catalogue. In each environment `writer/holder` names the process inside a transaction.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { usageError } from '../../service/errors.ts';
import { homePaths } from '../../service/home.ts';

const GROUPS = 'groups';
const TOPICS = 'topics';

/** Letters, digits, dot, dash, underline: what Kafka allows in a topic name. @throws `log_name_invalid` (exit 2) */
export function checkedName(what: 'topic' | 'owner' | 'group', name: string): string {
  const isReserved = what === 'owner' && (name === GROUPS || name === TOPICS);
  if (!/^[A-Za-z0-9._-]{1,249}$/.test(name) || name === '.' || name === '..' || isReserved) {
    throw usageError({
      code: 'log_name_invalid',
      what: `${JSON.stringify(name)} cannot name a log ${what}`,
      why: isReserved
        ? 'the name is reserved'
        : 'names have 1 to 249 letters, digits, dots, dashes and underlines, and are not . or ..',
      next: 'choose another name',
    });
  }
  return name;
}

export const logPaths = {
  topics: (home: string) => join(homePaths.log(home), TOPICS),
  topic: (home: string, name: string) => join(homePaths.log(home), TOPICS, `${checkedName('topic', name)}.json`),
  owner: (home: string, owner: string) => join(homePaths.log(home), checkedName('owner', owner)),
  group: (home: string, groupId: string) => join(homePaths.log(home), GROUPS, checkedName('group', groupId)),
};

function foldersOf(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .sort();
  } catch {
    return [];
  }
}

/** Folders of all environments that exist now: owners first, then groups. */
export function environmentPaths(home: string): string[] {
  const root = homePaths.log(home);
  const owners = foldersOf(root).filter((name) => name !== GROUPS && name !== TOPICS);
  const groups = foldersOf(join(root, GROUPS));
  return [...owners.map((name) => join(root, name)), ...groups.map((name) => join(root, GROUPS, name))].filter((path) =>
    existsSync(join(path, 'data.mdb')),
  );
}

/** Ids of the groups that have an environment of their own. */
export function groupIds(home: string): string[] {
  return foldersOf(join(homePaths.log(home), GROUPS));
}

/** First byte of a key: the kind of entry. */
export const kindOf = {
  batch: 0x62,
  epoch: 0x65,
  groupOffset: 0x67,
  newestOfKey: 0x6b,
  members: 0x6d,
  partition: 0x70,
  nextStream: 0x73,
} as const;

export const epochKey: Buffer = Buffer.from([kindOf.epoch]);
export const membersKey: Buffer = Buffer.from([kindOf.members]);
export const nextStreamKey: Buffer = Buffer.from([kindOf.nextStream]);

function named(kind: number, texts: string[], partition: number): Buffer {
  const name = Buffer.from(texts.map((text) => `${text}\0`).join(''), 'utf8');
  const key = Buffer.allocUnsafe(1 + name.length + 4);
  key[0] = kind;
  name.copy(key, 1);
  key.writeUInt32BE(partition, 1 + name.length);
  return key;
}

export function partitionKey(topic: string, partition: number): Buffer {
  return named(kindOf.partition, [topic], partition);
}

export function groupOffsetKey(groupId: string, topic: string, partition: number): Buffer {
  return named(kindOf.groupOffset, [groupId, topic], partition);
}

/** The range of all group offsets of an environment. */
export const groupOffsetRange = {
  start: Buffer.from([kindOf.groupOffset]),
  end: Buffer.from([kindOf.groupOffset + 1]),
};

export function parseGroupOffsetKey(key: Buffer): { groupId: string; topic: string; partition: number } {
  const [groupId = '', topic = ''] = key
    .subarray(1, key.length - 4)
    .toString('utf8')
    .split('\0');
  return { groupId, topic, partition: key.readUInt32BE(key.length - 4) };
}

/** A batch is keyed by the offset of its last record: the first key at or after an offset is the batch to read. */
export function batchKey(stream: number, lastOffset: bigint): Buffer {
  const key = Buffer.allocUnsafe(13);
  key[0] = kindOf.batch;
  key.writeUInt32BE(stream, 1);
  key.writeBigUInt64BE(lastOffset, 5);
  return key;
}

export function lastOffsetOfBatchKey(key: Buffer): bigint {
  return key.readBigUInt64BE(5);
}

/** End (exclusive) of a partition's batches. */
export function batchRangeEnd(stream: number): Buffer {
  return batchKey(stream + 1, 0n);
}
