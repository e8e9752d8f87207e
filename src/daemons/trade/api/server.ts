/**
 * The HTTP server of `torghut trade` (spec trading 7): loopback unless told otherwise, read-only but for the few routes that
 * demand the bearer token. Every route is in /openapi.json and nothing else is: both are made of the same descriptions.
 * Guarantees: every error is `{error:{code,message,request_id}}`; nobody can exhaust the loop by asking (a budget of
 * requests a machine second); a token is compared in constant time and never logged.
 */
import bearerAuth from '@fastify/bearer-auth';
import swagger from '@fastify/swagger';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { usageError } from '../../../lib/service/errors.ts';
import { machineMs } from '../../../lib/service/machine.ts';
import { type ApiPorts, ApiRefusal, type ApiRoute, apiRoutes } from './routes.ts';
import { documentOf, errorSchema, queryOf } from './schemas.ts';

export interface ServeOptions {
  host: string;
  /** 0 picks a free one. */
  port: number;
  /** What a mutation must carry as `Authorization: Bearer …`. */
  token: string;
}

export interface RunningApi {
  url: string;
  port: number;
  app: FastifyInstance;
  close(): Promise<void>;
}

/** Of the routes and their answers: the first number changes when a field goes or changes its meaning. */
const API_VERSION = '1.0.0';

/** Requests in one machine second; a dashboard asks a few, a scraper one in fifteen seconds. */
const REQUESTS_PER_SECOND = 200;

const unauthorized = () =>
  new ApiRefusal(401, 'unauthorized', 'this changes something: send Authorization: Bearer <token of the daemon>');

const refusalOf = (code: string, message: string, request: FastifyRequest) => ({
  error: { code, message, request_id: request.id },
});

/** The server with all routes, not listening yet: tests ask it without a port. */
export async function buildApi(ports: ApiPorts, options: Pick<ServeOptions, 'token'>): Promise<FastifyInstance> {
  const app = fastify({
    logger: false,
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    genReqId: requestIds(),
    ajv: { customOptions: { removeAdditional: false, coerceTypes: true, useDefaults: true } },
  });
  // What a handler gives is sent as it is; bigints as decimal text. The schemas describe, they do not cut.
  app.setSerializerCompiler(
    () => (data) =>
      `${JSON.stringify(data, (_key, item: unknown) => (typeof item === 'bigint' ? item.toString() : item))}\n`,
  );
  app.setErrorHandler((error: Error & { validation?: unknown; statusCode?: number }, request, reply) => {
    if (error instanceof ApiRefusal) return send(reply, error.status, refusalOf(error.code, error.message, request));
    if (error.validation) return send(reply, 400, refusalOf('bad_request', error.message, request));
    const status = error.statusCode ?? 500;
    const code = status < 500 ? 'bad_request' : 'unexpected';
    return send(reply, status, refusalOf(code, error.message, request));
  });
  app.setNotFoundHandler((request, reply) =>
    send(reply, 404, refusalOf('not_found', `no route ${request.method} ${request.url.split('?')[0]}`, request)),
  );
  app.addHook('onRequest', budget());
  app.addHook('onSend', (request, reply, _payload, done) => {
    void reply.header('x-request-id', request.id);
    done();
  });
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'torghut trade',
        version: API_VERSION,
        description: 'Read-only view of one trading loop; the mutations need the bearer token of the daemon.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    },
  });
  const routes = apiRoutes(ports, () => app.swagger());
  await app.register(bearerAuth, { keys: new Set([options.token]), addHook: false });
  for (const route of routes.filter(({ isMutation }) => !isMutation)) addRoute(app, route);
  // A scope of its own: its hook holds for the changes alone.
  await app.register((guarded, _options, done) => {
    guarded.addHook('onRequest', (request, reply, next) => {
      guarded.verifyBearerAuth?.(request, reply, (error) => next(error ? unauthorized() : undefined));
    });
    for (const route of routes.filter(({ isMutation }) => isMutation)) addRoute(guarded, route);
    done();
  });
  await app.ready();
  return app;
}

export async function serveApi(ports: ApiPorts, options: ServeOptions): Promise<RunningApi> {
  const app = await buildApi(ports, options);
  const { host } = options;
  try {
    await app.listen({ host, port: options.port });
  } catch (error) {
    const { code } = error as { code?: string };
    await app.close();
    if (code !== 'EADDRINUSE' && code !== 'EACCES') throw error;
    throw usageError({
      code: 'port_in_use',
      what: `cannot listen on ${host}:${options.port}`,
      why: code === 'EACCES' ? 'the port needs more rights' : 'another process listens there',
      next: 'choose another port, or 0 for a free one',
      cause: error,
    });
  }
  const [bound] = app.addresses();
  const port = typeof bound === 'object' ? bound.port : options.port;
  const reach = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return { url: `http://${reach}:${port}`, port, app, close: () => app.close() };
}

function addRoute(app: FastifyInstance, route: ApiRoute): void {
  const failures = Object.fromEntries(
    ['400', ...(route.isMutation ? ['401', '409'] : []), '429', '503'].map((status) => [
      status,
      { description: 'refused', ...documentOf(status === '503' && route.degraded ? route.degraded : errorSchema) },
    ]),
  );
  app.route({
    method: route.method,
    url: route.path,
    schema: {
      summary: route.summary,
      operationId: route.id,
      tags: [route.isMutation ? 'change' : 'read'],
      querystring: queryOf(route.query),
      ...(route.isMutation ? { security: [{ bearer: [] }] } : {}),
      response: {
        [String(route.okStatus ?? 200)]: {
          description: route.summary,
          ...(route.answer ? documentOf(route.answer) : { type: 'string' }),
        },
        ...failures,
      },
    },
    handler: async (request, reply) => {
      const answer = await route.handle(request.query as never);
      if (answer.contentType !== undefined) {
        return reply
          .code(answer.status)
          .type(answer.contentType)
          .serializer((text: unknown) => String(text))
          .send(answer.body);
      }
      return send(reply, answer.status, answer.body);
    },
  });
}

const send = (reply: FastifyReply, status: number, body: unknown): FastifyReply =>
  reply.code(status).type('application/json').send(body);

function requestIds(): () => string {
  let last = 0;
  return () => `${process.pid}-${++last}`;
}

/** A fixed budget for each machine second, for all askers together. */
function budget() {
  let second = 0;
  let used = 0;
  return (_request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void) => {
    const now = Math.floor(machineMs() / 1_000);
    if (now !== second) {
      second = now;
      used = 0;
    }
    used += 1;
    done(used > REQUESTS_PER_SECOND ? new ApiRefusal(429, 'too_many_requests', 'ask again in a second') : undefined);
  };
}
