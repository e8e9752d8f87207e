/**
 * ClickHouse's HTTP interface before the engine, as far as the unmodified @clickhouse/client and this project use it: queries,
 * parameters, streaming inserts, compression both ways, sessions, settings, typed errors, ping, giving up.
 * Differences from a server, by intent: results are sent when they are complete (so an error is always an HTTP error), a
 * query's id is the front's and not the engine's (`KILL QUERY WHERE query_id` does not find it; closing the request ends it),
 * and X-ClickHouse-Summary holds what the engine tells: rows of the result or rows written, and the time.
 */
import { createHash, randomUUID, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { brotliCompress, deflate, gzip, zstdCompress } from 'node:zlib';
import type { Engine } from './engine.ts';
import { asEngineError, type EngineError, frontError, httpStatusOf } from './errors.ts';
import { insertPieces, wholeBody } from './inserts.ts';
import { Lanes, laneLimits } from './lanes.ts';
import {
  decodedBody,
  multipartBoundary,
  type QueryRequest,
  readCredentials,
  readMultipart,
  readQueryRequest,
} from './request.ts';
import { Connections } from './sessions.ts';
import { readStatement, type Statement } from './statement.ts';

export interface FrontOptions {
  engine: Engine;
  user: string;
  password: string;
  /** Threads of Node's pool (UV_THREADPOOL_SIZE). */
  poolThreads: number;
}

export interface Front {
  server: Server;
  /** Ends the reads, waits for the inserts at most so many machine ms; true when nothing runs any more. */
  drain(ms: number): Promise<boolean>;
}

interface Outcome {
  body: Buffer;
  summary: Record<string, string>;
  format?: string;
}

export function createFront(options: FrontOptions): Front {
  const { engine } = options;
  const lanes = new Lanes(laneLimits(options.poolThreads));
  const connections = new Connections(engine);
  const running = new Map<string, { comment: string; kind: Statement['kind'] }>();
  let isStopping = false;

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    if (url.pathname === '/ping' || url.pathname === '/replicas_status') return sendText(response, 200, 'Ok.\n');
    if (url.pathname !== '/') return sendText(response, 404, `There is no handle ${url.pathname}\n`);
    authenticate(options, readCredentials(request, url));
    if (isStopping) throw frontError(236, 'ABORTED', 'The engine is stopping');
    const query = readQueryRequest(request, url);
    if (request.method === 'GET' && query.query === '') return sendText(response, 200, 'Ok.\n');
    const queryId = query.queryId || randomUUID();
    response.setHeader('x-clickhouse-query-id', queryId);
    if (running.has(queryId)) {
      throw frontError(216, 'QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING', `Query with id = ${queryId} is already running`);
    }
    const entry = { comment: `torghut-${randomUUID()}`, kind: 'read' as Statement['kind'] };
    running.set(queryId, entry);
    const gone = new AbortController();
    response.once('close', () => {
      if (response.writableFinished) return;
      gone.abort(frontError(210, 'NETWORK_ERROR', 'The client has gone'));
      // What changes something is finished, as on the server; a read is of no use to anybody any more.
      if (running.has(queryId) && entry.kind === 'read') void engine.kill(entry.comment).catch(() => undefined);
    });
    try {
      const outcome = await execute(query, request, entry, gone.signal);
      await sendOutcome(request, response, query, outcome);
    } finally {
      running.delete(queryId);
    }
  };

  const execute = async (
    query: QueryRequest,
    request: IncomingMessage,
    entry: { comment: string; kind: Statement['kind'] },
    gone: AbortSignal,
  ): Promise<Outcome> => {
    const body = decodedBody(request);
    const boundary = multipartBoundary(request);
    if (boundary !== undefined) readMultipart(await wholeBody(body), boundary, query);
    const inQuery = readStatement(query.query);
    // The statement stands in the query string, in the body, or begins in one and goes on in the other.
    const text = Buffer.from(query.query, 'utf8');
    if (inQuery.data) {
      const head = readStatement(text.toString('latin1'));
      return insert(
        query,
        text,
        head,
        insertPieces(text.subarray(head.data?.start), body, inQuery.data.format),
        entry,
        gone,
      );
    }
    const rest = boundary === undefined ? await wholeBody(body) : Buffer.alloc(0);
    const whole = text.length === 0 ? rest : rest.length === 0 ? text : Buffer.concat([text, Buffer.from('\n'), rest]);
    const statement = readStatement(whole.toString('latin1'));
    if (statement.data) {
      const data = whole.subarray(statement.data.start);
      return insert(query, whole, statement, [data], entry, gone);
    }
    return run(query, whole, statement, entry, gone);
  };

  const run = async (
    query: QueryRequest,
    text: Buffer,
    statement: Statement,
    entry: { comment: string; kind: Statement['kind'] },
    gone: AbortSignal,
  ): Promise<Outcome> => {
    if (statement.verb === '') throw frontError(62, 'SYNTAX_ERROR', 'Syntax error: empty query');
    if (statement.secondAt !== undefined) {
      throw frontError(62, 'SYNTAX_ERROR', 'Syntax error (Multi-statements are not allowed)');
    }
    entry.kind = statement.kind;
    // An INSERT … SELECT reads for long and is not one of the small writes that the insert lane is for.
    const lane = statement.kind === 'insert' ? 'change' : statement.kind;
    const sql = text.toString('utf8');
    query.query = sql;
    return lanes.run(lane, gone, () =>
      connections.use(query, entry.comment, async (connection) => {
        gone.throwIfAborted();
        const result = await connection.query(sql, query.format);
        return {
          body: result.body,
          summary: {
            result_rows: String(result.rows),
            result_bytes: String(result.body.length),
            elapsed_ns: String(Math.round(result.elapsedMs * 1e6)),
          },
          format: statement.format ?? query.format,
        };
      }),
    );
  };

  const insert = async (
    query: QueryRequest,
    text: Buffer,
    statement: Statement,
    pieces: AsyncIterable<Buffer> | Iterable<Buffer>,
    entry: { comment: string; kind: Statement['kind'] },
    gone: AbortSignal,
  ): Promise<Outcome> => {
    entry.kind = 'insert';
    const data = statement.data as NonNullable<Statement['data']>;
    const head = text.subarray(0, statement.end).toString('utf8');
    query.query = head;
    // `FORMAT Values` is how the engine takes the rows of a VALUES clause from data.
    const prefix = `${head} FORMAT ${data.format}`;
    let rows = 0;
    let bytes = 0;
    let elapsedMs = 0;
    for await (const piece of pieces) {
      if (piece.length === 0) continue;
      // A body that was cut off by its client is not inserted: the loop over it throws before this line.
      const result = await lanes.run('insert', gone, () =>
        connections.use(query, entry.comment, (connection) => connection.insert(prefix, piece)),
      );
      rows += result.rows;
      bytes += result.bytes;
      elapsedMs += result.elapsedMs;
    }
    const summary = {
      written_rows: String(rows),
      written_bytes: String(bytes),
      elapsed_ns: String(Math.round(elapsedMs * 1e6)),
    };
    return { body: Buffer.alloc(0), summary };
  };

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) =>
      sendError(request, response, asEngineError(error), engine.version),
    );
  });
  server.keepAliveTimeout = 30_000;
  server.requestTimeout = 0;
  return {
    server,
    drain: async (ms) => {
      isStopping = true;
      for (const entry of running.values()) {
        if (entry.kind === 'read') await engine.kill(entry.comment).catch(() => undefined);
      }
      const deadline = performance.now() + ms;
      while (running.size > 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
      connections.closeIdle();
      return running.size === 0;
    },
  };
}

