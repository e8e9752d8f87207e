/**
 * Writes rows of the ta topics into the signal store.
 * Guarantees
 * - Current rows (`ta_microbars` and `ta_signals`, side by side) first, then the same signals to `ta_signal_log`: what the log
 *   shows is there, the bars of its seconds too. On a cluster one insert at a time.
 * - Nothing of a batch is under way any more when `write` is over, also when it failed.
 * - Of each source partition, the log's rows become visible in the order of their offsets: one insert is one part only when all
 *   its rows are of one day, so a batch over midnight is cut there. A reader that follows offsets misses nothing.
 * - Written twice is harmless: equal keys with equal content.
 */
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { ClickHouseClient, ClickHouseSettings } from '@clickhouse/client';
import type { StoreRow } from './rows.ts';
import { timeText } from './rows.ts';
import { microbars, signalLog, signals, type Table } from './tables.ts';

export interface SignalWriterOptions {
  /** Asked before every insert, so that a restarted store is found. */
  client(): Promise<ClickHouseClient>;
  database: string;
  /** A replicated cluster: an insert counts when the majority has it. */
  isCluster?: boolean;
}

export interface SignalWriter {
  /**
   * Stores the rows. @param storedAtMs market now, stored with each row
   * @throws the client's error; what was written before it stays and may be written again
   */
  write(rows: readonly StoreRow[], storedAtMs: number): Promise<void>;
}

const insertSettings: ClickHouseSettings = {
  // One insert is one block is one part per day.
  input_format_parallel_parsing: 0,
  async_insert: 0,
  // An unknown field or a null where none may be is an error, never a silent zero.
  input_format_skip_unknown_fields: 0,
  input_format_null_as_default: 0,
};

export function createSignalWriter(options: SignalWriterOptions): SignalWriter {
  const settings: ClickHouseSettings = options.isCluster
    ? { ...insertSettings, insert_quorum: 'auto', insert_quorum_parallel: 0 }
    : insertSettings;

  const insert = async (table: Table, data: Buffer) => {
    if (data.length === 0) return;
    const client = await options.client();
    // `exec` takes the text as it is; `insert` would take objects and turn each into text once more.
    const { stream } = await client.exec({
      query: `INSERT INTO ${options.database}.${table.name} FORMAT JSONEachRow`,
      values: Readable.from([data], { objectMode: false }),
      clickhouse_settings: settings,
    });
    stream.resume();
    await finished(stream);
  };

  return {
    write: async (rows, storedAtMs) => {
      const tail = `,"stored_at":"${timeText(storedAtMs)}"}\n`;
      const lines = (of: readonly StoreRow[]) => Buffer.from(of.map((row) => row.head + tail).join(''), 'utf8');
      // The two tables of signals take the same text.
      const pieces = orderedPieces(rows.filter((row) => row.kind === 'signal')).map(lines);
      const current = [
        () => insert(microbars, lines(rows.filter((row) => row.kind === 'bar'))),
        () => insert(signals, pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces)),
      ];
      if (options.isCluster) for (const store of current) await store();
      else {
        const ends = await Promise.allSettled(current.map((store) => store()));
        for (const end of ends) if (end.status === 'rejected') throw end.reason;
      }
      for (const piece of pieces) await insert(signalLog, piece);
    },
  };
}

const dayOf = (row: StoreRow) => Math.floor(row.eventMs / 86_400_000);

/** Pieces that are each of one day, in an order that keeps the offsets of every partition ascending. */
export function orderedPieces(rows: readonly StoreRow[]): StoreRow[][] {
  const sorted = [...rows].sort((a, b) => a.partition - b.partition || (a.offset < b.offset ? -1 : 1));
  if (sorted.length === 0) return [];
  if (new Set(sorted.map(dayOf)).size === 1) return [sorted];
  const pieces: StoreRow[][] = [];
  for (const row of sorted) {
    const piece = pieces.at(-1);
    const last = piece?.at(-1);
    if (piece && last && last.partition === row.partition && dayOf(last) === dayOf(row)) piece.push(row);
    else pieces.push([row]);
  }
  return pieces;
}
