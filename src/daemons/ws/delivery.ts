/**
 * The way of a record from lane to log, put together: lanes with their spool, records, the publisher, and the counters of what
 * is durable.
 */
import type { Logger } from 'pino';
import type { EnvelopeWriter } from '../../lib/market/envelope-text.ts';
import type { Clock } from '../../lib/service/clock.ts';
import { codeOf, type TorghutError } from '../../lib/service/errors.ts';
import type { Journal } from './journal.ts';
import { Lane } from './lane.ts';
import type { WsMetrics } from './metrics.ts';
import type { PatientWriter } from './patient-writer.ts';
import { type Outgoing, Publisher, type Slot } from './publisher.ts';
import { RecordMaker, type Slots } from './records.ts';
import { SpoolFifo } from './spool-fifo.ts';
import { logErrorClass } from './stream-health.ts';
import type { WsConfig } from './variables.ts';

/** A waiting line does not fill the queue beyond so many records, so that live and old ones share the memory bound. */
const MAX_QUEUED = 20_000;

export interface Delivery {
  publisher: Publisher;
  records: RecordMaker;
  lanes: Lane[];
  /** Provider messages durable in the log, over the life of the run, by channel. */
  acknowledged: ReadonlyMap<string, number>;
  spooledBytes(): number;
  /** What waits on disk stays there for the next process. */
  close(): void;
}

export function createDelivery(options: {
  config: WsConfig;
  clock: Clock;
  log: Logger;
  random: () => number;
  writer: PatientWriter;
  /** With the counters that were recovered. */
  slots: Slots;
  envelopes: EnvelopeWriter;
  journal: Journal;
  metrics: WsMetrics;
  spoolFolder: string;
  /** Each durable record that carries a provider message. */
  onRecord(record: Outgoing): void;
  onFatal(error: TorghutError): void;
}): Delivery {
  const { config, slots, metrics, log, envelopes } = options;
  // Version 1 of the order events is a copy of version 2.
  const isCounted = (topic: string) => topic !== config.TOPIC_TRADE_UPDATES;
  const acknowledged = new Map<string, number>();
  const add = (channel: string, count: number) => acknowledged.set(channel, (acknowledged.get(channel) ?? 0) + count);
  for (const slot of slots.all()) {
    if (isCounted(slot.topic)) for (const [channel, count] of slot.counts) add(channel, count);
  }
  const onDurable = (records: readonly Outgoing[]) => {
    // By slot and channel first: a commit holds thousands of records of a few kinds.
    const perSlot = new Map<Slot, Map<string | undefined, number>>();
    for (const record of records) {
      const { slot, counted } = record;
      if (counted !== undefined) options.onRecord(record);
      let counts = perSlot.get(slot);
      if (counts === undefined) {
        counts = new Map();
        perSlot.set(slot, counts);
      }
      counts.set(counted, (counts.get(counted) ?? 0) + 1);
    }
    for (const [{ topic }, counts] of perSlot) {
      for (const [counted, count] of counts) {
        metrics.produced.inc({ topic }, count);
        if (counted !== undefined && isCounted(topic)) add(counted, count);
      }
    }
  };
  const publisher = new Publisher({
    writer: options.writer,
    nextCommitId: options.writer.nextCommitId,
    headers: {
      schema: 'torghut.envelope.v2',
      producer: 'torghut-ws',
      producer_epoch: String(envelopes.producerEpochMs),
      // Several forwarders share the partitions: each looks for its own records when it starts.
      ...(config.shard.count > 1 ? { shard: `${config.shard.index}/${config.shard.count}` } : {}),
    },
    commitMs: config.INGEST_COMMIT_MS,
    commitRecords: config.INGEST_COMMIT_RECORDS,
    maxBytes: config.INGEST_QUEUE_BYTES,
    random: options.random,
    onCommit: ({ records, ms, error }) => {
      metrics.commitSeconds.observe(ms / 1_000);
      if (error === undefined) {
        fifos.forEach((fifo, partition) => {
          fifo.settle(Math.max(...lineSlots(partition).map((slot) => slot.spoolNumber)));
        });
        return onDurable(records);
      }
      const errorClass = logErrorClass(codeOf(error) ?? 'unknown');
      metrics.commitErrors.inc({ error_class: codeOf(error) ?? 'unknown' });
      if (errorClass === 'kafka_metadata') metrics.metadataErrors.inc({ error_class: errorClass });
      for (const { slot } of records) metrics.produceErrors.inc({ topic: slot.topic, error_class: errorClass });
      log.warn({ code: codeOf(error), records: records.length }, 'a commit failed');
    },
    onFatal: (error) => {
      log.error({ code: error.code, why: error.why }, error.what);
      options.onFatal(error);
    },
  });

  const records = new RecordMaker(slots, envelopes, options.clock);
  let spooled = 0;
  // Half of the memory bound is the queue's way to the log, half is shared by the waiting lines.
  const memoryBytes = config.INGEST_QUEUE_BYTES / 2 / slots.partitions;
  const lineSlots = (partition: number) =>
    (['trades', 'quotes', 'bars'] as const).map((role) => slots.of(role, partition));
  const fifos: SpoolFifo[] = [];
  const lanes = Array.from({ length: slots.partitions }, (_, partition) => {
    const adopted: string[] = [];
    const fifo = new SpoolFifo({
      folder: options.spoolFolder,
      name: `market-${partition}`,
      memoryBytes,
      mayGrow: (bytes, share) => spooled + bytes <= config.INGEST_SPOOL_BYTES * share,
      onDiskBytes: (bytes) => {
        spooled += bytes;
      },
      durableNumber: Math.max(...lineSlots(partition).map((slot) => slot.spoolNumber)),
      onAdopted: (raw) => adopted.push(raw),
    });
    fifos.push(fifo);
    const lane = new Lane({
      partition,
      publisher,
      records,
      journal: options.journal,
      maxQueued: MAX_QUEUED,
      fifo,
      onShed: (channel) => metrics.shed.inc({ channel }),
    });
    for (const raw of adopted) lane.adopt(raw);
    return lane;
  });
  const close = () => {
    for (const fifo of fifos) fifo.close();
  };
  return { publisher, records, lanes, acknowledged, spooledBytes: () => spooled, close };
}
