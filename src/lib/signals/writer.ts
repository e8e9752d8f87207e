/**
 * Writes rows of the ta topics into the signal store.
 * Guarantees
 * - Current rows (`ta_microbars`, `ta_signals`) first, then the same signals to `ta_signal_log`: what the log shows is there.
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

  const insert = async (table: Table, rows: readonly StoreRow[], tail: string) => {
    if (rows.length === 0) return;
    const text = `${rows.map((row) => row.head + tail).join('\n')}\n`;
    const client = await options.client();
    // `exec` takes the text as it is; `insert` would take objects and turn each into text once more.
    const { stream } = await client.exec({
      query: `INSERT INTO ${options.database}.${table.name} FORMAT JSONEachRow`,
      values: Readable.from([Buffer.from(text, 'utf8')], { objectMode: false }),
      clickhouse_settings: settings,
    });
    stream.resume();
    await finished(stream);
  };

  return {
    write: async (rows, storedAtMs) => {
      const tail = `,"stored_at":"${timeText(storedAtMs)}"}`;
      const bars = rows.filter((row) => row.kind === 'bar');
      const signalRows = rows.filter((row) => row.kind === 'signal');
      await insert(microbars, bars, tail);
      await insert(signals, signalRows, tail);
      for (const piece of orderedPieces(signalRows)) await insert(signalLog, piece, tail);
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
