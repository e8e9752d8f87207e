/**
 * Connections of the requests: a fresh one for each, or the kept one of a session.
 * In a session, what a statement sets stays (SET, USE, temporary tables), but settings and database given with one request
 * hold for that request only, as on the server: they are read before and put back after.
 */
import { z } from 'zod';
import type { Engine, EngineConnection } from './engine.ts';
import { frontError } from './errors.ts';
import type { QueryRequest } from './request.ts';
import { parameterNames, quoteName, quoteText } from './statement.ts';

interface Session {
  connection: EngineConnection;
  isBusy: boolean;
  /** Parameters ever set on the connection; the engine cannot unset one. */
  parameters: Set<string>;
  expiry: NodeJS.Timeout | undefined;
}

const settingRows = z.array(z.object({ name: z.string(), value: z.string(), changed: z.number() }));
const maxSessions = 200;

export class Connections {
  readonly #engine: Engine;
  readonly #sessions = new Map<string, Session>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Runs the work on the connection that the request asks for, prepared with its settings and parameters. */
  async use<T>(request: QueryRequest, comment: string, work: (connection: EngineConnection) => Promise<T>): Promise<T> {
    if (!request.session) {
      const connection = this.#engine.connect();
      try {
        await prepare(connection, request, comment);
        return await work(connection);
      } finally {
        connection.close();
      }
    }
    return this.#inSession(request, request.session, comment, work);
  }

  async #inSession<T>(
    request: QueryRequest,
    wanted: NonNullable<QueryRequest['session']>,
    comment: string,
    work: (connection: EngineConnection) => Promise<T>,
  ): Promise<T> {
    if (request.isReadOnly || request.settings.some(([name]) => name === 'readonly')) {
      throw frontError(48, 'NOT_IMPLEMENTED', 'readonly together with session_id is not supported here');
    }
    const session = this.#session(wanted);
    if (session.isBusy)
      throw frontError(373, 'SESSION_IS_LOCKED', `Session ${wanted.id} is locked by a concurrent client`);
    session.isBusy = true;
    clearTimeout(session.expiry);
    const close = () => {
      this.#sessions.delete(wanted.id);
      session.connection.close();
    };
    try {
      const stale = parameterNames(request.query).find(
        (name) => session.parameters.has(name) && !request.parameters.has(name),
      );
      if (stale) throw frontError(456, 'UNKNOWN_QUERY_PARAMETER', `Substitution \`${stale}\` is not set`);
      const before = await remember(session.connection, request);
      for (const name of request.parameters.keys()) session.parameters.add(name);
      try {
        await prepare(session.connection, request, comment);
        return await work(session.connection);
      } finally {
        await session.connection.query(before).catch(close);
      }
    } finally {
      session.isBusy = false;
      if (wanted.isClosing) close();
      else if (this.#sessions.has(wanted.id)) {
        session.expiry = setTimeout(close, wanted.timeoutSeconds * 1000);
        session.expiry.unref();
      }
    }
  }

  #session(wanted: NonNullable<QueryRequest['session']>): Session {
    const known = this.#sessions.get(wanted.id);
    if (known) return known;
    if (wanted.mustExist) throw frontError(372, 'SESSION_NOT_FOUND', `Session ${wanted.id} not found`);
    if (this.#sessions.size >= maxSessions) throw frontError(203, 'NO_FREE_CONNECTION', 'Too many sessions');
    const session: Session = {
      connection: this.#engine.connect(),
      isBusy: false,
      parameters: new Set(),
      expiry: undefined,
    };
    this.#sessions.set(wanted.id, session);
    return session;
  }

  closeIdle(): void {
    for (const [id, session] of this.#sessions) {
      if (session.isBusy) continue;
      clearTimeout(session.expiry);
      this.#sessions.delete(id);
      session.connection.close();
    }
  }
}

/** The statement that puts back what this request is about to change. */
async function remember(connection: EngineConnection, request: QueryRequest): Promise<string> {
  const names = request.settings.map(([name]) => quoteText(name));
  const statements: string[] = [];
  if (names.length > 0) {
    const found = await connection.query(
      `SELECT name, value, changed FROM system.settings WHERE name IN (${names.join(', ')})`,
      'JSONEachRow',
    );
    const lines = found.body.toString('utf8').split('\n').filter(Boolean);
    const rows = settingRows.parse(lines.map((line) => JSON.parse(line) as unknown));
    const assignments = rows.map(({ name, value, changed }) => `${name} = ${changed ? quoteText(value) : 'DEFAULT'}`);
    if (assignments.length > 0) statements.push(`SET ${assignments.join(', ')}`);
  }
  if (request.database !== undefined) {
    const current = (await connection.query('SELECT currentDatabase()', 'TabSeparatedRaw')).body
      .toString('utf8')
      .trimEnd();
    statements.push(`USE ${quoteName(current)}`);
  }
  statements.push("SET log_comment = ''");
  return statements.join('; ');
}

/** Sets database, roles, settings and parameters on a connection. `readonly` comes last: nothing can be set after it. */
async function prepare(connection: EngineConnection, request: QueryRequest, comment: string): Promise<void> {
  const assignments = ['implicit_select = 0'];
  let readOnly = request.isReadOnly ? '2' : undefined;
  let userComment = '';
  for (const [name, value] of request.settings) {
    if (name === 'readonly') readOnly = value === '0' ? readOnly : '2';
    else if (name === 'log_comment') userComment = value;
    else assignments.push(`${name} = ${quoteText(value)}`);
  }
  assignments.push(`log_comment = ${quoteText(`${comment} ${userComment}`.trimEnd())}`);
  for (const [name, value] of request.parameters) assignments.push(`param_${name} = ${quoteText(value)}`);
  const statements: string[] = [];
  if (request.database !== undefined) statements.push(`USE ${quoteName(request.database)}`);
  if (request.roles.length > 0) statements.push(`SET ROLE ${request.roles.map(quoteName).join(', ')}`);
  statements.push(`SET ${assignments.join(', ')}`);
  if (readOnly !== undefined) statements.push(`SET readonly = ${readOnly}`);
  await connection.query(statements.join('; '));
}
