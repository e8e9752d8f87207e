/**
 * Current rows of bars and signals, wherever they are: the highest revision of each key (symbol, window size, window end).
 * Guarantees: a row of a record, of a file and of the store have the same columns with equal values when they mean the same;
 * what tells only where and when a row was made (`ingest_ts`, `run_id`, `src_*`, `stored_at`) is not among them.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { storeError } from './errors.ts';
import { columnsOf } from './rows.ts';
import { microbars, signals, type Table } from './tables.ts';

export interface CurrentRow {
  table: 'ta_microbars' | 'ta_signals';
  symbol: string;
  windowSize: string;
  /** End of the window, epoch ms. */
  eventMs: number;
  revision: number;
  /** All compared columns, the key and the revision left out. */
  values: Record<string, unknown>;
}

/** Windows that end after `fromMs` and at or before `toMs`, epoch ms. */
export interface TimeRange {
  fromMs: number;
  toMs: number;
}

/** A time after every row that the store can hold, epoch ms (2100). */
export const endOfTime = 4_102_444_800_000;

const identity = ['symbol', 'window_size', 'event_ts', 'revision'];
const notCompared = ['ingest_ts', 'run_id', 'src_partition', 'src_offset', 'stored_at'];
const comparedColumns = (table: Table): string[] =>
  table.columns.map(({ name }) => name).filter((name) => ![...identity, ...notCompared].includes(name));

const compared = { ta_microbars: comparedColumns(microbars), ta_signals: comparedColumns(signals) } as const;

/** A text that is equal for rows of one key, and sorts by time, then symbol, then bar before signal. */
export function keyOfRow({ table, symbol, windowSize, eventMs }: Omit<CurrentRow, 'revision' | 'values'>): string {
  return `${String(eventMs).padStart(15, '0')} ${symbol} ${table} ${windowSize}`;
}

/**
 * A row from the parsed value of a ta record (or of a line of `ta compute`).
 * @throws ZodError when it is none of this version
 */
export function rowOfOutput(value: unknown, kind: 'bar' | 'signal'): CurrentRow {
  const columns = columnsOf(value, kind);
  const table = kind === 'bar' ? 'ta_microbars' : 'ta_signals';
  return {
    table,
    symbol: String(columns.symbol),
    windowSize: String(columns.window_size),
    eventMs: columns.event_ms,
    revision: Number(columns.revision),
    values: Object.fromEntries(compared[table].map((name) => [name, columns[name]])),
  };
}

/** Puts a row in unless a higher revision of its key is there. */
export function keepNewest(rows: Map<string, CurrentRow>, row: CurrentRow): void {
  const key = keyOfRow(row);
  const known = rows.get(key);
  if (!known || known.revision <= row.revision) rows.set(key, row);
}

/** Which rows of a database: one source partition, or everything from a partition number on (`from`). */
export type PartitionFilter = { partition: number } | { fromPartition: number };

const storedSchema = z.looseObject({
  symbol: z.string(),
  window_size: z.string(),
  event_ms: z.coerce.number(),
  revision: z.number(),
});

/** Reads a database's current rows. */
export class StoredRows {
  readonly #client: ClickHouseClient;
  readonly #database: string;

  /** @param database a checked name */
  constructor(client: ClickHouseClient, database: string) {
    this.#client = client;
    this.#database = database;
  }

  async #query<T>(schema: z.ZodType<T>, sql: string, parameters: Record<string, unknown>): Promise<T[]> {
    try {
      const result = await this.#client.query({
        query: sql,
        query_params: parameters,
        format: 'JSONEachRow',
        // Counts stay below 2^53; a large answer is an error as a whole or not at all.
        clickhouse_settings: { output_format_json_quote_64bit_integers: 0, wait_end_of_query: 1 },
      });
      return z.array(schema).parse(await result.json());
    } catch (error) {
      if (error instanceof z.ZodError) throw error;
      throw storeError(error);
    }
  }

  #where(range: TimeRange, filter?: PartitionFilter): { sql: string; parameters: Record<string, unknown> } {
    const conditions = [
      "event_ts > fromUnixTimestamp64Milli({from:Int64}, 'UTC')",
      "event_ts <= fromUnixTimestamp64Milli({to:Int64}, 'UTC')",
    ];
    const parameters: Record<string, unknown> = { from: range.fromMs, to: range.toMs };
    if (filter && 'partition' in filter) {
      conditions.push('src_partition = {partition:UInt32}');
      parameters.partition = filter.partition;
    } else if (filter) {
      conditions.push('src_partition >= {partition:UInt32}');
      parameters.partition = filter.fromPartition;
    }
    return { sql: conditions.join(' AND '), parameters };
  }

  /** Current rows of a range by key. */
  async read(range: TimeRange, filter?: PartitionFilter): Promise<Map<string, CurrentRow>> {
    const rows = new Map<string, CurrentRow>();
    const { sql, parameters } = this.#where(range, filter);
    for (const table of ['ta_microbars', 'ta_signals'] as const) {
      const found = await this.#query(
        storedSchema,
        `SELECT symbol, window_size, toUnixTimestamp64Milli(event_ts) AS event_ms, revision, ${compared[table].join(', ')}
FROM (SELECT * FROM ${this.#database}.${table} FINAL WHERE ${sql})`,
        parameters,
      );
      for (const { symbol, window_size: windowSize, event_ms: eventMs, revision, ...values } of found) {
        const row: CurrentRow = { table, symbol, windowSize, eventMs, revision, values };
        rows.set(keyOfRow(row), row);
      }
    }
    return rows;
  }

  /** Starts (epoch ms) of the slices of a length that hold rows of a range; a slice is open at its start, closed at its end. */
  async slices(range: TimeRange, lengthMs: number, filter?: PartitionFilter): Promise<number[]> {
    const { sql, parameters } = this.#where(range, filter);
    const part = (table: string) =>
      `SELECT DISTINCT intDiv(toUnixTimestamp64Milli(event_ts) - 1, {length:Int64}) AS slice FROM ${this.#database}.${table} WHERE ${sql}`;
    const found = await this.#query(
      z.object({ slice: z.coerce.number() }),
      `SELECT DISTINCT slice FROM (${part('ta_microbars')} UNION ALL ${part('ta_signals')}) ORDER BY slice`,
      { ...parameters, length: lengthMs },
    );
    return found.map(({ slice }) => slice * lengthMs);
  }
}
