/**
 * The trade_updates stream as Alpaca's SDK reads it, and as a bare socket sees it.
 */
import { streaming } from '@alpacahq/alpaca-trade-api';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { streamEvents } from '../../../src/simulator/trading/order-log.ts';
import { FakeTape, ns } from './fake-tape.ts';
import { type SdkClient, sdkClient } from './sdk.ts';
import { KEY, SECRET, startExchange, type TestExchange, temporaryFolder } from './test-exchange.ts';

let folder: ReturnType<typeof temporaryFolder>;
let tape: FakeTape;
let exchange: TestExchange;
let client: SdkClient;
const closers: (() => void)[] = [];

beforeEach(async () => {
  folder = temporaryFolder();
  tape = new FakeTape(['AIG', 'IBM']);
  exchange = await startExchange({ tape, directory: folder.path });
  client = sdkClient(exchange.url);
  tape.quote('IBM', [184.2, 100], [184.25, 100]);
});
afterEach(async () => {
  for (const close of closers.splice(0)) close();
  await exchange.close();
  folder.remove();
});

const orders = () => client.alpaca.trading.orders;

async function until(what: string, isTrue: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!isTrue()) {
    if (performance.now() > deadline) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A bare socket with everything that it received. */
async function bareSocket(): Promise<{
  send(frame: unknown): void;
  frames: { data: Record<string, unknown>; stream?: string; action?: string; isBinary: boolean }[];
  socket: WebSocket;
}> {
  const socket = new WebSocket(`ws://127.0.0.1:${exchange.port}/stream`);
  closers.push(() => socket.terminate());
  const frames: { data: Record<string, unknown>; stream?: string; isBinary: boolean }[] = [];
  socket.on('message', (data, isBinary) => frames.push({ ...JSON.parse(data.toString()), isBinary }));
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  return { send: (frame) => socket.send(JSON.stringify(frame)), frames, socket };
}

async function sdkStream(): Promise<streaming.TradeUpdate[]> {
  const updates: streaming.TradeUpdate[] = [];
  const stream = new streaming.TradingStream({
    credentials: { keyId: KEY, secret: SECRET },
    url: `ws://127.0.0.1:${exchange.port}/stream`,
    reconnect: false,
  });
  closers.push(() => stream.disconnect());
  let isListening = false;
  stream.onTradeUpdate((update) => updates.push(update));
  stream.on(streaming.EVENT.SUBSCRIPTION, () => {
    isListening = true;
  });
  stream.onConnect(() => stream.subscribeTradeUpdates());
  stream.connect();
  await until('the listening reply', () => isListening);
  return updates;
}

const authenticate = { action: 'authenticate', data: { key_id: KEY, secret_key: SECRET } };
const listen = (...streams: string[]) => ({ action: 'listen', data: { streams } });

describe('what the SDK reads', () => {
  it('every event of the broker arrives, fills with their own price and quantity', async () => {
    const updates = await sdkStream();
    const seen = () => new Set(updates.map((update) => String(update.event)));
    await orders().market({ symbol: 'IBM', qty: 150, side: 'buy', clientOrderId: 'part' });
    tape.quote('IBM', [184.2, 100], [184.3, 100]);
    const resting = await orders().limit({ symbol: 'IBM', qty: 1, side: 'buy', limitPrice: 100 });
    await orders().deleteOrderByOrderID({ orderId: String(resting.id) });
    const replaced = await orders().limit({ symbol: 'IBM', qty: 1, side: 'buy', limitPrice: 100 });
    await orders().patchOrderByOrderId({ orderId: String(replaced.id), patchOrderRequest: { limitPrice: '101' } });
    // The close expires the day order; what is accepted after it waits for the morning and cannot be paid then.
    tape.now = ns('2013-10-08T20:00:01Z');
    tape.quote('AIG', [48.5, 100], [48.52, 100]);
    await orders().market({ symbol: 'AIG', qty: 3000, side: 'buy' });
    tape.quote('AIG', [148.5, 100], [148.52, 100]);
    tape.now = ns('2013-10-09T13:30:00Z');
    tape.quote('IBM', [184.2, 100], [184.4, 100]);
    await until('the rejection', () => seen().has('rejected'));
    // A refused replace comes only from a kill in the middle: the restart test shows it.
    expect([...seen()].sort()).toEqual(streamEvents.filter((event) => event !== 'order_replace_rejected').sort());
    const fills = updates.filter(
      (update) => update.order.clientOrderId === 'part' && update.executionId && update.price,
    );
    expect(fills.map((fill) => [fill.event, fill.qty, fill.price, fill.positionQty, fill.order.filledQty])).toEqual([
      ['partial_fill', '100', '184.25', '100', '100'],
      ['fill', '50', '184.3', '150', '150'],
    ]);
    expect(updates[0]).toMatchObject({ event: 'pending_new', execution_id: null });
    expect(new Set(updates.map((update) => update.event_id)).size).toBe(updates.length);
    expect([...updates].map((update) => String(update.event_id))).toEqual(
      updates.map((update) => String(update.event_id)).sort(),
    );
    expect(updates[0]?.timestamp).toBeInstanceOf(Date);
  });

  it('keys that are empty are unauthorized', async () => {
    const socket = await bareSocket();
    socket.send({ action: 'authenticate', data: { key_id: '', secret_key: '' } });
    await until('the reply', () => socket.frames.length === 1);
    expect(socket.frames[0]).toMatchObject({ stream: 'authorization', data: { status: 'unauthorized' } });
  });
});

describe('the protocol', () => {
  it('frames are binary and hold one JSON object; both forms of authorization work', async () => {
    const first = await bareSocket();
    first.send(authenticate);
    await until('the reply', () => first.frames.length === 1);
    expect(first.frames[0]).toEqual({
      stream: 'authorization',
      data: { status: 'authorized', action: 'authenticate' },
      isBinary: true,
    });
    first.socket.close();
    await until('the place to be free', () => exchange.trading.status().update_connections === 0);
    const second = await bareSocket();
    second.send({ action: 'auth', key: KEY, secret: SECRET });
    await until('the reply', () => second.frames.length === 1);
    expect(second.frames[0]?.data.status).toBe('authorized');
  });

  it('listen replaces, leaves unknown names out, and needs authorization', async () => {
    const socket = await bareSocket();
    socket.send(listen('trade_updates'));
    socket.send(authenticate);
    socket.send(listen('trade_updates', 'nonsense'));
    socket.send(listen('nonsense'));
    await until('four replies', () => socket.frames.length === 4);
    expect(socket.frames.map((frame) => [frame.stream, frame.data])).toEqual([
      ['authorization', { status: 'unauthorized', action: 'listen' }],
      ['authorization', { status: 'authorized', action: 'authenticate' }],
      ['listening', { streams: ['trade_updates'] }],
      ['listening', { streams: [] }],
    ]);
    await orders().market({ symbol: 'IBM', qty: 1, side: 'buy' });
    socket.send(listen('trade_updates'));
    await until('the listening reply', () => socket.frames.length === 5);
    expect(
      socket.frames.some((frame) => frame.stream === 'trade_updates'),
      'nothing is replayed',
    ).toBe(false);
  });

  it('a second session of the account is refused until the first one ends', async () => {
    const first = await bareSocket();
    first.send(authenticate);
    await until('the reply', () => first.frames.length === 1);
    const second = await bareSocket();
    second.send(authenticate);
    await until('the refusal', () => second.frames.length === 1);
    expect(second.frames[0]?.data.status).toBe('unauthorized');
    first.socket.terminate();
    await until('the place to be free', () => exchange.trading.status().update_connections === 0);
    second.send(authenticate);
    await until('the reply', () => second.frames.length === 2);
    expect(second.frames[1]?.data.status).toBe('authorized');
  });

  it('nonsense is answered with an error and the session lives on', async () => {
    const socket = await bareSocket();
    socket.socket.send('{');
    socket.send({ action: 'dance' });
    socket.send(authenticate);
    await until('three replies', () => socket.frames.length === 3);
    expect(socket.frames.map((frame) => frame.action ?? frame.stream)).toEqual(['error', 'error', 'authorization']);
  });
});

describe('faults', () => {
  it('drops, doubles and delays events, in their order', async () => {
    const updates = await sdkStream();
    exchange.faults.add({ name: 'updates_drop', count: 1, event: 'pending_new' });
    exchange.faults.add({ name: 'updates_duplicate', count: 1, event: 'fill', copies: 3 });
    exchange.faults.add({ name: 'updates_delay', count: 1, event: 'new', ms: 100 });
    const start = performance.now();
    await orders().market({ symbol: 'IBM', qty: 1, side: 'buy' });
    expect(updates).toHaveLength(0);
    await until('all copies', () => updates.length === 4);
    expect(performance.now() - start).toBeGreaterThan(95);
    expect(updates.map((update) => update.event)).toEqual(['new', 'fill', 'fill', 'fill']);
    expect(new Set(updates.slice(1).map((update) => update.executionId)).size).toBe(1);
  });

  it('late_fill lets the fill win against a cancel that was answered', async () => {
    const updates = await sdkStream();
    exchange.faults.add({ name: 'late_fill', count: 1, ms: 20 });
    const order = await orders().limit({ symbol: 'IBM', qty: 7, side: 'buy', limitPrice: 180 });
    await orders().deleteOrderByOrderID({ orderId: String(order.id) });
    expect(client.calls.at(-1)?.status).toBe(204);
    tape.pass(25);
    await until('the fill', () => updates.some((update) => update.event === 'fill'));
    expect(updates.map((update) => update.event)).toEqual(['pending_new', 'new', 'pending_cancel', 'fill']);
    expect((await orders().getOrderByOrderID({ orderId: String(order.id) })).status).toBe('filled');
  });
});
