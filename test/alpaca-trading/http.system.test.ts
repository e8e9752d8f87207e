import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { createRequestBudget } from '../../src/lib/alpaca/trading-budget.ts';
import { sendOnce } from '../../src/lib/alpaca/trading-http.ts';
import { openTradingReads } from '../../src/lib/alpaca/trading-rest.ts';
import { listen } from '../../src/lib/service/http.ts';

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

async function serve(
  handle: (request: IncomingMessage, response: ServerResponse, call: number) => void,
): Promise<{ url: string; calls: () => number }> {
  let calls = 0;
  server = createServer((request, response) => {
    calls += 1;
    request.resume();
    request.on('end', () => handle(request, response, calls));
  });
  return { url: `http://127.0.0.1:${await listen(server, 0)}`, calls: () => calls };
}

const reads = (url: string, budget = createRequestBudget(1_000, 1)) =>
  openTradingReads({
    baseUrl: url,
    keyId: 'SIM',
    secretKey: 'secret-1234',
    budget,
    retryBaseMs: 5,
    readTimeoutMs: 300,
  });
const clock =
  '{"timestamp":"2013-10-08T10:00:00-04:00","is_open":true,"next_open":"2013-10-09T09:30:00-04:00","next_close":"2013-10-08T16:00:00-04:00"}';

describe('a mutation leaves once', () => {
  it.each([421, 408, 429, 500, 502, 503, 307])('also when the answer is %i', async (status) => {
    const { url, calls } = await serve((_request, response) => {
      response.writeHead(status, { location: '/elsewhere' });
      response.end('x');
    });
    expect(
      await sendOnce({ method: 'POST', url: `${url}/v2/orders`, headers: {}, body: '{}', timeoutMs: 1_000 }),
    ).toEqual({ status, text: 'x' });
    expect(calls()).toBe(1);
  });

  it('also when the socket dies on a kept connection', async () => {
    const { url, calls } = await serve((_request, response, call) => {
      if (call === 1) response.end('ok');
      else response.destroy();
    });
    const request = { method: 'POST' as const, url, headers: {}, body: '{}', timeoutMs: 1_000 };
    await sendOnce(request);
    await expect(sendOnce(request)).rejects.toThrow();
    expect(calls()).toBe(2);
  });

  it('and gives up after its time-out, also in the middle of an answer', async () => {
    const { url, calls } = await serve((_request, response) => {
      response.writeHead(200);
      response.write('{');
    });
    await expect(sendOnce({ method: 'POST', url, headers: {}, body: '{}', timeoutMs: 150 })).rejects.toThrow('150 ms');
    expect(calls()).toBe(1);
  });
});

describe('a read', () => {
  it('is tried three times through 429, 5xx and time-outs', async () => {
    const { url, calls } = await serve((_request, response, call) => {
      if (call === 1) return void response.writeHead(429, { 'retry-after': '0' }).end('{}');
      if (call === 2) return undefined;
      return void response.end(clock);
    });
    expect((await reads(url).clock()).isOpen).toBe(true);
    expect(calls()).toBe(3);
  });

  it("hears the broker's own count of what is left, by the clock of the broker", async () => {
    const serverMs = Date.UTC(2013, 9, 8, 14, 0, 0);
    const { url } = await serve((_request, response, call) => {
      response.writeHead(200, {
        date: new Date(serverMs).toUTCString(),
        'x-ratelimit-remaining': call === 1 ? '42' : 'many',
        'x-ratelimit-reset': String(serverMs / 1_000 + 60),
      });
      response.end(clock);
    });
    const budget = createRequestBudget(1_000, 1);
    await reads(url, budget).clock();
    await reads(url, budget).clock();
    expect(budget.remaining()).toBe(42);
  });

  it('fails with a code after the third try', async () => {
    const { url, calls } = await serve((_request, response) => void response.writeHead(503).end());
    await expect(reads(url).clock()).rejects.toMatchObject({ code: 'broker_unreachable', canRetry: true, exitCode: 3 });
    expect(calls()).toBe(3);
  });

  it('is not repeated when the broker refuses, and names a wrong key', async () => {
    const { url, calls } = await serve(
      (_request, response) => void response.writeHead(401).end('{"message":"unauthorized"}'),
    );
    await expect(reads(url).account()).rejects.toMatchObject({ code: 'broker_auth' });
    expect(calls()).toBe(1);
  });

  it('takes a 404 for absence only when the broker itself says it', async () => {
    const { url } = await serve((request, response) => {
      response.writeHead(404);
      response.end(request.url?.includes('gateway') ? '<html>' : '{"code":40410000,"message":"order not found"}');
    });
    expect(await reads(url).orderById('o')).toBeUndefined();
    await expect(reads(url).orderById('gateway')).rejects.toMatchObject({ code: 'broker_refused' });
  });

  it('says so when the answer cannot be read', async () => {
    const { url, calls } = await serve((_request, response) => void response.end('[{"id":1}]'));
    await expect(reads(url).orders({ status: 'all' })).rejects.toMatchObject({ code: 'broker_reply_unreadable' });
    expect(calls()).toBe(1);
  });
});
