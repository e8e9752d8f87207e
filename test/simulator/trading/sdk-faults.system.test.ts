/**
 * Every fault of the trading REST, wrong keys and the limit of requests, as Alpaca's own SDK meets them.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Conformance, type PostBody, refusal, startConformance } from './conformance.ts';
import { FakeTape } from './fake-tape.ts';
import { sdkClient } from './sdk.ts';
import { startExchange, temporaryFolder } from './test-exchange.ts';

let at: Conformance;

beforeAll(async () => {
  at = await startConformance();
});
afterAll(() => at.close());

const t = () => at.sdk;
const post = (body: Partial<PostBody> = {}) => at.post(body);
const resting = (body: Partial<PostBody> = {}) => at.resting(body);

describe('faults and limits', () => {
  const rows: [what: string, status: number, code: number | undefined, message: RegExp, run: () => Promise<unknown>][] =
    [
      [
        'fault http_429',
        429,
        42910000,
        /rate limit exceeded/,
        () => withFault('http_429', () => t().account.getAccount()),
      ],
      [
        'fault http_5xx_before',
        503,
        50310000,
        /service unavailable/,
        () => withFault('http_5xx_before', () => post({ clientOrderId: 'before' }), { status: 503 }),
      ],
      [
        'fault http_5xx_after',
        504,
        50410000,
        /request timed out/,
        () => withFault('http_5xx_after', () => resting({ clientOrderId: 'after' })),
      ],
      ['fault html_error', 502, undefined, /502/, () => withFault('html_error', () => t().account.getAccount())],
    ];

  async function withFault(name: string, run: () => Promise<unknown>, parameters = {}): Promise<unknown> {
    at.faults.add({ name, count: 1, ...parameters });
    return run();
  }

  it.each(rows)('%s: %i', async (_what, status, code, message, run) => {
    const refused = await refusal(run);
    expect(refused.message).toMatch(message);
    expect({ status: refused.status, code: refused.code }).toEqual({ status, code });
  });

  it('5xx before leaves no order, 5xx after leaves one', async () => {
    expect((await refusal(() => t().orders.getOrderByClientOrderId({ clientOrderId: 'before' }))).status).toBe(404);
    expect((await t().orders.getOrderByClientOrderId({ clientOrderId: 'after' })).status).not.toBe('rejected');
  });

  it('a POST that is never answered has made its order, and the journal says so', async () => {
    at.faults.add({ name: 'post_timeout_after', count: 1 });
    const impatient = sdkClient(at.url, { timeoutMs: 300 });
    await expect(
      impatient.alpaca.trading.orders.limit({
        symbol: 'IBM',
        qty: 1,
        side: 'buy',
        limitPrice: 100,
        clientOrderId: 'silent',
      }),
    ).rejects.toThrow();
    expect((await t().orders.getOrderByClientOrderId({ clientOrderId: 'silent' })).status).toBe('new');
    const lines = await (await fetch(`${at.url}/_sim/journal?limit=10000&format=ndjson`)).text();
    const entries = lines
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const received = entries.filter((entry) => entry.kind === 'post_received' && entry.client_order_id === 'silent');
    expect(received).toHaveLength(1);
    const answered = entries.find((entry) => entry.kind === 'post_answered' && entry.request === received[0]?.request);
    expect(answered).toMatchObject({ http_status: 0, fault: 'post_timeout_after' });
  });

  it('slow waits before acting', async () => {
    at.faults.add({ name: 'slow', count: 1, delay_ms: 150 });
    const start = performance.now();
    await t().account.getAccount();
    expect(performance.now() - start).toBeGreaterThan(140);
  });

  it('wrong and missing keys are unauthorized', async () => {
    const folder = temporaryFolder();
    const guarded = await startExchange({
      tape: new FakeTape(['IBM']),
      directory: folder.path,
      only: { keyId: 'good', secret: 'pair' },
    });
    try {
      const wrong = sdkClient(guarded.url);
      expect(await refusal(() => wrong.alpaca.trading.account.getAccount())).toMatchObject({
        status: 401,
        message: expect.stringMatching(/unauthorized/),
      });
      const right = sdkClient(guarded.url, { keyId: 'good', secret: 'pair' });
      expect((await right.alpaca.trading.account.getAccount()).status).toBe('ACTIVE');
    } finally {
      await guarded.close();
      folder.remove();
    }
  });

  it('the real limit of requests answers 429 with the reset time', async () => {
    const folder = temporaryFolder();
    const limited = await startExchange({
      tape: new FakeTape(['IBM']),
      directory: folder.path,
      settings: { requestsPerMinute: 2 },
    });
    try {
      const { alpaca } = sdkClient(limited.url);
      const answers = await Promise.all(
        [1, 2, 3, 4].map(() => refusal(() => alpaca.trading.account.getAccount()).catch(() => undefined)),
      );
      expect(answers.filter((answer) => answer?.status === 429).length).toBeGreaterThanOrEqual(1);
    } finally {
      await limited.close();
      folder.remove();
    }
  });
});
