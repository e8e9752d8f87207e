/** The market stream client against a server that says exactly what each test tells it to. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { encode } from '@msgpack/msgpack';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';
import type { ScannedMessage } from '../../src/lib/alpaca/frame-scanner.ts';
import { createMarketStream, type MarketStreamOptions } from '../../src/lib/alpaca/market-stream.ts';
import type { StateChange } from '../../src/lib/alpaca/reconnect.ts';
import { systemClock } from '../../src/lib/service/clock.ts';

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

let server: WebSocketServer;
let sockets: WebSocket[] = [];
let received: Record<string, unknown>[] = [];
/** Answers to the n-th connection's messages. */
let script: (message: Record<string, unknown>, socket: WebSocket, connection: number) => void;
const closers: (() => Promise<void>)[] = [];

beforeEach(async () => {
  sockets = [];
  received = [];
  script = whole;
  server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await new Promise((resolve) => server.once('listening', resolve));
  server.on('connection', (socket) => {
    const connection = sockets.push(socket);
    say(socket, { T: 'success', msg: 'connected' });
    socket.on('message', (data) => {
      const message = JSON.parse(String(data)) as Record<string, unknown>;
      received.push(message);
      script(message, socket, connection);
    });
  });
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  for (const socket of sockets) socket.terminate();
  await new Promise((resolve) => server.close(resolve));
});

const say = (socket: WebSocket, ...messages: object[]) => socket.send(JSON.stringify(messages));
const whole: typeof script = (message, socket) => {
  if (message.action === 'auth') return say(socket, { T: 'success', msg: 'authenticated' });
  const { action, ...lists } = message;
  say(socket, { T: 'subscription', ...lists, corrections: lists.trades, cancelErrors: lists.trades });
};

