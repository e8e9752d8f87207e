/**
 * The way into the event log: records in the order in which they were given, one commit at a time.
 * Guarantees: nothing is dropped, a failed commit is tried again with the same records; a record counts only when its commit is
 * durable; the last record of each partition in a commit carries how many provider messages that partition holds (header
 * `counts`) and how far it reaches (`mark`), so counters and marks of a run survive any death exactly; a fenced writer ends
 * the process (design 5).
 */

import type { LogWriter, NewRecord } from '../../lib/log/port.ts';
import { codeOf, TorghutError } from '../../lib/service/errors.ts';
import { backoffMs, machineMs, sleep } from '../../lib/service/machine.ts';
import { COMMIT_HEADER } from './patient-writer.ts';

/** One partition of one topic, with the provider messages that are durable in it by channel. */
export interface Slot {
  readonly topic: string;
  readonly partition: number;
  readonly counts: Map<string, number>;
  /** Market ms of the newest record given. */
  lastRecordMs: number;
  /** Newest provider time (ms) of a trade or quote committed here; 0 when there is none. */
  markMs: number;
  /** Highest place on the lane's disk line (spool-fifo.ts) committed here; 0 when there is none. */
  spoolNumber: number;
}

export interface Outgoing {
  slot: Slot;
  key: string | null;
  value: Buffer;
  timestampMs: number;
  /** Channel under which the record counts as a provider message; absent for our own records. */
  counted?: string | undefined;
  /** Provider time (ms) when the record proves that everything sent before it was accepted: trades and quotes. */
  markMs?: number | undefined;
  /** Its place on the lane's disk line, when it was there. */
  spoolNumber?: number;
  /** Further headers. */
  headers?: Record<string, string>;
  onDurable?: () => void;
}

export interface PublisherOptions {
  writer: LogWriter;
  /** Name of the next commit, for the header by which it can be found again. */
  nextCommitId?(): string;
  /** Headers of every record. */
  headers: Record<string, string>;
  commitMs: number;
  commitRecords: number;
  maxBytes: number;
  random: () => number;
  /** After each commit: how many records, how long it took, whether it worked. */
  onCommit(info: { records: Outgoing[]; ms: number; error?: unknown }): void;
  /** The writer is lost for good. */
  onFatal(error: TorghutError): void;
}

/** Commits' worth of waiting records from which on the reader rests; it goes on when one is left. */
const CONGESTED_COMMITS = 3;
/** Machine ms without a durable commit after which records count as stuck. */
const STUCK_MS = 1_000;

export function encodeCounts(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([channel, count]) => `${channel}=${count}`).join(',');
}

export function decodeCounts(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const part of text.split(',')) {
    const match = /^([A-Za-z_]+)=(\d+)$/.exec(part);
    if (match) counts.set(match[1] as string, Number(match[2]));
  }
  return counts;
}

export class Publisher {
  readonly #options: PublisherOptions;
  #waiting: Outgoing[] = [];
  #bytes = 0;
  #inCommit = 0;
  #oldestMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isCommitting = false;
  #isDead = false;
  #isCongested = false;
  #lastErrorCode: string | undefined;
  #failures = 0;
  #given = 0;
  #durable = 0;
  #flushes: { upTo: number; resolve: () => void }[] = [];

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Records not yet durable. */
  get queued(): number {
    return this.#waiting.length + this.#inCommit;
  }

  get queuedBytes(): number {
    return this.#bytes;
  }

  /** Consecutive failed commits. */
  get failures(): number {
    return this.#failures;
  }

  /** Code of the last commit's error; undefined when it worked. */
  get lastErrorCode(): string | undefined {
    return this.#lastErrorCode;
  }

