/**
 * What of a fetched partition is a committed record: pure. kafkajs' own filter takes the aborted transactions in the order of the
 * answer and one per record, so that records of a second one that was open at the same time would come through.
 */
import type { FetchedMessage, FetchedPartition } from 'kafkajs/src/broker/index.js';

export interface CommittedPart {
  messages: FetchedMessage[];
  /** Offset behind the last batch that was looked at, or the fetched offset when there was none. */
  next: bigint;
}

/** Key of the control record that ends an aborted transaction: version 0, type 0 (KIP-98). */
const ABORT_KEY = Buffer.from([0, 0, 0, 0]);

export function committedPart(data: FetchedPartition, fetched: bigint): CommittedPart {
  const waiting = [...(data.abortedTransactions ?? [])]
    .map(({ producerId, firstOffset }) => ({ producerId, firstOffset: BigInt(firstOffset) }))
    .sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1));
  const aborted = new Set<string>();
  const messages: FetchedMessage[] = [];
  let next = fetched;
  for (const message of data.messages) {
    const offset = BigInt(message.offset);
    const { producerId, inTransaction, firstOffset, lastOffsetDelta } = message.batchContext;
    while (waiting[0] && waiting[0].firstOffset <= offset)
      aborted.add((waiting.shift() as { producerId: string }).producerId);
    // Compaction may have removed the last records of a batch: its end counts, not that of its last record.
    const end = BigInt(firstOffset) + BigInt(lastOffsetDelta) + 1n;
    if (end > next) next = end;
    if (message.isControlRecord) {
      if (message.key?.equals(ABORT_KEY)) aborted.delete(producerId);
    } else if (offset >= fetched && !(inTransaction && aborted.has(producerId))) {
      messages.push(message);
    }
  }
  return { messages, next };
}
