/** ws with a symbol service: idle without a symbol, then in step with the list, and deaf to answers that cannot be meant. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { Rig } from './rig.ts';

const startNs = BigInt(Date.parse('2026-03-10T13:29:30Z')) * 1_000_000n;
let reply = { status: 500, body: '' };
const server = createServer((_request, response) => response.writeHead(reply.status).end(reply.body));
beforeAll(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
afterAll(() => new Promise((resolve) => server.close(resolve)));

let rig: Rig;
afterEach(() => rig.close());

interface Ready {
  ready: boolean;
  error_class: string | null;
  desired_symbols: { failure: string | null };
  alpaca_market_data_ws: { subscribed_symbols_by_channel: Record<string, string[]> };
}
const ready = async () => JSON.parse(await rig.page('/readyz')) as Ready;
const until = async (what: string, holds: (now: Ready) => boolean) => {
  const end = performance.now() + 60_000;
  let last: Ready | undefined;
  while (performance.now() < end) {
    last = await ready();
    if (holds(last)) return last;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: ${JSON.stringify(last)}`);
};
const subscribed = (now: Ready) => now.alpaca_market_data_ws.subscribed_symbols_by_channel.trades;

test('idle, then subscribed, then changed without a new connection; empty and shrunken lists are not believed', async () => {
  const { port } = server.address() as AddressInfo;
  reply = { status: 500, body: '{"symbols":["AMD"]}' };
  rig = new Rig({
    data: [], startNs, symbols: [], speed: 1,
    simulatorArgs: ['--synthetic', '7'],
    env: { SYMBOLS_URL: `http://127.0.0.1:${port}/list`, SYMBOLS_POLL_INTERVAL_MS: '100' },
  }); // biome-ignore format: one list
  await rig.startSimulator();
  rig.startWs();
  await rig.until('up', () => true);
  const idle = await until('idle', ({ desired_symbols }) => desired_symbols.failure === 'http_status');
  expect(idle).toMatchObject({ ready: false, error_class: 'symbols_empty' });
  expect(await rig.page('/healthz')).toBe('ok\n');

  reply = { status: 200, body: '{"symbols":["nvda","AMD","SPY"]}' };
  const first = await until('subscribed', (now) => subscribed(now)?.length === 3);
  expect(subscribed(first)).toEqual(['NVDA', 'AMD', 'SPY']);

  reply = { status: 200, body: '["NVDA","AMD","BAC","IBM"]' };
  await until('changed', (now) => subscribed(now)?.join() === 'NVDA,AMD,BAC,IBM');
  expect((await rig.wsStatus())?.reconnects).toBe(0);
  const sim = (await (await fetch(`${rig.url}/_sim/status`)).json()) as { connections: unknown };
  expect(JSON.stringify(sim.connections)).not.toContain('SPY');

  reply = { status: 200, body: '{"symbols":[]}' };
  const kept = await until('empty is refused', ({ desired_symbols }) => desired_symbols.failure === 'empty_result');
  expect(subscribed(kept)).toHaveLength(4);
  reply = { status: 200, body: '["NVDA"]' };
  await until('said twice, it is believed', (now) => subscribed(now)?.join() === 'NVDA');

  // The gauges follow at their own pace.
  let metrics = '';
  for (let i = 0; i < 200 && !metrics.includes('market_data_channel{'); i++) {
    metrics = await rig.metrics();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  for (const reason of ['http_status', 'empty_result', 'removes_over_half']) {
    expect(metrics).toMatch(new RegExp(`desired_symbols_fetch_failures_total\\{reason="${reason}"\\} [1-9]`));
  }
  for (const name of [
    'reconnects_total', 'market_data_connect_success_total', 'desired_symbols_fetch_success_total', 'readyz_status',
    'desired_symbols_fetch_degraded', 'market_data_channel', 'session_active', 'active_sockets', 'clock_skew_ms',
    'event_loop_lag_seconds', 'seq_regressions_total', 'last_close_code', 'build_info', 'queue_bytes', 'spool_bytes',
  ]) {
    expect(metrics, name).toMatch(new RegExp(`^torghut_ws_${name}(\\{.*\\})? `, 'm'));
  } // biome-ignore format: one list
}, 120_000);
