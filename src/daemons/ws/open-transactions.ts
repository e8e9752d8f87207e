/**
 * Shards of ws write to the same partitions. The open transaction of one that died hides from every reader what the others
 * committed behind it, until it is started again or the broker ends the transaction by its time-out: whoever looks in the topic
 * for what is durable would take that for absent and write it twice. So before a shard looks, it waits until everything that
 * was written by then can be seen.
 * A single forwarder needs no wait: opening its writer ends the transaction of the one before.
 */
import type { EventLog, TopicPartition } from '../../lib/log/port.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';

/** Machine ms between two looks. */
const LOOK_MS = 100;
/** The broker looks for transactions that are over their time every ten seconds. */
const SWEEP_MS = 10_000;

/**
 * @param transactionMs machine ms after which a broker ends an abandoned transaction
 * @returns false when something was still hidden at the end of that time
 */
export async function waitForOpenTransactions(
  log: EventLog,
  partitions: readonly TopicPartition[],
  transactionMs: number,
): Promise<boolean> {
  const written = new Map<string, bigint>();
  const keyOf = ({ topic, partition }: TopicPartition) => `${topic} ${partition}`;
  for (const each of partitions) written.set(keyOf(each), await log.writtenEnd(each));
  const topics = [...new Set(partitions.map(({ topic }) => topic))];
  const deadline = machineMs() + transactionMs + SWEEP_MS;
  for (;;) {
    for (const { name: topic, partitions: found } of await log.describeTopics(topics)) {
      for (const { partition, latest } of found) {
        if (latest >= (written.get(keyOf({ topic, partition })) ?? 0n)) written.delete(keyOf({ topic, partition }));
      }
    }
    if (written.size === 0) return true;
    if (machineMs() >= deadline) return false;
    await sleep(LOOK_MS);
  }
}
