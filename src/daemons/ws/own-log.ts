/**
 * What a starting ws opens and reads before anything is published: its topics, its writer (which fences the predecessor, once,
 * here), the spool that a dead process left, and the tails of its own topics.
 */
import { openEventLog } from '../../lib/log/open.ts';
import type { TopicPartition } from '../../lib/log/port.ts';
import { logVariables } from '../../lib/log/variables.ts';
import type { Clock } from '../../lib/service/clock.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { homePaths } from '../../lib/service/home.ts';
import type { Lifecycle } from '../../lib/service/lifecycle.ts';
import type { Logger } from '../../lib/service/logging.ts';
import { type Journal, type JournalEntry, openJournal } from './journal.ts';
import { waitForOpenTransactions } from './open-transactions.ts';
import { openPatientWriter, type PatientWriter } from './patient-writer.ts';
import { Slots } from './records.ts';
import { type Recovered, recover } from './recovery.ts';
import { type LaneTail, readLaneTail } from './tail.ts';
import { type IngestTopics, ingestTopicSpecs, ingestTopics } from './topics.ts';
import type { WsConfig } from './variables.ts';

export interface OwnLogOptions {
  home: string;
  env: NodeJS.ProcessEnv;
  config: WsConfig;
  clock: Clock;
  lifecycle: Lifecycle;
  log: Logger;
  /** Key of this stream's status records. */
  component: string;
}

export interface OwnLog {
  names: IngestTopics;
  /** `i/n`; undefined for a forwarder alone. */
  shardName: string | undefined;
  slots: Slots;
  writer: PatientWriter;
  spoolFolder: string;
  journal: Journal;
  /** What the last process had journalled and perhaps not committed. */
  left: readonly JournalEntry[];
  recovered: Recovered;
  /** The end of one partition number's topics, as the repair of a gap needs it. */
  readTail(partition: number): Promise<LaneTail>;
}

/** Opens it; everything is closed with the lifecycle. */
export async function openOwnLog(options: OwnLogOptions): Promise<OwnLog> {
  const { home, env, config, clock, lifecycle, log, component } = options;
  const names = ingestTopics(config);
  const { shard } = config;
  const shardName = shard.count > 1 ? `${shard.index}/${shard.count}` : undefined;

  const eventLog = await openEventLog({ home, env, clock });
  lifecycle.onClose('event log', () => eventLog.close());
  await eventLog.ensureTopics(ingestTopicSpecs(names, config.TORGHUT_PARTITIONS, clock.kind));
  const slots = new Slots(names, config.TORGHUT_PARTITIONS);
  const instance = `${clock.nowNs()}-${process.pid}`;
  const transactionMs = loadConfig(logVariables, env).values.KAFKA_TRANSACTION_TIMEOUT_MS;
  const settle = async (partitions: readonly TopicPartition[]) => {
    if (shardName === undefined || (await waitForOpenTransactions(eventLog, partitions, transactionMs))) return;
    log.warn('the transaction of another shard stays open: what is committed behind it may be written once more');
  };
  const writer = await openPatientWriter({
    log: eventLog,
    owner: shardName === undefined ? 'ws' : `ws-${shard.index}`,
    instance,
    statusPartition: { topic: names.status, partition: slots.partitionOf(component) },
    transactionMs,
    beforeLooking: (partition) => settle([partition]),
    onReopened: ({ lostMs, wasDurable }) => {
      log.warn({ lostMs: Math.round(lostMs), wasDurable }, 'the log takes records again, by a new transaction');
    },
  });
  lifecycle.onClose('writer', () => writer.close());

  const spoolFolder = config.INGEST_SPOOL_DIR ?? homePaths.spool(home);
  const { journal, left } = openJournal(spoolFolder, instance);
  lifecycle.onClose('journal', () => journal.close());
  await settle(slots.all());
  const recovered = await recover(eventLog, slots, names, left, shardName);
  const readTail = async (partition: number) => {
    const topics = [names.trades, names.quotes, names.bars, names.repair];
    await settle(topics.map((topic) => ({ topic, partition })));
    return readLaneTail(eventLog, names, partition, shardName);
  };
  return { names, shardName, slots, writer, spoolFolder, journal, left, recovered, readTail };
}
