/**
 * One SQL statement of a person against the signal store, as rows.
 * Read-only unless told otherwise: the server itself refuses changes (`readonly`), no text is looked at. 64-bit integers and
 * decimals come as text, so nothing is rounded; every other number is a double.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { codeOf, describeError, refusedError, type TorghutError, usageError } from '../service/errors.ts';
import { storeError } from './errors.ts';

export interface StoreQuery {
  sql: string;
  /** Values of `{name:Type}` parameters, as text. */
  parameters?: Record<string, string>;
  canWrite?: boolean;
  signal?: AbortSignal;
}

const resultSchema = z.object({ data: z.array(z.record(z.string(), z.unknown())) });

/** @returns the rows; none for a statement without a result @throws `query_failed` (exit 2), `read_only` (exit 4) */
export async function queryStore(client: ClickHouseClient, query: StoreQuery): Promise<Record<string, unknown>[]> {
  let text: string;
  let format: string | undefined;
  try {
    const result = await client.exec({
      query: query.sql,
      ...(query.parameters ? { query_params: query.parameters } : {}),
      ...(query.signal ? { abort_signal: query.signal } : {}),
      clickhouse_settings: {
        ...{ default_format: 'JSON' },
        output_format_json_quote_64bit_integers: 1,
        output_format_json_quote_decimals: 1,
        output_format_json_quote_denormals: 1,
        // A large result is not cut off in the middle by an error: it is an error.
        wait_end_of_query: 1,
        ...(query.canWrite ? {} : { readonly: '2' }),
      },
    });
    const chunks: Buffer[] = [];
    for await (const chunk of result.stream as AsyncIterable<Buffer>) chunks.push(chunk);
    text = Buffer.concat(chunks).toString('utf8');
    format = result.response_headers['x-clickhouse-format'] as string | undefined;
  } catch (error) {
    throw queryError(error);
  }
  if (text.trim() === '') return [];
  if (format !== undefined && format !== 'JSON') {
    throw usageError({
      code: 'format_in_query',
      what: `the statement asks for the format ${format}`,
      next: 'leave FORMAT out and choose the output with -o table, json or yaml',
    });
  }
  return resultSchema.parse(JSON.parse(text)).data;
}

function queryError(error: unknown): TorghutError {
  const code = codeOf(error);
  const why = `code ${code}: ${describeError(error)
    .replace(/ Expected one of: [\s\S]*/, '')
    .trim()}`;
  if (code === '164') {
    return refusedError({
      code: 'read_only',
      what: 'the statement changes something',
      why,
      next: 'add --write when you mean it',
      cause: error,
    });
  }
  // 394: the server ends and cancels what runs; another one may answer.
  const isServerError = code !== undefined && code !== '394' && /^\d+$/.test(code);
  if (!isServerError) return storeError(error);
  return usageError({
    code: 'query_failed',
    what: 'ClickHouse cannot run the statement',
    why,
    next: 'correct the statement; `SHOW TABLES` and `DESCRIBE TABLE ta_microbars` tell what there is',
    cause: error,
  });
}
