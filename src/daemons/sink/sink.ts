/**
 * The sink: from the ta topics into the signal store (design 5). A consumer of its own, so a full or absent ClickHouse stops only
 * this process; it serves the Node engine and Flink alike.
 * Guarantees: an offset is committed only when every row before it is stored, and a row stored twice has the same key, so the
 * tables equal the topics whatever was killed; rows of another run are refused (exit 4).
 */
import { randomInt } from 'node:crypto';
import { Counter, Gauge, Registry } from 'prom-client';
import type { SignalStoreSource } from '../../embedded/connect.ts';
import type { EventLog, LogReader } from '../../lib/log/port.ts';
import { formatTimestampNs } from '../../lib/market/time.ts';
import type { Clock } from '../../lib/service/clock.ts';
import { describeError, refusedError, TorghutError } from '../../lib/service/errors.ts';
import type { Logger } from '../../lib/service/logging.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { createSignalReader } from '../../lib/signals/reader.ts';
import { rowOfRecord, type StoreRow } from '../../lib/signals/rows.ts';
import { checkSignalStore, migrateSignalStore, type SchemaTarget } from '../../lib/signals/schema.ts';
import { createSignalWriter, type SignalWriter } from '../../lib/signals/writer.ts';
import { isFramed, type TaDecoder } from '../../lib/wire/ta-wire.ts';
import type { PartControl, PauseGate } from '../ta/control.ts';
import { Assignment, holdsRow } from './assignment.ts';
import { StoreCircuit } from './circuit.ts';
import { embeddedLimits, type SpaceLimits, SpaceWatch, serverLimits } from './space.ts';
import { batchBytes } from './variables.ts';

export interface SinkOptions {
  log: EventLog;
  store: SignalStoreSource;
  clock: Clock;
  logger: Logger;
  target: SchemaTarget;
  /** Make or migrate the tables, or only check them. */
  migrates: boolean;
  groupId: string;
  barsTopic: string;
  signalsTopic: string;
  batchRows: number;
  flushMs: number;
  /** What stays free on the store's disk; the usual for a server or the embedded engine by default. */
  space?: Partial<SpaceLimits>;
  registry?: Registry;
  /** Reads records that are Avro; without it the topics hold JSON alone. */
  decoder?: TaDecoder;
  /** What the operator told the sink; without it nothing pauses it. */
  gate?: PauseGate;
}

export interface SinkStatus {
  positions: Record<string, Record<string, string>>;
  /** Rows stored by this process. */
  rows: { microbars: number; signals: number };
  newest_event_ts: string | null;
  circuit: 'closed' | 'open' | 'half_open';
  error: string | null;
  control: PartControl | null;
  /** Nothing is stored, and nothing will be, until the pause ends. */
  is_paused: boolean;
}

/** Machine ms of one look into the log while a batch is being stored. */
const readAheadWaitMs = 20;
/** Records read at once: their decoding holds the process for a few milliseconds, in which no answer of the store is seen. */
const readRecords = 500;

export class Sink {
  readonly #options: SinkOptions;
  readonly #assignment: Assignment;
  readonly #circuit: StoreCircuit;
  readonly #writer: SignalWriter;
  readonly #space: SpaceWatch;
  #rows: StoreRow[] = [];
  #bytes = 0;
  #since = 0;
  #flushTookMs = 0;
  #stored = { microbars: 0, signals: 0 };
  #newestMs: number | undefined;
  #isPrepared = false;
  #isPaused = false;
  readonly #rowsTotal: Counter<'table'>;

