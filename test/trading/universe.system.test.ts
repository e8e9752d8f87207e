/** The universe of a service: a real HTTP server that answers well, badly and not at all, on a clock of the test's own. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../src/lib/service/clock.ts';
import { staticUniverse, type UrlUniverseOptions, urlUniverse } from '../../src/lib/trading/universe.ts';

let server: Server;
let url: string;
let asked = 0;
let answer: (response: ServerResponse) => void;
let nowMs: number;
const warnings: string[] = [];

beforeAll(async () => {
  server = createServer((_request, response) => {
    asked += 1;
    answer(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/symbols`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  asked = 0;
  nowMs = Date.UTC(2013, 9, 8, 14);
  warnings.length = 0;
  answer = json({ symbols: ['mu', 'NVDA', 'CRWD', 'not a symbol'] });
});

const json =
  (body: unknown, status = 200) =>
  (response: ServerResponse) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };
const clock: Clock = {
  kind: 'virtual',
  nowMs: () => nowMs,
  nowNs: () => BigInt(nowMs) * 1_000_000n,
  sleepUntil: () => Promise.resolve(),
};
const source = (change: Partial<UrlUniverseOptions> = {}) =>
  urlUniverse({
    url,
    clock,
    cacheSeconds: 300,
    maxStaleSeconds: 900,
    timeoutMs: 300,
    allowlist: 'all',
    fallback: undefined,
    requireNonEmpty: true,
    log: { warn: (fields) => void warnings.push(String((fields as { reason?: string }).reason)) },
    ...change,
  });

describe('the universe of a service', () => {
  it('is what the service says, in either form, and nothing that is no symbol', async () => {
    expect(await source().refresh()).toMatchObject({
      symbols: ['MU', 'NVDA', 'CRWD'],
      status: 'ok',
      reason: 'fetch_ok',
    });
    answer = json({ items: [{ symbol: 'mu', enabled: true }, { symbol: 'NVDA', enabled: false }, { symbol: 'AMD' }] });
    expect((await source().refresh()).symbols).toEqual(['MU', 'AMD']);
  });

  it('is asked for again when its time is over, not before', async () => {
    const universe = source();
    await universe.refresh();
    nowMs += 299_999;
    expect(await universe.refresh()).toMatchObject({ reason: 'cache_hit' });
    expect(asked).toBe(1);
    nowMs += 1;
    expect(await universe.refresh()).toMatchObject({ reason: 'fetch_ok' });
    expect(asked).toBe(2);
  });

  it.each([
    ['http_error', json({}, 503)],
    ['payload_decode_failed', json('<html>')],
    ['payload_decode_failed', json({ names: [] })],
    ['payload_empty', json({ symbols: [] })],
    ['fetch_failed', (response: ServerResponse) => void response.destroy()],
    ['fetch_failed', () => undefined],
  ])('%s is bridged with the last answer for fifteen minutes, then nothing may be opened', async (reason, bad) => {
    const universe = source();
    await universe.refresh();
    answer = bad;
    nowMs += 300_000;
    expect(await universe.refresh()).toMatchObject({
      symbols: ['MU', 'NVDA', 'CRWD'],
      status: 'degraded',
      reason: `${reason}_using_stale_cache`,
      isBlocked: false,
    });
    nowMs += 600_000;
    expect((await universe.refresh()).status).toBe('degraded');
    nowMs += 1;
    expect(await universe.refresh()).toMatchObject({ symbols: [], status: 'error', reason, isBlocked: true });
    // Told when it changes, not with every cycle.
    expect(warnings).toEqual([`${reason}_using_stale_cache`, reason]);
    answer = json({ symbols: ['MU'] });
    expect(await universe.refresh()).toMatchObject({ symbols: ['MU'], status: 'ok', isBlocked: false });
  });

  it('is bounded by the allowlist, and empty when nothing of it is allowed', async () => {
    expect((await source({ allowlist: ['MU', 'IBM'] }).refresh()).symbols).toEqual(['MU']);
    const nothing = await source({ allowlist: ['IBM'] }).refresh();
    expect(nothing).toMatchObject({ symbols: [], reason: 'payload_no_allowed_symbols', isBlocked: true });
  });

  it('is replaced by the static list only where that was asked for', async () => {
    answer = json({}, 500);
    expect(await source({ fallback: ['IBM', 'MU'], allowlist: ['MU'] }).refresh()).toMatchObject({
      symbols: ['MU'],
      status: 'degraded',
      reason: 'http_error_using_static_fallback',
      isBlocked: false,
    });
  });

  it.each([
    [undefined, 'url_missing'],
    ['ftp://host/symbols', 'url_invalid_scheme'],
    ['no url', 'url_invalid_host'],
  ])('of the address %s is none: %s', async (address, reason) => {
    expect(await source({ url: address }).refresh()).toMatchObject({ symbols: [], reason, isBlocked: true });
    expect(asked).toBe(0);
  });

  it('may be empty where nobody requires it not to be: nothing is allowed, nothing is blocked', async () => {
    answer = json({ symbols: [] });
    expect(await source({ requireNonEmpty: false }).refresh()).toMatchObject({ symbols: [], isBlocked: false });
  });
});

it('a static universe is always there', async () => {
  expect(await staticUniverse(['MU']).refresh()).toMatchObject({ symbols: ['MU'], status: 'ok', isBlocked: false });
});
