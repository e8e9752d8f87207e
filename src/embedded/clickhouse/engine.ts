/**
 * The ClickHouse engine (chdb's native addon) on one data directory.
 * Facts (measured with chdb 3.4.0, engine 26.7)
 * - Asynchronous calls run on threads of Node's pool: the event loop stays free (8 ms at most beside two queries that used both
 *   cores), so front and engine are ONE process: nothing to watch, nothing left behind by a kill -9.
 * - A connection takes 0.4 ms to make and has settings, parameters, temporary tables and current database of its own; queries on
 *   different connections run at once. So every request gets a fresh connection and nothing can leak; a session keeps one.
 *   (Within one connection calls run one by one and everything leaks; chdb's own parameter binding is global to the process
 *   and not safe beside others, so parameters are set by `SET param_x = '…'`.)
 * - `KILL QUERY` works; a query is found again by its log_comment.
 * - One process per data directory: another one gets code 76.
 */
import { createRequire } from 'node:module';
import { z } from 'zod';
import { asEngineError } from './errors.ts';
import { quoteText } from './statement.ts';

/** An opaque handle of the addon. */
type NativeConnection = unknown;

interface NativeResult {
  bytes: Buffer;
  elapsed: number;
  rowsRead: number;
  bytesRead: number;
}

interface NativeInsertResult {
  elapsed: number;
  rowsWritten: number;
  bytesWritten: number;
}

/** The part of the addon that is used here. */
interface NativeAddon {
  CreateConnection(path: string, settings?: readonly string[]): NativeConnection;
  CloseConnection(connection: NativeConnection): void;
  QueryAsyncConnection(connection: NativeConnection, sql: string, format: string): Promise<NativeResult>;
  InsertRawAsyncConnection(
    connection: NativeConnection,
    prefix: string,
    data: Buffer,
    countLines: boolean,
  ): Promise<NativeInsertResult>;
}

const addonSchema = z.custom<NativeAddon>((value) => {
  const addon = value as Record<string, unknown> | null;
  const names = ['CreateConnection', 'CloseConnection', 'QueryAsyncConnection', 'InsertRawAsyncConnection'];
  return typeof addon === 'object' && addon !== null && names.every((name) => typeof addon[name] === 'function');
}, 'the engine addon has not the functions that this version of torghut uses');

export interface QueryResult {
  body: Buffer;
  /** Rows of the result. */
  rows: number;
  elapsedMs: number;
}

export interface InsertResult {
  rows: number;
  bytes: number;
  elapsedMs: number;
}

/** One connection: settings and parameters set here hold until it is closed. One call at a time. */
export interface EngineConnection {
  query(sql: string, format?: string): Promise<QueryResult>;
  /** @param prefix `INSERT INTO … FORMAT X`; the data never become a JavaScript string */
  insert(prefix: string, data: Buffer): Promise<InsertResult>;
  /** Idempotent; call it when no call is running. */
  close(): void;
}

export interface Engine {
  readonly version: string;
  connect(): EngineConnection;
  /** Asks the engine to end the query whose log_comment begins with this text; returns at once. */
  kill(comment: string): Promise<void>;
}

/**
 * Loads the engine and opens the directory; blocks the event loop for about a second (543 MB library).
 * @param addonPath of embedded/parts.ts
 * @param settings as on the command line of `clickhouse local`, for example `--config-file=…`; the first connection's hold
 * @throws EngineError 76 when another process holds the directory
 */
export async function openEngine(
  addonPath: string,
  dataDirectory: string,
  settings: readonly string[] = [],
): Promise<Engine> {
  const addon = addonSchema.parse(createRequire(import.meta.url)(addonPath));
  const connect = (): EngineConnection => {
    const connection = openConnection(addon, dataDirectory, settings);
    let isOpen = true;
    return {
      query: async (sql, format = 'TabSeparated') => {
        const result = await call(() => addon.QueryAsyncConnection(connection, sql, format));
        return { body: result.bytes, rows: result.rowsRead, elapsedMs: result.elapsed * 1000 };
      },
      insert: async (prefix, data) => {
        const result = await call(() => addon.InsertRawAsyncConnection(connection, prefix, data, false));
        return { rows: result.rowsWritten, bytes: result.bytesWritten, elapsedMs: result.elapsed * 1000 };
      },
      close: () => {
        if (isOpen) addon.CloseConnection(connection);
        isOpen = false;
      },
    };
  };
  // This one stays open: the engine of the process lives as long as it has a connection.
  const first = connect();
  const version = (await first.query('SELECT version()')).body.toString().trim();
  return {
    version,
    connect,
    kill: async (comment) => {
      const connection = connect();
      try {
        await connection.query(`KILL QUERY WHERE startsWith(Settings['log_comment'], ${quoteText(comment)}) ASYNC`);
      } finally {
        connection.close();
      }
    },
  };
}

function openConnection(addon: NativeAddon, dataDirectory: string, settings: readonly string[]): NativeConnection {
  try {
    return settings.length === 0
      ? addon.CreateConnection(dataDirectory)
      : addon.CreateConnection(dataDirectory, settings);
  } catch (error) {
    throw asEngineError(error);
  }
}

async function call<T>(start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    throw asEngineError(error);
  }
}
