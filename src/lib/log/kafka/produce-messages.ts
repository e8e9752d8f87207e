/**
 * Messages of one topic as kafkajs' producer takes them, already grouped by partition: its own grouping copies the whole list
 * of a partition for every message in it, which at 2,000 records a commit costs more than any other part of it.
 * Facts: kafkajs 2.2.4 asks a list of messages for `find` (is one without a value?) and for `reduce` (the groups), and a group
 * for its length; the version is pinned in package.json, and the contract suite of the log fails when that changes.
 */
import type { Message } from 'kafkajs';
import type { ProduceMessage } from 'kafkajs/src/protocol/requests/index.js';
import type { NewRecord } from '../port.ts';

/**
 * @param partitions records of one topic by partition, each with its value
 * @param isCompressed kafkajs encodes compressed requests itself and wants its own kind of message
 */
export function messagesOf(
  partitions: ReadonlyMap<number, readonly NewRecord[]>,
  options: { isCompressed: boolean },
): Message[] {
  const groups: Record<number, readonly ProduceMessage[]> = {};
  for (const [partition, records] of partitions) groups[partition] = options.isCompressed ? records.map(own) : records;
  return { find: () => undefined, reduce: () => groups } as unknown as Message[];
}

const own = ({ key, value, timestampMs, headers }: NewRecord): ProduceMessage => ({
  key,
  value,
  timestamp: String(timestampMs),
  ...(headers && { headers }),
});
