/**
 * The event log port (design 3 and 5): what ws, ta, sink and trade need of a log, no more.
 * Two adapters pass one contract suite: embedded/ (LMDB) and kafka/ (kafkajs).
 *
 * Guarantees of every adapter
 * - Order per partition; a reader sees a record only when its commit is durable (read_committed).
 * - `commit` is atomic: all records, to any topics, and all offsets, or nothing. Acknowledged means visible for ever.
 * - One live writer per owner: `openWriter` fences the predecessor, whose later commits fail with code `fenced` and stay
 *   invisible. Fencing happens only in `openWriter`.
 */

export interface TopicSpec {
  name: string;
  partitions: number;
  /** Milliseconds records are kept by their timestamp; -1 keeps them for ever. */
  retentionMs: number;
  cleanup: 'delete' | 'compact' | 'compact,delete';
  /**
   * Embedded log only: the environment (one LMDB, one writing process) that holds partition p. `{p}` stands for the
   * partition number: `ws`, `ta-{p}`.
   */
  owner: string;
}

export interface TopicPartition {
  topic: string;
  partition: number;
}

export interface NewRecord {
  topic: string;
  /** Explicit partition; without it the key decides (murmur2 as Kafka's default partitioner, log/partition.ts). */
  partition?: number;
  /** null for progress records only. */
  key: string | null;
  /** null is a tombstone (compacted topics). */
  value: Buffer | null;
  /** Record timestamp, market milliseconds (never the client's default: design 4). */
  timestampMs: number;
  headers?: Record<string, string>;
}

export interface LogRecord {
  topic: string;
  partition: number;
  offset: bigint;
  key: string | null;
  value: Buffer | null;
  timestampMs: number;
  headers: Record<string, string>;
}

export interface OffsetCommit {
  groupId: string;
  /** Next offset to read. */
  offsets: (TopicPartition & { offset: bigint })[];
}

export interface Commit {
  records: NewRecord[];
  groupOffsets?: OffsetCommit;
}

export interface CommitResult {
  /** Offset of the first record written to each partition by this commit. */
  firstOffsets: (TopicPartition & { offset: bigint; count: number })[];
}

export interface LogWriter {
  readonly owner: string;
  /** Writes everything or nothing. One at a time: the adapter queues calls. @throws `fenced`, `log_full`, `log_unreachable` */
  commit(commit: Commit): Promise<CommitResult>;
  close(): Promise<void>;
}

/** Where a reader begins. A time resolves to the first record whose running-maximum timestamp is at or after it. */
export type StartPosition = bigint | 'earliest' | 'latest' | { timestampMs: number };

export interface ReaderOptions {
  partitions: (TopicPartition & { start: StartPosition })[];
}

export interface LogReader {
  /**
   * The next records of the assigned partitions, in order within each; waits up to `waitMs` machine ms for the first.
   * Returns an empty list on time-out or abort. Never returns records of a paused partition.
   */
  poll(options: { maxRecords: number; waitMs: number; signal?: AbortSignal }): Promise<LogRecord[]>;
  /** Next offset that poll would return for each assigned partition. */
  positions(): (TopicPartition & { offset: bigint })[];
  /**
   * Offset behind the last committed record of a partition as this reader knows it without asking anew; equal to the
   * position when the reader has seen everything that was there at its last poll.
   */
  knownEnd(partition: TopicPartition): bigint;
  seek(partition: TopicPartition, offset: bigint): void;
  pause(partitions: TopicPartition[]): void;
  resume(partitions: TopicPartition[]): void;
  close(): Promise<void>;
}

/**
 * Membership of a consumer group whose members share partition NUMBERS: whoever owns p owns partition p of every topic
 * (co-partitioned; design 5 "the assignor co-assigns p"). Reading is done with openReader from positions the caller knows;
 * exactly-once comes from fencing and stored positions, the group only spreads the work.
 */
export interface GroupOptions {
  groupId: string;
  topics: string[];
  /** Called with newly owned partition numbers; the group waits for it. */
  onAssigned(partitions: number[]): Promise<void>;
  /** Called with partition numbers to give up; returns when their work has stopped. */
  onRevoked(partitions: number[]): Promise<void>;
  /** Machine ms without a heartbeat after which a member counts as dead (default 10 000; tests and `up` use less). */
  sessionTimeoutMs?: number;
  signal?: AbortSignal;
}

export interface GroupMember {
  readonly memberId: string;
  /** Partition numbers owned now. */
  owned(): number[];
  /** Resolves when the membership is over: with undefined after close, else with the error (a callback's, the store's). */
  readonly ended?: Promise<unknown>;
  close(): Promise<void>;
}

export interface TopicDescription {
  name: string;
  cleanup: TopicSpec['cleanup'];
  retentionMs: number;
  partitions: { partition: number; earliest: bigint; latest: bigint }[];
}

export interface GroupDescription {
  groupId: string;
  members: { memberId: string; partitions: number[]; host: string }[];
  offsets: (TopicPartition & { offset: bigint; latest: bigint; lag: bigint })[];
}

export interface EventLog {
  readonly kind: 'embedded' | 'kafka';
  /** Creates what is missing; an existing topic with other partitions or a lossy difference is refused (`topic_mismatch`, exit 4). */
  ensureTopics(specs: TopicSpec[]): Promise<void>;
  describeTopics(names?: string[]): Promise<TopicDescription[]>;
  /** Fences the former writer of this owner, then returns. On Kafka the transactional id is KAFKA_CLIENT_ID and the owner. */
  openWriter(options: { owner: string }): Promise<LogWriter>;
  openReader(options: ReaderOptions): Promise<LogReader>;
  joinGroup(options: GroupOptions): Promise<GroupMember>;
  /** Commits group offsets outside a writer (readers without outputs: the sink). */
  commitOffsets(commit: OffsetCommit): Promise<void>;
  /** Committed offsets of a group for the given topics; a partition without one is left out. */
  groupOffsets(groupId: string, topics: string[]): Promise<(TopicPartition & { offset: bigint })[]>;
  describeGroups(): Promise<GroupDescription[]>;
  /**
   * Offset behind everything written to a partition, also in transactions that are still open. What is committed behind an open
   * one is hidden from readers, and `latest` stands before it, until that transaction is over.
   */
  writtenEnd(partition: TopicPartition): Promise<bigint>;
  /** First offset whose running-maximum timestamp is at or after the time, or the end. */
  offsetForTime(partition: TopicPartition, timestampMs: number): Promise<bigint>;
  /**
   * Removes topics with everything in them; those that are not there are passed over. Nobody may write or read them meanwhile.
   * On the embedded log topics that share an environment are removed together.
   */
  deleteTopics(names: string[]): Promise<void>;
  /** Removes a consumer group with its offsets, if it is there and has no member. */
  deleteGroup(groupId: string): Promise<void>;
  close(): Promise<void>;
}