/** @throws EngineError 516 (HTTP 403), as the server for a wrong user or password */
function authenticate(options: FrontOptions, given: { user: string; password: string }): void {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  const isRight =
    timingSafeEqual(digest(given.user), digest(options.user)) &&
    timingSafeEqual(digest(given.password), digest(options.password));
  if (isRight) return;
  const text = `${given.user}: Authentication failed: password is incorrect, or there is no user with such name`;
  throw frontError(516, 'AUTHENTICATION_FAILED', text);
}

function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=UTF-8' });
  response.end(text);
}

const encoders = {
  gzip: promisify(gzip),
  deflate: promisify(deflate),
  br: promisify(brotliCompress),
  zstd: promisify(zstdCompress),
};

type Encoding = keyof typeof encoders;

/** The encoding that the client asked for, when it let the server compress. */
function wantedEncoding(request: IncomingMessage, isCompressed: boolean): Encoding | undefined {
  if (!isCompressed) return undefined;
  const accepted = String(request.headers['accept-encoding'] ?? '')
    .split(',')
    .map((item) => item.split(';')[0]?.trim().toLowerCase());
  return (Object.keys(encoders) as Encoding[]).find((encoding) => accepted.includes(encoding));
}

async function sendOutcome(
  request: IncomingMessage,
  response: ServerResponse,
  query: QueryRequest,
  outcome: Outcome,
): Promise<void> {
  const headers: Record<string, string> = {
    'content-type': 'text/plain; charset=UTF-8',
    'x-clickhouse-summary': JSON.stringify(outcome.summary),
    'x-clickhouse-server-display-name': 'torghut-embedded',
    'x-clickhouse-timezone': Intl.DateTimeFormat().resolvedOptions().timeZone,
  };
  if (outcome.format !== undefined) {
    headers['x-clickhouse-format'] = outcome.format;
    headers['content-type'] = contentTypeOf(outcome.format);
  }
  const encoding = outcome.body.length > 0 ? wantedEncoding(request, query.isCompressed) : undefined;
  let body = outcome.body;
  if (encoding) {
    headers['content-encoding'] = encoding;
    body = await encoders[encoding](body);
  }
  if (response.destroyed) return;
  response.writeHead(200, { ...headers, 'content-length': String(body.length) });
  response.end(body);
}

function contentTypeOf(format: string): string {
  if (/^JSONEachRow|NDJSON|JSONLines|JSONCompactEachRow/i.test(format)) return 'application/x-ndjson; charset=UTF-8';
  if (/^JSON/i.test(format)) return 'application/json; charset=UTF-8';
  if (/^CSV/i.test(format)) return 'text/csv; charset=UTF-8';
  if (/^(TabSeparated|TSV)/i.test(format)) return 'text/tab-separated-values; charset=UTF-8';
  return /^(Native|RowBinary|Arrow|Parquet|ORC|Avro)/i.test(format)
    ? 'application/octet-stream'
    : 'text/plain; charset=UTF-8';
}

function sendError(request: IncomingMessage, response: ServerResponse, error: EngineError, version: string): void {
  // What is left of the body would be read as the next request.
  request.unpipe();
  request.resume();
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const text = `${error.message} (version ${version} (embedded build))\n`;
  response.writeHead(httpStatusOf(error.exceptionCode), {
    'content-type': 'text/plain; charset=UTF-8',
    'x-clickhouse-exception-code': String(error.exceptionCode),
    'content-length': String(Buffer.byteLength(text)),
  });
  response.end(text);
}
