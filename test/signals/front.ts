/**
 * An HTTP front that records what comes in, for tests of statements that the embedded engine cannot run as they are (a cluster's
 * queue of DDL, several servers): it answers itself, or passes the statement on in words that the engine knows.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { ServiceEndpoint } from '../../src/lib/service/home.ts';

/** The answer of a server: rows, nothing, or an error with its code. */
export type Answer = readonly Record<string, unknown>[] | undefined | { code: number; text: string };

export interface RecordingFront {
  endpoint: ServiceEndpoint;
  /** Everything that came in, in order. */
  readonly statements: string[];
  close(): Promise<void>;
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString('utf8');
}

const isAnswerError = (answer: Answer): answer is { code: number; text: string } =>
  answer !== undefined && !Array.isArray(answer);

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

const textOf = (url: URL, body: string): string => `${url.searchParams.get('query') ?? ''}${body}`.trim();

/** A mistake of the test itself is an answer of its own, never a request that hangs. */
function serving(handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>): Server {
  return createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      response.writeHead(502);
      response.end(String(error));
    });
  });
}

/** A server that answers by this function. */
export async function answeringFront(answer: (statement: string) => Answer): Promise<RecordingFront> {
  const statements: string[] = [];
  const server = serving(async (request, response) => {
    const statement = textOf(new URL(request.url ?? '/', 'http://x'), await bodyOf(request));
    statements.push(statement);
    const given = answer(statement);
    if (isAnswerError(given)) {
      response.writeHead(500, { 'x-clickhouse-exception-code': String(given.code) });
      response.end(`Code: ${given.code}. DB::Exception: ${given.text}. (TEST)\n`);
      return;
    }
    response.end((given ?? []).map((row) => `${JSON.stringify(row)}\n`).join(''));
  });
  const url = await listening(server);
  return {
    endpoint: { name: 'clickhouse', url, pid: 0, start_ticks: '', user: 'u', password: 'p' },
    statements,
    close: closing(server),
  };
}

/** Passes every statement on to a real server, in the words that `translate` gives it. */
export async function passingFront(
  to: ServiceEndpoint,
  translate: (statement: string) => string,
): Promise<RecordingFront> {
  const statements: string[] = [];
  const server = serving(async (request, response) => {
    const url = new URL(request.url ?? '/', 'http://x');
    const body = await bodyOf(request);
    statements.push(textOf(url, body));
    const inQuery = url.searchParams.get('query');
    if (inQuery !== null) url.searchParams.set('query', translate(inQuery));
    const headers = new Headers();
    for (const [name, value] of Object.entries(request.headers)) {
      if (!/^(host|connection|content-length|transfer-encoding|accept-encoding)$/.test(name))
        headers.set(name, String(value));
    }
    const answer = await fetch(`${to.url}${url.pathname}${url.search}`, {
      method: request.method ?? 'POST',
      headers,
      body: inQuery === null ? translate(body) : body,
    });
    const code = answer.headers.get('x-clickhouse-exception-code');
    response.writeHead(answer.status, code === null ? {} : { 'x-clickhouse-exception-code': code });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  const url = await listening(server);
  return { endpoint: { ...to, url }, statements, close: closing(server) };
}

const closing = (server: Server) => async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
};