  /** Not durable for over a second, or over the bound: market data have to wait elsewhere. */
  get isStuck(): boolean {
    if (this.#bytes > this.#options.maxBytes) return true;
    return this.#oldestMs !== undefined && machineMs() - this.#oldestMs > STUCK_MS;
  }

  /**
   * More waits than a few commits take, and the log works: the reader rests until it is worked off, so that a burst stays in
   * the socket's buffers and not in our memory. A stuck log is another matter: then reading goes on, into the spool.
   */
  get isCongested(): boolean {
    if (this.#isCongested) this.#isCongested = this.#waiting.length > this.#options.commitRecords;
    else this.#isCongested = this.#waiting.length > CONGESTED_COMMITS * this.#options.commitRecords;
    return this.#isCongested && this.#failures === 0 && !this.isStuck;
  }

  enqueue(record: Outgoing): void {
    if (this.#isDead) return;
    this.#waiting.push(record);
    this.#given += 1;
    this.#bytes += record.value.length;
    record.slot.lastRecordMs = record.timestampMs;
    this.#oldestMs ??= machineMs();
    if (this.#waiting.length >= this.#options.commitRecords) void this.#commit();
    else this.#schedule();
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      // A timer that fires during a commit is spent: the commit's end schedules the next.
      this.#timer = undefined;
      void this.#commit();
    }, this.#options.commitMs);
  }

  /** Resolves when everything given so far is durable (or the writer is lost). */
  async flush(): Promise<void> {
    if (this.queued === 0 || this.#isDead) return;
    const done = new Promise<void>((resolve) => this.#flushes.push({ upTo: this.#given, resolve }));
    void this.#commit();
    await done;
  }

  #settleFlushes(): void {
    this.#flushes = this.#flushes.filter(({ upTo, resolve }) => {
      if (upTo > this.#durable && !this.#isDead) return true;
      resolve();
      return false;
    });
  }

  async #commit(): Promise<void> {
    if (this.#isCommitting || this.#isDead) return;
    this.#isCommitting = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#waiting.length > 0 && !this.#isDead) {
      const batch = this.#waiting.splice(0, this.#options.commitRecords);
      this.#inCommit = batch.length;
      await this.#commitBatch(batch);
      this.#inCommit = 0;
      // A short rest lets records gather; a flush or a full batch goes on at once.
      if (this.#flushes.length === 0 && this.#waiting.length < this.#options.commitRecords) break;
    }
    this.#isCommitting = false;
    if (this.#waiting.length > 0 && !this.#isDead) {
      this.#schedule();
    }
  }

  async #commitBatch(batch: Outgoing[]): Promise<void> {
    // The same object at each attempt: the writer knows by it what it may already have written.
    const commit = { records: this.#records(batch) };
    for (let attempt = 1; ; attempt++) {
      const startMs = machineMs();
      try {
        await this.#options.writer.commit(commit);
        this.#failures = 0;
        this.#lastErrorCode = undefined;
        let bytes = 0;
        for (const record of batch) bytes += record.value.length;
        this.#bytes -= bytes;
        this.#durable += batch.length;
        this.#oldestMs = this.#waiting.length > 0 ? machineMs() : undefined;
        for (const record of batch) record.onDurable?.();
        this.#options.onCommit({ records: batch, ms: machineMs() - startMs });
        this.#settleFlushes();
        return;
      } catch (error) {
        this.#failures += 1;
        this.#lastErrorCode = codeOf(error) ?? 'unknown';
        this.#options.onCommit({ records: batch, ms: machineMs() - startMs, error });
        if (!canTryAgain(error)) {
          this.#isDead = true;
          this.#settleFlushes();
          this.#options.onFatal(asTorghutError(error));
          return;
        }
        await sleep(backoffMs(attempt, 50, 2_000, this.#options.random));
      }
    }
  }

  /** The log's records of a batch; counters move here, once per batch, and ride on the last record of each partition. */
  #records(batch: Outgoing[]): NewRecord[] {
    const last = new Map<Slot, number>();
    const { headers } = this.#options;
    const records = batch.map((item, index): NewRecord => {
      const { slot } = item;
      last.set(slot, index);
      // A provider time ahead of our own clock would hide a gap behind it.
      if (item.markMs !== undefined) slot.markMs = Math.max(slot.markMs, Math.min(item.markMs, item.timestampMs));
      if (item.spoolNumber !== undefined) slot.spoolNumber = Math.max(slot.spoolNumber, item.spoolNumber);
      if (item.counted !== undefined) slot.counts.set(item.counted, (slot.counts.get(item.counted) ?? 0) + 1);
      return {
        topic: slot.topic,
        partition: slot.partition,
        key: item.key,
        value: item.value,
        timestampMs: item.timestampMs,
        headers: item.headers ? { ...headers, ...item.headers } : headers,
      };
    });
    const commitId = this.#options.nextCommitId?.();
    const named = commitId === undefined ? {} : { [COMMIT_HEADER]: commitId };
    for (const [slot, index] of last) {
      const record = records[index] as NewRecord;
      const counts = slot.counts.size > 0 ? { counts: encodeCounts(slot.counts) } : {};
      const mark = slot.counts.size > 0 && slot.markMs > 0 ? { mark: String(slot.markMs) } : {};
      const spool = slot.spoolNumber > 0 ? { spool: String(slot.spoolNumber) } : {};
      record.headers = { ...record.headers, ...named, ...counts, ...mark, ...spool };
    }
    return records;
  }
}

const retryCodes = new Set(['log_full', 'log_unreachable', 'log_locked']);

function canTryAgain(error: unknown): boolean {
  return retryCodes.has(codeOf(error) ?? '') || (error instanceof TorghutError && error.canRetry);
}

function asTorghutError(error: unknown): TorghutError {
  if (error instanceof TorghutError) return error;
  return new TorghutError({
    code: 'commit_failed',
    what: 'the event log failed in a way that is not known to pass',
    why: (error as Error).message,
    next: 'look at the log of this process; a restart repairs what was not durable',
    cause: error,
  });
}
