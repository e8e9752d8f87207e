/**
 * What a client asks by HTTP: ClickHouse's own interface (query string, headers, body encodings, multipart parameters).
 * Parameters and settings are checked for their names here and never pasted into SQL unquoted.
 */
import type { IncomingMessage } from 'node:http';
import { pipeline, type Readable } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib';
import { frontError } from './errors.ts';

export interface QueryRequest {
  /** The `query` parameter; the statement may also be in the body. */
  query: string;
  database: string | undefined;
  format: string;
  queryId: string | undefined;
  session: { id: string; timeoutSeconds: number; mustExist: boolean; isClosing: boolean } | undefined;
  /** Engine settings in the order given. */
  settings: [name: string, value: string][];
  /** Query parameters `{name:Type}` in ClickHouse's escaped text form. */
  parameters: Map<string, string>;
  roles: string[];
  isCompressed: boolean;
  isReadOnly: boolean;
}

/** Names that are the interface's own and no engine settings. */
const interfaceNames = new Set([
  'query',
  'database',
  'default_format',
  'query_id',
  'session_id',
  'session_timeout',
  'session_check',
  'close_session',
  'user',
  'password',
  'quota_key',
  'role',
  'wait_end_of_query',
  'buffer_size',
  'enable_http_compression',
  'compress',
  'decompress',
  'stacktrace',
  'framing',
  'replace_running_query',
]);

const nameForm = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** @throws EngineError for names and values the interface does not have */
export function readQueryRequest(request: IncomingMessage, url: URL): QueryRequest {
  const search = url.searchParams;
  if (search.get('compress') === '1' || search.get('decompress') === '1') {
    throw frontError(48, 'NOT_IMPLEMENTED', "ClickHouse's native compression is not supported here, use gzip");
  }
  const settings: [string, string][] = [];
  const parameters = new Map<string, string>();
  for (const [name, value] of search) {
    if (name.startsWith('param_')) addParameter(parameters, name, value);
    else if (!interfaceNames.has(name)) {
      if (!nameForm.test(name))
        throw frontError(115, 'UNKNOWN_SETTING', `Setting ${name} is neither a builtin setting`);
      settings.push([name, value]);
    }
  }
  const sessionId = search.get('session_id');
  return {
    query: search.get('query') ?? '',
    database: search.get('database') ?? header(request, 'x-clickhouse-database'),
    format: search.get('default_format') ?? header(request, 'x-clickhouse-format') ?? 'TabSeparated',
    queryId: search.get('query_id') ?? undefined,
    session: sessionId
      ? {
          id: sessionId,
          timeoutSeconds: Math.min(3600, Math.max(1, Number(search.get('session_timeout') ?? 60) || 60)),
          mustExist: search.get('session_check') === '1',
          isClosing: search.get('close_session') === '1',
        }
      : undefined,
    settings,
    parameters,
    roles: search.getAll('role'),
    isCompressed: search.get('enable_http_compression') === '1',
    // As the server: GET cannot change anything.
    isReadOnly: request.method === 'GET',
  };
}

function addParameter(parameters: Map<string, string>, name: string, value: string): void {
  const bare = name.slice('param_'.length);
  if (!nameForm.test(bare)) throw frontError(36, 'BAD_ARGUMENTS', `${bare} is no name of a query parameter`);
  parameters.set(bare, value);
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value || undefined;
}

/** User and password as given by basic authentication, headers or query string. */
export function readCredentials(request: IncomingMessage, url: URL): { user: string; password: string } {
  const basic = /^Basic (.+)$/i.exec(header(request, 'authorization') ?? '')?.[1];
  if (basic !== undefined) {
    const text = Buffer.from(basic, 'base64').toString('utf8');
    const colon = text.indexOf(':');
    return { user: text.slice(0, Math.max(0, colon)), password: text.slice(colon + 1) };
  }
  return {
    user: header(request, 'x-clickhouse-user') ?? url.searchParams.get('user') ?? 'default',
    password: header(request, 'x-clickhouse-key') ?? url.searchParams.get('password') ?? '',
  };
}

/** The body without its content encoding. */
export function decodedBody(request: IncomingMessage): Readable {
  const encoding = header(request, 'content-encoding')?.toLowerCase() ?? 'identity';
  const decoder =
    encoding === 'gzip'
      ? createGunzip()
      : encoding === 'deflate'
        ? createInflate()
        : encoding === 'br'
          ? createBrotliDecompress()
          : encoding === 'zstd'
            ? createZstdDecompress()
            : undefined;
  if (!decoder) {
    if (encoding === 'identity') return request;
    throw frontError(48, 'NOT_IMPLEMENTED', `Content-Encoding ${encoding} is not supported here`);
  }
  pipeline(request, decoder, () => undefined);
  return decoder;
}

/** Boundary of a multipart body (long query parameters), undefined for every other body. */
export function multipartBoundary(request: IncomingMessage): string | undefined {
  const type = header(request, 'content-type') ?? '';
  return /^multipart\/form-data;.*boundary="?([^";]+)"?/i.exec(type)?.[1];
}

/** Takes `query` and `param_…` out of a multipart body. @throws EngineError on external tables */
export function readMultipart(body: Buffer, boundary: string, request: QueryRequest): void {
  const delimiter = Buffer.from(`--${boundary}`);
  let at = body.indexOf(delimiter);
  while (at >= 0) {
    const start = at + delimiter.length;
    const end = body.indexOf(delimiter, start);
    if (end < 0) return;
    const part = body.subarray(start, end);
    const split = part.indexOf('\r\n\r\n');
    const head = part.subarray(0, Math.max(0, split)).toString('utf8');
    const name = /name="([^"]+)"/i.exec(head)?.[1];
    // The line end in front of the next delimiter belongs to the delimiter.
    const value = part.subarray(split + 4, part.length - 2).toString('utf8');
    if (name === 'query') request.query += value;
    else if (name?.startsWith('param_')) addParameter(request.parameters, name, value);
    else throw frontError(48, 'NOT_IMPLEMENTED', `External table ${name ?? ''} is not supported here`);
    at = end;
  }
}