  constructor(options: SinkOptions) {
    this.#options = options;
    const { log, groupId, barsTopic, signalsTopic, store, logger } = options;
    this.#assignment = new Assignment({ log, groupId, topics: [barsTopic, signalsTopic] });
    this.#circuit = new StoreCircuit({
      // Under `up` the engine is back within two seconds; a server of somebody else is left alone for longer.
      baseMs: store.isEmbedded ? 100 : 500,
      maxMs: store.isEmbedded ? 2_000 : 30_000,
      random: () => randomInt(1_000_000) / 1_000_000,
      onError: (error, kind, waitMs) =>
        logger.warn(
          { err: describeError(error).slice(0, 300), kind, wait_ms: Math.round(waitMs) },
          'rows not stored yet',
        ),
    });
    this.#writer = createSignalWriter({
      client: () => store.client(),
      database: store.database,
      isCluster: !store.isEmbedded,
    });
    this.#space = new SpaceWatch(() => store.client(), {
      ...(store.isEmbedded ? embeddedLimits : serverLimits),
      ...options.space,
    });
    const registers = [options.registry ?? new Registry()];
    this.#rowsTotal = new Counter({
      name: 'torghut_sink_rows_total',
      help: 'Rows stored by this process',
      labelNames: ['table'],
      registers,
    });
    const circuit = this.#circuit;
    new Gauge({
      name: 'torghut_sink_circuit_open',
      help: '1 while ClickHouse cannot take rows',
      registers,
      collect() {
        this.set(circuit.state === 'closed' ? 0 : 1);
      },
    });
    const space = this.#space;
    new Gauge({
      name: 'torghut_sink_store_free_bytes',
      help: 'Free bytes of the fullest disk of ClickHouse at the newest look',
      registers,
      collect() {
        if (space.freeBytes !== undefined) this.set(space.freeBytes);
      },
    });
  }

  /** Runs until the signal aborts. @throws TorghutError that ends the process: another run, a store that rejects the rows */
  async run(signal: AbortSignal): Promise<void> {
    const { log, groupId, barsTopic, signalsTopic, gate } = this.#options;
    // Tables are writes too.
    await this.#rest(signal);
    if (!(await this.#circuit.run(() => this.#prepare(), signal))) return;
    this.#isPrepared = true;
    const group = await log.joinGroup({
      groupId,
      topics: [barsTopic, signalsTopic],
      onAssigned: (partitions) => this.#assignment.assign(partitions),
      onRevoked: (partitions) => this.#assignment.revoke(partitions),
      sessionTimeoutMs: log.kind === 'embedded' ? 3_000 : 10_000,
      signal,
    });
    let lost: unknown;
    void group.ended?.then((error) => {
      lost = error;
    });
    try {
      while (!signal.aborted) {
        if (lost !== undefined) throw lost;
        if (gate?.control.paused) {
          // What was read and not stored is read again.
          await this.#assignment.turn(async (reader) => this.#drop(reader));
          await this.#rest(signal);
          continue;
        }
        const ended = gate ? AbortSignal.any([signal, gate.pausing]) : signal;
        const hasReader = await this.#assignment.turn((reader) => this.#safeTurn(reader, ended, signal));
        if (!hasReader) await sleep(20, signal);
      }
    } finally {
      await this.#assignment.close();
      await group.close();
    }
  }

  async #rest(signal: AbortSignal): Promise<void> {
    const { gate } = this.#options;
    if (!gate?.control.paused) return;
    this.#isPaused = true;
    await gate.untilRuns(signal);
    this.#isPaused = false;
  }

  /** Tables, and the newest row of earlier processes. */
  async #prepare(): Promise<void> {
    const { store, target, migrates, logger } = this.#options;
    if (migrates) await store.createDatabase();
    const client = await store.client();
    if (migrates) {
      const { applied } = await migrateSignalStore(client, target);
      if (applied.length > 0) logger.info({ database: target.database, applied }, 'schema migrated');
    } else {
      await checkSignalStore(client, target);
    }
    const reader = createSignalReader({
      client: () => store.client(),
      database: target.database,
      runId: target.runId,
      partitions: 0,
    });
    this.#newestMs = await reader.newestEventMs();
  }

  /** A turn whose log may fail for a while: everything after the last commit is read again. */
  async #safeTurn(reader: LogReader, ended: AbortSignal, signal: AbortSignal): Promise<void> {
    try {
      await this.#turn(reader, ended);
    } catch (error) {
      if (!(error instanceof TorghutError && error.canRetry) || signal.aborted) throw error;
      this.#options.logger.warn({ code: error.code, err: describeError(error) }, 'the log does not answer');
      this.#drop(reader);
      await sleep(500, signal);
    }
  }

  /** Forgets the batch; its records are read again from what is committed. */
  #drop(reader: LogReader): void {
    this.#rows = [];
    this.#bytes = 0;
    this.#assignment.rewind(reader);
  }

  /** Reads what is there, and writes the batch when it is full or old enough. */
  async #turn(reader: LogReader, signal: AbortSignal): Promise<void> {
    const flushMs = this.#flushAfterMs();
    const interrupt = this.#assignment.interrupt;
    const ended = AbortSignal.any([signal, interrupt]);
    const age = machineMs() - this.#since;
    const waitMs = this.#rows.length === 0 ? 200 : Math.max(0, flushMs - age);
    // What was read ahead may be a batch already, with nothing behind it to wait for.
    if (!this.#isFull()) await this.#read(reader, waitMs, ended);
    // The partitions change, or the process ends: whoever reads next begins at what is committed.
    if (ended.aborted) return this.#drop(reader);
    if (this.#isFull() || machineMs() - this.#since >= flushMs) await this.#flush(reader, ended);
  }

  #isFull(): boolean {
    return this.#rows.length >= this.#options.batchRows || this.#bytes >= batchBytes;
  }

  async #read(reader: LogReader, waitMs: number, ended: AbortSignal): Promise<void> {
    const maxRecords = Math.min(readRecords, this.#options.batchRows - this.#rows.length);
    const records = await reader.poll({ maxRecords, waitMs, signal: ended });
    if (this.#rows.length === 0) this.#since = machineMs();
    for (const record of records) {
      if (!holdsRow(record)) continue;
      const kind = record.topic === this.#options.barsTopic ? 'bar' : 'signal';
      // JSON needs no waiting; Avro only for a schema that was not met yet.
      const { decoder } = this.#options;
      const row = rowOfRecord(decoder && isFramed(record.value) ? await decoder.toJson(record) : record, kind);
      if (row.runId !== this.#options.target.runId) throw otherRun(row, record.topic, this.#options.target.runId);
      this.#rows.push(row);
      this.#bytes += row.head.length;
    }
  }

  /**
   * Machine ms that a batch waits: as set, and up to twice that while the store is slow. An insert costs the engine the same few
   * milliseconds for 12 rows as for 240 (measured: 10 and 17 ms of CPU), so a busy machine gets fewer and larger ones.
   */
  #flushAfterMs(): number {
    const { flushMs } = this.#options;
    return Math.min(2 * flushMs, Math.max(flushMs, 2 * this.#flushTookMs));
  }

  async #flush(reader: LogReader, ended: AbortSignal): Promise<void> {
    const positions = reader.positions();
    const rows = this.#rows;
    const write = async () => {
      await this.#space.demand();
      await this.#writer.write(rows, this.#options.clock.nowMs());
    };
    const isBehind = this.#isFull();
    this.#rows = [];
    this.#bytes = 0;
    const began = machineMs();
    let isOver = rows.length === 0;
    const storing = isOver ? Promise.resolve(true) : this.#circuit.run(write, ended);
    const over = () => {
      isOver = true;
    };
    storing.then(over, over);
    const readAhead = async () => {
      while (isBehind && !isOver && !ended.aborted && !this.#isFull()) await this.#read(reader, readAheadWaitMs, ended);
    };
    // While the engine stores a full batch the next one is read; it counts only behind this one.
    const [stored, read] = await Promise.allSettled([storing, readAhead()]);
    if (stored.status === 'rejected') throw stored.reason;
    if (!stored.value) return this.#drop(reader);
    this.#flushTookMs = machineMs() - began;
    for (const row of rows) {
      this.#stored[row.kind === 'bar' ? 'microbars' : 'signals'] += 1;
      if (this.#newestMs === undefined || row.eventMs > this.#newestMs) this.#newestMs = row.eventMs;
    }
    this.#rowsTotal.inc({ table: 'ta_microbars' }, rows.filter((row) => row.kind === 'bar').length);
    this.#rowsTotal.inc({ table: 'ta_signals' }, rows.filter((row) => row.kind === 'signal').length);
    await this.#assignment.commit(positions);
    if (read.status === 'rejected') throw read.reason;
  }

  status(): SinkStatus {
    return {
      positions: this.#assignment.positions(),
      rows: { ...this.#stored },
      newest_event_ts: this.#newestMs === undefined ? null : formatTimestampNs(BigInt(this.#newestMs) * 1_000_000n),
      circuit: this.#circuit.state,
      error: this.#circuit.error ?? null,
      control: this.#options.gate?.control ?? null,
      is_paused: this.#isPaused,
    };
  }

  readiness(): { ready: boolean } & Record<string, unknown> {
    const isReady =
      this.#isPrepared && !this.#isPaused && this.#circuit.state === 'closed' && this.#circuit.error === undefined;
    return {
      ready: isReady,
      paused: this.#isPaused,
      schema: this.#isPrepared,
      circuit: this.#circuit.state,
      error: this.#circuit.error ?? null,
    };
  }
}

function otherRun(row: StoreRow, topic: string, runId: string): Error {
  return refusedError({
    code: 'run_mismatch',
    what: `${topic} partition ${row.partition} offset ${row.offset} belongs to run ${row.runId}, this is run ${runId}`,
    why: 'one database holds one run',
    next: 'set TORGHUT_RUN_ID to the run of the topics, or use topics of this run',
  });
}
