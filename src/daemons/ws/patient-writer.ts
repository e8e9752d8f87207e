/**
 * A log writer that outlives a broker's outage: when a transaction was lost (`writer_lost`, `commit_unknown`), the same commit
 * is tried again with a new transactional producer, in the same process, so that reading and spooling go on meanwhile.
 * Guarantees
 * - A commit whose answer never came is looked up in the log first (header `commit` of its last records) and is not written
 *   twice: opening the new writer ends the old one's transaction, one way or the other, before the log is read.
 * - A writer that another process fenced is never opened again. An epoch refused before a transaction can have timed out was
 *   refused because of a successor. After that time it may be our own time-out at the broker, so the log decides: a successor
 *   writes its states there. Both are looked at before and after the opening, and nothing of a commit is written in between.
 * Facts: a broker aborts a transaction after KAFKA_TRANSACTION_TIMEOUT_MS and bumps the epoch, which its owner then sees as
 * fenced (lib/log/kafka/writer.ts); on the embedded log a transaction cannot be lost in this way.
 */
import type { Commit, CommitResult, EventLog, LogWriter, NewRecord, TopicPartition } from '../../lib/log/port.ts';
import { codeOf, fencedError, unreachableError } from '../../lib/service/errors.ts';
import { machineMs } from '../../lib/service/machine.ts';
import { readToEnd } from './tail.ts';

/** Header of the last record of each partition in a commit: `owner/instance/number`. */
export const COMMIT_HEADER = 'commit';

export interface PatientWriterOptions {
  log: EventLog;
  owner: string;
  /** Names this process among all that ever wrote as this owner. */
  instance: string;
  /** Where every process of this owner tells its states: a successor's commits show there. */
  statusPartition: { topic: string; partition: number };
  /** Machine ms after which a broker aborts a transaction by itself. */
  transactionMs: number;
  /** Called before something is looked for in a partition: several owners may share it. */
  beforeLooking?(partition: TopicPartition): Promise<void>;
  /** The writer was opened anew. */
  onReopened(info: { lostMs: number; wasDurable: boolean }): void;
}

export interface PatientWriter extends LogWriter {
  /** Value of the `commit` header of the next commit. */
  nextCommitId(): string;
}

interface Lost {
  /** Machine time of the loss. */
  sinceMs: number;
  commit: Commit;
}

/** Opens the writer, which fences a predecessor. */
export async function openPatientWriter(options: PatientWriterOptions): Promise<PatientWriter> {
  const { log, owner, instance, statusPartition } = options;
  const mine = `${owner}/${instance}/`;
  let writer: LogWriter | undefined = await log.openWriter({ owner });
  const beganAt = await endOf(statusPartition);
  let lost: Lost | undefined;
  let number = 0;
  let isClosed = false;

  async function endOf({ topic, partition }: PatientWriterOptions['statusPartition']): Promise<bigint> {
    const [found] = await log.describeTopics([topic]);
    return found?.partitions.find((item) => item.partition === partition)?.latest ?? 0n;
  }

  /** Has another process written as this owner since this one began? */
  const isSuperseded = async (): Promise<boolean> => {
    let found = false;
    await options.beforeLooking?.(statusPartition);
    await readToEnd(log, statusPartition, beganAt, await endOf(statusPartition), ({ headers }) => {
      const id = headers[COMMIT_HEADER];
      if (id?.startsWith(`${owner}/`) && !id.startsWith(mine)) found = true;
    });
    return found;
  };

  /** Is the commit in the log? One of its marked records says it for all: a transaction is all or nothing. */
  const isDurable = async ({ records }: Commit): Promise<boolean> => {
    const marked = records.find((record) => record.headers?.[COMMIT_HEADER] !== undefined);
    const partition = marked?.partition;
    if (marked === undefined || partition === undefined) return false;
    const at = { topic: marked.topic, partition };
    await options.beforeLooking?.(at);
    const start = await log.offsetForTime(at, marked.timestampMs);
    let found = false;
    await readToEnd(log, at, start, await endOf(at), ({ headers }) => {
      if (headers[COMMIT_HEADER] === (marked as NewRecord).headers?.[COMMIT_HEADER]) found = true;
    });
    return found;
  };

  /** @throws `fenced`, or what can be tried again */
  const reopen = async (): Promise<LogWriter> => {
    if (await isSuperseded()) throw fencedError(owner);
    const opened = await log.openWriter({ owner });
    try {
      if (await isSuperseded()) throw fencedError(owner);
    } catch (error) {
      await opened.close().catch(() => undefined);
      throw error;
    }
    return opened;
  };

  return {
    owner,
    nextCommitId: () => `${mine}${++number}`,
    commit: async (commit): Promise<CommitResult> => {
      if (isClosed) throw unreachableError({ code: 'log_closed', what: `the writer ${owner} is closed` });
      if (writer === undefined) {
        const opened = await reopen();
        let wasDurable = false;
        try {
          wasDurable = lost !== undefined && lost.commit === commit && (await isDurable(commit));
        } catch (error) {
          await opened.close().catch(() => undefined);
          throw error;
        }
        options.onReopened({ lostMs: machineMs() - (lost?.sinceMs ?? machineMs()), wasDurable });
        writer = opened;
        lost = undefined;
        if (wasDurable) return { firstOffsets: [] };
      }
      const used = writer;
      const startMs = machineMs();
      try {
        return await used.commit(commit);
      } catch (error) {
        const code = codeOf(error);
        const mayBeOwnTimeout = code === 'fenced' && machineMs() - startMs >= options.transactionMs;
        if (log.kind !== 'kafka' || !(code === 'writer_lost' || code === 'commit_unknown' || mayBeOwnTimeout)) {
          throw error;
        }
        lost = { sinceMs: startMs, commit };
        writer = undefined;
        void used.close().catch(() => undefined);
        throw unreachableError({
          code: 'log_unreachable',
          what: `the transaction of ${owner} was lost`,
          why: (error as Error).message,
          next: 'nothing to do: a new one is opened when the brokers answer; what waits is in the spool',
          cause: error,
        });
      }
    },
    close: async () => {
      isClosed = true;
      await writer?.close();
    },
  };
}
