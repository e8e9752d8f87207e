/**
 * One SQL statement of a person against the ledger, as rows.
 * Read-only unless told otherwise, by Postgres itself: a read-only session and transaction, and the extended protocol, which
 * takes one statement only, so nothing can end the transaction first.
 */
import pg from 'pg';
import {
  codeOf,
  describeError,
  refusedError,
  type TorghutError,
  unreachableError,
  usageError,
} from '../../lib/service/errors.ts';

export interface LedgerQuery {
  sql: string;
  parameters?: readonly string[];
  canWrite?: boolean;
}

/** Types that keep their text: times and intervals as Postgres writes them, nothing is turned into a Date. */
const rawTypes: pg.CustomTypesConfig = {
  getTypeParser: (id: number, format?: 'text' | 'binary') => {
    const asText = new Set<number>([1082, 1083, 1114, 1184, 1186, 1266]);
    if (asText.has(id)) return (text: string) => text;
    return pg.types.getTypeParser(id, format === 'binary' ? 'binary' : 'text') as (text: string) => unknown;
  },
};

/** @returns the rows; none for a statement without a result @throws `query_failed` (exit 2), `read_only` (exit 4) */
export async function queryLedger(dsn: string, query: LedgerQuery): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({
    connectionString: dsn,
    application_name: 'torghut-db-query',
    connectionTimeoutMillis: 10_000,
    ...(query.canWrite ? {} : { options: '-c default_transaction_read_only=on' }),
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
  } catch (error) {
    await client.end().catch(() => undefined);
    throw unreachableError({
      code: 'ledger_unreachable',
      what: 'Postgres does not answer',
      why: describeError(error),
      next: 'check DB_DSN, or start the run that has the ledger',
      cause: error,
    });
  }
  try {
    await client.query(query.canWrite ? 'BEGIN' : 'BEGIN READ ONLY');
    const result = await client.query<Record<string, unknown>>({
      text: query.sql,
      values: [...(query.parameters ?? [])],
      queryMode: 'extended',
      types: rawTypes,
    } as pg.QueryConfig);
    await client.query('COMMIT');
    return result.rows;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw queryError(error);
  } finally {
    await client.end().catch(() => undefined);
  }
}

function queryError(error: unknown): TorghutError {
  const why = `${codeOf(error) ?? 'error'}: ${describeError(error)}`;
  if (codeOf(error) === '25006') {
    return refusedError({
      code: 'read_only',
      what: 'the statement changes something',
      why,
      next: 'add --write when you mean it',
      cause: error,
    });
  }
  return usageError({
    code: 'query_failed',
    what: 'Postgres cannot run the statement',
    why,
    next: "correct the statement; `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'` tells what there is",
    cause: error,
  });
}
