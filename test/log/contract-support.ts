/** What the cases of the log contract share: the adapter under test, names, reading everything, waiting. */
import { setTimeout as delay } from 'node:timers/promises';
import type {
  EventLog,
  LogRecord,
  NewRecord,
  ReaderOptions,
  StartPosition,
  TopicSpec,
} from '../../src/lib/log/port.ts';
import type { peerPool } from './children/driver.ts';
import type { AdapterArgument } from './children/protocol.ts';

export interface LogUnderTest {
  argument: AdapterArgument;
  /** Longest machine ms that the adapter takes for retention and compaction; undefined leaves those cases out (reported). */
  cleaningMs?: number;
  /** Retention counts from the wall clock (a broker), not from the newest record. */
  followsWallTime?: boolean;
  /** Kills inside commits when not every test runs at full count (10). */
  killRounds?: number;
  /** Smallest session time-out of a group, machine ms. */
  sessionTimeoutMs: number;
  /** Machine ms after which a record of a dead writer's open transaction no longer hides later ones. */
  takeoverMs: number;
  close(): Promise<void>;
}

/** One case's view of the adapter; `log` is this process's own. */
export interface ContractContext {
  under: LogUnderTest;
  log: EventLog;
  open: () => Promise<EventLog>;
  pool: ReturnType<typeof peerPool>;
}

export const isFull = Boolean(process.env.TORGHUT_TEST_FULL);
let serial = 0;

/** Names that no other case uses: a Kafka broker lives longer than one test. */
export function freshName(part: string): string {
  serial += 1;
  return `${part}-${process.pid}-${serial}`;
}

export function topic(name: string, more: Partial<TopicSpec> = {}): TopicSpec {
  return { name, partitions: 1, retentionMs: -1, cleanup: 'delete', owner: `${name}-{p}`, ...more };
}

export function record(
  topicName: string,
  partition: number,
  key: string,
  text: string,
  timestampMs = 1_000,
): NewRecord {
  return { topic: topicName, partition, key, value: Buffer.from(text), timestampMs };
}

export function texts(records: readonly LogRecord[]): string[] {
  return records.map((one) => (one.value === null ? '' : Buffer.from(one.value).toString('utf8')));
}

export function startAt(topicName: string, partitions: number, start: StartPosition): ReaderOptions {
  return { partitions: Array.from({ length: partitions }, (_, partition) => ({ topic: topicName, partition, start })) };
}

/** Everything committed so far, per partition in order. Retention that overtakes the reader makes it begin anew. */
export async function readAll(log: EventLog, topicName: string, partitions = 1): Promise<LogRecord[]> {
  for (;;) {
    const reader = await log.openReader(startAt(topicName, partitions, 'earliest'));
    const all: LogRecord[] = [];
    const [description] = await log.describeTopics([topicName]);
    const isAtEnd = () =>
      reader.positions().every((of) => of.offset >= (description?.partitions[of.partition]?.latest ?? 0n));
    try {
      while (!isAtEnd()) all.push(...(await reader.poll({ maxRecords: 10_000, waitMs: 200 })));
      return all;
    } catch (error) {
      if ((error as { code?: string }).code !== 'offset_out_of_range') throw error;
    } finally {
      await reader.close();
    }
  }
}

export async function eventually(what: string, ms: number, check: () => Promise<boolean> | boolean): Promise<void> {
  const until = performance.now() + ms;
  while (!(await check())) {
    if (performance.now() > until) throw new Error(`not within ${ms} ms: ${what}`);
    await delay(20);
  }
}
