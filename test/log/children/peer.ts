/**
 * A process of the contract suite: opens the log that its first argument describes and does what the test asks over IPC.
 * Started by node directly (driver.ts); ends when the test's end of the channel closes.
 */
import { openEventLog } from '../../../src/lib/log/open.ts';
import type {
  Commit,
  GroupMember,
  LogReader,
  LogWriter,
  OffsetCommit,
  ReaderOptions,
  TopicPartition,
} from '../../../src/lib/log/port.ts';
import { openClock } from '../../../src/lib/service/clock.ts';
import { codeOf } from '../../../src/lib/service/errors.ts';
import { numberedCommit } from './numbered.ts';
import type { AdapterArgument, Answer, GroupEvent, Request } from './protocol.ts';

const adapter = JSON.parse(process.argv[2] as string) as AdapterArgument;
const log = await openEventLog({ home: adapter.home, env: adapter.env, clock: openClock(adapter.clock) });
const writers = new Map<string, LogWriter>();
const readers = new Map<string, LogReader>();
const members = new Map<string, GroupMember>();

function send(message: Answer | GroupEvent): void {
  process.send?.(message);
}

function have<T>(map: Map<string, T>, name: string): T {
  const found = map.get(name);
  if (!found) throw new Error(`the test has not opened ${name}`);
  return found;
}

const operations = {
  ready: async () => process.pid,
  openWriter: async (owner: string) => {
    writers.set(owner, await log.openWriter({ owner }));
  },
  commit: (owner: string, commit: Commit) => have(writers, owner).commit(commit),
  /** Commits until killed; each acknowledged number is told to the test. */
  commitForEver: async (owner: string, first: number, make: { topics: string[]; groupId: string }) => {
    const writer = have(writers, owner);
    for (let n = first; ; n++) {
      await writer.commit(numberedCommit(n, make));
      send({ kind: 'acknowledged', n });
    }
  },
  openReader: async (name: string, options: ReaderOptions) => {
    readers.set(name, await log.openReader(options));
  },
  poll: async (name: string, maxRecords: number, waitMs: number) => have(readers, name).poll({ maxRecords, waitMs }),
  /** Reads everything over and over until killed. */
  readForEver: async (name: string, of: TopicPartition) => {
    const reader = have(readers, name);
    send({ kind: 'reading' });
    for (;;) {
      reader.seek(of, 0n);
      let records = await reader.poll({ maxRecords: 5_000, waitMs: 0 });
      while (records.length > 0) records = await reader.poll({ maxRecords: 5_000, waitMs: 0 });
    }
  },
  joinGroup: async (groupId: string, topics: string[], sessionTimeoutMs: number) => {
    const tell = (kind: 'assigned' | 'revoked') => async (partitions: number[]) =>
      send({ kind, partitions, atNs: process.hrtime.bigint() });
    members.set(
      groupId,
      await log.joinGroup({
        groupId,
        topics,
        sessionTimeoutMs,
        onAssigned: tell('assigned'),
        onRevoked: tell('revoked'),
      }),
    );
  },
  leaveGroup: async (groupId: string) => have(members, groupId).close(),
  commitOffsets: (commit: OffsetCommit) => log.commitOffsets(commit),
  groupOffsets: (groupId: string, topics: string[]) => log.groupOffsets(groupId, topics),
  describeGroups: () => log.describeGroups(),
  describeTopics: (names: string[]) => log.describeTopics(names),
  offsetForTime: (of: TopicPartition, timestampMs: number) => log.offsetForTime(of, timestampMs),
  closeWriter: (owner: string) => have(writers, owner).close(),
  close: () => log.close(),
};

export type Operations = typeof operations;

process.on('message', (request: Request) => {
  const run = operations[request.operation as keyof Operations] as (...values: unknown[]) => Promise<unknown>;
  run(...request.values).then(
    (value) => send({ kind: 'answer', id: request.id, value }),
    (error: unknown) =>
      send({
        kind: 'failure',
        id: request.id,
        code: codeOf(error) ?? '',
        message: error instanceof Error ? error.message : String(error),
      }),
  );
});
process.on('disconnect', () => process.exit());