function connect(changes: Partial<MarketStreamOptions> = {}) {
  const states: StateChange[] = [];
  const messages: ScannedMessage[] = [];
  const notices: unknown[] = [];
  const bad: string[] = [];
  const pongs: bigint[] = [];
  const stream = createMarketStream({
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/v2/sip`,
    key: 'KEY',
    secret: 'SECRET',
    channels: ['trades', 'quotes', 'statuses', 'corrections', 'cancelErrors'],
    symbols: ['A', 'B', 'C'],
    batchSize: 10,
    encoding: 'json',
    clock: systemClock(),
    random: () => 0,
    reconnectBaseMs: 20,
    reconnectMaxMs: 100,
    refusedRetryMs: 60_000,
    pingMs: 20,
    pongTimeoutMs: 300,
    authTimeoutMs: 300,
    readIdleMs: 600_000,
    isSessionActive: () => true,
    onState: (change) => void states.push(change),
    onMessage: (message) => void messages.push(message),
    onBadFrame: (reason) => void bad.push(reason),
    onPong: (sentNs) => void pongs.push(sentNs),
    onNotice: (...notice) => void notices.push(notice),
    ...changes,
  });
  const control = new AbortController();
  const run = stream.run(control.signal);
  const stop = async () => {
    control.abort();
    await run;
  };
  closers.push(stop);
  const reach = async (state: string) => {
    const limit = performance.now() + 5_000;
    while (stream.state !== state) {
      if (performance.now() > limit) throw new Error(`not ${state} but ${stream.state}`);
      await wait(5);
    }
  };
  return { stream, states, messages, notices, bad, pongs, stop, reach };
}

test('authenticates after the greeting, subscribes, hands messages over in order and closes with a close frame', async () => {
  const client = connect();
  await client.reach('ready');
  expect(received).toEqual([
    { action: 'auth', key: 'KEY', secret: 'SECRET' },
    { action: 'subscribe', trades: ['A', 'B', 'C'], quotes: ['A', 'B', 'C'], statuses: ['A', 'B', 'C'] },
  ]);
  const socket = sockets[0] as WebSocket;
  say(socket, { T: 't', S: 'A', i: 1 }, { T: 'q', S: 'B' });
  socket.send(Buffer.from('[{"T":"b","S":"C"}]'), { binary: true });
  const closed = new Promise<number>((resolve) => socket.on('close', resolve));
  await wait(60);
  expect(client.messages.map(({ type, symbol }) => type + symbol)).toEqual(['tA', 'qB', 'bC']);
  expect(client.pongs.length).toBeGreaterThan(0);
  await client.stop();
  expect(await closed).toBe(1000);
  expect(client.states.map(({ to }) => to)).toEqual([
    'connecting',
    'authenticating',
    'subscribing',
    'ready',
    'draining',
  ]);
});

test('asks again for what was not granted', async () => {
  let asked = 0;
  script = (message, socket, connection) => {
    if (message.action === 'auth') return whole(message, socket, connection);
    asked += 1;
    const lists = { trades: ['A', 'B', 'C'], quotes: asked === 1 ? ['A'] : ['A', 'B', 'C'], statuses: ['A', 'B', 'C'] };
    say(socket, { T: 'subscription', ...lists, corrections: ['*'], cancelErrors: ['*'] });
  };
  const client = connect();
  await client.reach('ready');
  expect(received.at(-1)).toEqual({ action: 'subscribe', quotes: ['B', 'C'] });
});

test('405 keeps what is granted and stops asking; 403 changes nothing', async () => {
  script = (message, socket, connection) => {
    if (message.action === 'auth') return whole(message, socket, connection);
    say(socket, { T: 'error', code: 405, msg: 'symbol limit exceeded' });
  };
  const client = connect();
  await client.reach('degraded');
  say(sockets[0] as WebSocket, { T: 'error', code: 403, msg: 'already authenticated' });
  await wait(30);
  expect(client.stream.state).toBe('degraded');
  expect(received.filter(({ action }) => action === 'subscribe')).toHaveLength(1);
  expect(client.notices).toEqual([
    ['alpaca_symbol_limit', 405, 'symbol limit exceeded'],
    ['already_authenticated', 403, 'already authenticated'],
  ]);
});

test('410 leaves the optional channels out and goes on', async () => {
  script = (message, socket, connection) => {
    if (message.statuses) return say(socket, { T: 'error', code: 410, msg: 'invalid subscribe action for this feed' });
    whole(message, socket, connection);
  };
  const client = connect();
  await client.reach('degraded');
  expect(received.at(-1)).toEqual({ action: 'subscribe', trades: ['A', 'B', 'C'], quotes: ['A', 'B', 'C'] });
});

test.each([
  { code: 402, to: 'blocked', errorClass: 'alpaca_auth' },
  { code: 406, to: 'blocked', errorClass: 'alpaca_406_second_connection' },
  { code: 409, to: 'blocked', errorClass: 'alpaca_entitlement' },
  { code: 500, to: 'disconnected', errorClass: 'alpaca_server' },
])('error $code at auth leads to $to', async ({ code, to, errorClass }) => {
  script = (_message, socket) => say(socket, { T: 'error', code, msg: 'no' });
  const client = connect({ reconnectBaseMs: 5_000, reconnectMaxMs: 5_000 });
  await client.reach(to);
  expect(client.states.at(-1)?.end).toMatchObject({ errorClass, code });
  expect(JSON.stringify(client.states)).not.toContain('SECRET');
});

test('no answer to the authentication, a dead peer and a broken frame each end the connection, and the next one works', async () => {
  const ends: (string | undefined)[] = [];
  script = (message, socket, connection) => {
    if (connection === 1) return;
    whole(message, socket, connection);
    if (connection === 2 && message.action === 'subscribe') socket.pause();
    if (connection === 3 && message.action === 'subscribe') socket.send('[{"T":"t","S":"A"},{"T":');
  };
  const client = connect({ onState: (change) => void (change.end && ends.push(change.end.errorClass)) });
  const limit = performance.now() + 10_000;
  while (ends.length < 3 && performance.now() < limit) await wait(10);
  await client.reach('ready');
  expect(ends).toEqual(['alpaca_auth_timeout', 'pong_timeout', 'alpaca_protocol']);
  expect(client.bad).toEqual(['json']);
  expect(client.messages.map(({ symbol }) => symbol)).toEqual(['A']);
});

test('silence on a socket that answers pings ends the connection in a session, and only there', async () => {
  let isActive = false;
  const client = connect({ readIdleMs: 100, isSessionActive: () => isActive });
  await client.reach('ready');
  await wait(2_600);
  expect(client.stream.state).toBe('ready');
  isActive = true;
  await client.reach('disconnected');
  expect(client.states.at(-1)?.end?.errorClass).toBe('read_idle');
});

test('HTTP 429 on the upgrade waits long', async () => {
  const http = createServer();
  http.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 429 Too Many Requests\r\n\r\n'));
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  closers.push(async () => void http.close());
  const client = connect({ url: `ws://127.0.0.1:${(http.address() as AddressInfo).port}/` });
  await client.reach('disconnected');
  expect(client.states.at(-1)?.end).toMatchObject({ errorClass: 'rate_limited', code: 429 });
  await wait(300);
  expect(client.stream.state).toBe('disconnected');
});

test('MessagePack frames become the same messages', async () => {
  server.removeAllListeners('connection');
  server.on('connection', (socket, request) => {
    expect(request.headers['content-type']).toBe('application/msgpack');
    const pack = (...messages: object[]) => socket.send(encode(messages));
    pack({ T: 'success', msg: 'connected' });
    let turn = 0;
    socket.on('message', () => {
      turn += 1;
      const all = ['A', 'B', 'C'];
      if (turn === 1) pack({ T: 'success', msg: 'authenticated' });
      else {
        pack({ T: 'subscription', trades: all, quotes: all, statuses: all, corrections: all, cancelErrors: all });
        pack({ T: 't', S: 'A', i: 7, p: 10.25, t: '2030-01-02T15:00:00Z' });
      }
    });
    sockets.push(socket);
  });
  const client = connect({ encoding: 'msgpack' });
  await client.reach('ready');
  await wait(50);
  expect(client.messages.map(({ raw }) => raw)).toEqual([
    '{"T":"t","S":"A","i":7,"p":10.25,"t":"2030-01-02T15:00:00Z"}',
  ]);
});
