/**
 * Connections to Postgres, and how its errors become ours.
 * Guarantees: no statement and no open transaction outlives its limit, so a paused writer cannot hold a lock for long;
 * every failure to reach the server is `ledger_unreachable` (retryable), never a bare driver error.
 */
import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { codeOf, describeError, TorghutError, unreachableError } from '../service/errors.ts';
import { registerSecret } from '../service/logging.ts';
import type { LedgerTables } from './tables.ts';

export interface ConnectionOptions {
  /** postgres:// URL. */
  dsn: string;
  /** Shown in pg_stat_activity. */
  applicationName: string;
  /** Connections at once (default 6). */
  maxConnections?: number;
  /** Machine ms (default 5 000). */
  connectTimeoutMs?: number;
  /** Machine ms after which Postgres ends a statement (default 15 000). */
  statementTimeoutMs?: number;
}

/** Machine ms after which Postgres ends a transaction whose client says nothing. */
const IDLE_TRANSACTION_MS = 5_000;

/** Settings of one connection. The password inside the DSN is masked in every log line from here on. */
export function clientConfig(options: ConnectionOptions): pg.ClientConfig {
  try {
    const password = new URL(options.dsn).password;
    if (password) registerSecret(decodeURIComponent(password));
  } catch {
    // A key=value DSN: pg reads it, there is no URL to take the password from.
  }
  return {
    connectionString: options.dsn,
    application_name: options.applicationName,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
    statement_timeout: options.statementTimeoutMs ?? 15_000,
    idle_in_transaction_session_timeout: IDLE_TRANSACTION_MS,
    keepAlive: true,
  };
}

export interface OpenConnection {
  db: Kysely<LedgerTables>;
  pool: pg.Pool;
  close(): Promise<void>;
}

/**
 * Keeps the process alive when the server goes (restart, kill -9). The pool listens to idle clients only: one that a
 * transaction holds between two statements would end the process. The next statement on it fails and says why.
 */
export function surviveLostConnections(pool: pg.Pool): void {
  pool.on('error', () => undefined);
  pool.on('connect', (client) => void client.on('error', () => undefined));
}

/** A pool with the query builder on top; connects when first used. */
export function openConnection(options: ConnectionOptions): OpenConnection {
  const pool = new pg.Pool({ ...clientConfig(options), max: options.maxConnections ?? 6, idleTimeoutMillis: 30_000 });
  surviveLostConnections(pool);
  const db = new Kysely<LedgerTables>({ dialect: new PostgresDialect({ pool }) });
  return { db, pool, close: () => db.destroy() };
}

const unreachableCodes = /^(ECONN|ENOTFOUND|EPIPE|EAI_AGAIN|ETIMEDOUT|ENOENT|08|57P0|25P03|53300)/;
/** Serialization failure, deadlock, lock or statement time-out: the same call may work at the next try. */
const contendedCodes = new Set(['40001', '40P01', '55P03', '57014']);

/** Turns a driver error into ours; ours pass unchanged. */
export function ledgerError(error: unknown): Error {
  if (error instanceof TorghutError) return error;
  const code = codeOf(error) ?? '';
  const text = describeError(error);
  if (
    unreachableCodes.test(code) ||
    /connection (terminated|ended|error|timeout)|timeout exceeded|not queryable/i.test(text)
  ) {
    return unreachableError({
      code: 'ledger_unreachable',
      what: 'the ledger (Postgres) cannot be reached',
      why: text || code,
      next: 'check that Postgres runs and that DB_DSN names it; the work is done again when it is back',
      cause: error,
    });
  }
  if (contendedCodes.has(code)) {
    return unreachableError({
      code: 'ledger_busy',
      what: 'the ledger (Postgres) did not finish a statement in time',
      why: text,
      next: 'look for a long transaction in pg_stat_activity; the work is done again',
      cause: error,
    });
  }
  if (code === '42P01' || code === '42703') {
    return unreachableError({
      code: 'ledger_schema_pending',
      what: 'the ledger lacks a table or column that this version needs',
      why: text,
      next: 'run `torghut db migrate`',
      cause: error,
    });
  }
  return error instanceof Error ? error : new Error(text);
}
