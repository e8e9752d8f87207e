/** Commits whose size and contents follow from their number, so that a reader can tell whether one is whole. */
import type { Commit, LogRecord, NewRecord } from '../../../src/lib/log/port.ts';

export interface NumberedTopics {
  topics: string[];
  groupId: string;
}

export function numberedCommit(n: number, { topics, groupId }: NumberedTopics): Commit {
  const records = topics.flatMap((topic, t): NewRecord[] => {
    const count = 1 + ((n * 7 + t * 3) % 23);
    return Array.from({ length: count }, (_, i) => ({
      topic,
      partition: 0,
      key: `k${i % 3}`,
      value: Buffer.from(JSON.stringify({ n, i, count, fill: 'x'.repeat((n * 31 + i * 17) % 400) })),
      timestampMs: 1_000 + n,
    }));
  });
  const offsets = topics.slice(0, 1).map((topic) => ({ topic, partition: 0, offset: BigInt(n) }));
  return { records, groupOffsets: { groupId, offsets } };
}

/** Numbers of the commits found in the records of one topic, in order. @throws when one is torn or out of order */
export function numbersOf(records: readonly LogRecord[]): number[] {
  const numbers: number[] = [];
  let expected = 0;
  let count = 0;
  for (const record of records) {
    const value = JSON.parse((record.value as Buffer).toString('utf8')) as { n: number; i: number; count: number };
    if (value.i !== expected % Math.max(1, count || value.count))
      throw new Error(`torn commit: ${JSON.stringify(value)}`);
    if (value.i === 0) numbers.push(value.n);
    if (numbers.at(-1) !== value.n) throw new Error(`commit ${value.n} is mixed with ${numbers.at(-1)}`);
    count = value.count;
    expected = value.i + 1 === value.count ? 0 : value.i + 1;
  }
  if (expected !== 0) throw new Error(`the last commit has ${expected} of ${count} records`);
  return numbers;
}
