/** The symbol service over real HTTP: status, size, form. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { fetchSymbols } from '../../src/lib/market/symbol-source.ts';

describe('one poll over HTTP', () => {
  let server: Server;
  afterEach(() => server.close());
  const serve = async (status: number, body: string): Promise<string> => {
    server = createServer((_request, response) => response.writeHead(status).end(body));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/symbols`;
  };

  test('an error with a JSON body is no empty list', async () => {
    await expect(fetchSymbols(await serve(500, '{"symbols":[]}'))).rejects.toMatchObject({
      code: 'symbols_http_status',
    });
  });

  test('over a mebibyte is refused', async () => {
    const url = await serve(200, JSON.stringify(Array.from({ length: 200_000 }, (_, i) => `S${i}`)));
    await expect(fetchSymbols(url)).rejects.toMatchObject({ code: 'symbols_too_large' });
  });

  test('what is no list is refused, a list is read', async () => {
    await expect(fetchSymbols(await serve(200, '<html>'))).rejects.toMatchObject({ code: 'symbols_unreadable' });
    server.close();
    expect(await fetchSymbols(await serve(200, '{"symbols":["A"]}'))).toEqual(['A']);
  });
});
